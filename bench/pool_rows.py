"""The measurements of executors: isles' beside those that people use today."""

import importlib.util
import multiprocessing
import site
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import work
from queue_rows import add_rows
from rows import ChildFailed, Plan, Row, Sampler, SpeedUp, alternate, in_child
from sides import HERE, isles_side

WORKERS = 2
TASKS = 1_000
MAPPED = 100_000
CHUNK = 1_000
SLOW_NS = 1_000_000_000  # what a sample may take
BURN_NS = 150_000_000
LARGE = bytes(10_000_000)
MEMORY_WORKERS = 4

Maker = Callable[[int], Executor]


def makers() -> dict[str, Maker]:
    """Each makes an executor with so many workers, in which `import work` finds this folder's
    module.  Those that fork first: while there are no threads."""
    found: dict[str, Maker] = {}
    for method in ("fork", "forkserver"):
        context = multiprocessing.get_context(method)
        found[f"processes, {method}"] = partial(ProcessPoolExecutor, mp_context=context)
    if importlib.util.find_spec("loky"):
        found["loky"] = loky
    found["threads"] = ThreadPoolExecutor
    if sys.version_info >= (3, 14):
        from concurrent.futures import InterpreterPoolExecutor

        path = {"initializer": site.addsitedir, "initargs": (str(HERE),)}
        found["stdlib"] = partial(InterpreterPoolExecutor, **path)
    if isles_side():
        import isles

        found["isles"] = isles.InterpreterPoolExecutor
    return found


def loky(workers: int) -> Executor:
    import loky

    executor: Executor = loky.ProcessPoolExecutor(workers)
    return executor


def hire(stack: ExitStack, workers: int = WORKERS) -> dict[str, Executor]:
    """An executor of each kind, with all of its workers at work."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    executors = {}
    for name, make in makers().items():
        executors[name] = stack.enter_context(make(workers))
        together = [executors[name].submit(time.sleep, 0.05) for _ in range(workers)]
        for future in together:
            future.result()
    return executors


def first(make: Maker) -> float:
    start = time.perf_counter_ns()
    with make(WORKERS) as executor:
        executor.submit(work.nothing).result()
        return time.perf_counter_ns() - start


def start_up(plan: Plan) -> Iterator[Row]:
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    samplers: dict[str, Sampler] = {name: partial(first, make) for name, make in makers().items()}
    alternate(samplers, 1)
    yield from add_rows(alternate(samplers, plan.rounds(12)), "the first result")


class Tasks:
    """Samples the ns of a task, from submit() to its result, of so many; by default of as many
    as go into a second."""

    def __init__(self, executor: Executor, count: int | None = None):
        self._submit = executor.submit
        self._count = count or 100
        if count is None:
            self._count = max(100, min(TASKS, int(SLOW_NS / self())))

    def __call__(self) -> float:
        submit = self._submit
        start = time.perf_counter_ns()
        for future in [submit(work.nothing) for _ in range(self._count)]:
            future.result()
        return (time.perf_counter_ns() - start) / self._count


class Trip:
    """Samples the ns of one task with nothing else to do."""

    def __init__(self, executor: Executor, *task: Any):
        self._executor = executor
        self._task = task or (work.nothing,)

    def __call__(self) -> float:
        start = time.perf_counter_ns()
        self._executor.submit(*self._task).result()
        return time.perf_counter_ns() - start


class Mapped:
    """Samples the ns of a task of map()."""

    def __init__(self, executor: Executor, chunksize: int):
        self._executor = executor
        self._chunksize = chunksize
        self._count = 2_000
        self._count = max(2_000, min(MAPPED, int(SLOW_NS / self())))

    def __call__(self) -> float:
        start = time.perf_counter_ns()
        for _ in self._executor.map(work.same, range(self._count), chunksize=self._chunksize):
            pass
        return (time.perf_counter_ns() - start) / self._count


def tasks(plan: Plan) -> Iterator[Row]:
    with ExitStack() as stack:
        executors = hire(stack)
        kinds: dict[str, tuple[Callable[[Executor], Sampler], int]] = {
            "a task": (Tasks, 40),
            "a task alone": (Trip, 400),
            "a task of map, one by one": (partial(Mapped, chunksize=1), 5),
            "a task of map, chunks of 1,000": (partial(Mapped, chunksize=CHUNK), 12),
            "10 MB of bytes as the argument": (lambda e: Trip(e, len, LARGE), 20),
        }
        for name, (kind, rounds) in kinds.items():
            samplers = {side: kind(executor) for side, executor in executors.items()}
            yield from add_rows(alternate(samplers, plan.rounds(rounds)), name)


class Burn(SpeedUp):
    """The same job on each worker of an executor."""

    def __init__(self, executor: Executor, n: int) -> None:
        super().__init__([partial(executor.submit, work.burn, n)] * WORKERS)

    def run(self, jobs: list[Callable[[], Any]]) -> None:
        for future in [submit() for submit in jobs]:
            future.result()


def workers(plan: Plan) -> Iterator[Row]:
    start = time.perf_counter_ns()
    work.burn(20_000)
    n = int(20_000 * BURN_NS / (time.perf_counter_ns() - start))
    with ExitStack() as stack:
        samplers = {name: Burn(executor, n) for name, executor in hire(stack).items()}
        taken = alternate(samplers, plan.rounds(15))
    for row in add_rows(taken, "two workers against one"):
        row.unit = "x"
        row.ratio = samplers["isles"].undisturbed() if "isles" in samplers else None
        row.notes.append(
            f"the ratio is between the fastest times: {row.beside}"
            f" {samplers[row.beside].undisturbed():.2f}x"
        )
        yield row


def pool_memory(plan: Plan) -> Iterator[Row]:
    taken: dict[str, list[Any]] = {}
    failed = []
    for name in makers():
        try:
            runs = [in_child("pool", name, MEMORY_WORKERS) for _ in range(plan.rounds(3))]
            taken[name] = [run["pool"] for run in runs]
        except ChildFailed as error:
            failed.append(f"{name} {error}")
    for row in add_rows(taken, f"memory of {MEMORY_WORKERS} workers"):
        row.unit = "KiB"
        yield row
    if failed:
        row = Row(f"memory of {MEMORY_WORKERS} workers", "KiB")
        row.fail("; ".join(failed))
        yield row


GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "pool-start": start_up,
    "pool-tasks": tasks,
    "pool-cores": workers,
    "pool-memory": pool_memory,
}
