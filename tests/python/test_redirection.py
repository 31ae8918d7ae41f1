"""isles.create(stdout=, stderr=): a file, a callable or a queue.  docs/design/output.md."""

import collections
import gc
import io
import os
import subprocess
import sys
import threading
import time

import pytest
from child_process import check_clean, forks, run_script

import isles


def texts(queue):
    return [queue.get() for _ in range(queue.qsize())]


def print_all(*texts, stream="stdout", **kwargs):
    import sys

    for text in texts:
        print(text, file=getattr(sys, stream), **kwargs)


# ---- files ----


def test_a_path_is_appended_to(tmp_path):
    path = tmp_path / "out"
    path.write_text("before\n")
    for target in (path, str(path)):
        with isles.create(stdout=target, stderr=target) as interp:
            interp.call(print_all, "ä", "out")
            interp.call(print_all, "err", stream="stderr")
            assert path.read_text().endswith("ä\nout\nerr\n")
            interp.call(print_all, "rest", end="")
    assert path.read_text() == "before\n" + 2 * "ä\nout\nerr\nrest"


def test_a_file_object_may_be_closed(tmp_path):
    with open(tmp_path / "out", "w", encoding="latin-1", errors="replace") as file:
        file.write("first\n")
        interp = isles.create(stdout=file)
    with interp:
        interp.call(print_all, "ä", "\u20ac")
        interp.exec("import sys; assert sys.stdout.fileno() > 2")
        interp.exec("assert sys.stdout.encoding == 'latin-1'")
    assert (tmp_path / "out").read_bytes() == b"first\n\xe4\n?\n"


def test_the_error_stream_takes_all(tmp_path):
    with isles.create(stderr=tmp_path / "err", stdout=tmp_path / "out") as interp:
        interp.call(print_all, "\udc80", stream="stderr")
    assert (tmp_path / "err").read_text() == "\\udc80\n"


def test_descriptors_are_given_back(tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    isles.create(stdout=tmp_path / "a").close()
    gc.collect()  # what other tests have left
    before = count()
    for _ in range(5):
        with open(tmp_path / "b", "wb", buffering=0) as file:
            isles.create(stdout=tmp_path / "a", stderr=file).close()
        with isles.InterpreterPoolExecutor(1, stdout=tmp_path / "a") as pool:
            pool.submit(print, "x").result()
    del pool
    gc.collect()  # workers and their executor's queue know each other
    assert count() <= before  # less: something of another test went late


def test_nobody_warns_of_descriptors(tmp_path):
    check_clean(
        f"""
import isles
isles.create(stdout={str(tmp_path / "a")!r}).close()
interp = isles.create(stdout={str(tmp_path / "a")!r})
"""
    )


def test_one_stream_into_the_other():
    ended = run_script("""
import isles, os, sys
with isles.create(stdout=sys.stderr) as interp:
    interp.exec("import sys; assert sys.stdout.fileno() == 2")
    interp.exec("print('moved')")
    interp.exec("import os; os.write(1, b'C code\\\\n')")
os.write(1, b"open\\n")
""")
    assert (ended.code, ended.out, ended.err) == (0, "C code\nopen\n", "moved\n")


def test_lines_to_a_pipe_that_others_write_to_are_whole():
    reader, writer = os.pipe()
    lines = []

    def read():
        with open(reader) as file:
            lines.extend(file)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "w") as file:
        interps = [isles.create(stdout=file) for _ in range(4)]
    check_counts(lines, interps, 500, then=thread.join)


# ---- callables ----


def test_a_callable_gets_each_line():
    lines = []
    with isles.create(stdout=lines.append, stderr=lines.append) as interp:
        interp.call(print_all, "a\nb", "\ud800ä", "")
        interp.call(print_all, "error", stream="stderr")
        interp.call(print_all, "one ", "two", end="", flush=True)
        interp.exec("import sys; sys.stdout.buffer.write(b'\\xff\\n')")
        interp.call(print_all, "30 %", "60 %", end="\r")
        interp.call(print_all, "flushed", end="", flush=True)
        interp.call(print_all, "rest", end="")
    expected = [
        "a\n",
        "b\n",
        "\ud800ä\n",
        "\n",
        "error\n",
        "one ",
        "two",
        "\\xff\n",
        "30 %\r",
        "60 %\r",
    ]
    assert lines == [*expected, "flushed", "rest"]


