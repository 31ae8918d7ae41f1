"""Calls with a deadline: isles.Interpreter.run()."""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING, Any

from isles import _interpreters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from isles import Interpreter

# Seconds for what was interrupted to come back, so that the interpreter can be used at once.
GRACE = 0.05


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
        # A daemon where there may be some: one that is stuck in C is not to be waited for.
        daemon = _interpreters.get_current() == _interpreters.get_main()
        self.thread = threading.Thread(target=self._run, daemon=daemon)

    def _run(self) -> None:
        args, kwargs = self.work
        try:
            self.result = self.interp.call(*args, **kwargs)
        except BaseException as error:
            self.error = error
        finally:
            self.over.release()

    def wait(self, seconds: float) -> bool:
        return self.over.acquire(timeout=seconds)

    def stop(self) -> bool:
        """Interrupt it; whether it has come back since."""
        try:
            _interpreters.interrupt(self.interp.id, KeyboardInterrupt, self.thread.ident or 0)
        except _interpreters.InterpreterNotFoundError:
            pass
        return self.wait(GRACE)


def run(
    interp: Interpreter,
    timeout: float,
    func: Callable[..., Any],
    args: Iterable[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    if timeout < 0:
        raise ValueError("timeout must be a non-negative number")
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
            message += "; it is blocked in C, and the interpreter stays busy until it returns"
        raise TimeoutError(message) from call.error
    if call.error is None:
        return call.result
    try:
        raise call.error
    finally:
        del call  # the traceback has this frame
