"""``python -m isles map``, as a user runs it: in a process of its own."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "isles", "map"]
JOBS = '''
import sys
import threading
import time
from pathlib import Path


def upper(text):
    return text.upper()


def backwards(text):
    """The first inputs take longest."""
    time.sleep(max(0, 10 - int(text)) / 100)
    return int(text)


def picky(text):
    if text == "boom":
        raise ValueError(f"no {text}")
    return {"length": len(text)}


def odd(text):
    if text == "exit":
        sys.exit(3)
    if text == "deep":
        return odd(text)
    loop = []
    loop.append(loop)
    return {
        "set": {1},
        "nan": [float("nan")],
        "loop": loop,
        "good": (1, 2.5, None, "\\N{SNOWMAN}"),
    }[text]


def noisy(text):
    print("printed", text)
    return sys.stdin.read()


def wait(text):
    time.sleep(float(text))
    return text


def wait_then_touch(text):
    time.sleep(0.1)
    Path(f"{text}.done").touch()
    return text


def main_modules(text):
    import isles

    return [isles.get_current().id != isles.get_main().id, text]


def meet(text, barrier=Path("meet")):
    """Ends only when another one runs at the same time."""
    barrier.mkdir(exist_ok=True)
    (barrier / text).touch()
    end = time.monotonic() + 20
    while len(list(barrier.iterdir())) < 2:
        if time.monotonic() > end:
            raise TimeoutError("alone")
        time.sleep(0.01)


class Box:
    @staticmethod
    def size(text):
        return len(text)


number = 5
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    return tmp_path


def run(place, *arguments, stdin="", timeout=60, env=None):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=place,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=timeout,
        env=env,
    )


def parse(text: str) -> list:
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def results(done: subprocess.CompletedProcess) -> list:
    return [line["result"] for line in parse(done.stdout)]


# Results


def test_results_are_json_lines(place):
    done = run(place, "jobs:upper", "a", "b")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == '{"input": "a", "result": "A"}\n{"input": "b", "result": "B"}\n'


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_order_is_that_of_the_inputs(place, jobs):
    done = run(place, "-j", jobs, "jobs:backwards", *map(str, range(15)))
    assert results(done) == list(range(15))


def test_runs_in_isolated_interpreters(place):
    done = run(place, "jobs:main_modules", "a", "b")
    assert results(done) == [[True, "a"], [True, "b"]]


def test_calls_overlap(place):
    done = run(place, "-j", "2", "jobs:meet", "a", "b")
    assert done.returncode == 0, done.stderr


def test_functions_may_be_attributes(place):
    assert results(run(place, "jobs:Box.size", "abc")) == [3]


def test_a_package_of_the_standard_library(place):
    assert results(run(place, "os.path:basename", "a/b")) == ["b"]


def test_what_the_function_prints_stays_out_of_the_results(place):
    done = run(place, "jobs:noisy", "a")
    assert done.stdout == '{"input": "a", "result": ""}\n'
    assert done.stderr == "printed a\n"


def test_more_workers_than_inputs(place):
    assert results(run(place, "-j", "64", "jobs:upper", "a")) == ["A"]


def test_many_inputs(place):
    numbers = [str(n) for n in range(5000)]
    done = run(place, "jobs:upper", stdin="\n".join(numbers))
    assert results(done) == numbers


# Inputs


def test_lines_of_standard_input(place):
    done = run(place, "jobs:upper", stdin="a b\n\nc\n")
    assert [line["input"] for line in parse(done.stdout)] == ["a b", "", "c"]


def test_no_lines(place):
    done = run(place, "jobs:upper", stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_arguments_go_before_standard_input(place):
    assert results(run(place, "jobs:upper", "a", stdin="b\n")) == ["A"]


def test_glob(place):
    (place / "x" / "y").mkdir(parents=True)
    for name in ("x/y/b.txt", "x/a.txt", "c.txt"):
        (place / name).touch()
    (place / "folder.txt").mkdir()
    done = run(place, "jobs:upper", "--glob", "**/*.txt")
    assert results(done) == ["C.TXT", "X/A.TXT", "X/Y/B.TXT"]


def test_options_may_stand_anywhere(place):
    assert results(run(place, "jobs:upper", "-j", "1", "a", "b")) == ["A", "B"]
    assert results(run(place, "jobs:upper", "a", "b", "-j", "1")) == ["A", "B"]
    assert results(run(place, "jobs:upper", "a", "-j", "1", "b")) == ["A", "B"]
    assert results(run(place, "jobs:upper", "-j", "1", "--", "-j")) == ["-J"]


def test_glob_without_a_match(place):
    done = run(place, "jobs:upper", "--glob", "*.none")
    assert done.returncode == 2
    assert done.stderr == "isles map: no file matches '*.none'\n"


def test_bytes_that_are_not_text(place):
    done = subprocess.run(
        [*COMMAND, "jobs:upper"], cwd=place, input=b"\xff\n", capture_output=True, timeout=60
    )
    assert parse(done.stdout.decode()) == [{"input": "\udcff", "result": "\udcff"}]


def start(place, *arguments, **options):
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options
    return subprocess.Popen([*COMMAND, *arguments], cwd=place, text=True, **options)


def test_results_stream(place):
    with start(place, "-j", "2", "jobs:upper") as child:
        for text in ("a", "b", "c"):
            child.stdin.write(f"{text}\n")
            child.stdin.flush()
            assert select.select([child.stdout], [], [], 20)[0]
            assert json.loads(child.stdout.readline())["result"] == text.upper()
        child.stdin.close()
        assert child.wait(20) == 0


def test_look_ahead_is_bounded(place):
    """While the first input runs, endless input isn't read without end."""
    with start(place, "-j", "2", "jobs:wait") as child:
        os.set_blocking(child.stdin.fileno(), False)
        written, quiet = os.write(child.stdin.fileno(), b"3\n"), 0
        while quiet < 5 and written < 2**22:
            try:
                written += os.write(child.stdin.fileno(), b"0\n" * 2048)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.1)
        child.kill()
    assert written < 2**20


