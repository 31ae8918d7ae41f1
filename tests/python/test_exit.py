"""Leaving the process with interpreters alive, in whatever state: plain Python's exit code, at
once, and not a word on standard error."""

import signal
import sys
import textwrap

import pytest
from child_process import Ended, run_script

LIMIT = 5.0

PRELUDE = """\
import os, sys, threading, time
import isles

def wait_running(interp):
    while not interp.is_running():
        time.sleep(0.001)
    time.sleep(0.05)

def job(source):
    exec(source, {})

FOREVER = "while True: pass"
SLEEP = "import time; time.sleep(60)"
STUBBORN = '''
import time
while True:
    try:
        while True:
            time.sleep(0.001)
    except BaseException:
        pass
'''
STUBBORN_BUSY = '''
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
'''
SHORT = '''
import threading, time
def job():
    time.sleep(0.3)
    print("done")
threading.Thread(target=job).start()
'''
CLEANS_UP = '''
try:
    while True: pass
finally:
    print("cleaned up")
'''

interp = isles.create(isolated=ISOLATED)
"""


def leave(body: str, isolated: bool = True, **kwargs) -> Ended:
    script = PRELUDE.replace("ISOLATED", str(isolated)) + textwrap.dedent(body)
    return run_script(script, timeout=10, **kwargs)


def check(ended: Ended, code: int = 0, out: str = "", err: str = "") -> None:
    assert (ended.code, ended.out, ended.err) == (code, out, err), ended
    assert ended.seconds < LIMIT, ended


IDLE = {
    "new": "",
    "used": "interp.exec('import json, threading; x = json.loads(\"[1]\")')",
    "many": "more = [isles.create() for _ in range(8)]; [m.exec('x = 1') for m in more]",
    "not held": "interp = isles._interpreters.create()",
    "in a cycle": "cycle = [interp]; cycle.append(cycle); del interp",
    "failed once": """
        try:
            interp.exec("1/0")
        except isles.ExecutionFailed as e:
            kept = e
    """,
    "left by a thread": "t = interp.call_in_thread(int); t.join()",
    "thread ended inside": """
        interp.exec("import threading; t = threading.Thread(target=int); t.start(); t.join()")
    """,
    "held by another": "other = isles.create(); other.prepare_main(i=interp); del interp",
    "held by one another": """
        other = isles.create(); other.prepare_main(i=interp); interp.prepare_main(i=other)
        del interp, other
    """,
    "closed": "interp.close()",
    "in __main__ of itself": "interp.prepare_main(me=interp); del interp",
    "imports": "interp.exec('import asyncio, concurrent.futures, logging, decimal, datetime')",
}

RUNNING = {
    "busy": "interp.call_in_thread(job, FOREVER)",
    "sleeps": "interp.call_in_thread(job, SLEEP)",
    "reads": "r, w = os.pipe(); interp.call_in_thread(os.read, r, 1)",
    "stubborn": "interp.call_in_thread(job, STUBBORN)",
    "stubborn and busy": "interp.call_in_thread(job, STUBBORN_BUSY)",
    "thread": "threading.Thread(target=interp.exec, args=(FOREVER,)).start()",
    "daemon thread": "threading.Thread(target=interp.exec, args=(FOREVER,), daemon=True).start()",
    "daemon thread sleeps": """
        threading.Thread(target=interp.exec, args=(SLEEP,), daemon=True).start()
    """,
    "stubborn daemon thread": """
        threading.Thread(target=interp.exec, args=(STUBBORN,), daemon=True).start()
    """,
    "waits for a lock": """
        interp.call_in_thread(job, "import threading; threading.Event().wait()")
    """,
    "in main again": """
        def back():
            import isles, time
            isles.get_main().call(time.sleep, 60)
        interp.call_in_thread(back)
    """,
    "busy in main again": """
        def back():
            import isles
            isles.get_main().exec("while True: pass")
        interp.call_in_thread(back)
    """,
}

OWN_THREADS = {
    "busy": "import threading as t; t.Thread(target=exec, args=('while True: pass', {})).start()",
    "sleeps": "import threading as t, time; t.Thread(target=time.sleep, args=(60,)).start()",
    "stubborn": """
import threading, time
def stay():
    while True:
        try:
            while True:
                time.sleep(0.001)
        except BaseException:
            pass
threading.Thread(target=stay).start()
""",
}

both = pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "shared"])


@both
@pytest.mark.parametrize("body", IDLE.values(), ids=IDLE)
def test_idle(body, isolated):
    check(leave(body, isolated))


@both
@pytest.mark.parametrize("body", RUNNING.values(), ids=RUNNING)
def test_running(body, isolated):
    check(leave(textwrap.dedent(body) + "\nwait_running(interp)\n", isolated))


@both
@pytest.mark.parametrize("source", OWN_THREADS.values(), ids=OWN_THREADS)
def test_thread_of_its_own(source, isolated):
    check(leave(f"interp.exec({source!r}); time.sleep(0.1)", isolated))


