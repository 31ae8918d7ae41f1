"""The measurements of other packages of this field, where they are installed: a row for one that
isn't says so.  Their workers are processes; extrainterpreters has interpreters, without a pool."""

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import work
from queue_rows import add_rows
from rows import Plan, Row, Sampler, alternate, batches, in_child, ready
from sides import isles_side

WORKERS = 2
TASKS = 1_000
SLOW_NS = 500_000_000  # what a sample may take
LARGE = bytes(10_000_000)

Task = tuple[Any, ...]  # a function and its arguments
Run = Callable[[list[Task]], object]  # returns when all are done

# --- pools --------------------------------------------------------------------------------------


@contextmanager
def joblib_pool() -> Iterator[Run]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS) as parallel:
        yield lambda tasks: parallel(delayed(function)(*args) for function, *args in tasks)


@contextmanager
def mpire_pool() -> Iterator[Run]:
    from mpire import WorkerPool

    with WorkerPool(WORKERS, start_method="forkserver") as pool:
        yield lambda tasks: [
            result.get()
            for result in [pool.apply_async(function, args) for function, *args in tasks]
        ]


@contextmanager
def pebble_pool() -> Iterator[Run]:
    from pebble import ProcessPool

    with ProcessPool(WORKERS, context=multiprocessing.get_context("forkserver")) as pool:
        yield lambda tasks: [
            future.result()
            for future in [pool.schedule(function, args) for function, *args in tasks]
        ]


@contextmanager
def distributed_pool() -> Iterator[Run]:
    from distributed import Client, LocalCluster

    warnings.filterwarnings("ignore", "Sending large graph")
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield lambda tasks: client.gather(
            [client.submit(function, *args, pure=False) for function, *args in tasks]
        )


@contextmanager
def isles_pool() -> Iterator[Run]:
    import isles

    with isles.InterpreterPoolExecutor(WORKERS) as pool:
        yield lambda tasks: [future.result() for future in [pool.submit(*task) for task in tasks]]


POOLS: dict[str, Callable[[], AbstractContextManager[Run]]] = {
    "joblib": joblib_pool,
    "mpire": mpire_pool,
    "pebble": pebble_pool,
    "distributed": distributed_pool,
    "isles": isles_pool,
}


class Many:
    """Samples the ns of a task, of many."""

    def __init__(self, run: Run):
        self._run = run
        self._count = 100
        self._count = max(100, min(TASKS, int(SLOW_NS / self())))

    def __call__(self) -> float:
        tasks: list[Task] = [(work.nothing,)] * self._count
        start = time.perf_counter_ns()
        self._run(tasks)
        return (time.perf_counter_ns() - start) / self._count


def large(run: Run) -> float:
    start = time.perf_counter_ns()
    run([(len, LARGE)])
    return time.perf_counter_ns() - start


# --- calls --------------------------------------------------------------------------------------

CALLER = "extrainterpreters"


def callers(stack: ExitStack) -> dict[str, Sampler]:
    samplers: dict[str, Sampler] = {}
    if find_spec(CALLER):
        from extrainterpreters import Interpreter

        interp = Interpreter().start()
        stack.callback(interp.close)
        samplers[CALLER] = batches("run(f, 1, 2)", {"run": interp.run, "f": work.add})
    if isles := isles_side():
        names = {"call": ready(isles, stack).call, "f": work.add}
        samplers["isles"] = batches("call(f, 1, 2)", names)
    return samplers


# --- rows ---------------------------------------------------------------------------------------

NAMES = ("a task", "10 MB of bytes as the argument", "call(f, 1, 2)")


def take_field(rounds: int) -> dict[str, Any]:
    """The rows' samples by side, and why a package has none; for child.py."""
    with ExitStack() as stack:
        runs, failed = start_pools(stack)
        samplers: list[dict[str, Sampler]] = [
            {name: Many(run) for name, run in runs.items()},
            {name: partial(large, run) for name, run in runs.items()},
            callers(stack),
        ]
        taken = []
        for one in samplers:
            alternate(one, 1)
            taken.append(alternate(one, rounds))
    return {"rows": dict(zip(NAMES, taken, strict=True)), "failed": failed}


def start_pools(stack: ExitStack) -> tuple[dict[str, Run], dict[str, str]]:
    runs, failed = {}, {}
    for name, pool in POOLS.items():
        if find_spec(name):
            try:
                run = stack.enter_context(pool())
                run([(work.nothing,)])
                runs[name] = run
            except Exception as error:
                failed[name] = f"does not work here: {type(error).__name__}: {error}"
    return runs, failed


def field(plan: Plan) -> Iterator[Row]:
    answer = in_child("field", plan.rounds(20))
    for name, taken in answer["rows"].items():
        yield from add_rows(taken, name)
        others = [CALLER] if name == NAMES[-1] else [pool for pool in POOLS if pool != "isles"]
        for other in others:
            if other not in taken:
                why = answer["failed"].get(other, "is not installed")
                yield Row(name, "ns", beside=other, notes=[f"{other} {why}"])


GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {"field": field}
