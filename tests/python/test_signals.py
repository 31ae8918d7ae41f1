"""Signals while the main thread runs Python code of another interpreter."""

import os
import signal
import textwrap

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