def test_what_such_a_stream_has():
    with isles.create(stdout=print) as interp:
        interp.exec("""
import io, sys
assert sys.stdout is sys.__stdout__
assert sys.stdout.name == sys.stdout.buffer.name == "<stdout>"
assert sys.stdout.writable() and not sys.stdout.readable() and not sys.stdout.isatty()
assert sys.stdout.encoding == "utf-8" and sys.stderr.fileno() == 2
try:
    sys.stdout.fileno()
except io.UnsupportedOperation:
    pass
else:
    raise AssertionError
assert sys.stdout.buffer.write(memoryview(b"")) == 0
sys.stdout.close()
try:
    print("late")
except ValueError:
    pass
else:
    raise AssertionError
""")


def test_on_which_thread_and_where():
    seen = []
    me = threading.get_ident()

    def receive(line):
        seen.append((line, (threading.current_thread(), isles.get_current())))

    with isles.create(stdout=receive) as first, isles.create(stdout=receive) as second:
        first.call(print, 1)
        second.call(print, 2)
        first.call(print, 3)
    assert [line for line, _ in seen] == ["1\n", "2\n", "3\n"]
    ((thread, where),) = {rest for _, rest in seen}
    assert thread.name == "isles-listener" and thread.daemon and thread.ident != me
    assert where == isles.get_main()


def test_threads_inside_print_there_too():
    lines = []
    with isles.create(stdout=lines.append, stderr=lines.append) as interp:
        interp.exec("""
import threading
threads = [threading.Thread(target=print, args=(n,)) for n in range(5)]
threads.append(threading.Thread(target=lambda: 1 / 0))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""")
        with pytest.raises(isles.ExecutionFailed, match="NameError"):
            interp.exec("missing")
    assert sorted(line for line in lines if line[0].isdigit()) == [f"{n}\n" for n in range(5)]
    assert lines[-1] == "ZeroDivisionError: division by zero\n"
    assert not any("missing" in line for line in lines)  # that went to who called


