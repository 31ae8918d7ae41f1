"""An executor whose tasks run in isolated interpreters: `concurrent.futures`' names, and more.

    with isles.InterpreterPoolExecutor() as pool:
        print(list(pool.map(math.factorial, range(10))))

How it works: docs/design/pools.md.
"""

from __future__ import annotations

import _queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from concurrent.futures.thread import ThreadPoolExecutor
from itertools import batched, count, islice
from typing import TYPE_CHECKING, Any

import isles
from isles import _cpus, _output
from isles._crew import Crew
from isles._future import Future
from isles._refusals import BrokenInterpreterPool, after_shutdown, broken
from isles._setup import Setup
from isles._timed import checked
from isles._worker import WorkerStats

if TYPE_CHECKING:
    import types

    from isles._extensions import Policy
    from isles._output import Target

__all__ = ["BrokenInterpreterPool", "InterpreterPoolExecutor", "WorkerStats"]


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
    isolated, extensions, stdout, stderr: as for isles.create().
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
        stdout: Target | None = None,
        stderr: Target | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = _cpus.usable()
        if not hasattr(max_workers, "__index__"):
            raise TypeError(f"max_workers must be an integer, not {type(max_workers).__name__}")
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
        outputs = _output.opened(stdout, stderr)
        setup = Setup(isolated, extensions, list(preload), initializer, initargs, outputs)
        prefix = thread_name_prefix or f"InterpreterPoolExecutor-{next(_names)}"
        if "\0" in prefix:
            raise ValueError("thread_name_prefix may not contain null characters")
        prefix.encode()  # surrogates raise now rather than in a worker
        self._max_workers, self._thread_name_prefix = max_workers, prefix
        self._crew = Crew(setup, max_workers, max_tasks_per_child, prefix)
        self._crew.work_for(self)

    # As the base has them, for those who look.

    @property
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override]
        return self._crew.threads

    @property
    def _work_queue(self) -> Any:  # type: ignore[override]
        return self._crew.queue

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._crew.refusal is not None

    @property
    def _broken(self) -> bool:  # type: ignore[override]
        return self._crew.refusal is broken

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        # As Crew.submit(): a call less.
        crew = self._crew
        future = crew.make_future()
        with crew.lock:
            if crew.refusal is not None:
                raise crew.refusal()
            crew.queue.put((future, fn, args, kwargs))
            if crew.growing:
                crew.grow()
        return future

    submit.__doc__ = futures.Executor.submit.__doc__

    def schedule(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> futures.Future[Any]:
        """As submit(func, *args, **kwargs), for `timeout` seconds at most; None: without limit.

        They count from when the task begins.  After that it is interrupted (by KeyboardInterrupt;
        see Interpreter.interrupt()) and the future fails with TimeoutError, about a twentieth of a
        second later at the latest, also if the task is blocked in C or catches KeyboardInterrupt:
        then another interpreter takes its place, and the old one ends when it comes back;
        shutdown(wait=True) waits for that too.  Raises as submit(), and ValueError for a negative
        timeout.  Thread-safe.
        """
        if timeout is None:
            return self.submit(func, *args, **(kwargs or {}))
        future = self._crew.make_timed_future(checked(timeout))
        return self._crew.submit(func, tuple(args), dict(kwargs or {}), future)

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
    ) -> Iterator[Future]:
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
        if not isinstance(future, Future):
            raise TypeError("future must come from an InterpreterPoolExecutor")
        while (struck := future.strike(exc)) is None:
            time.sleep(0.0005)
        return struck

    def stats(self) -> list[WorkerStats]:
        """Return what each worker has done so far, in the order in which they were started."""
        return [worker.stats() for worker in tuple(self._crew.workers)]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        crew = self._crew
        crew.refuse(crew.refusal or after_shutdown)
        if cancel_futures:
            for future in crew.drain():
                future.cancel()
        if wait:
            crew.join()

    def terminate_workers(self) -> None:
        """Cancel what waits, interrupt what runs, and take no more tasks.

        Returns at once, without waiting for the end of what runs: see interrupt().  It is that of
        ProcessPoolExecutor in 3.14.  Leaving the with block by KeyboardInterrupt does this first.
        Thread-safe.
        """
        self.shutdown(wait=False, cancel_futures=True)
        for worker in tuple(self._crew.workers):
            future = worker.future
            if future is not None and future.strike(KeyboardInterrupt) is None:
                # It has not entered yet, or just left.
                threading.Thread(target=self.interrupt, args=(future,)).start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: types.TracebackType | None,
    ) -> bool | None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.terminate_workers()
        return super().__exit__(exc_type, exc_val, exc_tb)

    shutdown.__doc__ = futures.Executor.shutdown.__doc__


_names = count()
BrokenInterpreterPool.__module__ = WorkerStats.__module__ = __name__
_NONE: dict[str, Any] = {}


class _Ordered:
    """The tasks of a map() that have been submitted, and how to submit more."""

    def __init__(self, submitting: Iterator[Future]) -> None:
        self.submitting = submitting
        self.pending: Any = deque()

    def add(self, count: int | None) -> None:
        self.pending.extend(islice(self.submitting, count))

    def take(self, deadline: float | None) -> Future:
        future: Future = self.pending.popleft()
        return future


class _Unordered:
    """The same for map_unordered()."""

    def __init__(self, submitting: Iterator[Future]) -> None:
        self.submitting = submitting
        self.pending: Any = set()
        self.done: _queue.SimpleQueue[Future] = _queue.SimpleQueue()

    def add(self, count: int | None) -> None:
        for future in islice(self.submitting, count):
            self.pending.add(future)
            future.add_done_callback(self.done.put)  # type: ignore[arg-type]

    def take(self, deadline: float | None) -> Future:
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


def _result(future: Future, deadline: float | None) -> Any:
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
