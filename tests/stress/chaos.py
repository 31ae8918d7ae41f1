"""Everything at once, at random, for a while: `python chaos.py SECONDS SEED [SWITCH_INTERVAL]`.

Threads create, call, interrupt, close and forget interpreters that they share, put and get items,
shut queues down, import extension modules there, collect garbage, use an executor and a stock. Each
draws from a generator of its own that the seed begins, so a seed repeats what each thread tries,
though not how that falls together. The interval (seconds) is that of sys.setswitchinterval() in
each interpreter: how long a thread keeps a GIL that others want.

The account at the end: every interpreter that was made has ended; every call has brought the result
or an exception that it may; of every queue, what was put is what came out, but for what became
UNBOUND with its interpreter or was discarded by shutdown(immediate=True), and nothing came twice.
"""

import contextlib
import gc
import random
import sys
import threading
import time
from collections import Counter
from itertools import count

import isles
from isles import InterpreterPoolExecutor

THREADS = 6
SLOTS = 8
QUEUES = 3
MODULES = ["_decimal", "_ctypes", "_elementtree", "_zoneinfo", "_sqlite3", "_ssl", "array"]
WARM = ["collections.abc", "pickle", "threading", "cloudpickle.cloudpickle", "isles.queues"]

# Somebody else may be inside, close it, or have closed it.
NOT_MINE = (isles.InterpreterNotFoundError, isles.InterpreterBusyError)


class Stop(BaseException):
    """What interrupts raise; no `except Exception` on the way takes it."""


# ---- what runs in the interpreters ----


def add(a, b):
    return a + b


def fail(number):
    raise ValueError(number)


def spin(turns):
    for _ in range(turns):
        pass
    return turns


def write(buffer, at):
    memoryview(buffer)[at] = 1


def put_inside(queue, items, extra):
    """Put items one by one; give how many were put, however it ends."""
    done = 0
    try:
        for item in items:
            queue.put_nowait(item)
            done += 1
    except (isles.QueueFull, isles.ShutDown):
        pass
    spin(extra)
    return done


def get_inside(queue, most):
    got = []
    with contextlib.suppress(isles.QueueEmpty, isles.ShutDown):
        while len(got) < most:
            got.append(queue.get_nowait())
    return [None if item is isles.UNBOUND else item for item in got]


def warm_up(interval):
    sys.setswitchinterval(interval)
    for name in WARM:
        __import__(name)


def import_inside(name):
    module = __import__(name)
    return module.__name__