@pytest.fixture
def reported(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    return errors


def test_a_callable_that_raises(reported):
    lines = []

    def receive(line):
        lines.append(line)
        raise LookupError(line)

    with isles.create(stdout=receive) as interp:
        interp.call(print_all, 1, 2)
    assert lines == ["1\n", "2\n"]
    assert [str(LookupError(line)) for line in lines] == [str(error) for error in reported]


def test_a_callable_may_do_what_it_likes(reported):
    lines = []

    def receive(line):
        lines.append(line)
        print("main prints", line)
        if len(lines) == 1:
            while interp.is_running():
                time.sleep(0.001)
            interp.call(print, "from the callable", flush=True)
            with isles.create(stdout=lines.append) as another:
                another.call(print_all, "another", end="")
        elif "from" in line:
            interp.close()  # on the thread that what it prints at its end is for

    interp = isles.create(stdout=receive)
    interp.exec("import atexit; atexit.register(print, 'at exit'); print(1)")
    deadline = time.monotonic() + 20
    while len(lines) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert lines == ["1\n", "from the callable\n", "another", "at exit\n"]
    assert reported == []


class Slow:
    def __init__(self):
        self.lines = []

    def __call__(self, line):
        time.sleep(0.002)
        self.lines.append(line)


@pytest.mark.parametrize("stocked", [False, True])
def test_close_waits_for_what_was_printed(stocked, tmp_path):
    slow, queue, path = Slow(), isles.create_queue(), tmp_path / "out"
    isles.warm(2 if stocked else 0, wait=10)
    try:
        one, two = isles.create(stdout=slow, stderr=path), isles.create(stdout=queue)
        one.call(print_all, *range(100), "rest", end=" ")
        one.call(print_all, "rest", end="", stream="stderr")
        two.call(print_all, "rest", end="")
        one.close()
        assert "".join(slow.lines) == " ".join(map(str, range(100))) + " rest "
        two.close()
        assert texts(queue) == ["rest"]
        assert path.read_text() == "rest"
    finally:
        isles.warm(0, wait=10)


def test_nothing_is_left_of_who_has_ended():
    import isles._listener

    with isles.create(stdout=print, stderr=print) as interp:
        interp.exec("import threading; threading.Thread(target=len, args=('',)).start()")
    dropped = isles.create(stdout=print)
    del dropped, interp
    isles._listening.flush()
    assert set(isles._listening.receivers) <= {"answer", "forget", "log"}
    assert len(isles._redirected) == 0


def test_an_interpreter_that_asks():
    lines = []
    with isles.create(stdout=lines.append) as outer:
        outer.exec("""
import isles, threading
def receive(line):
    print("outer", line, end=".")
inner = isles.create(stdout=receive)
inner.exec("print('whole'); print('rest', end='')")
kept = isles.create(stdout=receive)
id = kept.id
kept.exec("print('kept', end='')")
""")
        kept = isles.Interpreter(outer.call(eval, "__import__('__main__').id"))
        outer.call(exec, "__import__('__main__').inner.close()")
    assert "".join(lines) == "outer whole\n.outer rest.outer kept."
    with kept, pytest.raises(isles.ExecutionFailed, match="ShutDown"):
        kept.exec("print('nobody is there')")


# ---- queues ----


def test_a_queue_gets_each_line_and_keeps_it():
    queue = isles.create_queue()
    with isles.create(stdout=queue, stderr=queue) as interp:
        interp.call(print_all, "a\nb", "ä")
        interp.call(print_all, "error", stream="stderr")
        interp.call(print_all, "rest", end="")
    assert texts(queue) == ["a\n", "b\n", "ä\n", "error\n", "rest"]


def test_a_full_queue_is_waited_for():
    queue = isles.create_queue(maxsize=2)
    with isles.create(stdout=queue) as interp:
        thread = interp.call_in_thread(print_all, *range(50))
        lines = [queue.get() for _ in range(50)]
        thread.join()
        assert lines == [f"{n}\n" for n in range(50)]


def test_a_print_that_waits_can_be_interrupted(reported):
    queue = isles.create_queue(maxsize=1)
    with isles.create(stdout=queue) as interp:
        thread = interp.call_in_thread(print_all, *range(5))
        while queue.empty():
            time.sleep(0.001)
        time.sleep(0.05)
        assert interp.interrupt()
        thread.join()
    assert texts(queue) == ["0\n"]
    assert "KeyboardInterrupt" in str(reported[0])


@pytest.mark.parametrize("end", ["close", "del"])
def test_an_end_waits_for_no_room(end):
    queue = isles.create_queue(maxsize=1)
    interp = isles.create(stdout=queue)
    interp.exec("import atexit; atexit.register(print, 'at exit', end='')")
    interp.call(print, 1)
    interp.call(print_all, "rest", end="")
    if end == "close":
        interp.close()
    del interp
    assert "".join(texts(queue)) == "1\nrestat exit"


def test_a_queue_that_is_shut_down():
    queue = isles.create_queue()
    with isles.create(stdout=queue) as interp:
        interp.call(print_all, "rest", end="")
        queue.shutdown()
        with pytest.raises(isles.ExecutionFailed, match="ShutDown"):
            interp.call(print, 1)
    assert texts(queue) == []


# ---- what is refused ----


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (io.StringIO(), ValueError),
        (1, TypeError),
        (b"path", TypeError),
        (object(), TypeError),
        ("/nowhere/out", FileNotFoundError),
    ],
)
def test_what_is_no_place(target, error):
    before = isles.list_all()
    with pytest.raises(error):
        isles.create(stdout=target)
    with pytest.raises(error):
        isles.create(stderr=target)
    with pytest.raises(error):
        isles.InterpreterPoolExecutor(1, stdout=target)
    assert isles.list_all() == before


def test_an_unknown_encoding(tmp_path):
    class File:
        encoding = "nonsense"

        def fileno(self):
            return 2

    before = isles.list_all()
    with pytest.raises(isles.ExecutionFailed, match="LookupError"):
        isles.create(stdout=File())
    assert isles.list_all() == before


# ---- executors ----


def test_an_executor(tmp_path):
    lines = []
    with isles.InterpreterPoolExecutor(
        2,
        initializer=print,
        initargs=("begin",),
        max_tasks_per_child=2,
        stdout=lines.append,
        stderr=tmp_path / "err",
    ) as pool:
        list(pool.map(print, range(10)))
        pool.submit(print_all, "error", stream="stderr").result()
    assert sorted(set(lines)) == [*(f"{n}\n" for n in range(10)), "begin\n"]
    assert (tmp_path / "err").read_text() == "error\n"


# ---- many ----


def work(number, count):
    for i in range(count):
        print(number, "word", i, "x" * (9000 if i % 500 == 0 else i % 60))


