"""What interpreters print: where it goes, and that lines stay whole.  docs/design/output.md."""

import collections
import os
import subprocess
import sys
import time

import pytest
from child_process import check_clean

import isles

# Four interpreters print at once, in pieces, short lines and some longer than PIPE_BUF.
MANY = """
import sys, isles

def work(number, count, stream):
    import sys
    for i in range(count):
        print(number, "word", i, "x" * (9000 if i % 50 == 0 else i % 60), file=getattr(sys, stream))

interps = [isles.create() for _ in range(4)]
threads = [each.call_in_thread(work, n, 1000, sys.argv[1]) for n, each in enumerate(interps)]
for thread in threads:
    thread.join()
"""


def count_whole(text):
    """How many lines there are of each interpreter; every one has to be whole."""
    counts = collections.Counter()
    for line in text.splitlines():
        number, word, i, rest = line.split(" ")
        assert word == "word"
        assert rest == "x" * (9000 if int(i) % 50 == 0 else int(i) % 60)
        assert int(i) == counts[number]  # in order
        counts[number] += 1
    return counts


def python(script, *args, flags=(), **kwargs):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-P", *flags, "-c", script, *args]
    return subprocess.run(command, env=env, timeout=60, check=True, **kwargs)


ALL = {str(number): 1000 for number in range(4)}


@pytest.mark.parametrize("flags", [(), ("-u",)])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_lines_to_a_pipe_are_whole(stream, flags):
    done = python(MANY, stream, flags=flags, capture_output=True, text=True)
    assert count_whole(getattr(done, stream)) == ALL


@pytest.mark.parametrize("flags", [(), ("-u",)])
def test_lines_to_a_file_are_whole(tmp_path, flags):
    with open(tmp_path / "out", "w") as file:
        python(MANY, "stdout", flags=flags, stdout=file)
    assert count_whole((tmp_path / "out").read_text()) == ALL


def test_lines_to_a_terminal_are_whole():
    leader, follower = os.openpty()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", MANY, "stdout"], env=env, stdout=follower
    ) as child:
        os.close(follower)
        text = b""
        try:
            while data := os.read(leader, 65536):
                text += data
        except OSError:
            pass  # EIO: the other side is closed
    os.close(leader)
    assert child.returncode == 0
    assert count_whole(text.decode().replace("\r\n", "\n")) == ALL


def test_a_line_is_there_when_the_call_is_over():
    done = python(
        "import isles, os; i = isles.create(); i.exec('print(1)'); os.write(1, b'2\\n')",
        capture_output=True,
    )
    assert done.stdout == b"1\n2\n"


@pytest.mark.parametrize("end", ["interp.close()", "del interp", ""])
def test_nothing_is_lost_at_the_end(end):
    assert (
        check_clean(f"""
import isles
interp = isles.create()
interp.exec("import atexit; atexit.register(print, 'at exit', end='.'); print('rest', end=' ')")
{end}
""")
        == "rest at exit."
    )


def test_a_rest_goes_with_flush_and_carriage_return():
    done = python(
        r"""
import isles, os
interp = isles.create()
interp.exec("print('a', end='')")
os.write(1, b'1')
interp.exec("print('b', end='', flush=True)")
os.write(1, b'2')
interp.exec("print('c', end='\\r')")
os.write(1, b'3')
""",
        capture_output=True,
    )
    assert done.stdout == b"1ab2c\r3"


def test_bytes_and_what_a_file_has(interp):
    script = """
import sys
for stream, fd, name in ((sys.stdout, 1, "<stdout>"), (sys.stderr, 2, "<stderr>")):
    assert stream.fileno() == stream.buffer.fileno() == fd
    assert stream.name == stream.buffer.name == name
    assert stream.mode == "w" and stream.writable() and not stream.readable()
    assert not stream.closed
    assert stream.buffer.write(b"") == 0
assert sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
assert sys.stderr.errors == "backslashreplace"
for wrong in ((), ("text",), (b"", b"")):
    try:
        sys.stdout.buffer.write(*wrong)
    except TypeError:
        pass
    else:
        raise AssertionError(wrong)
sys.stdout.close()
try:
    sys.stdout.write("late")
except ValueError:
    pass
else:
    raise AssertionError
"""
    interp.exec(script)
    os.fstat(1)  # stays the process's


def test_an_error_of_the_descriptor_is_raised():
    with open("/dev/full", "w") as full:
        python(
            """
import isles
with isles.create() as interp:
    try:
        interp.exec("print('x')")
    except isles.ExecutionFailed as error:
        assert error.excinfo.type.__name__ == "OSError", error
    else:
        raise AssertionError
""",
            stdout=full,
        )


def test_without_descriptors():
    # Python has no sys.stdout then.
    python(
        "import os; os.close(1); import isles\n"
        "with isles.create() as interp: interp.exec('print(1)')"
    )


def test_main_keeps_its_streams():
    before = sys.stdout, sys.stderr, sys.__stdout__
    isles.create().close()
    assert (sys.stdout, sys.stderr, sys.__stdout__) == before


def test_a_reader_that_comes_late_gets_all():
    """A pipe that is full blocks, and a non-blocking one as well."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    script = "import isles\nisles.create().exec('for i in range(20000): print(i, \"words\")')"
    with subprocess.Popen([sys.executable, "-P", "-c", script], stdout=writer) as child:
        os.close(writer)
        with open(reader) as file:
            lines = file.read().splitlines()
    assert child.returncode == 0
    assert lines == [f"{i} words" for i in range(20000)]


def test_ctrl_c_while_a_pipe_is_full():
    reader, writer = os.pipe()
    script = "import isles\nisles.create().exec('while True: print(\"x\" * 100)')"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True
    ) as child:
        os.close(writer)
        os.read(reader, 10)
        time.sleep(0.3)
        child.send_signal(2)
        time.sleep(1)
        os.close(reader)  # what the interpreter's end may want to write
        assert "KeyboardInterrupt" in child.communicate(timeout=20)[1]
