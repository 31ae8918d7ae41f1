"""A worker of a pool: a thread with an interpreter."""

from __future__ import annotations

import _queue
import contextlib
import threading
import time
from concurrent.futures import _base
from typing import TYPE_CHECKING, Any, NamedTuple

import isles
from isles import _interpreters, _tasks
from isles._refusals import after_exit, broken
from isles._setup import close

if TYPE_CHECKING:
    from isles._crew import Crew
    from isles._future import Future


class WorkerStats(NamedTuple):
    """What a worker has done: see InterpreterPoolExecutor.stats().

    interpreter: the id of its interpreter, None while it has none.
    tasks: how many have ended, a chunk being one.
    busy, waiting: seconds in tasks and without one.
    memory: bytes that its interpreter holds for objects of up to 512 bytes, in steps of a MiB;
    larger objects are not counted, and none with PYTHONMALLOC=malloc.  None without an interpreter,
    and with isolated=False, where it is main's.
    """

    interpreter: int | None
    tasks: int
    busy: float
    waiting: float
    memory: int | None


class Worker:
    """A thread that owns an interpreter.  Only that thread writes here."""

    def __init__(self, crew: Crew, name: str) -> None:
        self.crew = crew
        self.thread = threading.Thread(target=self.work, name=name)
        self.interp: isles.Interpreter | None = None
        self.left = 0  # tasks until the interpreter is replaced; 0 if it isn't
        self.future: Future | None = None  # of the task that runs
        self.lost = False  # replaced, because that one does not come back in time; its lock
        self.over = False
        self.tasks = self.skipped = 0
        self.start: float | None = None
        self.idle_since: float | None = None
        self.waited = 0.0

    def work(self) -> None:
        """The life of the thread."""
        with contextlib.suppress(ValueError):  # a surrogate
            _interpreters._name_thread(self.thread.name)
        try:
            self.renew()
        except (Exception, SystemExit):
            pass  # the next task meets it, if it is still so
        try:
            self.start = time.monotonic()
            self.serve()
        except BaseException as error:  # no task gets through to here
            _base.LOGGER.critical("Exception in a worker:", exc_info=True)
            if self.future is not None:
                self.future.fail(error)
            if not self.lost:
                self.lost = True
                self.crew.replace(self)
        finally:
            self.over = True
            if not self.lost:
                self.crew.queue.put(None)
                if self.crew.keeper is not None:
                    self.crew.keeper.jobs.put(None)
            if self.crew.clock is not None:
                self.crew.clock.calls.put(None)
            self.retire()
            if self.lost:
                self.crew.threads.discard(self.thread)

    def renew(self) -> None:
        """Make an interpreter; raises what create() does, and BrokenInterpreterPool."""
        setup, keeper = self.crew.setup, self.crew.keeper
        interp = (keeper.take() if keeper else None) or setup.make()
        interp.name = self.thread.name
        try:
            setup.prepare(interp)
        except BaseException:
            close(interp)
            if self.crew.refusal is after_exit:
                raise
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            self.crew.refuse(broken)
            self.crew.drop(broken)
            raise broken() from None
        self.interp = interp  # only now: what interrupts a task that waits for it, spares it
        self.left = self.crew.max_tasks

    def retire(self) -> None:
        interp, self.interp = self.interp, None
        if interp is not None:
            close(interp)

    def replace(self) -> None:
        """As retire(), but the next task is not to wait for it."""
        interp, self.interp = self.interp, None
        if interp is not None and self.crew.keeper is not None:
            self.crew.keeper.end(interp)

    def serve(self) -> None:
        """Do tasks until there are to be no more.  Every line here counts."""
        get_nowait = self.crew.queue.get_nowait
        while True:
            try:
                task = get_nowait()
            except _queue.Empty:
                # Nothing is kept while it waits.
                task = future = func = args = kwargs = result = self.future = None
                task = self.wait()
            if task is None:
                return
            self.future, func, args, kwargs = task
            future = self.future
            with future._condition:
                if future._state == _base.PENDING:
                    future._state = _base.RUNNING
                    future.worker = self
            if future._state != _base.RUNNING:
                self.skipped += 1
                future.set_running_or_notify_cancel()
                continue
            if future.timeout is not None:
                self.watch(future)
            try:
                interp: Any = self.interp
                if kwargs:
                    result = interp._task(func, *args, **kwargs)
                elif kwargs is None:
                    result = interp._chunk(func, *args)
                else:  # quicker than with an empty dict
                    result = interp._task(func, *args)
            except BaseException as error:
                self.recover(task, error)
            else:
                self.tasks += 1  # first: with the result its submitter may submit again
                future.finish(result)
            if self.lost:
                return
            if self.left:
                self.left -= 1
                if not self.left:
                    self.replace()

    def watch(self, future: Any) -> None:
        assert self.crew.clock is not None
        self.crew.clock.watch(future)

    def wait(self) -> Any:
        self.idle_since = start = time.monotonic()
        task = self.crew.queue.get()
        self.idle_since = None
        self.waited += time.monotonic() - start
        return task

    def recover(self, task: Any, error: BaseException) -> None:
        """A task failed, or the interpreter had ended before it could begin."""
        if self.has_interpreter():
            self.fail(task, error)
            return
        _, func, args, kwargs = task
        try:
            self.renew()
            interp: Any = self.interp
            result = (
                interp._chunk(func, *args)
                if kwargs is None
                else interp._task(func, *args, **kwargs)
            )
        except BaseException as error:
            self.fail(task, error)
        else:
            self.tasks += 1
            task[0].finish(result)

    def interrupt(self, exc: BaseException | type[BaseException]) -> bool:
        """Of what this thread runs in the interpreter; False if it is not there."""
        interp = self.interp
        try:
            return interp is not None and _interpreters.interrupt(
                interp.id, exc, self.thread.ident or 0
            )
        except isles.InterpreterNotFoundError:
            return False

    def has_interpreter(self) -> bool:
        try:
            return self.interp is not None and self.interp.is_running() is not None
        except isles.InterpreterNotFoundError:
            return False

    def fail(self, task: Any, error: BaseException) -> None:
        done = None
        if isinstance(error, isles.ExecutionFailed):
            error, done = _tasks.revive(error)
        error = error.with_traceback(None)  # it has only this thread's frames
        self.tasks += 1
        if task[3] is None:
            task[0].finish((done or [], error))
        else:
            task[0].fail(error)

    def stats(self) -> WorkerStats:
        now = time.monotonic()
        waited = self.waited + (now - since if (since := self.idle_since) is not None else 0.0)
        busy = now - self.start - waited if self.start is not None else 0.0
        interp = self.interp
        busy = max(0.0, busy)
        if interp is None:
            return WorkerStats(None, self.tasks, busy, waited, None)
        memory = _interpreters._memory(interp.id)
        return WorkerStats(interp.id, self.tasks, busy, waited, memory)
