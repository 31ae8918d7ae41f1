"""os.fork(): in the child the parent's interpreters are refused, clearly, and all else works."""

import textwrap

import pytest
from child_process import check_clean, debug, forks, run_script

pytestmark = forks

PRELUDE = """
import os, sys, threading, time, warnings
# CPython warns of a fork beside threads; that is not what is tested here.
warnings.filterwarnings("ignore", category=DeprecationWarning)
import isles
from isles import _interpreters as low

def fork(child):
    '''Run child() in a forked process and check that it ends well.'''
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            sys.stdout.flush()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

def refused(use, *args):
    try:
        use(*args)
    except isles.InterpreterError as error:
        assert "fork" in str(error), error
        assert type(error) is isles.InterpreterError, error
    else:
        raise AssertionError("not refused")

interp = isles.create()
interp.exec("x = 1")
"""


def forked(body):
    return check_clean(PRELUDE + textwrap.dedent(body))


def test_child_goes_on():
    assert forked("fork(lambda: print('child')); print('parent', interp.call(int))") == (
        "child\nparent 0\n"
    )


@pytest.mark.parametrize(
    "use",
    [
        "interp.exec('pass')",
        "interp.call(int)",
        "interp.prepare_main(y=1)",
        "interp.is_running()",
        "interp.close()",
        "interp.whence",
        "isles.Interpreter(interp.id)",
        "low.destroy(interp.id)",
        "low.run_string(interp.id, 'pass')",
        "low.is_running(interp.id)",
    ],
)
def test_refused_in_the_child(use):
    forked(f"fork(lambda: refused(lambda: {use})); {use}")


def test_list_in_the_child():
    forked(
        """
        def child():
            assert [i.id for i in isles.list_all()] == [0]
            assert isles.get_current() is isles.get_main()
        fork(child)
        assert [i.id for i in isles.list_all()] == [0, interp.id]
        """
    )


def test_new_ones_in_the_child():
    forked(
        """
        def child():
            with isles.create() as new:
                assert new.id != interp.id, (new, interp)
                assert new.call(sum, [1, 2]) == 3
                new.exec("import isles; assert isles.get_main().call(int) == 0")
            for _ in range(5):
                isles.create().close()
            refused(interp.exec, "pass")
        fork(child)
        interp.exec("assert x == 1")
        """
    )


def test_dropped_in_the_child():
    forked(
        """
        def child():
            global interp
            del interp
            import gc; gc.collect()
        fork(child)
        assert interp.call(int) == 0
        """
    )


@pytest.mark.parametrize("leave", ["", "sys.exit(3)", "isles.create(); sys.exit(3)"])
def test_child_ends_as_python_does(leave):
    """Through the whole of the interpreter's finalization, not os._exit."""
    ended = run_script(
        PRELUDE
        + textwrap.dedent(f"""
            pid = os.fork()
            if pid == 0:
                {leave or "pass"}
            else:
                _, status = os.waitpid(pid, 0)
                print(os.waitstatus_to_exitcode(status))
        """),
        timeout=15,
    )
    assert (ended.code, ended.err) == (0, ""), ended
    assert ended.out == ("3\n" if leave else "0\n"), ended
    assert ended.seconds < 8, ended


def test_grandchild():
    forked(
        """
        def child():
            mine = isles.create()
            def grandchild():
                refused(interp.call, int)
                refused(mine.call, int)
                isles.create().close()
            fork(grandchild)
            assert mine.call(int) == 0
        fork(child)
        """
    )


def test_while_other_threads_are_inside():
    forked(
        """
        def work(i):
            while not stop:
                i.call(int)
                isles.list_all()
        stop = []
        more = [isles.create() for _ in range(3)]
        threads = [threading.Thread(target=work, args=(i,)) for i in more]
        for t in threads: t.start()
        def child():
            for i in more:
                refused(i.call, int)
            with isles.create() as new:
                assert new.call(int) == 0
        for _ in range(20):
            fork(child)
        stop.append(1)
        for t in threads: t.join()
        """
    )


@pytest.mark.skipif(debug, reason="there CPython asserts that no thread state is half gone")
def test_while_others_are_made_and_ended():
    forked(
        """
        stop = []
        def work():
            while not stop:
                isles.create().close()
        threads = [threading.Thread(target=work) for _ in range(2)]
        for t in threads: t.start()
        def child():
            refused(interp.call, int)
            with isles.create() as new:
                assert new.call(int) == 0
        for _ in range(20):
            fork(child)
        stop.append(1)
        for t in threads: t.join()
        """
    )


def test_from_another_thread():
    forked(
        """
        failures = []
        threading.excepthook = failures.append
        def run():
            interp.call(int)
            fork(lambda: refused(interp.call, int))
            assert interp.call(int) == 0
        t = threading.Thread(target=run)
        t.start(); t.join()
        assert not failures, failures
        """
    )


@pytest.mark.parametrize("isolated", [True, False])
def test_not_allowed_inside(isolated):
    out = forked(
        f"""
        interp = isles.create(isolated={isolated})
        try:
            interp.exec("import os; os.fork()")
        except isles.ExecutionFailed as error:
            print(error.excinfo.type.__name__)
        assert interp.call(int) == 0
        """
    )
    assert out == "RuntimeError\n"


def test_fork_in_main_beneath_a_call():
    """main -> interp -> main, which forks: the child may go on, but not return into interp."""
    ended = run_script(
        PRELUDE
        + textwrap.dedent("""
            def forks():
                import os, sys
                pid = os.fork()
                if pid == 0:
                    os.write(1, b"child\\n")
                    os._exit(0)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            def through(f):
                import isles
                return isles.get_main().call(f)
            assert interp.call(through, forks) == 0
            print("parent")
        """)
    )
    assert (ended.code, ended.out, ended.err) == (0, "child\nparent\n", ""), ended


def test_returning_into_an_interpreter_of_the_parent():
    ended = run_script(
        PRELUDE
        + textwrap.dedent("""
            def forks():
                import os
                pid = os.fork()
                return pid and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            def through(f):
                import isles
                return isles.get_main().call(f)
            assert interp.call(through, forks) == 1
            print("parent")
        """)
    )
    assert (ended.code, ended.out) == (0, "parent\n"), ended
    assert ended.err.count("\n") == 1 and "fork" in ended.err, ended


def test_multiprocessing_by_fork():
    forked(
        """
        import multiprocessing
        context = multiprocessing.get_context("fork")
        def work(n):
            with isles.create() as mine:
                return mine.call(abs, -n)
        with context.Pool(2) as pool:
            assert pool.map(work, range(6)) == list(range(6))
        assert interp.call(int) == 0
        """
    )


def test_subprocess():
    forked(
        """
        import subprocess
        assert subprocess.run(["true"]).returncode == 0
        assert interp.call(int) == 0
        """
    )
