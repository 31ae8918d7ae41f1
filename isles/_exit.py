"""Leaving the process while interpreters are alive: docs/design/exit.md."""

import threading
import time
from typing import Any

from isles import _interpreters

# Private names of CPython's, the same on 3.13.0, 3.13.15, 3.14.8 and 3.15.0: there is no public way
# to run before the threads are joined, nor to leave one out.
_threading: Any = threading


# Seconds for a thread that was started before the exit to get into its interpreter.
BEGIN = 1.0

# Seconds for what runs, and for what waits in pools, to finish by itself.
GRACE = 0.8

# Of these, at least so many for what waits for a queue and is told to end: struck again while it
# cleans up, it would not get through.
LEAST = 0.05

# The workers of executors: isles.futures.
pools: Any = ()

# What interpreters have handed to Python code of main: isles._listener.
listener: Any = None


class CallThread(threading.Thread):
    """The thread of call_in_thread()."""

    def __init__(self, interp: _interpreters.Interpreter, args: Any, kwargs: Any) -> None:
        super().__init__(target=interp.call, args=args, kwargs=kwargs, name=interp.name)
        self.interp_id = interp.id  # not the interpreter: the thread may be kept for long

    def run(self) -> None:
        _interpreters._name_thread(self.name)  # before 3.14 threading doesn't
        super().run()

    def has_begun(self) -> bool:
        try:
            return not self.is_alive() or _interpreters.is_running(self.interp_id)
        except _interpreters.InterpreterNotFoundError:
            return True


def register() -> None:
    """End all interpreters when the process exits.  In the main interpreter only.

    By a hook of threading's rather than atexit's: it runs before the non-daemon threads are joined,
    and one of these may be inside an interpreter that never comes back by itself.
    """
    _threading._register_atexit(_end_all)


def _end_all() -> None:
    grace = GRACE
    try:
        _let_begin()
        grace = _let_finish()
    finally:  # after Ctrl-C too
        stuck = frozenset(_interpreters._exit(grace))
        for pool in tuple(pools):
            pool.give_up()
        if stuck:
            _threading._thread_shutdown = lambda: _join_all_but(stuck)
        if listener is not None and listener.thread.ident not in stuck:
            listener.finish()


def _let_finish() -> float:
    """Give the pools their time; return how much of GRACE is left."""
    deadline = time.monotonic() + GRACE
    for pool in tuple(pools):
        pool.finish(deadline)
    return max(LEAST, deadline - time.monotonic())


def _let_begin() -> None:
    """A call that call_in_thread() has promised is not refused because the script ends after it."""
    deadline = time.monotonic() + BEGIN
    waiting = [thread for thread in threading.enumerate() if isinstance(thread, CallThread)]
    while waiting and time.monotonic() < deadline:
        waiting = [thread for thread in waiting if not thread.has_begun()]
        time.sleep(0.001 if waiting else 0)


def _join_all_but(stuck: frozenset[int]) -> None:
    for thread in threading.enumerate():
        others = thread is not threading.current_thread() and not thread.daemon
        if others and thread.ident not in stuck:
            thread.join()
