"""An executor whose tasks run in isolated interpreters: `concurrent.futures`' names, and more.

    with isles.InterpreterPoolExecutor() as pool:
        print(list(pool.map(math.factorial, range(10))))

How it works: docs/design/pools.md.
"""

from __future__ import annotations

import _queue
import _thread
import contextlib
import math
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import _base
from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor
from itertools import batched, count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import isles
from isles import _interpreters, _tasks

if TYPE_CHECKING:
    from isles._extensions import Policy

__all__ = ["BrokenInterpreterPool", "InterpreterPoolExecutor", "WorkerStats"]


class BrokenInterpreterPool(BrokenThreadPool):
    """A worker's initializer or one of the modules to preload failed: nothing runs any more."""


class WorkerStats(NamedTuple):
    """What a worker has done: see InterpreterPoolExecutor.stats().

    interpreter: the id of its interpreter, None while it has none.  tasks: how many have ended, a
    chunk being one.  busy, waiting: seconds in tasks and without one.
    """

    interpreter: int | None
    tasks: int
    busy: float
    waiting: float


# ---- futures ----


class _Condition(_thread.RLock):
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


class _Future(_base.Future):
    """A Future that is made, run and read at a third of the cost."""

    # What the base sets in each: most are never touched before the end, or at all.
    _state = _base.PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _done_callbacks: Any = ()
    _waiting: list[Any] | None = None

    # Whose task it is while that is in the interpreter, or just before or after; under the lock.
    worker: _Worker | None = None

    def __init__(self) -> None:
        self._condition: Any = _Condition()

    @property
    def _waiters(self) -> list[Any]:
        with self._condition:
            if self._waiting is None:
                self._waiting = []
            return self._waiting

    def add_done_callback(self, fn: Callable[[futures.Future[Any]], object]) -> None:
        with self._condition:
            if not self._done_callbacks:
                self._done_callbacks = []
        super().add_done_callback(fn)

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
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def fail(self, error: BaseException) -> None:
        with self._condition:
            self.worker = None
        try:
            self.set_exception(error)
        except futures.InvalidStateError:
            pass  # it has been given up

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


# ---- workers ----

# Those of this interpreter, for its end and for a child process.
_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


class _Setup(NamedTuple):
    """How a worker's interpreter is made."""

    isolated: bool
    extensions: Policy | None
    preload: list[str]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]

    def make(self) -> isles.Interpreter:
        return isles.create(isolated=self.isolated, extensions=self.extensions)

    def load(self, interp: isles.Interpreter) -> None:
        if self.preload:
            interp.call(_tasks.preload, self.preload)

    def prepare(self, interp: isles.Interpreter) -> None:
        self.load(interp)
        if self.initializer is not None:
            interp.call(_tasks.initialize, self.initializer, *self.initargs)


class _Crew:
    """The queue and the workers of an executor; they don't keep the executor alive.

    A task in the queue is (future, func, args, kwargs); without kwargs (None) it is a chunk of
    tasks.  None tells a worker to end, and is put back for the next one.
    """

    def __init__(self, setup: _Setup, max_workers: int, max_tasks: int | None, prefix: str) -> None:
        self.setup = setup
        self.max_workers = max_workers
        self.max_tasks = max_tasks or 0
        self.prefix = prefix
        self.begin()
        _crews.add(self)

    def begin(self) -> None:
        """Without workers; again in a child process, where the parent's are not."""
        self.queue: _queue.SimpleQueue[Any] = _queue.SimpleQueue()
        self.lock = _thread.allocate_lock()  # held to put a task, and to change what follows
        self.refusal: Callable[[], Exception] | None = None  # why no task is taken any more
        self.workers: list[_Worker] = []
        self.threads: set[threading.Thread] = set()
        self.growing = True  # there may be more workers
        self.submitted = 0  # while growing
        self.keeper = _Keeper(self) if self.max_tasks else None

    def submit(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any] | None) -> _Future:
        future = _Future()
        with self.lock:
            if self.refusal is not None:
                raise self.refusal()
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
        worker = _Worker(self, f"{self.prefix}_{len(self.workers)}")
        worker.thread.start()
        self.workers.append(worker)
        self.threads.add(worker.thread)
        self.growing = len(self.workers) < self.max_workers

    def refuse(self, refusal: Callable[[], Exception]) -> None:
        """Take no more tasks; the workers end when the queue is empty."""
        with self.lock:
            self.refusal = refusal
        self.queue.put(None)
        if self.keeper is not None:
            self.keeper.jobs.put(None)

    def drain(self) -> Iterator[_Future]:
        """Take all tasks from the queue."""
        try:
            while True:
                task = self.queue.get_nowait()
                if task is not None:
                    yield task[0]
        except _queue.Empty:
            self.queue.put(None)

    def drop(self, make_error: Callable[[], BaseException]) -> None:
        """Let all tasks in the queue fail."""
        for future in self.drain():
            if future.set_running_or_notify_cancel():
                future.fail(make_error())

    def join(self, deadline: float | None = None) -> None:
        for thread in tuple(self.threads):
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    # At the exit of the process: isles/_exit.py.

    def finish(self, deadline: float) -> None:
        """Do what there is to do, up to the deadline; whoever waits for the rest ends silently."""
        self.refuse(_after_exit)
        self.join(deadline)
        self.drop(SystemExit)

    def give_up(self) -> None:
        """What runs now never ends."""
        for worker in self.workers:
            if worker.future is not None:
                worker.future.fail(SystemExit())


