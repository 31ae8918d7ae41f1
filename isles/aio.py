"""isles for asyncio: calls, queues and an executor that are awaited.

    from isles import aio

    async def main():
        async with await aio.create() as interp:
            print(await interp.call(sum, range(1_000_000)))

A call that runs has a thread; what only waits has none, however much there is of it.  Works with
uvloop, and in any number of loops, threads and interpreters.  How: docs/design/aio.md.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import isles
from isles import _interpreters, futures
from isles._aio_calls import Crew, Future, TimedFuture, is_back, tell
from isles._loops import decided, here

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from types import CodeType

    from isles._extensions import Policy
    from isles._output import Target
    from isles.queues import _Unbound

__all__ = ["Interpreter", "InterpreterPoolExecutor", "Queue", "create", "create_queue", "run"]


# ---- loops ----


def run(
    main: Coroutine[Any, Any, Any],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Any:
    """As asyncio.run(), but the loop can be interrupted while it has nothing to do.

    For code inside an interpreter: a loop that waits for a socket or a timer is blocked in C, where
    neither a cancelled call, nor isles.Interpreter.interrupt(), nor Ctrl-C reaches it.  A loop in
    which anything of isles.aio has been awaited can be interrupted as well.

    Parameters, results and errors are those of asyncio.run().
    """
    return asyncio.run(_attended(main), debug=debug, loop_factory=loop_factory)


async def _attended(main: Coroutine[Any, Any, Any]) -> Any:
    here()
    return await main


# ---- queues ----


class Queue:
    """An isles.Queue that is awaited.

    queue: the isles.Queue, which others may use at the same time, in other interpreters too;
    whoever waits, here or there, is served in the order of arrival.

    The names are those of asyncio.Queue.  There may be any number of these for one queue, used in
    any loop; they travel to other interpreters.  Raises TypeError for what is no isles.Queue.
    """

    __slots__ = ("__weakref__", "_queue")

    def __init__(self, queue: isles.Queue) -> None:
        if not isinstance(queue, isles.Queue):
            raise TypeError(f"an isles.Queue is needed, not {type(queue).__name__}")
        self._queue = queue

    def __repr__(self) -> str:
        return f"{__name__}.Queue({self._queue!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[isles.Queue]]:
        return type(self), (self._queue,)

    @property
    def queue(self) -> isles.Queue:
        """The isles.Queue itself."""
        return self._queue

    @property
    def maxsize(self) -> int:
        """How many items the queue holds; 0 or less: as many as memory does."""
        return self._queue.maxsize

    async def get(self) -> Any:
        """Take the oldest item out of the queue and return it, as soon as there is one.

        If it is cancelled it has taken nothing: an item that it was just given goes back, before
        all others.  Raises ShutDown once the queue is shut down and empty, and as isles.Queue.get()
        does.
        """
        item = here().notifier.get(self._queue)
        if type(item) is _interpreters._Waiter:
            await decided(item)
            return item.result()
        return item

    async def put(self, obj: object, *, unbounditems: _Unbound | None = None) -> None:
        """Put a copy of an object into the queue, after all others, as soon as there is room.

        The copy is made at once.  If it is cancelled the item is not put, unless room was made for
        it just then.  Raises ShutDown, and as isles.Queue.put() does.
        """
        waiter = here().notifier.put(self._queue, obj, unbounditems)
        if waiter is not None:
            await decided(waiter)
            waiter.result()

    def get_nowait(self) -> Any:
        """get() that raises isles.QueueEmpty rather than wait."""
        return self._queue.get_nowait()

    def put_nowait(self, obj: object, *, unbounditems: _Unbound | None = None) -> None:
        """put() that raises isles.QueueFull rather than wait."""
        self._queue.put_nowait(obj, unbounditems=unbounditems)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next item; iteration ends when the queue is shut down and empty."""
        try:
            return await self.get()
        except isles.ShutDown:
            raise StopAsyncIteration from None

    def qsize(self) -> int:
        """How many items are in the queue, just now."""
        return self._queue.qsize()

    def empty(self) -> bool:
        """Whether nothing is in the queue, just now."""
        return self._queue.empty()

    def full(self) -> bool:
        """Whether as many items as maxsize are in the queue, just now."""
        return self._queue.full()

    def shutdown(self, immediate: bool = False) -> None:
        """Let nothing more be put, and wake everybody who waits: see isles.Queue.shutdown()."""
        self._queue.shutdown(immediate)


def create_queue(maxsize: int = 0, *, unbounditems: _Unbound | None = None) -> Queue:
    """Make a queue between interpreters and return it; see isles.create_queue()."""
    if unbounditems is None:
        return Queue(isles.create_queue(maxsize))
    return Queue(isles.create_queue(maxsize, unbounditems=unbounditems))


