"""The measurements of queues, the codec and buffers: between interpreters for isles and the
standard library, threads for queue.SimpleQueue, processes for multiprocessing."""

import marshal
import multiprocessing
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import quantiles
from typing import Any

import work
from rows import Plan, Row, Sample, Sampler, alternate, bare_module, batches, column, over, ready
from sides import Side

PUT_GET = "queue.put(item); queue.get()"
DICT = {"a": 1, "b": "x", "c": 2.5}
TRIPS_NS = 4_000_000  # what a batch of trips takes, or at least three trips
REST = 0.001  # after which a reader sleeps
DELAYS_NS = 30_000_000
READERS = WRITERS = 4
CROWD_NS = 150_000_000
PATIENCE = 60  # seconds after which a worker must have died
HUGE = 100_000_000
PIPE = "multiprocessing.Pipe"
SPAWN = multiprocessing.get_context("spawn")


def add_rows(taken: dict[str, list[Any]], name: str, **fields: Any) -> Iterator[Row]:
    """A row for isles beside each of the others."""
    for beside in taken:
        if beside != "isles":
            row = Row(name, "ns", beside=beside, **fields)
            row.other, row.isles = column(taken, beside), column(taken, "isles")
            compare_times(row)
            yield row


def compare_times(row: Row) -> None:
    target = row.target
    at_most = target is not None and (target.sense, target.unit) == ("≤", "x")
    row.ratio = over(row.isles, row.other) if at_most else over(row.other, row.isles)


# --- one thread ---------------------------------------------------------------------------------


def one_thread(plan: Plan) -> Iterator[Row]:
    makers = {side.name: side.create_queue for side in plan.sides if side.create_queue}
    makers["queue.SimpleQueue"] = queue.SimpleQueue
    for name, item in (("an int", 1), ("a small dict", DICT)):
        samplers = {
            maker: batches(PUT_GET, {"queue": make(), "item": item})
            for maker, make in makers.items()
        }
        yield from add_rows(alternate(samplers, plan.rounds(40)), f"put + get, {name}")


def document() -> dict[str, Any]:
    users = [
        {
            "id": i,
            "name": f"user{i}",
            "email": f"user{i}@example.com",
            "active": i % 2 == 0,
            "score": i * 1.5,
            "tags": ["a", "bb", "ccc"],
            "address": {"street": f"{i} Main St", "zip": str(10000 + i)},
        }
        for i in range(20)
    ]
    return {"users": users, "count": 20, "next": None}


def codec(plan: Plan) -> Iterator[Row]:
    """There and back; isles' figure includes a queue's put and get."""
    items = {
        "20-user document": document(),
        "10,000 ints": list(range(10_000)),
        "10,000 strings": [f"string {i}" for i in range(10_000)],
    }
    for name, item in items.items():
        samplers = {
            "pickle 5": batches("loads(dumps(item, 5))", vars(pickle) | {"item": item}),
            "marshal": batches("loads(dumps(item))", vars(marshal) | {"item": item}),
        }
        if plan.isles and plan.isles.create_queue:
            names = {"queue": plan.isles.create_queue(), "item": item}
            samplers["isles"] = batches(PUT_GET, names)
        yield from add_rows(alternate(samplers, plan.rounds(40)), name)


# --- workers of each kind -----------------------------------------------------------------------


class Crew:
    """Workers with queues between them; each runs a function until it gets None from the queue
    that hire() returns, at the latest from the stack."""

    def __init__(
        self,
        stack: ExitStack,
        make_queue: Callable[[], Any],
        make_worker: Callable[..., Any],
    ):
        self.make_queue = make_queue
        self._make_worker = make_worker
        self._stack = stack

    def hire(self, function: Callable[..., None], *queues: Any) -> Any:
        orders = self.make_queue()
        worker = self._make_worker(target=function, args=(orders, *queues))
        worker.start()
        self._stack.callback(worker.join)
        self._stack.callback(orders.put, None)
        return orders


def hire_crews(plan: Plan, stack: ExitStack) -> dict[str, Crew]:
    """By the names of what they use."""

    def inside(side: Side, target: Callable[..., None], args: tuple[Any, ...]) -> threading.Thread:
        return threading.Thread(target=ready(side, stack).call, args=(target, *args))

    crews = {
        side.name: Crew(stack, side.create_queue, partial(inside, side))
        for side in plan.sides
        if side.create_queue
    }
    crews["queue.SimpleQueue"] = Crew(stack, queue.SimpleQueue, threading.Thread)
    crews["multiprocessing"] = Crew(stack, SPAWN.Queue, SPAWN.Process)
    return crews


# --- a woken reader -----------------------------------------------------------------------------


class Trips:
    """Samples the ns of an item there and back, both readers sleeping."""

    def __init__(self, crew: Crew):
        self._back = crew.make_queue()
        self._there = crew.hire(work.echo, self._back)
        self._there.put(1)
        self._back.get(timeout=PATIENCE)
        self._count = 3
        self._count = min(500, max(3, int(TRIPS_NS / self())))

    def __call__(self) -> float:
        there, back = self._there.put, self._back.get
        start = time.perf_counter_ns()
        for _ in range(self._count):
            there(1)
            back()
        return (time.perf_counter_ns() - start) / self._count


class Delays:
    """Samples the ns until a reader who has slept for a while has an item; keeps all of them."""

    def __init__(self, crew: Crew):
        self.all: list[float] = []
        self._back = crew.make_queue()
        self._there = crew.hire(work.echo_delays, self._back)
        self._count = 3
        start = time.perf_counter_ns()
        self()
        each = (time.perf_counter_ns() - start) / self._count
        self._count = min(20, max(1, int(DELAYS_NS / each)))
        self.all.clear()

    def __call__(self) -> float:
        for _ in range(self._count):
            time.sleep(REST)
            self._there.put(time.monotonic_ns())
            self.all.append(self._back.get(timeout=PATIENCE))
        return self.all[-1]


