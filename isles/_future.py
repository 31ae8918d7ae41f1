"""The futures of isles.futures: docs/design/pools.md."""

from __future__ import annotations

import _thread
import contextlib
from concurrent import futures
from concurrent.futures import _base
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from isles._worker import Worker


class Condition(_thread.RLock):  # type: ignore[misc]
    """What futures need of threading.Condition, at a tenth of the cost of making one."""

    sleepers: list[_thread.LockType] | None = None

    def wait(self, timeout: float | None = None) -> bool:
        gate = _thread.allocate_lock()
        gate.acquire()
        if self.sleepers is None:
            self.sleepers = []
        self.sleepers.append(gate)
        saved = self._release_save()  # type: ignore[attr-defined]
        woken = False
        try:
            woken = gate.acquire(timeout=-1 if timeout is None else max(0, timeout))
        finally:
            self._acquire_restore(saved)  # type: ignore[attr-defined]
            if not woken and self.sleepers and gate in self.sleepers:
                self.sleepers.remove(gate)
        return woken

    def notify_all(self) -> None:
        sleepers, self.sleepers = self.sleepers, None
        for gate in sleepers or ():
            gate.release()


class Future(_base.Future):
    """A Future that is made, run and read at a third of the cost."""

    # What the base sets in each: most are never touched before the end, or at all.
    _state = _base.PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _done_callbacks: Any = ()
    _waiting: list[Any] | None = None

    timeout: Any = None  # a TimedFuture has one

    # Whose task it is while that is in the interpreter, or just before or after; under the lock.
    worker: Worker | None = None

    def __init__(self) -> None:
        self._condition: Any = Condition()

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        with self._condition:
            if self._waiting is None:
                self._waiting = []
            return self._waiting

    def add_done_callback(self, fn: Callable[[futures.Future[Any]], object]) -> None:
        with self._condition:
            if not self._done_callbacks:
                self._done_callbacks = []
        super().add_done_callback(fn)

    def _invoke_callbacks(self) -> None:
        """As the base's, but nothing gets through to who runs the task: KeyboardInterrupt and
        SystemExit are results of tasks too, and `callback = future.result()` raises them."""
        for callback in self._done_callbacks:
            try:
                callback(self)
            except BaseException as error:
                if self._state != _base.FINISHED and not isinstance(error, Exception):
                    raise  # Ctrl-C for who cancels
                _base.LOGGER.exception("exception calling callback for %r", self)

    def finish(self, result: Any) -> None:
        """As set_result(), for who runs it; does nothing if it has been given up."""
        with self._condition:
            self.worker = None
            if self._state != _base.RUNNING:
                return
            self._result = result
            self._state = _base.FINISHED
            for waiter in self._waiting or ():
                waiter.add_result(self)
            if self._condition.sleepers is not None:
                self._condition.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()

    def strike(self, exc: BaseException | type[BaseException]) -> bool | None:
        """Interrupt its task; False if it does not run, None if that is to be tried again."""
        # Who runs it does not go on to another task while we have the lock.
        with self._condition:
            if self.worker is None:
                return False
            # It may not have entered yet, or have just left.
            return self.worker.interrupt(exc) or None

    def fail(self, error: BaseException) -> None:
        with self._condition:
            self.worker = None
        self.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """As fail(), while the task may still run; does nothing if there is an outcome."""
        with contextlib.suppress(futures.InvalidStateError):
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        if self._state == _base.FINISHED and self._exception is None:
            return self._result
        try:
            result = super().result(timeout)
            if self._exception is not None:  # before 3.14 one that is false is not raised
                raise self._exception
            return result
        finally:
            self = None  # type: ignore[assignment]  # the exception's traceback has this frame