# ---- calls ----


_interpreters_by_id: weakref.WeakValueDictionary[int, Interpreter] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class Interpreter:
    """An isles.Interpreter whose calls are awaited; one object for each.

    interp: the isles.Interpreter, which goes on to work as before.  Raises TypeError for others.

    The calls of an interpreter run one after the other, in the order in which they were awaited
    first, on a thread that only they use.  Whoever else is inside meanwhile (isles.Interpreter.call
    on another thread) makes them raise InterpreterBusyError.

    Cancelling a call (also by asyncio.timeout()) interrupts it: see isles.Interpreter.interrupt().
    CancelledError is raised when it has come back, but after a twentieth of a second at the latest;
    what is blocked in C goes on until it returns, and what is awaited next waits for that.  A call
    that has not begun never runs.

    From any loop; a coroutine belongs to its loop.
    """

    __slots__ = ("__weakref__", "_crew", "_interp")

    _interp: isles.Interpreter
    _crew: Crew

    def __new__(cls, interp: isles.Interpreter, /) -> Self:
        if not isinstance(interp, isles.Interpreter):
            raise TypeError(f"an isles.Interpreter is needed, not {type(interp).__name__}")
        with _lock:
            known: Any = _interpreters_by_id.get(interp.id)
            return known or cls._begin(interp.name)._become(interp)

    @classmethod
    def _begin(cls, name: str) -> Self:
        """One without an interpreter."""
        self = super().__new__(cls)
        self._crew = Crew(name)
        self._crew.work_for(self)
        return self

    def _become(self, interp: isles.Interpreter) -> Self:
        self._interp = self._crew.interp = interp
        _interpreters_by_id[interp.id] = self
        return self

    async def _run(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] = futures._NONE,
    ) -> Any:
        future: Any = Future()
        future.owner = self
        future.add_done_callback(partial(tell, here().notifier.post))
        try:
            await decided(future, partial(self._crew.submit, method, args, kwargs, future))
        except asyncio.CancelledError:
            if future.running():
                await is_back(future)
            raise
        try:
            return future.result()
        finally:
            del future  # an exception's traceback has this frame

    def __repr__(self) -> str:
        return f"{__name__}.Interpreter({self._interp!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._crew.refusal is not None:
            return  # the process exits, and ends it
        try:
            await self.close()
        except isles.InterpreterNotFoundError:
            pass  # closed inside the block

    @property
    def interpreter(self) -> isles.Interpreter:
        """The isles.Interpreter itself."""
        return self._interp

    async def call(self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the object in the interpreter and return a copy of the result.

        Arguments are copied when it begins.  Raises as isles.Interpreter.call() does.
        """
        return await self._run(self._interp.call, (callable, *args), kwargs)

    async def exec(self, code: str | CodeType | Callable[[], object], /) -> None:
        """Run code in the interpreter's __main__; see isles.Interpreter.exec()."""
        await self._run(self._interp.exec, (code,))

    async def prepare_main(
        self, ns: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None, /, **kwargs: Any
    ) -> None:
        """Bind copies of values in its __main__; see isles.Interpreter.prepare_main()."""
        await self._run(self._interp.prepare_main, (ns,), kwargs)

    async def close(self) -> None:
        """End the interpreter, after the calls that wait; see isles.Interpreter.close().

        Can be cancelled only before it has begun.
        """
        await self._run(self._interp.close)


async def create(
    *,
    isolated: bool = True,
    extensions: Policy | None = None,
    name: str | None = None,
    stdout: Target | None = None,
    stderr: Target | None = None,
) -> Interpreter:
    """Make an interpreter, and return it; see isles.create().

    The loop goes on meanwhile.
    """
    setting: dict[str, Any] = {"isolated": isolated, "extensions": extensions, "name": name}
    setting |= {"stdout": stdout, "stderr": stderr}
    made = Interpreter._begin(name or "isles.aio")
    interp = await made._run(isles.create, (), setting)
    with _lock:
        return made._become(interp)


class InterpreterPoolExecutor(futures.InterpreterPoolExecutor):
    """isles.InterpreterPoolExecutor for loop.run_in_executor(): cancelling interrupts.

        async with asyncio.timeout(1):
            await loop.run_in_executor(executor, func, *args)

    A task that has not begun never runs; one that runs is interrupted (KeyboardInterrupt; see
    isles.Interpreter.interrupt()), while whoever awaits it goes on at once.  cancel() of a
    concurrent.futures.Future of this executor does the same, and returns False as always.

    Parameters, errors and thread safety are those of isles.InterpreterPoolExecutor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._crew.make_future = Future
        self._crew.make_timed_future = TimedFuture


if isles.get_current() == isles.get_main():
    os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]
