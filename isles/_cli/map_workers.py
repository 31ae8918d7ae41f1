"""The workers of ``map``: one function, many items, in isolated interpreters.

No executor, because here the workers take the items themselves: one that waits for the next line of
standard input keeps no outcome from being written, and what still runs or reads when it is over is
left alone.

A worker is a thread of main's that owns an interpreter. Everything that happens comes to the
consumer through one SimpleQueue, whose `put` is reentrant: a signal handler may call
`Workers.interrupt` at any time.

Memory stays bounded when the items never end: a worker takes an item only while fewer than
LOOK_AHEAD items have been taken and not yet consumed in order.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import isles

LOOK_AHEAD: Final = 1024


@dataclass(slots=True, frozen=True)
class Outcome:
    """What came of one item: a value, or the failure that its call raised."""

    index: int
    item: Any
    value: Any = None
    failure: isles.ExecutionFailed | None = None


@dataclass(slots=True, frozen=True)
class _Broken:
    """A worker can't go on: no interpreter, `setup` failed, or the items raised."""

    error: BaseException


_READY: Final = object()  # the first worker is set up
_DONE: Final = object()  # a worker found no further item
_INTERRUPT: Final = object()


class Workers:
    """Calls `task(item)` for each item and hands out the outcomes in the order of the items.

    `setup(*setup_args)` runs first in each interpreter; the other workers start when the first
    one's has succeeded, so that what is wrong with it is found once and before any work.

    As a context manager it keeps the interpreters until the end of the block. Leaving by an
    exception doesn't wait for what still runs: the threads are daemons.
    """

    def __init__(
        self,
        task: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        count: int,
        setup: Callable[..., object],
        setup_args: tuple[Any, ...] = (),
    ) -> None:
        self._task = task
        self._items = enumerate(items)
        self._setup = setup
        self._setup_args = setup_args
        self._slots = threading.Semaphore(LOOK_AHEAD)
        self._taking = threading.Lock()  # guards _items and _stopped
        self._stopped = False
        self._over = threading.Event()
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting: dict[int, Outcome] = {}  # done before their turn
        self._next = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"isles worker {n}", daemon=True)
            for n in range(count)
        ]
        self._running = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._over.set()
        self._slots.release(len(self._threads))
        if kind is None:
            self._join()

    def interrupt(self) -> None:
        """Make `batches` hand out what is done and raise KeyboardInterrupt. For signal handlers."""
        self._events.put(_INTERRUPT)

    def batches(self, tick: float | None = None) -> Iterator[list[Outcome]]:
        """Yield what is done, in order; an empty list whenever `tick` seconds passed without news.

        After `interrupt`, and before an error of a worker itself (not of a call) is raised here,
        the last list has all that is done, gaps or not.
        """
        self._threads[0].start()
        while self._running:
            try:
                batch = self._drain(tick)
            except BaseException:
                yield [self._waiting[index] for index in sorted(self._waiting)]
                raise
            yield batch
            if batch:
                self._slots.release(len(batch))

    def _drain(self, tick: float | None) -> list[Outcome]:
        """Wait for news, take in all there is, and return the outcomes whose turn has come."""
        interrupted = False
        try:
            event = self._events.get(timeout=tick)
            while True:
                interrupted |= event is _INTERRUPT
                self._note(event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        if interrupted:
            raise KeyboardInterrupt
        return self._in_order()

    def _note(self, event: Any) -> None:
        if type(event) is Outcome:
            self._waiting[event.index] = event
        elif event is _READY:
            for thread in self._threads[1:]:
                thread.start()
        elif event is _DONE:
            self._running -= 1
        elif type(event) is _Broken:
            raise event.error

    def _in_order(self) -> list[Outcome]:
        batch = []
        while (outcome := self._waiting.pop(self._next, None)) is not None:
            batch.append(outcome)
            self._next += 1
        return batch

    def _join(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        """The life of one worker."""
        try:
            with isles.create() as interp:
                self._serve(interp)
                self._over.wait()
        except BaseException as error:
            self._events.put(_Broken(error))

    def _serve(self, interp: isles.Interpreter) -> None:
        interp.call(self._setup, *self._setup_args)
        if threading.current_thread() is self._threads[0]:
            self._events.put(_READY)
        while (job := self._take()) is not None:
            self._events.put(self._call(interp, *job))
        self._events.put(_DONE)

    def _take(self) -> tuple[int, Any] | None:
        """The next item with its index, or None when there is none or they were stopped."""
        self._slots.acquire()
        with self._taking:
            job = None if self._stopped else next(self._items, None)
            if job is None:
                self._stopped = True
        if job is None:
            self._slots.release()  # the others come to the same end
        return job

    def _call(self, interp: isles.Interpreter, index: int, item: Any) -> Outcome:
        try:
            return Outcome(index, item, interp.call(self._task, item))
        except isles.ExecutionFailed as failure:
            return Outcome(index, item, failure=failure)
