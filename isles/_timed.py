"""Calls with a deadline: isles.Interpreter.run()."""

from __future__ import annotations

import _thread
import threading
import time
from typing import TYPE_CHECKING, Any

from isles import _interpreters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from isles import Interpreter

# Seconds for what was interrupted to come back, so that the interpreter can be used at once.
GRACE = 0.05

# Seconds between two looks for a call that has not entered the interpreter yet.
LOOK_EVERY = 0.002


class _Call:
    """A call on a thread of its own."""

    def __init__(
        self,
        interp: Interpreter,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.interp = interp
        self.work = (func, *args), kwargs
        self.result: Any = None
        self.error: BaseException | None = None
        self.over = _thread.allocate_lock()
        self.over.acquire()
        self.thread = _thread_for(self._run)

    def _run(self) -> None:
        args, kwargs = self.work
        try:
            self.result = self.interp.call(*args, **kwargs)
        except BaseException as error:
            self.error = error.with_traceback(None)  # it has only this thread's frames
        finally:
            self.over.release()

    def wait(self, seconds: float) -> bool:
        return self.over.acquire(timeout=seconds)

    def stop(self) -> bool:
        """Interrupt it; whether it has come back within the grace."""
        deadline = time.monotonic() + GRACE
        while not self._interrupt():
            if self.wait(LOOK_EVERY):
                return True
            if time.monotonic() > deadline:  # its arguments are still on their way, say
                _thread_for(self._pursue).start()
                return False
        return self.wait(max(0.0, deadline - time.monotonic()))

    def _interrupt(self) -> bool:
        """Whether it was inside, or there is nothing to interrupt any more."""
        ident = self.thread.ident or 0
        try:
            return _interpreters.interrupt(self.interp.id, KeyboardInterrupt, ident)
        except _interpreters.InterpreterNotFoundError:
            return True

    def _pursue(self) -> None:
        """Interrupt it as soon as it enters."""
        while not self._interrupt() and not self.wait(LOOK_EVERY):
            pass


def _thread_for(body: Callable[[], None]) -> threading.Thread:
    # A daemon where there may be some: one that is stuck in C is not to be waited for.
    daemon = _interpreters.get_current() == _interpreters.get_main()
    return threading.Thread(target=body, daemon=daemon)


def checked(timeout: float) -> float:
    """The timeout; raises now what would go wrong with it later."""
    try:
        seconds = timeout + 0.0
    except TypeError:
        message = f"timeout must be an int or a float, not {type(timeout).__name__}"
        raise TypeError(message) from None
    if not seconds >= 0:  # nor is NaN
        raise ValueError("timeout must be a non-negative number")
    return seconds


def run(
    interp: Interpreter,
    timeout: float,
    func: Callable[..., Any],
    args: Iterable[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    timeout = checked(timeout)
    call = _Call(interp, func, args, kwargs)
    call.thread.start()
    try:
        ended = call.wait(min(timeout, threading.TIMEOUT_MAX))
    except BaseException:  # Ctrl-C
        call.stop()
        raise
    if not ended:
        back = call.stop()
        message = f"the call into interpreter {interp.id} took more than {timeout} s"
        if not back:
            message += "; it has not come back yet, and the interpreter stays busy until it does"
        raise TimeoutError(message) from call.error
    if call.error is None:
        return call.result
    try:
        raise call.error
    finally:
        del call  # the traceback has this frame
