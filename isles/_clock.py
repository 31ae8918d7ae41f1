"""Deadlines of an executor's tasks: InterpreterPoolExecutor.schedule(timeout=)."""

from __future__ import annotations

import _queue
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from isles._future import Future
from isles._timed import GRACE, LOOK_EVERY

if TYPE_CHECKING:
    from isles._crew import Crew
    from isles._worker import Worker


class TimedFuture(Future):
    """The future of a task that has a deadline."""

    deadline = math.inf  # when to look at it next (time.monotonic()); known when it runs
    late = False  # it is out of time: whatever becomes of the task, that is TimeoutError
    interrupted = False

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.timeout: float = timeout

    def finish(self, result: Any) -> None:
        if self.late:
            self.fail(None)
        else:
            super().finish(result)

    def fail(self, error: BaseException | None) -> None:
        if self.late or error is None:
            late = TimeoutError(f"the task took more than {self.timeout} s")
            late.__cause__ = error
            error = late
        super().fail(error)

    def look(self, worker: Worker, now: float) -> bool:
        """Do what is due; whether the worker is to be replaced, because it does not come back."""
        with self._condition:
            # Who runs it does not go on to another task while we have the lock.
            if self.worker is not worker:
                self.deadline = math.inf
                return False
            if now < self.deadline:
                return False
            if not self.late:
                self.late = True
                self.end_of_grace = now + GRACE
            if not self.interrupted:
                self.interrupted = worker.interrupt(KeyboardInterrupt)
            given_up = self.done()
            lost = now >= self.end_of_grace and not given_up
            if lost:
                worker.lost = True
            if not self.interrupted:
                self.deadline = now + LOOK_EVERY
            else:
                self.deadline = math.inf if lost or given_up else self.end_of_grace
        return lost

    def run_out(self) -> None:
        """It fails, though it still runs."""
        error = TimeoutError(
            f"the task took more than {self.timeout} s, and is not back yet: its thread and its"
            " interpreter stay busy until it is"
        )
        if self._done_callbacks:  # which may take long, and the clock has others to look at
            threading.Thread(target=self.give_up, args=(error,)).start()
        else:
            self.give_up(error)


class Clock:
    """The thread that looks at a crew's tasks when their time is over.

    It sleeps until the first deadline.  A worker has one task at a time, and sets its deadline
    before it reads `until`; the clock sets `until` before it reads the deadlines: one of them sees
    the other.
    """

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.calls: _queue.SimpleQueue[None] = _queue.SimpleQueue()
        self.until = math.inf
        self.lost: list[tuple[Worker, TimedFuture]] = []  # those that are to be interrupted yet
        self.stopped = False
        self.thread = threading.Thread(target=self.work, name=f"{crew.prefix}_clock")

    def watch(self, future: TimedFuture) -> None:
        """By its worker, when the task begins."""
        future.deadline = time.monotonic() + future.timeout
        if future.deadline < self.until:
            self.calls.put(None)

    def work(self) -> None:
        while not self.is_over():
            self.until = math.inf
            self.until = until = self.look()
            left = max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX))
            with contextlib.suppress(_queue.Empty):
                self.calls.get(timeout=None if until == math.inf else left)

    def is_over(self) -> bool:
        workers = tuple(self.crew.workers)
        none_to_come = bool(workers) or self.crew.refusal is not None
        over = none_to_come and all(worker.over for worker in workers)
        return self.stopped or (over and not self.lost)

    def look(self) -> float:
        """Do what is due; return when something is next."""
        now = time.monotonic()
        running = [(worker, worker.future) for worker in tuple(self.crew.workers)]
        timed = [(w, f) for w, f in running if isinstance(f, TimedFuture)] + self.lost
        for worker, future in timed:
            if future.look(worker, now):
                self.lost.append((worker, future))
                self.crew.replace(worker)
                future.run_out()
        self.lost = [(worker, future) for worker, future in self.lost if future.deadline < math.inf]
        return min((future.deadline for _, future in timed), default=math.inf)

    def stop(self) -> None:
        """At the exit of the process."""
        self.stopped = True
        self.calls.put(None)