@pytest.mark.parametrize("source", OWN_THREADS.values(), ids=OWN_THREADS)
def test_daemon_thread_of_its_own(source):
    daemon = source.replace(").start()", ", daemon=True).start()")
    check(leave(f"interp.exec({daemon!r}); time.sleep(0.1)", isolated=False))


@both
def test_several_run(isolated):
    ended = leave(
        """
        more = [isles.create(isolated=ISOLATED) for _ in range(4)]
        for source, other in zip([FOREVER, SLEEP, STUBBORN, "pass"], more):
            other.call_in_thread(job, source)
        time.sleep(0.2)
        """.replace("ISOLATED", str(isolated)),
        isolated,
    )
    check(ended)


def test_nested():
    ended = leave(
        """
        inner = isles.create()
        def outer(inner):
            inner.exec("while True: pass")
        interp.call_in_thread(outer, inner)
        wait_running(inner)
        """
    )
    check(ended)


def test_nested_stubborn():
    ended = leave(
        """
        inner = isles.create()
        def outer(inner):
            while True:
                try:
                    inner.exec("import time; time.sleep(60)")
                except BaseException:
                    pass
        interp.call_in_thread(outer, inner)
        wait_running(inner)
        """
    )
    check(ended)


@both
def test_ends_with_its_last_call(isolated):
    """The thread that comes out of it ends it, while the exit waits for it."""
    ended = leave(
        f"isles.create(isolated={isolated}).call_in_thread(time.sleep, 0.3); time.sleep(0.1)"
    )
    check(ended)
    assert ended.seconds < 1.9, ended


# ---- the ways to leave ----

STATES = {
    "idle": "",
    "busy": RUNNING["busy"] + "\nwait_running(interp)",
    "sleeps": RUNNING["sleeps"] + "\nwait_running(interp)",
    "stubborn": RUNNING["stubborn"] + "\nwait_running(interp)",
}
states = pytest.mark.parametrize("state", STATES.values(), ids=STATES)


@states
def test_sys_exit_with_a_number(state):
    check(leave(state + "\nsys.exit(3)"), code=3)


@states
def test_sys_exit_with_a_text(state):
    check(leave(state + "\nsys.exit('text')"), code=1, err="text\n")


@states
def test_os_exit(state):
    check(leave(state + "\nos._exit(4)"), code=4)


@states
def test_unhandled_exception(state):
    body = state + "\nraise ValueError('boom')"
    line = (PRELUDE + body).count("\n") + 1
    check(
        leave(body),
        code=1,
        err=f"""\
Traceback (most recent call last):
  File "<string>", line {line}, in <module>
    raise ValueError('boom')
ValueError: boom
""",
    )


@states
def test_sigint_while_main_sleeps(state):
    ended = leave(state + "\nprint('ready', flush=True)\ntime.sleep(60)", interrupt=True)
    assert ended.code == -signal.SIGINT, ended
    assert ended.err.startswith("Traceback (most recent call last):\n"), ended
    assert ended.err.count("Traceback") == 1, ended
    assert ended.err.endswith("\nKeyboardInterrupt\n"), ended
    assert ended.seconds < LIMIT, ended


def test_sigint_while_main_joins():
    # Not job(): exec() of a text clears the process-wide note that makes CPython end by the signal,
    # so one that begins after the Ctrl-C would change the exit code.
    ended = leave(
        """
        def spin():
            while True:
                pass

        t = interp.call_in_thread(spin)
        print('ready', flush=True)
        t.join()
        """,
        interrupt=True,
    )
    assert ended.code == -signal.SIGINT, ended
    assert ended.err.count("Traceback") == 1, ended
    assert ended.err.endswith("\nKeyboardInterrupt\n"), ended
    assert ended.seconds < LIMIT, ended


def test_sigterm():
    ended = leave(
        """
        import signal
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        interp.call_in_thread(job, FOREVER)
        wait_running(interp)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        """
    )
    check(ended, code=7)


def test_remote_failure_that_nobody_handles():
    ended = leave("interp.exec('1/0')")
    assert ended.code == 1, ended
    assert "isles.ExecutionFailed: ZeroDivisionError: division by zero\n" in ended.err, ended
    assert ended.seconds < LIMIT, ended


# ---- nothing is lost ----


@both
def test_short_job_completes(isolated):
    ended = leave(
        """
        interp.call_in_thread(job, "import time; time.sleep(0.3); print('done')")
        wait_running(interp)
        """,
        isolated,
    )
    check(ended, out="done\n")


@both
def test_thread_that_has_not_begun_is_let_in(isolated):
    ended = leave("interp.call_in_thread(job, \"print('done')\")", isolated)
    check(ended, out="done\n")


def test_ctrl_c_while_the_process_waits_for_a_call():
    script = PRELUDE.replace("ISOLATED", "True")
    script += "interp.call_in_thread(job, \"print('in', flush=True); import time; time.sleep(60)\")"
    ended = run_script(script, timeout=10, interrupt=True)
    assert "KeyboardInterrupt" in ended.err, ended
    assert ended.code in (0, -signal.SIGINT), ended
    assert ended.seconds < LIMIT, ended


@both
def test_short_own_thread_completes(isolated):
    ended = leave(
        """
        interp.exec(SHORT)
        """,
        isolated,
    )
    check(ended, out="done\n")