def _after_shutdown() -> Exception:
    return RuntimeError("cannot schedule new futures after shutdown")


def _after_exit() -> Exception:
    return RuntimeError("cannot schedule new futures after interpreter shutdown")


def _broken() -> Exception:
    return BrokenInterpreterPool("an initializer failed, the pool is not usable any more")


class _Keeper:
    """For interpreters that are replaced: a thread that has one ready, and ends the old ones.

    It imports what is to be preloaded; the initializer, which may take something that there is only
    once for each worker, is for the worker to call.
    """

    WAITING = 2  # to be ended, at most

    def __init__(self, crew: _Crew) -> None:
        self.crew = crew
        self.jobs: _queue.SimpleQueue[isles.Interpreter | bool | None] = _queue.SimpleQueue()
        self.spare: deque[tuple[isles.Interpreter, Any]] = deque()
        self.thread: threading.Thread | None = None

    def take(self) -> isles.Interpreter | None:
        """Return the spare one if it is as a new one would be, and have another one made."""
        self.begin()
        self.jobs.put(True)
        with contextlib.suppress(IndexError):
            interp, made_with = self.spare.popleft()
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
        if self.thread is not None and self.jobs.qsize() < self.WAITING:
            self.jobs.put(interp)
        else:
            _close(interp)

    def work(self) -> None:
        while (job := self.jobs.get()) is not None:
            if job is not True:
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


class _Worker:
    """A thread that owns an interpreter.  Only that thread writes here."""

    def __init__(self, crew: _Crew, name: str) -> None:
        self.crew = crew
        self.thread = threading.Thread(target=self.work, name=name)
        self.interp: isles.Interpreter | None = None
        self.left = 0  # tasks until the interpreter is replaced; 0 if it isn't
        self.future: _Future | None = None  # of the task that runs
        self.tasks = self.skipped = 0
        self.start: float | None = None
        self.idle_since: float | None = None
        self.waited = 0.0

    def work(self) -> None:
        """The life of the thread."""
        isles._interpreters._name_thread(self.thread.name)
        try:
            self.renew()
        except (Exception, SystemExit):
            pass  # the next task meets it, if it is still so
        try:
            self.start = time.monotonic()
            self.serve()
        finally:
            self.crew.queue.put(None)
            if self.crew.keeper is not None:
                self.crew.keeper.jobs.put(None)
            self.retire()

    def renew(self) -> None:
        """Make an interpreter; raises what create() does, and BrokenInterpreterPool."""
        setup, keeper = self.crew.setup, self.crew.keeper
        self.interp = interp = (keeper.take() if keeper else None) or setup.make()
        interp.name = self.thread.name
        try:
            setup.prepare(interp)
        except BaseException:
            self.retire()
            if self.crew.refusal is _after_exit:
                raise
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            self.crew.refuse(_broken)
            self.crew.drop(_broken)
            raise _broken() from None
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
            if self.left:
                self.left -= 1
                if not self.left:
                    self.replace()

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
        error.__traceback__ = None  # it has only this thread's frames
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
        return WorkerStats(interp.id if interp else None, self.tasks, max(0.0, busy), waited)


# ---- the executor ----


