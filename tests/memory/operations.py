"""Does one operation again and again, each time with a later allocation failing, until none fails.

Run with failing_malloc.c, compiled, preloaded: python operations.py NAME.  Those fail that isles
asks for itself.
After each failure the interpreter has to work, and when all is done nothing may be left behind.
"""

import asyncio
import collections
import gc
import itertools
import re
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
import failing_malloc
import far

import isles
from isles import _interpreters, aio

OPERATIONS = {}
VALUES = {
    "ints": list(range(40)),
    "text": "é" * 300,
    "big": 10**60,
    "nested": [(1.5, {True: b"x"})],
}
BYTES = bytes(100_000)
REPEATED = 20
POOL = isles.InterpreterPoolExecutor(1)
LOOP = asyncio.new_event_loop()
AIO_QUEUE = aio.create_queue()


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


@operation
def call(interp, queue):
    assert interp.call(far.nothing) is None


@operation
def call_values(interp, queue):
    assert interp.call(far.same, VALUES) == VALUES


@operation
def call_bytes(interp, queue):
    assert interp.call(len, BYTES) == len(BYTES)


@operation
def call_pickled(interp, queue):
    assert interp.call(far.same, far.Point(1, 2)) == far.Point(1, 2)


@operation
def call_by_value(interp, queue):
    assert interp.call(lambda x: x + 1, 1) == 2


@operation
def call_raises(interp, queue):
    try:
        interp.call(int, "x")
    except isles.ExecutionFailed as error:
        assert "ValueError" in str(error)
    else:
        raise AssertionError("no error")


@operation
def run(interp, queue):
    assert interp.run(far.add, (1, 2), {"c": 3}, timeout=60) == 6


@operation
def exec_(interp, queue):
    interp.exec("x = [1, 2, 3]")


@operation
def prepare_main(interp, queue):
    interp.prepare_main(values=VALUES)


@operation
def put_get(interp, queue):
    queue.put(VALUES)
    assert queue.get() == VALUES


@operation
def put_get_bytes(interp, queue):
    queue.put_nowait(bytearray(BYTES))
    assert queue.get_nowait() == BYTES


@operation
def queue_made(interp, queue):
    mine = isles.create_queue(3)
    mine.put(1)
    assert mine.qsize() == 1


@operation
def queue_sent(interp, queue):
    assert interp.call(far.same, queue) == queue


@operation
def shared(interp, queue):
    buffer = isles.SharedBuffer(len(BYTES))
    assert interp.call(far.same, buffer).nbytes == len(BYTES)


@operation
def ids(interp, queue):
    assert interp.id in [each.id for each in isles.list_all()]
    assert isles.Interpreter(interp.id) == interp


@operation
def is_shareable(interp, queue):
    assert isles.is_shareable((1, "two", b"3"))


@operation
def create_close(interp, queue):
    isles.create().close()


@operation
def view(interp, queue):
    queue.put(memoryview(BYTES))
    with queue.get() as got:
        assert got.nbytes == len(BYTES)


@operation
def unfinished_get(interp, queue):
    try:
        queue.get(timeout=0.0001)
    except isles.QueueEmpty:
        return
    raise AssertionError("something was there")


@operation
def wait(interp, queue):
    queue.put(None)
    assert isles.wait([queue], timeout=10) == [queue]


@operation
def other_thread(interp, queue):
    thread = threading.Thread(target=call_values, args=(interp, queue))
    thread.start()
    thread.join()


@operation
def printed(interp, queue):
    interp.call(print, end="")


@operation
def submitted(interp, queue):
    assert POOL.submit(far.add, 1, 2).result() == 103


@operation
def awaited(interp, queue):
    empty(AIO_QUEUE)

    async def there_and_back():
        # Caught here: a circle that holds a MemoryError is never collected (seen on 3.13).
        try:
            await AIO_QUEUE.put(VALUES)
            return await AIO_QUEUE.get()
        except MemoryError:
            return None

    if LOOP.run_until_complete(there_and_back()) != VALUES:
        raise MemoryError


@operation
def low_level(interp, queue):
    _interpreters.run_string(interp.id, "y = 1")
    assert _interpreters.is_running(interp.id) is False


def code_of(path):
    """Where the code of a shared object lies."""
    maps = Path("/proc/self/maps").read_text()
    ranges = re.findall(rf"^(\w+)-(\w+) r-xp .*{path}$", maps, re.MULTILINE)
    return tuple(int(end, 16) for end in ranges[0])


def attempt(operation, n, *args):
    """Do it with the n-th allocation failing; what it raised, or None, and whether one failed.

    The exception is not kept: CPython has a last MemoryError to give when there is no memory for
    another, and what its traceback holds stays.
    """
    try:
        failing_malloc.arm(n)
        operation(*args)
    except BaseException as caught:
        failed = failing_malloc.disarm()
        return f"{type(caught).__name__}: {caught}", failed
    return None, failing_malloc.disarm()


def check_works(interp):
    for _ in range(2):  # a late cache may fail once more
        assert interp.call(far.add, 1, 2) == 103
    queue = isles.create_queue()
    queue.put(["all", "well"])
    assert interp.call(far.call_method, queue, "get_nowait") == ["all", "well"]


def settled(interp):
    """How many allocations are alive without the garbage and the names in CPython's cache."""
    for call in (lambda func: func(), interp.call):
        call(gc.collect)
        call(sys._clear_type_cache)
    return failing_malloc.alive()


def growth(operation, n, interp, queue):
    """What is more alive after each time that the n-th allocation failed."""
    least = None
    for _ in range(3):
        before = settled(interp)
        for _ in range(REPEATED):
            attempt(operation, n, interp, queue)
            empty(queue)
        grown = (settled(interp) - before) / REPEATED
        least = grown if least is None else min(least, grown)
        if least < 0.5:
            break
    return least


def empty(queue):
    while queue.qsize():
        queue.get_nowait()


def until_none_fails(operation, interp, queue):
    """The number of allocations, what was raised and how often, and those that left something."""
    raised = collections.Counter()
    leaking = []
    settled(interp)
    usual = growth(operation, 0, interp, queue)
    for n in itertools.count(1):
        error, failed = attempt(operation, n, interp, queue)
        if not failed:
            assert error is None, f"without a failed allocation: {error}"
            return n - 1, raised, leaking
        if error and "MemoryError" not in error:
            print(f"{n}: {error}", file=sys.stderr)
        raised[str(error).partition(":")[0]] += 1
        empty(queue)
        check_works(interp)
        # Some is CPython's: what an interpreter leaves that ended.
        if growth(operation, n, interp, queue) > usual + 0.5:
            leaking.append(n)


def main():
    operation = OPERATIONS[sys.argv[1]]
    # Without memory CPython itself aborts where it makes an interpreter.
    depth = 1 if operation is create_close else 4
    isles_code = code_of(re.escape(_interpreters.__file__))
    failing_malloc.code(isles_code, code_of(r"/ld-linux[^/]*"), depth)
    interp = isles.create()
    queue = isles.create_queue()
    for _ in range(3):
        operation(interp, queue)
        check_works(interp)
    count, raised, leaking = until_none_fails(operation, interp, queue)
    print(f"{count} allocations, {dict(raised)}")
    assert not leaking, f"left something behind each time: {leaking}"


if __name__ == "__main__":
    main()
