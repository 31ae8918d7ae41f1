"""The calls that isles.aio awaits: tasks of a crew of one thread, interrupted when cancelled."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import isles
from isles import _clock, _crew, _future, _interpreters, _worker
from isles._loops import here
from isles._setup import Setup
from isles._timed import GRACE, LOOK_EVERY, _thread_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from isles.aio import Interpreter


class Future(_future.Future):
    """One whose task is interrupted when it is cancelled."""

    owner: Interpreter | None = None  # keeps its thread as long as this runs there

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if not cancelled and self._stop() is None:
            _thread_for(self._pursue).start()
        return cancelled

    def _stop(self) -> bool | None:
        try:
            return self.strike(KeyboardInterrupt)
        except isles.InterpreterError:  # one in which nothing can be interrupted
            return False

    def _pursue(self) -> None:
        """Interrupt it as soon as it has entered."""
        while self._stop() is None:
            time.sleep(LOOK_EVERY)


class TimedFuture(Future, _clock.TimedFuture):
    pass


def tell(post: Callable[[object], None], future: Any) -> None:
    post(future)
    if isinstance(future._exception, SystemExit):
        post(None)


class Crew(_crew.Crew):
    """The queue and the thread of one interpreter's calls: tasks are methods of its object."""

    interp: isles.Interpreter | None = None  # None: it is being made

    def __init__(self, name: str) -> None:
        super().__init__(Setup(True, None, [], None, (), {}), 1, None, name)

    def make_worker(self, name: str) -> Worker:
        return Worker(self, self.prefix)


class Worker(_worker.Worker):
    crew: Crew

    def renew(self) -> None:
        self.interp = _METHODS

    def retire(self) -> None:
        pass

    def recover(self, task: Any, error: BaseException) -> None:
        self.fail(task, error)

    def interrupt(self, exc: BaseException | type[BaseException]) -> bool:
        interp = self.crew.interp
        ident = self.thread.ident or 0
        return interp is None or _interpreters.interrupt(interp.id, exc, ident)


def _call_it(method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return method(*args, **kwargs)


_METHODS: Any = SimpleNamespace(_task=_call_it)


async def is_back(future: Future) -> None:
    waiting = here().waiting
    back = waiting[future] = asyncio.get_running_loop().create_future()
    try:
        await asyncio.wait((back,), timeout=GRACE)
    finally:
        waiting.pop(future, None)
