"""A spare interpreter for the workers of a pool that replaces theirs."""

from __future__ import annotations

import _queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import isles
from isles._setup import close, surroundings

if TYPE_CHECKING:
    from isles._crew import Crew


class Keeper:
    """For interpreters that are replaced: a thread that has one ready, and ends the old ones.

    It imports what is to be preloaded; the initializer, which may take something that there is only
    once for each worker, is for the worker to call.
    """

    WAITING = 2  # to be ended, at most

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.jobs: _queue.SimpleQueue[isles.Interpreter | bool | None] = _queue.SimpleQueue()
        self.spare: deque[tuple[isles.Interpreter, Any]] = deque()
        self.thread: threading.Thread | None = None

    def take(self) -> isles.Interpreter | None:
        """Return the spare one if it is as a new one would be, and have another one made."""
        self.begin()
        try:
            interp, made_with = self.spare.popleft()
        except IndexError:
            return None
        finally:
            self.jobs.put(True)
        if made_with == surroundings():
            return interp
        self.end(interp)
        return None

    def begin(self) -> None:
        crew = self.crew
        with crew.lock:
            if self.thread is None and crew.refusal is None:
                self.thread = threading.Thread(target=self.work, name=f"{crew.prefix}_spare")
                self.thread.start()
                crew.threads.add(self.thread)

    def end(self, interp: isles.Interpreter) -> None:
        with self.crew.lock:  # the thread ends with the refusal
            waits = (
                self.thread is not None
                and self.crew.refusal is None
                and self.jobs.qsize() < self.WAITING
            )
            if waits:
                self.jobs.put(interp)
        if not waits:
            close(interp)

    def work(self) -> None:
        while (job := self.jobs.get()) is not None:
            if isinstance(job, isles.Interpreter):
                close(job)
            elif not self.spare and self.crew.refusal is None:
                self.make()
            job = None
        self.jobs.put(None)  # those who are late do without
        while self.spare:
            close(self.spare.popleft()[0])
        while not self.jobs.empty():
            if isinstance(job := self.jobs.get(), isles.Interpreter):
                close(job)

    def make(self) -> None:
        made_with = surroundings()
        interp = None
        try:
            interp = self.crew.setup.make()
            self.crew.setup.load(interp)
        except (Exception, SystemExit):
            if interp is not None:
                close(interp)  # who needs one meets it, if it is still so
        else:
            self.spare.append((interp, made_with))
