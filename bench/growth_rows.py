"""The measurements of how cost grows: with the interpreters that are alive, with the size of a
message, and with the tasks that wait in an executor.

Each is taken in a new process (child.py): what was measured before would change it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import work
from pool_rows import Tasks, hire
from queue_rows import (
    PIPE,
    Crew,
    add_rows,
    call_trip,
    hire_crews,
    pipe_to_process,
    pipe_trip,
)
from rows import Plan, Row, alternate, in_child, over, ready
from sides import isles_side, stdlib_side

MOST = 64
SIZES = [10**power for power in range(10)]
QUEUED = [10**power for power in range(5)]
STOCK = "isles, from a stock"
TRIPS_NS = 4_000_000
LARGE = 1_000_000  # of which nobody keeps a copy
HUGE = 100_000_000  # three times is enough, once for ten times that
PICKLED = 100_000_000  # a larger bytearray takes the standard library more than ten times its size
COPIES = 8  # of a message in memory at once, and what else needs room


# --- interpreters -------------------------------------------------------------------------------


def alive(plan: Plan) -> Iterator[Row]:
    kinds = ["processes, fork", "processes, forkserver", "stdlib"]
    if plan.isles:
        kinds += ["isles", STOCK]
    samplers: dict[str, Any] = {kind: partial(in_child, "alive", kind, MOST) for kind in kinds}
    runs = alternate(samplers, plan.rounds(9))
    for name, unit, figure in (
        ("create, of many", "ns", "create"),
        ("call(f) in turn", "ns", "call"),
        ("memory after a call, of many", "KiB", "kib"),
    ):
        for count in runs["stdlib"][0][figure]:
            taken = {kind: [run[figure][count] for run in runs[kind]] for kind in kinds}
            stock = {"isles": taken.pop(STOCK)} if STOCK in taken else {}
            fields = {"detail": f" ({count})", "at": int(count)}
            rows = list(add_rows(taken, name, **fields))
            if figure == "create" and stock:
                from_stock = {"stdlib": taken["stdlib"]} | stock
                rows += add_rows(from_stock, "create from a stock, of many", **fields)
            for row in rows:
                row.unit = unit
                if unit == "KiB":
                    row.ratio = over(row.isles, row.other)
                yield row


# --- messages -----------------------------------------------------------------------------------

Trip = Callable[[Any], float]


class Message:
    """Samples the ns of an item there and back."""

    def __init__(self, trip: Trip, item: bytes | bytearray):
        self._trip = trip
        self._item = item
        self._count = 1
        self._count = max(1, min(500, int(TRIPS_NS / self())))

    def __call__(self) -> float:
        taken = sum(self._trip(self._item) for _ in range(self._count)) / self._count
        if len(self._item) >= LARGE:
            self._trip(b"")  # so that the other one drops what it has
        return taken


def echo_trip(there: Any, back: Any, item: object) -> float:
    start = time.perf_counter_ns()
    there.put(item)
    back.get()
    return time.perf_counter_ns() - start


def echo(crew: Crew) -> Trip:
    """To a worker through a queue, and back through another one."""
    back = crew.make_queue()
    return partial(echo_trip, crew.hire(work.echo, back), back)


def through_queues(plan: Plan, stack: ExitStack) -> dict[str, Trip]:
    crews = hire_crews(plan, stack)
    queues = {name: echo(crews[name]) for name in ("stdlib", "isles") if name in crews}
    return through_pipe(stack) | queues


def by_calls(plan: Plan, stack: ExitStack) -> dict[str, Trip]:
    return {
        side.name: partial(call_trip, ready(side, stack))
        for side in plan.sides
        if side.passes_arguments
    }


def through_pipe(stack: ExitStack) -> dict[str, Trip]:
    return {PIPE: partial(pipe_trip, pipe_to_process(stack))}


def possible_sizes() -> list[int]:
    with open("/proc/meminfo") as meminfo:
        free = next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable:"))
    return [size for size in SIZES if size * COPIES <= free * 1024]


def take_messages(rounds: int) -> dict[str, dict[int, dict[str, list[float]]]]:
    """By row, size and side; for child.py."""
    plan = Plan(stdlib_side(), isles_side())
    taken: dict[str, dict[int, dict[str, list[float]]]] = {}
    with ExitStack() as stack:
        calls = by_calls(plan, stack)
        ways = {
            "bytes through a queue": (bytes, through_queues(plan, stack)),
            "bytes by a call": (bytes, calls),
            "bytearray by a call": (bytearray, through_pipe(stack) | calls),
        }
        for name, (kind, trips) in ways.items():
            taken[name] = {}
            for size in possible_sizes():
                if kind is bytearray and size > PICKLED:
                    trips = {side: trip for side, trip in trips.items() if side != "stdlib"}
                taken[name][size] = take(trips, kind(b"x" * size), rounds)
    return taken


def take(trips: dict[str, Trip], item: Any, rounds: int) -> dict[str, list[float]]:
    samplers = {side: Message(trip, item) for side, trip in trips.items()}
    if len(item) >= HUGE:
        rounds = 3 if len(item) == HUGE else 1
    return alternate(dict(samplers), rounds)


def messages(plan: Plan) -> Iterator[Row]:
    for name, by_size in in_child("messages", plan.rounds(12)).items():
        for size, sides in by_size.items():
            yield from add_rows(sides, name, detail=f" ({size_text(int(size))})", at=int(size))


def size_text(size: int) -> str:
    for unit, of in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if size >= of:
            return f"{size // of} {unit}"
    return f"{size} B"


# --- tasks --------------------------------------------------------------------------------------


def take_queued(rounds: int) -> dict[int, dict[str, list[float]]]:
    """By count and side; for child.py."""
    taken = {}
    with ExitStack() as stack:
        executors = hire(stack)
        for count in QUEUED:
            samplers = {side: Tasks(executor, count) for side, executor in executors.items()}
            alternate(dict(samplers), 1)
            more = max(1, min(10, 1000 // count))
            taken[count] = alternate(dict(samplers), rounds * more)
    return taken


def queued(plan: Plan) -> Iterator[Row]:
    for count, sides in in_child("queued", plan.rounds(8)).items():
        detail = f" ({int(count):,})"
        yield from add_rows(sides, "a task of those queued", detail=detail, at=int(count))


GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "growth-interpreters": alive,
    "growth-messages": messages,
    "growth-tasks": queued,
}