def thread_inside(turns):
    done = []
    threads = [threading.Thread(target=lambda: done.append(spin(turns))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


# ---- the account ----


class Ledger:
    """A queue and what is known of its items; each is a number that no other item has."""

    def __init__(self, size):
        self.queue = isles.create_queue(size, unbounditems=isles.UNBOUND)
        self.lock = threading.Lock()
        self.put, self.maybe = set(), set()  # those of a call that was interrupted
        self.got = Counter()
        self.unbound = 0
        self.unseen = 0  # calls that got an unknown number of items, and were interrupted
        self.immediate = False

    def has_put(self, items, maybe=()):
        with self.lock:
            self.put.update(items)
            self.maybe.update(maybe)

    def has_got(self, items):
        with self.lock:
            for item in items:
                if item is None or item is isles.UNBOUND:
                    self.unbound += 1
                else:
                    self.got[item] += 1

    def check(self):
        """When all threads are at rest."""
        self.has_got(get_inside(self.queue, sys.maxsize))
        twice = [item for item, times in self.got.items() if times > 1]
        assert not twice, f"items that came twice: {twice}"
        strange = self.got.keys() - self.put - self.maybe
        assert not strange, f"items that nobody put: {strange}"
        missing = len(self.put - self.got.keys())
        if self.unseen:
            return
        doubtful = len(self.maybe - self.got.keys())
        assert self.unbound <= missing + doubtful, (self.unbound, missing, doubtful)
        if not self.immediate:
            assert missing <= self.unbound, (self.unbound, missing)


class World:
    """What the threads share."""

    def __init__(self, seed):
        self.seed = seed
        self.slots = [None] * SLOTS
        self.ledgers = [Ledger(size) for size in (0, 3, 50)]
        self.closed_ledgers = []
        self.lock = threading.Lock()
        self.numbers = count()  # of items: unique
        self.made = Counter()
        self.done = Counter()
        self.errors = []
        self.over = False
        self.pool = InterpreterPoolExecutor(2, preload=WARM, max_tasks_per_child=50)


class Actor(threading.Thread):
    """Does one thing after the other."""

    def __init__(self, world, number):
        super().__init__(name=f"actor-{number}")
        self.world = world
        self.rng = random.Random(world.seed * 1000 + number)
        self.last = None

    def run(self):
        actions = [action for action, weight in ACTIONS for _ in range(weight)]
        try:
            while not self.world.over and not self.world.errors:
                self.last = action = self.rng.choice(actions)
                with contextlib.suppress(*NOT_MINE):
                    action(self)
                self.world.done[action.__name__] += 1  # roughly
        except BaseException as error:
            error.add_note(f"in {self.last.__name__}() of {self.name}, seed {self.world.seed}")
            self.world.errors.append(error)

    def any(self):
        """An interpreter of the world's, or NOT_MINE."""
        interp = self.rng.choice(self.world.slots)
        if interp is None:
            raise isles.InterpreterNotFoundError("an empty slot")
        return interp

    def ask(self, interp, func, *args):
        """The result of the call, or None if it was interrupted."""
        try:
            return interp.call(func, *args)
        except isles.ExecutionFailed as failure:
            name = failure.excinfo.type.__name__
            if name not in ("Stop", "KeyboardInterrupt"):
                raise
            return None

    # ---- interpreters ----

    def create(self):
        place = self.rng.randrange(SLOTS)
        isolated = self.rng.random() < 0.9
        name = self.rng.choice([None, "a name", "ein anderer Name ü"])
        interp = isles.create(isolated=isolated, name=name)
        self.world.made[isolated] += 1
        # An interruption while collections, say, is imported may leave it in pieces: as Ctrl-C.
        interp.call(warm_up, sys.getswitchinterval())
        with self.world.lock:
            old, self.world.slots[place] = self.world.slots[place], interp
        if old is not None and self.rng.random() < 0.5:
            old.close()
        # Otherwise it ends with its last object: here, or where a call is going on.

    def close(self):
        interp = self.any()
        interp.close()
        try:
            interp.call(abs, 1)
        except isles.InterpreterNotFoundError:
            return
        raise AssertionError("a closed interpreter was called")

    def call(self):
        a, b = self.rng.randrange(1000), self.rng.choice([1, 2**70])
        assert self.ask(self.any(), add, a, b) in (a + b, None)

    def call_that_fails(self):
        number = self.rng.randrange(1000)
        try:
            self.any().call(fail, number)
        except isles.ExecutionFailed as failure:
            name = failure.excinfo.type.__name__
            assert name in ("ValueError", "Stop", "KeyboardInterrupt"), name
        else:
            raise AssertionError("a call that fails did not")

    def execute(self):
        try:
            self.any().exec("x = [n for n in range(100)]")
        except isles.ExecutionFailed as failure:
            assert failure.excinfo.type.__name__ in ("Stop", "KeyboardInterrupt")

    def spin(self):
        turns = self.rng.randrange(200_000)
        assert self.ask(self.any(), spin, turns) in (turns, None)

    def out_of_time(self):
        turns = self.rng.randrange(2_000_000)
        try:
            assert self.any().run(spin, (turns,), timeout=0.005) == turns
        except TimeoutError:
            pass
        except isles.ExecutionFailed as failure:
            assert failure.excinfo.type.__name__ in ("Stop", "KeyboardInterrupt")

    def interrupt(self):
        self.any().interrupt(self.rng.choice([Stop, KeyboardInterrupt]))

    def bring_an_extension(self):
        name, interp = self.rng.choice(MODULES), self.any()
        try:
            assert interp.call(import_inside, name) == name
        except isles.ExecutionFailed:
            interp.close()  # it may be in pieces

    def threads_inside(self):
        # An interruption of join() leaves one behind; closing waits for it.
        assert self.ask(self.any(), thread_inside, self.rng.randrange(1000)) in (2, None)

    def thread_that_ends(self):
        interp = self.any()
        thread = threading.Thread(target=self.quietly, args=(interp,))
        thread.start()
        thread.join()

    def quietly(self, interp):
        with contextlib.suppress(*NOT_MINE):
            self.ask(interp, abs, -1)

    def share(self):
        buffer = isles.SharedBuffer(self.rng.choice([10, 100_000]))
        if self.ask(self.any(), write, buffer, 7) is not None:
            raise AssertionError
        assert memoryview(buffer)[7] in (0, 1)

    def look(self):
        ids = [interp.id for interp in isles.list_all()]
        assert ids[0] == 0
        assert ids == sorted(set(ids))
        repr(self.any())

    def collect(self):
        gc.collect(self.rng.choice([0, 1, 2]))

    def stock(self):
        isles.warm(self.rng.choice([0, 1, 3]))

    # ---- queues ----

    def ledger(self):
        return self.rng.choice(self.world.ledgers)

    def items(self):
        return [next(self.world.numbers) for _ in range(self.rng.randrange(1, 20))]

    def put(self):
        ledger = self.ledger()
        for item in self.items():
            try:
                ledger.queue.put(item, timeout=self.rng.choice([0, 0.001]))
            except (isles.QueueFull, isles.ShutDown):
                return
            ledger.has_put([item])

    def put_from_inside(self):
        interp, ledger, items = self.any(), self.ledger(), self.items()
        try:
            done = self.ask(interp, put_inside, ledger.queue, items, self.rng.choice([0, 50_000]))
        except NOT_MINE:
            return  # it did not begin
        if done is None:
            ledger.has_put((), items)
        else:
            ledger.has_put(items[:done])

    def get(self):
        ledger = self.ledger()
        with contextlib.suppress(isles.QueueEmpty, isles.ShutDown):
            for _ in range(self.rng.randrange(30)):
                ledger.has_got([ledger.queue.get(timeout=self.rng.choice([0, 0.001]))])

    def get_from_inside(self):
        interp, ledger = self.any(), self.ledger()
        got = self.ask(interp, get_inside, ledger.queue, self.rng.randrange(30))
        if got is None:
            ledger.unseen += 1
        else:
            ledger.has_got(got)

    def shut_down(self):
        place = self.rng.randrange(QUEUES)
        immediate = self.rng.random() < 0.3
        new = Ledger(self.rng.choice([0, 1, 10]))
        with self.world.lock:
            old, self.world.ledgers[place] = self.world.ledgers[place], new
            self.world.closed_ledgers.append(old)
        old.immediate = immediate
        old.queue.shutdown(immediate)

    # ---- the executor ----

    def submit(self):
        a = self.rng.randrange(1000)
        assert self.world.pool.submit(add, a, 1).result(60) == a + 1

    def map(self):
        pool, size = self.world.pool, self.rng.choice([1, 7])
        assert list(pool.map(abs, range(-20, 0), chunksize=size)) == list(range(20, 0, -1))

    def stop_a_task(self):
        task = self.world.pool.submit(spin, 300_000)
        self.world.pool.interrupt(task, Stop)
        error = task.exception(60)
        assert error is None or isinstance(error, Stop), repr(error)

    def late_task(self):
        error = self.world.pool.schedule(spin, (300_000,), timeout=0.002).exception(60)
        assert error is None or isinstance(error, TimeoutError), repr(error)


ACTIONS = [
    (Actor.create, 4),
    (Actor.close, 2),
    (Actor.call, 20),
    (Actor.call_that_fails, 5),
    (Actor.execute, 5),
    (Actor.spin, 5),
    (Actor.out_of_time, 2),
    (Actor.interrupt, 10),
    (Actor.bring_an_extension, 3),
    (Actor.threads_inside, 2),
    (Actor.thread_that_ends, 3),
    (Actor.share, 5),
    (Actor.look, 2),
    (Actor.collect, 1),
    (Actor.stock, 1),
    (Actor.put, 10),
    (Actor.put_from_inside, 10),
    (Actor.get, 10),
    (Actor.get_from_inside, 10),
    (Actor.shut_down, 1),
    (Actor.submit, 10),
    (Actor.map, 3),
    (Actor.stop_a_task, 3),
    (Actor.late_task, 2),
]


def main(seconds, seed):
    world = World(seed)
    actors = [Actor(world, number) for number in range(THREADS)]
    for actor in actors:
        actor.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and not world.errors:
        time.sleep(0.1)
    world.over = True
    for actor in actors:
        actor.join(60)
        assert not actor.is_alive(), f"{actor.last.__name__}() hangs in {actor.name}"
    if world.errors:
        raise world.errors[0]
    for ledger in world.closed_ledgers + world.ledgers:
        ledger.check()
    world.pool.shutdown()
    for interp in filter(None, world.slots):
        with contextlib.suppress(isles.InterpreterNotFoundError):
            interp.close()
    ledger = actor = interp = None
    world.slots.clear()
    world.ledgers.clear()
    world.closed_ledgers.clear()
    isles.warm(0, wait=60)
    gc.collect()
    assert [interp.id for interp in isles.list_all()] == [0]
    assert isles.queues.list_all() == []
    missing = {action.__name__ for action, _ in ACTIONS} - world.done.keys()
    assert not missing or sum(world.done.values()) < 3000, missing
    print(
        f"seed {seed}: {sum(world.done.values())} actions, {sum(world.made.values())} interpreters,"
        f" {next(world.numbers)} items"
    )


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.setswitchinterval(float(sys.argv[3]))
    main(float(sys.argv[1]), int(sys.argv[2]))