def trips(plan: Plan) -> Iterator[Row]:
    futex = Row("there and back", "ns", beside="a bare futex")
    with ExitStack() as stack:
        crews = hire_crews(plan, stack)
        samplers: dict[str, Sampler] = {}
        module = bare_module(futex)
        if module is not None:
            samplers[futex.beside] = partial(module.ping_pong, 100)
        for name, crew in crews.items():
            samplers[name] = Trips(crew)
        yield from add_rows(alternate(samplers, plan.rounds(40)), futex.name)
    if futex.failed:
        yield futex


def delays(plan: Plan) -> Iterator[Row]:
    with ExitStack() as stack:
        samplers = {}
        for name, crew in hire_crews(plan, stack).items():
            samplers[name] = Delays(crew)
        alternate(dict(samplers), plan.rounds(40))
    taken: dict[str, list[Any]] = {name: sampler.all for name, sampler in samplers.items()}
    yield from add_rows(taken, "a reader's wake-up")
    for row in add_rows(taken, "a reader's wake-up, 99 %"):
        row.other, row.isles = last_hundredth(taken[row.beside]), last_hundredth(taken["isles"])
        compare_times(row)
        yield row


def last_hundredth(values: list[float]) -> Sample:
    return Sample.of([quantiles(values, n=100, method="inclusive")[-1]])


# --- a crowd ------------------------------------------------------------------------------------


class Flow:
    """Samples how many items a second all writers put and all readers get."""

    def __init__(self, crew: Crew, item: object):
        flow, self._done = crew.make_queue(), crew.make_queue()
        self._writers = [crew.hire(work.write, flow) for _ in range(WRITERS)]
        self._readers = [crew.hire(work.read, flow, self._done) for _ in range(READERS)]
        self._item = item
        self._count = 50
        self()
        self._count = max(50, int(self() / READERS * CROWD_NS / 1e9))

    def __call__(self) -> float:
        start = time.perf_counter_ns()
        for orders in self._readers:
            orders.put(self._count)
        for orders in self._writers:
            orders.put((self._count, self._item))
        for _ in self._readers:
            self._done.get(timeout=PATIENCE)
        return READERS * self._count * 1e9 / (time.perf_counter_ns() - start)


def crowds(plan: Plan) -> Iterator[Row]:
    for name, item in (("ints", 1), ("small dicts", DICT)):
        with ExitStack() as stack:
            samplers = {}
            for side, crew in hire_crews(plan, stack).items():
                samplers[side] = Flow(crew, item)
            taken = alternate(dict(samplers), plan.rounds(8))
        for row in add_rows(taken, f"4 writers, 4 readers, {name}"):
            row.unit = "/s"
            row.ratio = over(row.isles, row.other)
            yield row


# --- buffers ------------------------------------------------------------------------------------


def pipe_trip(pipe: Any, item: object) -> float:
    start = time.perf_counter_ns()
    pipe.send(item)
    pipe.recv()
    return time.perf_counter_ns() - start


def call_trip(interp: Any, item: object) -> float:
    start = time.perf_counter_ns()
    interp.call(work.same, item)
    return time.perf_counter_ns() - start


def queue_trip(there_and_back: Any, item: object) -> float:
    start = time.perf_counter_ns()
    there_and_back.put(item)
    there_and_back.get()
    return time.perf_counter_ns() - start


def pipe_to_process(stack: ExitStack) -> Any:
    here, there = SPAWN.Pipe()
    child = SPAWN.Process(target=work.echo_pipe, args=(there,))
    child.start()
    there.close()
    stack.callback(child.join)
    stack.callback(here.send, None)
    return here


def bytearrays(plan: Plan) -> Iterator[Row]:
    item = bytearray(HUGE)
    with ExitStack() as stack:
        slow: dict[str, Sampler] = {PIPE: partial(pipe_trip, pipe_to_process(stack), item)}
        if plan.stdlib.passes_arguments:
            slow["stdlib"] = partial(call_trip, ready(plan.stdlib, stack), item)
        taken = alternate(slow, plan.rounds(3))
        if plan.isles:
            interp = ready(plan.isles, stack)
            taken["isles"] = [call_trip(interp, item) for _ in range(plan.rounds(100))]
    yield from add_rows(taken, "100 MB bytearray")


def arrays(plan: Plan) -> Iterator[Row]:
    try:
        import numpy
    except ImportError:
        yield Row("100 MB ndarray", "ns", beside=PIPE, notes=["no NumPy here"])
        return
    item = numpy.zeros(HUGE // 8)
    notes = []
    with ExitStack() as stack:
        taken = alternate({PIPE: partial(pipe_trip, pipe_to_process(stack), item)}, plan.rounds(3))
        if plan.isles and plan.isles.create_queue:
            interp = ready(plan.isles, stack)
            trip = partial(call_trip, interp, item)
            if interp.call(work.kind, item) != "ndarray":
                trip = partial(queue_trip, plan.isles.create_queue(), item)
                notes.append("isles: put + get on one thread, as NumPy can't be imported elsewhere")
            taken["isles"] = [trip() for _ in range(plan.rounds(100))]
    for row in add_rows(taken, "100 MB ndarray"):
        row.notes += notes
        yield row


def buffers(plan: Plan) -> Iterator[Row]:
    yield from bytearrays(plan)
    yield from arrays(plan)


GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "queue": one_thread,
    "codec": codec,
    "trips": trips,
    "delays": delays,
    "crowds": crowds,
    "buffers": buffers,
}