def check_counts(lines, interps, count, then=None):
    """Have each print so many lines, all at once; close them.  All are to be there, whole."""
    threads = [each.call_in_thread(work, n, count) for n, each in enumerate(interps)]
    for thread in threads:
        thread.join()
    for interp in interps:
        interp.close()
    if then is not None:
        then()
    counts = collections.Counter()
    for line in lines:
        number, word, i, rest = line.split(" ")
        assert word == "word"
        assert rest == "x" * (9000 if int(i) % 500 == 0 else int(i) % 60) + "\n"
        assert int(i) == counts[number]
        counts[number] += 1
    assert counts == {str(n): count for n in range(len(interps))}


@pytest.mark.parametrize("to", ["callable", "queue", "path"])
def test_ten_thousand_lines_of_each(to, tmp_path):
    lines, queue, path = [], isles.create_queue(), tmp_path / "out"
    target = {"callable": lines.append, "queue": queue, "path": path}[to]

    def collect():
        lines.extend(texts(queue))
        if to == "path":
            lines.extend(path.read_text().splitlines(True))

    check_counts(lines, [isles.create(stdout=target) for _ in range(4)], 10_000, collect)


# ---- the end of the process ----


def test_the_process_waits_for_lines():
    script = """
import isles, time
def receive(line):
    time.sleep(0.01)
    print(line, end="", flush=True)
interp = isles.create(stdout=receive)
interp.exec("import atexit; atexit.register(print, 'at exit', end='.')")
interp.exec("for n in range(150): print(n)")
interp.exec("print('rest', end=' ')")
"""
    assert check_clean(script) == "".join(f"{n}\n" for n in range(150)) + "rest at exit."


def test_what_runs_at_the_end_may_print():
    script = """
import isles, threading, time
interp = isles.create(stdout=lambda line: print(line, end="", flush=True))
interp.call_in_thread(exec, "import time\\nwhile True: print(1); time.sleep(0.01)")
time.sleep(0.1)
"""
    assert set(check_clean(script)) == set("1\n")


@pytest.mark.skipif(
    hasattr(sys, "gettotalrefcount"), reason="debug builds abort if one is left behind"
)
def test_a_callable_that_is_stuck_in_an_interpreter_holds_nobody_up():
    ended = run_script("""
import isles, time
stuck = isles.create()
def receive(line):
    stuck.exec("import time; time.sleep(60)")
interp = isles.create(stdout=receive)
interp.exec("print(1)")
time.sleep(0.2)
""")
    assert ended.code == 0 and ended.seconds < 10, ended


def test_an_interpreter_that_asks_at_the_end_of_the_process():
    script = """
import isles
outer = isles.create()
outer.exec('''
import isles
inner = isles.create(stdout=lambda line: print("inner", line, end=""))
inner.exec("print('whole'); print('rest', end='')")
''')
"""
    assert check_clean(script) == "inner whole\ninner rest"


@forks
def test_a_child_begins_afresh():
    script = """
import isles, os, sys, warnings
warnings.simplefilter("ignore")  # of threads: there is one
def receive(line):
    print("parent" if os.getpid() == parent else "child", line, end="", flush=True)
parent = os.getpid()
interp = isles.create(stdout=receive)
interp.exec("print('early', end='')")
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    interp.close()
else:
    with isles.create(stdout=receive) as another:
        another.exec("print(1)")
    try:
        interp.close()
    except isles.InterpreterError:
        pass
    sys.stdout.flush()
    os._exit(0)  # debug builds miss the parent's interpreters
"""
    assert check_clean(script) == "child 1\nparent early"


def test_a_hook_that_raises(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: 1 / 0)
    lines = []
    with isles.create(stdout=lambda line: lines.append(line) or 1 / 0) as interp:
        interp.exec("print(1); print(2)")
    assert lines == ["1\n", "2\n"]


def test_waiting_for_an_executor_in_a_callable(monkeypatch):
    refused = []

    def receive(line):
        with pytest.raises(RuntimeError, match="can't be waited for"):
            pool.shutdown()
        refused.append(line)

    pool = isles.InterpreterPoolExecutor(1, stdout=receive)
    pool.submit(print, "end").result(60)
    pool.shutdown()
    assert refused == ["end\n"]


def test_closed_stream():
    with isles.create() as interp:
        interp.exec("""
import sys
raw = sys.stdout.buffer
raw.close()
try:
    raw.write(b"x")
except ValueError as error:
    assert "closed" in str(error)
else:
    raise AssertionError
""")


def test_descriptors_and_devnull_of_subprocess():
    with pytest.raises(TypeError, match=r"for a descriptor: open"):
        isles.create(stdout=subprocess.DEVNULL)
