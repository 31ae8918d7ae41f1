"""``python -m isles demo``, and the measuring that it does."""

import ast
import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import child_process
import pytest

from isles._cli import demo_complexity, demo_svg

WAYS = ["single", "threads", "processes", "interpreters"]
DEMO = [sys.executable, "-m", "isles", "demo"]


def run(place, *command):
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)


def patched(code: str, *arguments: str) -> list[str]:
    """The demo's command after some code that changes it."""
    script = f"import sys\nfrom isles._cli import demo, main\n{code}\nsys.exit(main.main())"
    return [sys.executable, "-c", script, "demo", *arguments]


# The command


def test_json_and_chart(tmp_path):
    done = run(tmp_path, *DEMO, "--files", "60", "--json", "--chart", "out.svg", "-j", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert [one["way"] for one in summary["ways"]] == WAYS
    assert all(one["seconds"] > 0 for one in summary["ways"])
    assert all(one["memory"] is None or one["memory"] >= 0 for one in summary["ways"])
    assert summary["totals"]["files"] == 60
    assert summary["totals"]["functions"] > 100
    assert summary["workers"] == 2
    counts = [one["complexity"] for one in summary["most_complex"]]
    assert len(counts) == 10
    assert counts == sorted(counts, reverse=True)
    root = ElementTree.fromstring((tmp_path / "out.svg").read_text(encoding="utf-8"))
    assert len(root.findall("{*}rect")) == len(WAYS)


@pytest.mark.parametrize("rich", [True, False])
def test_tables(tmp_path, rich):
    done = run(tmp_path, *patched("" if rich else "sys.modules['rich'] = None", "--files", "40"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in ("one interpreter", "threads", "processes", "isolated interpreters"):
        assert done.stdout.count(word) >= 2  # in the table and in the chart
    assert "speed-up" in done.stdout
    assert "All four ways found the same" in done.stdout
    assert "The ten most complex functions" in done.stdout
    assert rich or done.stdout.isascii()


def test_disagreement_is_found(tmp_path):
    code = """
real = demo.measure
def measure(way, chunks, workers):
    return real(way, chunks[1:] if way == "threads" else chunks, workers)
demo.measure = measure
"""
    done = run(tmp_path, *patched(code, "--files", "40", "--json"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "isles demo: threads and one interpreter found different things:\n"
    )


def test_same_totals_of_different_results_are_found(tmp_path):
    code = """
real = demo.measure
def measure(way, chunks, workers):
    return real(way, chunks[::-1] if way == "interpreters" else chunks, workers)
demo.measure = measure
"""
    done = run(tmp_path, *patched(code, "--files", "40"))
    assert done.returncode == 1
    assert "isolated interpreters and one interpreter found different things" in done.stderr


def test_a_way_that_fails(tmp_path):
    code = """
real = demo.measure
demo.measure = lambda way, chunks, workers: real("nothing", chunks, workers)
demo.LABELS["nothing"] = "nothing"
"""
    done = run(tmp_path, *patched(code, "--files", "5"))
    assert done.returncode == 1
    assert "isles demo: nothing: ended with exit code 1" in done.stderr


def of_session(leader: int) -> list[str]:
    """The processes that are left of a session."""
    left = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition(") ")
        except OSError:
            continue
        state, _, _, session = rest.split()[:4]
        if int(session) == leader and state not in "ZX":
            left.append(name)
    return left


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c(tmp_path, way):
    """Each way ends soon, without a traceback, and leaves no process behind."""
    command = patched(f"demo.LABELS = {{{way!r}: 'the one'}}")
    child = subprocess.Popen(
        command, cwd=tmp_path, stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    start = time.monotonic()
    while len(of_session(child.pid)) == 1:  # until the one that it measures is there
        assert time.monotonic() - start < child_process.LATE
        time.sleep(0.01)
    time.sleep(1)
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=20) == ("", "")
    assert child.returncode == 130
    assert time.monotonic() - start < 4
    while of_session(child.pid):  # the fork server ends when it notices
        assert time.monotonic() - start < 10
        time.sleep(0.1)


def test_broken_pipe(tmp_path):
    command = patched("demo.LABELS = {'single': 'the one'}", "--files", "5")
    child = subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1)
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(60) == 141
    child.stderr.close()


@pytest.mark.parametrize(
    "arguments",
    [["--files", "0"], ["-j", "x"], ["--chart", "no/such/folder.svg"], ["extra"]],
)
def test_wrong_usage(tmp_path, arguments):
    done = run(tmp_path, *DEMO, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_the_library_has_no_site_packages():
    from isles._cli.demo import library

    _, files = library(None)
    assert len(files) > 500
    assert files == sorted(files)
    assert not any("site-packages" in name or "dist-packages" in name for name in files)


# The measure


def measured(source: str) -> dict[str, int]:
    return {name: count for name, _, count in demo_complexity.functions_of(ast.parse(source))}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("pass", 1),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("for a in b: pass\n else: pass", 2),
        ("while a: pass", 2),
        ("try: pass\n except A: pass\n except B: pass\n else: pass\n finally: pass", 3),
        ("with a: assert b", 1),
        ("return a and b and c or d", 4),
        ("return a if b else c", 2),
        ("return [a for a in b if c if d for e in f]", 3),
        ("return {a: b for a in b if c}", 2),
        ("match a:\n  case 1: pass\n  case [x, *y] if x: pass\n  case _: pass", 3),
        ("match a:\n  case {'k': 1, **rest}: pass\n  case _ if b: pass", 3),
        ("return lambda: a or b", 2),
        ("return f'{a if b else c!r:>{d}}'", 2),
        ("del a[b], c.d; global e", 1),
    ],
)
def test_complexity(body, count):
    assert measured(f"def f():\n {body}") == {"f": count}
    if "lambda" not in body:
        assert measured(f"async def f():\n {body}") == {"f": count}


def test_nested_functions_count_on_their_own():
    source = """
class A:
    if a: x = 1
    def m(self):
        if a: pass
        def inner():
            return a or b or c
        class B:
            async def n(self):
                async for x in y: pass
if a:
    def g(): pass
"""
    assert measured(source) == {"A.m": 2, "A.m.inner": 3, "A.m.B.n": 2, "g": 1}


@pytest.mark.parametrize(
    ("source", "lines", "error"),
    [
        (b"", 0, ""),
        (b"x = 1", 1, ""),
        (b"x = 1\n\n", 2, ""),
        (b"def f(:\n", 1, "SyntaxError"),
        (b"# coding: nonsense\n", 1, "SyntaxError"),
        (b"x = '\xff'\n", 1, "SyntaxError"),
        (b"x = 1\0\n", 1, "SyntaxError"),
    ],
)
def test_files(tmp_path, source, lines, error):
    path = tmp_path / "a.py"
    path.write_bytes(source)
    assert demo_complexity.measure_file(str(path)) == (str(path), lines, error, ())


def test_missing_file(tmp_path):
    path = str(tmp_path / "none.py")
    assert demo_complexity.measure_file(path) == (path, 0, "FileNotFoundError", ())


def test_totals():
    results = [("a", 3, "", (("f", 1, 4), ("g", 2, 5))), ("b", 2, "SyntaxError", ())]
    assert demo_complexity.total(results) == (2, 1, 5, 2, 9)
    assert demo_complexity.most_complex(results, 1) == [("a", "g", 2, 5)]


# Memory and chart


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_growth_sees_own_memory_and_that_of_children():
    """In a process of its own: what earlier tests left here, children too, may go meanwhile."""
    script = """if True:
        import subprocess, sys
        from isles._cli import memory

        with memory.Growth() as growth:
            block = b"x" * 30_000_000
            growth.sample()
        print(growth.bytes)
        code = "b = b'x' * 30_000_000; print(flush=True); input()"
        with memory.Growth() as growth:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
                child.stdout.readline()
                growth.sample()
                child.communicate(b"\\n")
        print(growth.bytes)
    """
    own, of_child = map(int, child_process.check_clean(script).split())
    assert 29e6 < own < 60e6
    assert 29e6 < of_child < 90e6


def test_chart_without_memory_figures():
    way = {"way": "single", "label": "a < b", "seconds": 1.0, "speedup": 1.0, "memory": None}
    summary = {
        "python": "3.15.0",
        "workers": 2,
        "totals": {"files": 1, "functions": 2},
        "ways": [way, {**way, "way": "interpreters", "seconds": 0.5, "speedup": 2.0}],
    }
    root = ElementTree.fromstring(demo_svg.chart(summary))
    ours, other = (float(bar.get("width")) for bar in root.findall("{*}rect"))
    assert ours == 2 * other
