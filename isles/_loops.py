"""What tells event loops that something was decided: docs/design/aio.md."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from typing import TYPE_CHECKING, Any

import isles
from isles import _interpreters

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """What tells an event loop that something was decided: one file descriptor.

    The loop alone keeps it, as a reader, until it is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, notifier: _interpreters._Notifier) -> None:
        self.loop = weakref.ref(loop)
        self.notifier = notifier
        # What is waited for: a _Waiter, or the Future of a call.
        self.waiting: dict[Any, asyncio.Future[None]] = {}
        self.exiting = False
        loop.add_reader(notifier.fileno(), self.drain)

    def drain(self) -> None:
        decided = self.notifier.take()
        if None in decided and not self.exiting:
            # The process exits: the loop is over, once; what follows is its tasks' cleaning up.
            self.exiting = True
            raise SystemExit
        for what in decided:
            future = self.waiting.pop(what, None)
            if future is not None and not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Nobody there takes anything any more."""
        for waiting in tuple(self.waiting):
            waiting.cancel()
        self.notifier.close()

    def __del__(self) -> None:
        self.end()


loops: weakref.WeakValueDictionary[int, Loop] = weakref.WeakValueDictionary()


def here() -> Loop:
    """The running loop's.  A coroutine that waits must not keep it."""
    loop = asyncio.get_running_loop()
    known = loops.get(id(loop))
    if known is None or known.loop() is not loop:
        known = loops[id(loop)] = Loop(loop, _interpreters._Notifier())
    return known


async def decided(what: Any, begin: Callable[[], object] | None = None) -> None:
    """Begin it and return when something was decided; whoever is stopped before that cancels it.

    That may be an interruption, at any point: hence `begin`.
    """
    waiting = here().waiting
    try:
        if begin is not None:
            begin()
        future = waiting[what] = asyncio.get_running_loop().create_future()
        await future
    except BaseException:
        waiting.pop(what, None)
        what.cancel()
        raise


def end_loops() -> None:
    """An interpreter may be kept for long after its end, by memory that it has lent."""
    for loop in tuple(loops.values()):
        loop.end()


if isles.get_current() != isles.get_main():
    atexit.register(end_loops)