# Failures


def test_failing_input(place):
    done = run(place, "jobs:picky", "a", "boom", "c")
    assert done.returncode == 1
    assert parse(done.stdout) == [
        {"input": "a", "result": {"length": 1}},
        {"input": "boom", "error": {"type": "ValueError", "message": "no boom"}},
        {"input": "c", "result": {"length": 1}},
    ]
    assert "isles map: input 'boom' failed:\nTraceback" in done.stderr
    assert 'raise ValueError(f"no {text}")' in done.stderr  # the source line
    assert done.stderr.endswith("ValueError: no boom\nisles map: 1 of 3 inputs failed\n")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("set", "TypeError", "can't be written as JSON: Object of type set"),
        ("nan", "ValueError", "can't be written as JSON: Out of range float"),
        ("loop", "ValueError", "can't be written as JSON: Circular reference"),
        ("exit", "SystemExit", "3"),
        ("deep", "RecursionError", "recursion"),
    ],
)
def test_odd_ends_of_a_call(place, text, kind, message):
    done = run(place, "-j", "1", "jobs:odd", text, "good")
    assert done.returncode == 1
    bad, good = parse(done.stdout)
    assert bad["error"]["type"] == kind
    assert message in bad["error"]["message"]
    assert good["result"] == [1, 2.5, None, "\N{SNOWMAN}"]


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:f", "a"], "isles map: there is no module 'nowhere'\n"),
        (["jobs.inner:f", "a"], "isles map: there is no module 'jobs.inner'\n"),
        (
            ["jobs.py:number", "a"],
            "isles map: there is no module 'jobs.py' (a module has no .py in its name)\n",
        ),
        (["jobs:nothing", "a"], "isles map: module 'jobs' has no function 'nothing'\n"),
        (["jobs:Box.no", "a"], "isles map: module 'jobs' has no function 'Box.no'\n"),
        (["jobs:number", "a"], "isles map: jobs:number is not a function but int\n"),
    ],
)
def test_unknown_target(place, arguments, message):
    done = run(place, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs"],
        ["jobs:"],
        [":upper"],
        ["jobs:up per"],
        ["-j", "0", "jobs:upper", "a"],
        ["-j", "-1", "jobs:upper", "a"],
        ["-j", "many", "jobs:upper", "a"],
        ["--nothing", "jobs:upper", "a"],
        [],
    ],
)
def test_wrong_arguments(place, arguments):
    done = run(place, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m isles map: ")
    assert done.stderr.count("\n") == 1


def test_a_module_that_fails_to_import(place):
    (place / "broken.py").write_text("import nowhere_to_be_found\n")
    done = run(place, "broken:f", "a")
    assert (done.returncode, done.stdout) == (2, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("isles map: can't import 'broken': ModuleNotFoundError")
    assert "import nowhere_to_be_found" in "".join(rest)


def test_the_target_is_imported_in_workers_only(place):
    (place / "who.py").write_text("import isles\nprint('in', isles.get_current().id)\nf = len\n")
    done = run(place, "-j", "1", "who:f", "a")
    assert done.returncode == 0
    assert done.stderr.count("in ") == 1
    assert "in 0" not in done.stderr


# Ends before the end


def interrupt(child, place, marker: str, after: int) -> float:
    """Send SIGINT when `marker` has `after` files; how long the child took to end."""
    end = time.monotonic() + 30
    while len(list(place.glob(marker))) < after:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.5)
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.wait(20)
    return time.monotonic() - start


@pytest.fixture
def stuck(place):
    """A module whose function hangs for some inputs and leaves a file for the others."""
    (place / "stuck.py").write_text(
        JOBS + "\ndef f(text):\n    (wait(50) if text[0] == 'w' else wait_then_touch(text))\n"
    )
    return place


def test_ctrl_c(stuck):
    child = start(stuck, "-j", "2", "stuck:f", "a", "b", "wait", "c", "wait", "d", stderr=-1)
    seconds = interrupt(child, stuck, "*.done", 3)
    output, errors = child.communicate()
    assert seconds < 2
    assert child.returncode == 130
    assert errors == ""
    assert [line["input"] for line in parse(output)] == ["a", "b", "c"]


def test_ctrl_c_while_reading_standard_input(stuck):
    child = start(stuck, "stuck:f", stderr=-1)
    child.stdin.write("a\n")
    child.stdin.flush()
    seconds = interrupt(child, stuck, "*.done", 1)
    assert seconds < 2
    assert child.returncode == 130
    output, errors = child.communicate()
    assert [line["input"] for line in parse(output)] == ["a"]
    assert errors == ""


def test_ctrl_c_while_the_module_is_imported(place):
    (place / "slow.py").write_text(
        "import pathlib, time\npathlib.Path('x.done').touch()\ntime.sleep(50)\n"
    )
    child = start(place, "slow:f", "a", stderr=-1)
    assert interrupt(child, place, "*.done", 1) < 2
    assert child.communicate() == ("", "")
    assert child.returncode == 130


def test_ctrl_c_while_nobody_reads(place):
    """The pipe is full: even then the process ends."""
    (place / "big.py").write_text(
        "import pathlib\ndef f(text):\n    pathlib.Path('x.done').touch()\n    return 'x' * 10**6\n"
    )
    child = start(place, "big:f", "a", "b", stderr=-1)
    assert interrupt(child, place, "*.done", 1) < 3
    assert child.returncode == 130
    child.communicate()


def test_broken_pipe(place):
    done = subprocess.run(
        f"yes | '{sys.executable}' -m isles map jobs:upper | head -n 2; echo ${{PIPESTATUS[1]}}",
        cwd=place,
        shell=True,
        executable="/bin/bash",
        text=True,
        capture_output=True,
        timeout=30,
    )
    assert done.stdout == '{"input": "y", "result": "Y"}\n' * 2 + "141\n"
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk(place):
    with open("/dev/full", "w") as full:
        child = start(place, "jobs:upper", "a", stdout=full, stderr=-1)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "No space left" in errors
    assert errors.count("\n") == 1


# On a terminal


class Terminal:
    """A child whose standard error (and output, if `shared`) is a terminal."""

    def __init__(self, place, *command: str, shared: bool) -> None:
        self._mine, theirs = pty.openpty()
        self.child = subprocess.Popen(
            command,
            cwd=place,
            stdin=theirs,
            stdout=theirs if shared else subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.seen = ""

    def read(self, seconds: float = 30, until: str | None = None) -> str:
        """All that is shown until the child ends, or until `until` is."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (until and until in self.seen):
            if not select.select([self._mine], [], [], left)[0]:
                break
            try:
                data = os.read(self._mine, 65536)
            except OSError:  # the last one that had it open ended
                break
            self.seen += data.decode()
        return self.seen

    def press(self, key: bytes) -> None:
        os.write(self._mine, key)

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()
        os.close(self._mine)


@pytest.fixture
def terminal(place):
    opened = []

    def open_one(*command, shared=False):
        opened.append(Terminal(place, *command, shared=shared))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


NO_RICH = """
import sys
sys.modules["rich"] = None
from isles._cli.main import main
sys.exit(main())
"""
WITHOUT_RICH = [sys.executable, "-c", NO_RICH, "map"]


def test_no_bar_without_a_terminal(place):
    assert run(place, "jobs:wait", "0.5").stderr == ""


def test_plain_bar(terminal):
    one = terminal(*WITHOUT_RICH, "-j", "1", "os.path:basename", *["a"] * 3)
    output = one.child.stdout.read()
    assert len(parse(output.decode())) == 3
    one = terminal(*WITHOUT_RICH, "-j", "1", "jobs:wait", *["0.3"] * 4)
    shown = one.read(until="3/4")
    assert "[#######" in shown
    assert "2/4  50%" in shown
    assert one.child.wait(20) == 0


def test_rich_bar(terminal):
    pytest.importorskip("rich")
    one = terminal(*COMMAND, "-j", "1", "jobs:wait", *["0.3"] * 4)
    shown = one.read(until="3/4")
    assert "2/4" in shown
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown
    assert one.child.wait(20) == 0


@pytest.mark.parametrize("command", [COMMAND, WITHOUT_RICH], ids=["default", "without rich"])
def test_results_and_bar_on_one_terminal(terminal, command):
    one = terminal(*command, "-j", "1", "jobs:wait", *["0.2"] * 4, shared=True)
    shown = one.read()
    assert one.child.wait(20) == 0
    lines = [line.split("\x1b[K")[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert [json.loads(line)["result"] for line in lines if line.strip()] == ["0.2"] * 4


def test_ctrl_c_on_a_terminal(terminal):
    one = terminal(*COMMAND, "-j", "2", "jobs:wait", "0", "50", "0", "50")
    assert select.select([one.child.stdout], [], [], 20)[0]
    time.sleep(0.5)
    start = time.monotonic()
    one.press(b"\x03")
    assert one.child.wait(20) == 130
    assert time.monotonic() - start < 2
    assert [line["input"] for line in parse(one.child.stdout.read().decode())] == ["0", "0"]
    assert "Traceback" not in one.read(1)


def test_no_inputs_on_a_terminal(terminal):
    one = terminal(*COMMAND, "jobs:upper")
    assert one.child.wait(20) == 2
    assert "no inputs" in one.read(1)


# The command itself


def test_help_and_version(place):
    for arguments in (["--help"], ["map", "--help"], ["demo", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "isles", *arguments], cwd=place, capture_output=True, timeout=60
        )
        assert done.returncode == 0
        assert b"usage: python -m isles" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "isles", "--version"], cwd=place, capture_output=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"isles ")


def test_no_command(place):
    done = subprocess.run(
        [sys.executable, "-m", "isles"], cwd=place, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage: python -m isles" in done.stderr


def test_import_isles_leaves_the_command_line_alone(place):
    code = "import isles, sys; print([m for m in sys.modules if '_cli' in m or m[:4] == 'rich'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, timeout=60)
    assert done.stdout == b"[]\n"