class InterpreterPoolExecutor(ThreadPoolExecutor):
    """An executor each of whose threads has an interpreter: tasks run in parallel, on every core.

    It is that of `concurrent.futures` in 3.14, on 3.13 as well.  Functions, arguments, results and
    exceptions travel as with Interpreter.call(); an exception arrives as what it was, with the
    ExecutionFailed that shows the traceback of the task as its last cause, or as that itself if it
    can't travel.

    max_workers: at most so many interpreters, made when there is more to do than there are; by
    default as many as there are CPUs that the process may use.
    thread_name_prefix: of the names of the threads, which their interpreters have as well.
    initializer, initargs: called in each new interpreter.  If it fails, all tasks that wait and
    each further submit() raise BrokenInterpreterPool.

    Beyond `concurrent.futures`:

    preload: names of modules that are imported in each new interpreter, before the initializer and
    with the same consequences.
    isolated, extensions: as for isles.create().
    max_tasks_per_child: an interpreter is replaced after so many tasks (a chunk of map() is one); a
    spare one is kept ready meanwhile, with what is to be preloaded.

    An interpreter that somebody else closed is replaced.  Tasks that still wait or run when the
    process exits get less than a second to end.  In a child process made by fork the executor
    starts afresh.  Thread-safe.  Raises ValueError or TypeError for other arguments.
    """

    BROKEN = BrokenInterpreterPool

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        preload: Iterable[str] = (),
        isolated: bool = True,
        extensions: Policy | None = None,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = _usable_cpus()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if isinstance(preload, str):
            raise TypeError("preload must be an iterable of names, not a str")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        isles._rules(extensions)  # raises now rather than in a worker
        setup = _Setup(isolated, extensions, list(preload), initializer, initargs)
        prefix = thread_name_prefix or f"InterpreterPoolExecutor-{next(_names)}"
        self._max_workers, self._thread_name_prefix = max_workers, prefix
        self._crew = crew = _Crew(setup, max_workers, max_tasks_per_child, prefix)
        # Whoever drops the executor may hold the crew's lock: this takes none.
        self._end = weakref.ref(self, lambda _: crew.queue.put(None))

    # As the base has them, for those who look.

    @property
    def _threads(self) -> set[threading.Thread]:
        return self._crew.threads

    @property
    def _work_queue(self) -> Any:
        return self._crew.queue

    @property
    def _shutdown(self) -> bool:
        return self._crew.refusal is not None

    @property
    def _broken(self) -> bool:
        return self._crew.refusal is _broken

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        # As _Crew.submit(): a call less.
        future = _Future()
        crew = self._crew
        with crew.lock:
            if crew.refusal is not None:
                raise crew.refusal()
            crew.queue.put((future, fn, args, kwargs))
            if crew.growing:
                crew.grow()
        return future

    submit.__doc__ = futures.Executor.submit.__doc__

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Return an iterator over the results of fn for the items, in their order.

        timeout: seconds from now, after which it raises TimeoutError.
        chunksize: how many items go to a worker at once; many small ones are better off together.
        buffersize: how many chunks are submitted ahead of the iteration; all, if it is None.

        What fn raises is raised when its turn comes; then, and when the iterator is closed, what
        has not begun is cancelled.
        """
        flow = _Ordered(self._submitting(fn, iterables, chunksize, buffersize))
        return self._results(flow, timeout, chunksize, buffersize)

    def map_unordered(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Return an iterator over the results of fn for the items as they come; see map()."""
        flow = _Unordered(self._submitting(fn, iterables, chunksize, buffersize))
        return self._results(flow, timeout, chunksize, buffersize)

    def _submitting(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int,
        buffersize: int | None,
    ) -> Iterator[_Future]:
        """Submit the next task of a map(), and yield its future, again and again."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        submit = self._crew.submit
        if chunksize == 1:
            return (submit(fn, args, _NONE) for args in zip(*iterables, strict=False))
        one = len(iterables) == 1
        items: Iterable[Any] = iterables[0] if one else zip(*iterables, strict=False)
        return (
            submit(fn, (chunk, not one), None) for chunk in batched(items, chunksize, strict=False)
        )

    def _results(
        self, flow: _Flow, timeout: float | None, chunksize: int, buffersize: int | None
    ) -> Iterator[Any]:
        deadline = None if timeout is None else timeout + time.monotonic()
        flow.add(buffersize)
        # The iterator keeps the executor only if it has something more to submit.
        return _results(flow, deadline, chunksize > 1, self if buffersize else None)

    def interrupt(
        self,
        future: futures.Future[Any],
        exc: BaseException | type[BaseException] = KeyboardInterrupt,
    ) -> bool:
        """Raise exc in a task that runs; False if it has ended or still waits: cancel() that.

        It reaches that task or none.  The future gets what the task makes of it; that exception,
        if nothing.  Code that is blocked in C gets it when that returns.  Raises as
        Interpreter.interrupt(), and TypeError for a future of others.  Thread-safe.
        """
        if not isinstance(future, _Future):
            raise TypeError("future must come from an InterpreterPoolExecutor")
        while True:
            # Who runs it does not go on to another task while we have the lock.
            with future._condition:
                worker = future.worker
                if worker is None:
                    return False
                if worker.interrupt(exc):
                    return True
            time.sleep(0.0005)  # it has not entered yet, or has just left

    def stats(self) -> list[WorkerStats]:
        """Return what each worker has done so far, in the order in which they were started."""
        return [worker.stats() for worker in tuple(self._crew.workers)]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        crew = self._crew
        crew.refuse(crew.refusal or _after_shutdown)
        if cancel_futures:
            for future in crew.drain():
                future.cancel()
        if wait:
            crew.join()

    shutdown.__doc__ = futures.Executor.shutdown.__doc__


_names = count()
_NONE: dict[str, Any] = {}


class _Ordered:
    """The tasks of a map() that have been submitted, and how to submit more."""

    def __init__(self, submitting: Iterator[_Future]) -> None:
        self.submitting = submitting
        self.pending: Any = deque()

    def add(self, count: int | None) -> None:
        self.pending.extend(islice(self.submitting, count))

    def take(self, deadline: float | None) -> _Future:
        future: _Future = self.pending.popleft()
        return future


class _Unordered:
    """The same for map_unordered()."""

    def __init__(self, submitting: Iterator[_Future]) -> None:
        self.submitting = submitting
        self.pending: Any = set()
        self.done: _queue.SimpleQueue[_Future] = _queue.SimpleQueue()

    def add(self, count: int | None) -> None:
        for future in islice(self.submitting, count):
            self.pending.add(future)
            future.add_done_callback(self.done.put)  # type: ignore[arg-type]

    def take(self, deadline: float | None) -> _Future:
        try:
            future = self.done.get(timeout=_left(deadline))
        except _queue.Empty:
            raise TimeoutError from None
        self.pending.remove(future)
        return future


type _Flow = _Ordered | _Unordered


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _results(
    flow: _Flow, deadline: float | None, chunked: bool, executor: InterpreterPoolExecutor | None
) -> Iterator[Any]:
    # Nothing that is yielded is kept here.
    try:
        while flow.pending:
            if executor is not None:
                flow.add(1)
            if chunked:
                yield from _results_of_chunk(_result(flow.take(deadline), deadline))
            else:
                yield _result(flow.take(deadline), deadline)
    finally:
        for future in flow.pending:
            future.cancel()


def _result(future: _Future, deadline: float | None) -> Any:
    try:
        return future.result(_left(deadline))
    except BaseException:
        future.cancel()
        raise
    finally:
        del future


def _results_of_chunk(results: list[Any] | tuple[list[Any], BaseException]) -> Iterator[Any]:
    done, error = results if isinstance(results, tuple) else (results, None)
    results = done
    results.reverse()
    while results:
        yield results.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error


# ---- how many, and the end ----


def _usable_cpus() -> int:
    """How many CPUs the process may use: its affinity, or what its control group allows."""
    cpus = os.process_cpu_count() or 1
    quota = min(_quotas(), default=cpus)
    return max(1, min(cpus, math.ceil(quota)))


def _quotas() -> Iterator[float]:
    """How many CPUs' time each of the process's control groups may take."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _quotas_above("/sys/fs/cgroup", path, "cpu.max")
        elif "cpu" in controllers.split(","):
            root = f"/sys/fs/cgroup/{controllers}"
            yield from _quotas_above(root, path, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quotas_above(root: str, path: str, *files: str) -> Iterator[float]:
    while True:
        folder = f"{root}/{path.strip('/')}"
        # "max 100000" and a quota of -1 are no limits.
        match " ".join(_read(f"{folder}/{file}") for file in files).split():
            case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)
        if not path.strip("/"):
            return
        path = os.path.dirname(path.rstrip("/"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _end_crews() -> None:
    """As the base's: the tasks that there are are done, then the threads end and are joined."""
    for crew in tuple(_crews):
        crew.refuse(_after_exit)


def _begin_crews() -> None:
    for crew in tuple(_crews):
        crew.begin()


if isles.get_current() == isles.get_main():
    from isles import _exit

    _exit.pools = _crews
    os.register_at_fork(after_in_child=_begin_crews)
else:
    threading._register_atexit(_end_crews)  # type: ignore[attr-defined]
