"""The workers of an executor, each a thread with an interpreter: docs/design/pools.md."""

from __future__ import annotations

import _queue
import _thread
import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from concurrent.futures import _base
from concurrent.futures.thread import BrokenThreadPool
from typing import TYPE_CHECKING, Any, NamedTuple

import isles
from isles import _interpreters, _tasks
from isles._clock import Clock, TimedFuture
from isles._future import Future

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isles._extensions import Policy


class BrokenInterpreterPool(BrokenThreadPool):
    """A worker's initializer or one of the modules to preload failed: nothing runs any more."""


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


# Those of this interpreter, for its end and for a child process.
crews: weakref.WeakSet[Crew] = weakref.WeakSet()


class Setup(NamedTuple):
    """How a worker's interpreter is made."""

    isolated: bool
    extensions: Policy | None
    preload: list[str]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    outputs: dict[str, Any]  # isles._output

    def make(self) -> isles.Interpreter:
        return isles.create(isolated=self.isolated, extensions=self.extensions, **self.outputs)

    def load(self, interp: isles.Interpreter) -> None:
        if self.preload:
            interp.call(_tasks.preload, self.preload)

    def prepare(self, interp: isles.Interpreter) -> None:
        self.load(interp)
        if self.initializer is not None:
            interp.call(_tasks.initialize, self.initializer, *self.initargs)


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


def after_shutdown() -> Exception:
    return RuntimeError("cannot schedule new futures after shutdown")


def after_exit() -> Exception:
    return RuntimeError("cannot schedule new futures after interpreter shutdown")


def broken() -> Exception:
    return BrokenInterpreterPool(
        "an initializer failed, or a module to preload (the log has the traceback): the pool is not"
        " usable any more"
    )


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
        if made_with == _surroundings():
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
            _close(interp)

    def work(self) -> None:
        while (job := self.jobs.get()) is not None:
            if isinstance(job, isles.Interpreter):
                _close(job)
            elif not self.spare and self.crew.refusal is None:
                self.make()
            job = None
        self.jobs.put(None)  # those who are late do without
        while self.spare:
            _close(self.spare.popleft()[0])
        while not self.jobs.empty():
            if isinstance(job := self.jobs.get(), isles.Interpreter):
                _close(job)

    def make(self) -> None:
        made_with = _surroundings()
        interp = None
        try:
            interp = self.crew.setup.make()
            self.crew.setup.load(interp)
        except (Exception, SystemExit):
            if interp is not None:
                _close(interp)  # who needs one meets it, if it is still so
        else:
            self.spare.append((interp, made_with))


def _surroundings() -> Any:
    """What a new interpreter takes over from this one and the process."""
    return sys.path.copy(), dict(os.environ)


def _close(interp: isles.Interpreter) -> None:
    try:
        interp.close()
    except (isles.InterpreterError, SystemExit):
        pass  # somebody was faster, or the process ends


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
            _close(interp)
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
            _close(interp)

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