def test_short_job_result_reaches_its_thread():
    ended = leave(
        """
        def job():
            import time
            time.sleep(0.3)
            return "result"
        threading.Thread(target=lambda: print(interp.call(job))).start()
        wait_running(interp)
        """
    )
    check(ended, out="result\n")


@both
def test_atexit_callbacks_run(isolated):
    ended = leave("interp.exec('import atexit; atexit.register(print, \"bye\")')", isolated)
    check(ended, out="bye\n")


def test_atexit_callbacks_run_after_system_exit():
    ended = leave(
        """
        interp.exec('import atexit; atexit.register(print, "bye")')
        interp.call_in_thread(job, FOREVER)
        wait_running(interp)
        """
    )
    check(ended, out="bye\n")


def test_finally_blocks_run():
    ended = leave(
        """
        interp.call_in_thread(job, CLEANS_UP)
        wait_running(interp)
        """
    )
    check(ended, out="cleaned up\n")


@both
def test_output_is_flushed(isolated):
    check(leave('interp.exec(\'print("words", end="")\')', isolated), out="words")


def test_mains_atexit_callback_can_still_call():
    ended = leave("import atexit; atexit.register(lambda: print(interp.is_running()))")
    # By then it has ended; that must be an ordinary exception, or an answer.
    assert ended.code == 0, ended
    assert ended.seconds < LIMIT, ended


def test_failing_atexit_callback_inside():
    ended = leave("interp.exec('import atexit; atexit.register(lambda: 1/0)')")
    assert ended.code == 0, ended
    assert "ZeroDivisionError" in ended.err, ended
    assert ended.seconds < LIMIT, ended


# ---- others are at work ----


@pytest.mark.parametrize("daemon", [False, True], ids=["thread", "daemon"])
@pytest.mark.parametrize(
    "job",
    [
        "isles.create().close()",
        "isles.create()",
        "isles.create().exec('pass')",
        "interp.call(int)",
    ],
)
def test_exit_while_another_thread_works(job, daemon):
    ended = leave(
        f"""
        begun = threading.Event()
        def work():
            while True:
                {job}
                begun.set()
        for _ in range(2 if {job!r} != "interp.call(int)" else 1):
            threading.Thread(target=work, daemon={daemon}).start()
        begun.wait()
        time.sleep(0.1)
        """
    )
    check(ended)


def test_exit_while_a_daemon_thread_looks_on():
    ended = leave(
        """
        def look():
            while True:
                isles.list_all()
        more = [isles.create() for _ in range(3)]
        threading.Thread(target=look, daemon=True).start()
        time.sleep(0.1)
        """
    )
    check(ended)


@both
def test_exit_while_another_thread_closes(isolated):
    ended = leave(
        """
        interp.exec('import atexit, time; atexit.register(lambda: (time.sleep(0.4), print("bye")))')
        threading.Thread(target=interp.close).start()
        time.sleep(0.1)
        """,
        isolated,
    )
    check(ended, out="bye\n")


@pytest.mark.parametrize("daemon", [False, True], ids=["thread", "daemon"])
def test_exit_while_another_thread_closes_for_ever(daemon):
    ended = leave(
        f"""
        interp.exec('import atexit, time; atexit.register(time.sleep, 60)')
        threading.Thread(target=interp.close, daemon={daemon}).start()
        time.sleep(0.2)
        """
    )
    check(ended)


def test_thread_that_enters_after_the_end():
    ended = leave(
        """
        import atexit
        def late():
            time.sleep(0.5)
            interp.call(print, "too late")
        threading.Thread(target=late).start()
        """
    )
    assert ended.code == 0, ended
    assert ended.err == "", ended
    assert ended.seconds < LIMIT, ended


# ---- isles not in main ----

STDLIB = """
import _interpreters as std
id = std.create()
"""


def test_imported_in_an_interpreter_only():
    check(run_script(STDLIB + "assert std.exec(id, 'import isles') is None; std.destroy(id)"))


def test_interpreter_of_an_interpreter():
    script = STDLIB + (
        "assert std.exec(id, 'import isles; i = isles.create(); i.exec(\"x = 1\")') is None\n"
        "std.destroy(id)"
    )
    check(run_script(script))


def test_leftover_of_an_interpreter():
    script = STDLIB + (
        "failed = std.exec(id, 'from isles import _interpreters as low; low.create()')\n"
        "assert failed is None, failed\n"
        "std.destroy(id)"
    )
    check(run_script(script))


@pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython itself aborts before 3.14")
def test_imported_in_an_interpreter_that_stays():
    ended = run_script(
        STDLIB
        + "assert std.exec(id, 'import isles; i = isles.create(); i.exec(\"x = 1\")') is None"
    )
    plain = run_script(STDLIB)
    assert (ended.code, ended.out, ended.err) == (plain.code, plain.out, plain.err), ended
    assert ended.seconds < LIMIT, ended


def test_imported_by_isles_inside():
    ended = leave(
        """
        interp.exec("import isles; inner = isles.create(); inner.exec('import isles')")
        """
    )
    check(ended)
