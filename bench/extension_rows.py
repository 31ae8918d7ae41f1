"""The measurements of extension modules in interpreters: imports beside the main interpreter's, and
NumPy's work beside one interpreter's and a process pool's."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

import work
from rows import (
    ChildFailed,
    Plan,
    Row,
    Sample,
    SpeedUp,
    alternate,
    column,
    in_child,
    over,
    ready,
)

PACKAGES = ("numpy", "pandas")
HUGE = 100_000_000


def imports(plan: Plan) -> Iterator[Row]:
    """Each in a process of its own; the copies are in the cache folder, as after a restart.

    Beside a Python that has loaded nothing yet: it has to import as many modules.
    """
    for package in PACKAGES:
        if not plan.isles or find_spec(package) is None:
            continue
        try:
            in_child("imports", "isles", package)  # makes the copies
            runs = alternate(
                {side: partial(in_child, "imports", side, package) for side in ("main", "isles")},
                plan.rounds(20),
            )
        except ChildFailed as error:
            row = Row(f"import {package}", "ns")
            row.fail(str(error))
            yield row
            continue
        yield from import_rows(package, runs)


def import_rows(package: str, runs: dict[str, list[Any]]) -> Iterator[Row]:
    main = runs["main"]
    for key, text in (("first", "1st interpreter"), ("fourth", "4th interpreter")):
        inside = [run[key] for run in runs["isles"]]
        for name, unit, figure in (
            (f"import {package}, {text}", "ns", "ns"),
            (f"compiled modules of {package}, {text[:3]}", "ns", "compiled"),
            (f"memory, import {package}, {text[:3]}", "KiB", "kib"),
        ):
            row = Row(name, unit, beside="main")
            row.other = Sample.of([run[figure] for run in main])
            row.isles = Sample.of([run[figure] for run in inside])
            row.ratio = over(row.isles, row.other)
            if figure == "ns":
                counts = f"{main[0]['modules']} modules are imported, {inside[0]['modules']} inside"
                row.notes.append(counts)
            yield row


def numpy_ready(plan: Plan, stack: ExitStack) -> Any:
    assert plan.isles
    interp = ready(plan.isles, stack)
    interp.call(work.small_arrays, 100)
    return interp


def arrays(plan: Plan) -> Iterator[Row]:
    if not plan.isles or find_spec("numpy") is None:
        return
    yield two_at_once(plan)
    yield from huge(plan)


def two_at_once(plan: Plan) -> Row:
    start = time.perf_counter_ns()
    work.small_arrays(2000)
    count = int(2000 * (150e6 if plan.quick else 300e6) / (time.perf_counter_ns() - start))
    with ExitStack() as stack:
        interps = [numpy_ready(plan, stack) for _ in range(2)]
        jobs = [partial(interp.call, work.small_arrays, count) for interp in interps]
        speed_up = SpeedUp(jobs)
        taken = alternate({"isles": speed_up}, plan.rounds(15))
    row = Row("small NumPy operations, two against one", "x", isles=column(taken, "isles"))
    row.ratio = speed_up.undisturbed()
    row.notes.append("the ratio is between the fastest times")
    return row


def huge(plan: Plan) -> Iterator[Row]:
    import numpy

    data = numpy.ones(HUGE, dtype="u1")
    with ExitStack() as stack:
        interp = numpy_ready(plan, stack)
        pool = stack.enter_context(ProcessPoolExecutor(1))
        samplers: dict[str, Callable[[], float]] = {
            "isles": partial(timed, lambda: interp.call(work.halves, data)),
            "ProcessPoolExecutor": partial(timed, lambda: pool.submit(work.halves, data).result()),
        }
        alternate(dict(samplers), 1)
        taken = alternate(dict(samplers), plan.rounds(8))
    row = Row("sum of a 100 MB array", "ns", beside="ProcessPoolExecutor")
    row.other, row.isles = column(taken, "ProcessPoolExecutor"), column(taken, "isles")
    row.ratio = over(row.other, row.isles)
    yield row


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    action()
    return time.perf_counter_ns() - start


GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {"imports": imports, "arrays": arrays}
