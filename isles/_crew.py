"""The queue and the workers of an executor: docs/design/pools.md."""

from __future__ import annotations

import _queue
import _thread
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import isles
from isles._clock import Clock, TimedFuture
from isles._future import Future
from isles._keeper import Keeper
from isles._refusals import after_exit
from isles._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isles._setup import Setup

# Those of this interpreter, for its end and for a child process.
crews: weakref.WeakSet[Crew] = weakref.WeakSet()


class Crew:
    """The queue and the workers of an executor; they don't keep the executor alive.

    A task in the queue is (future, func, args, kwargs); without kwargs (None) it is a chunk of
    tasks.  None tells a worker to end, and is put back for the next one.
    """

    make_future = Future
    make_timed_future = TimedFuture

    def __init__(self, setup: Setup, max_workers: int, max_tasks: int | None, prefix: str) -> None:
        self.setup = setup
        self.max_workers = max_workers
        self.max_tasks = max_tasks or 0
        self.prefix = prefix
        self.begin()
        crews.add(self)

    def begin(self) -> None:
        """Without workers; again in a child process, where the parent's are not."""
        self.queue: _queue.SimpleQueue[Any] = _queue.SimpleQueue()
        self.lock = _thread.allocate_lock()  # held to put a task, and to change what follows
        self.refusal: Callable[[], Exception] | None = None  # why no task is taken any more
        self.workers: list[Worker] = []
        self.threads: set[threading.Thread] = set()
        self.growing = True  # there may be more workers
        self.submitted = 0  # while growing
        self.keeper = Keeper(self) if self.max_tasks else None
        self.clock: Clock | None = None  # once there is a task with a deadline

    def submit(
        self,
        func: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any] | None,
        future: Future | None = None,
    ) -> Future:
        if future is None:
            future = self.make_future()
        with self.lock:
            if self.refusal is not None:
                raise self.refusal()
            if future.timeout is not None and self.clock is None:
                clock = Clock(self)
                clock.thread.start()
                self.threads.add(clock.thread)
                self.clock = clock
            self.queue.put((future, func, args, kwargs))
            if self.growing:
                self.grow()
        return future

    def grow(self) -> None:
        """Start a worker if there are more tasks than workers."""
        self.submitted += 1
        ended = sum(worker.tasks + worker.skipped for worker in self.workers)
        if self.submitted - ended <= len(self.workers):
            return
        worker = self.make_worker(f"{self.prefix}_{len(self.workers)}")
        worker.thread.start()
        self.workers.append(worker)
        self.threads.add(worker.thread)
        self.growing = len(self.workers) < self.max_workers

    def work_for(self, owner: object) -> None:
        """The workers end, after what there is to do, when the owner is gone.

        He may be garbage that goes in a circle, and a reference of his own to himself would go
        with him, unheard.  Whoever drops him may hold the lock: that takes none.
        """
        self.owner: object = weakref.ref(owner, self.forsake)

    def forsake(self, _: object) -> None:
        self.owner = None  # which has this method
        self.queue.put(None)

    def make_worker(self, name: str) -> Worker:
        return Worker(self, name)

    def replace(self, lost: Worker) -> None:
        """Another worker takes the place of one that is stuck in its task, and ends after it."""
        with self.lock:
            worker = Worker(self, lost.thread.name)
            worker.skipped = lost.tasks + lost.skipped + 1
            self.workers[self.workers.index(lost)] = worker
            if self.refusal is None or self.queue.qsize() > 1:  # there is more than the None
                worker.thread.start()
                self.threads.add(worker.thread)
            else:
                worker.over = True

    def refuse(self, refusal: Callable[[], Exception]) -> None:
        """Take no more tasks; the workers end when the queue is empty."""
        with self.lock:
            self.refusal = refusal
        self.queue.put(None)
        if self.keeper is not None:
            self.keeper.jobs.put(None)
        if self.clock is not None:
            self.clock.calls.put(None)

    def drain(self) -> Iterator[Future]:
        """Take all tasks from the queue."""
        try:
            while True:
                task = self.queue.get_nowait()
                if task is not None:
                    yield task[0]
        except _queue.Empty:
            pass
        finally:
            self.queue.put(None)

    def drop(self, make_error: Callable[[], BaseException]) -> None:
        """Let all tasks in the queue fail."""
        for future in self.drain():
            if future.set_running_or_notify_cancel():
                future.fail(make_error())

    def join(self, deadline: float | None = None) -> None:
        listener = isles._listening
        if listener is not None and threading.current_thread() is listener.thread:
            raise RuntimeError(
                "an executor can't be waited for by what gets the output or log records of"
                " interpreters: its workers wait for that when they end"
            )
        joined: set[threading.Thread] = set()
        while others := self.threads - joined:  # some may be replaced meanwhile
            for thread in others:
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            joined |= others

    # At the exit of the process: isles/_exit.py.

    def finish(self, deadline: float) -> None:
        """Do what there is to do, up to the deadline; whoever waits for the rest ends silently."""
        self.refuse(after_exit)
        self.join(deadline)
        self.drop(SystemExit)

    def give_up(self) -> None:
        """What runs now never ends."""
        if self.clock is not None:
            self.clock.stop()
        for worker in self.workers:
            if worker.future is not None:
                worker.future.fail(SystemExit())


# ---- the end ----


def _end_crews() -> None:
    """As the base's: the tasks that there are are done, then the threads end and are joined."""
    for crew in tuple(crews):
        crew.refuse(after_exit)


def _begin_crews() -> None:
    for crew in tuple(crews):
        crew.begin()


if isles.get_current() == isles.get_main():
    from isles import _exit

    _exit.pools = crews
    os.register_at_fork(after_in_child=_begin_crews)
else:
    threading._register_atexit(_end_crews)  # type: ignore[attr-defined]
