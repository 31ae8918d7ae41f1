"""Signals while the main thread runs Python code of another interpreter."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from child_process import check_clean, forks, run_script

PRELUDE = (
    f"""\
HERE = {os.path.dirname(__file__)!r}
"""
    + """\
import os, signal, sys, threading, time
import isles

def kick(after=0.2, number=signal.SIGINT):
    def send():
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)
    sent = []
    threading.Thread(target=send, daemon=True).start()
    return sent

def interrupted(function, *args, within=1.0):
    sent = kick()
    try:
        function(*args)
    except KeyboardInterrupt:
        took = time.monotonic() - sent[0]
        assert took < within, took
    else:
        raise AssertionError('not interrupted')

FOREVER = "while True: pass"
interp = isles.create()
"""
)


def clean(source: str) -> str:
    return check_clean(PRELUDE + textwrap.dedent(source), timeout=60)


def test_exec_and_call():
    clean("""
        for _ in range(3):
            interrupted(interp.exec, FOREVER)
            assert interp.call(len, 'abc') == 3
        def forever():
            while True:
                pass
        interrupted(interp.call, forever)
        assert not interp.is_running()
        interp.close()
    """)


def test_the_process_ends_as_python_does():
    script = PRELUDE + "print('ready', flush=True)\ninterp.exec(FOREVER)"
    ended = run_script(script, interrupt=True)
    assert ended.code == -signal.SIGINT, ended
    assert ended.err.count("Traceback") == 1, ended
    assert ended.err.endswith("\nKeyboardInterrupt\n"), ended
    assert ended.seconds < 5, ended


def test_two_interpreters_deep():
    clean("""
        other = isles.create()
        def nested(id):
            import isles
            isles.Interpreter(id).exec("while True: pass")
        interp.exec("import isles")  # an import may swallow a Ctrl-C, in a callback of its locks
        interrupted(interp.call, nested, other.id)
        assert other.call(len, 'abc') == interp.call(len, 'abc') == 3
    """)


def test_through_main_again():
    """main, an interpreter, main, another interpreter: it comes out as KeyboardInterrupt."""
    clean("""
        other = isles.create()
        sys.path.insert(0, HERE)
        interp = isles.create()
        import visits_main
        interp.exec("import visits_main")
        interrupted(interp.call, visits_main.through_main, other.id)
        assert other.call(len, 'abc') == interp.call(len, 'abc') == 3
    """)


def test_handler_that_returns_disturbs_nothing():
    out = clean("""
        signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))
        kick(number=signal.SIGUSR1)
        interp.exec('''
        import time
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pass
        print('done', flush=True)
        ''')
    """)
    assert out == "handled\ndone\n"


def test_what_the_handler_raises_arrives():
    clean("""
        class Mine(Exception):
            pass
        def handler(*_):
            raise Mine('from the handler')
        signal.signal(signal.SIGINT, handler)
        kick()
        try:
            interp.exec(FOREVER)
        except Mine as error:
            assert str(error) == 'from the handler'
        else:
            raise AssertionError
    """)


def test_code_that_catches_it_has_dealt_with_it():
    clean("""
        kick()
        interp.exec('try:\\n    while True: pass\\nexcept KeyboardInterrupt: caught = True')
        assert interp.call(eval, 'caught')
        try:
            interp.exec('raise KeyboardInterrupt')  # its own, later
        except isles.ExecutionFailed as error:
            assert error.excinfo.formatted == 'KeyboardInterrupt'
    """)


@pytest.mark.parametrize(
    "source",
    [
        "class Slow:\n    def __reduce__(self):\n        while True: pass\nslow = Slow()",
        "class Slow(Exception):\n    def __str__(self):\n        while True: pass\n",
    ],
    ids=["while the result is pickled", "while the failure is described"],
)
def test_wherever_it_strikes(source):
    then = "interp.call, eval, 'slow'" if "reduce" in source else "interp.exec, 'raise Slow'"
    clean(f"interp.exec({source!r})\ninterrupted({then})")


def test_another_thread_of_the_interpreter_runs():
    """The pending call may come up in that thread, which is not the main one."""
    clean("""
        interp.exec('''
        import threading
        stop = False
        def spin():
            while not stop:
                pass
        thread = threading.Thread(target=spin)
        thread.start()
        ''')
        interrupted(interp.exec, FOREVER, within=5.0)
        interp.exec('stop = True; thread.join()')
    """)


@forks
def test_in_a_forked_child():
    clean("""
        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)
        interp.exec('pass')
        child = os.fork()
        if child == 0:
            mine = isles.create()
            interrupted(mine.exec, FOREVER)
            mine.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
    """)


def test_idle_watcher_uses_no_time():
    clean("""
        interp.exec('pass')
        time.sleep(2)
        before = time.process_time()
        time.sleep(2)
        assert time.process_time() - before < 0.02
        interrupted(interp.exec, FOREVER)
    """)


@pytest.mark.parametrize(
    "wait",
    [
        "interp.exec(FOREVER)",
        "interp.call(forever)",
        "interp.run(forever, timeout=60)",
        "queue.get()",
        "pool.submit(forever).result()",
        "list(pool.map(forever, [1, 2, 3]))",
    ],
)
def test_ctrl_c_in_a_terminal(wait):
    """The terminal sends the signal to all that is in its foreground; here by a pty."""
    script = textwrap.dedent(f"""\
        import os, time, isles
        os.open(os.ttyname(0), os.O_RDWR)  # the terminal becomes that of this session
        FOREVER = "while True: pass"
        def forever(*args):
            while True:
                pass
        if __name__ == "__main__":
            interp, queue = isles.create(), isles.create_queue()
            with isles.InterpreterPoolExecutor(2) as pool:
                pool.submit(abs, 1).result()
                for _ in range(2):
                    print("ready", flush=True)
                    try:
                        {wait}
                    except KeyboardInterrupt:
                        print("stopped", flush=True)
                        while interp.is_running():  # run() waits for it a moment only
                            time.sleep(0.01)
                assert interp.call(abs, -2) == 2
                pool.terminate_workers()
            print("over", flush=True)
        """)
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-P", "-W", "error", "-c", script]
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    stopped = []
    with child:
        try:
            for word in ("ready", "stopped", "ready", "stopped", "over"):
                if word == "stopped":
                    time.sleep(0.3)  # the wait begins
                    os.write(terminal, b"\x03")
                start = time.monotonic()
                shown_until(terminal, word)
                if word == "stopped":
                    stopped.append(time.monotonic() - start)
            assert child.wait(20) == 0
        finally:
            child.kill()
            os.close(terminal)
    assert max(stopped) < 1, stopped


def shown_until(terminal, word):
    """Read what the terminal shows, up to the word."""
    shown = ""
    while not shown.endswith(word):
        try:
            shown += os.read(terminal, 1).decode()
        except OSError:  # the program has ended
            raise AssertionError(f"{word!r} is missing after {shown!r}") from None
    return shown


def test_ctrl_c_under_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""\
        import isles

        def test_it():
            print("ready", flush=True)
            isles.create().exec("while True: pass")
        """)
    )
    options = ["-qs", "-p", "no:cacheprovider", str(tmp_path)]
    run = f"import pytest; raise SystemExit(pytest.main({options}))"
    ended = run_script(run, interrupt=True)
    assert ended.code == pytest.ExitCode.INTERRUPTED, ended
    assert "KeyboardInterrupt" in ended.out, ended
    assert ended.seconds < 10, ended
