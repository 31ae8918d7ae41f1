"""What users do, one thing each, for the tests that count memory and references."""

import asyncio
import gc
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
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
POOL = isles.InterpreterPoolExecutor(1)
LOOP = asyncio.new_event_loop()
AIO_QUEUE = aio.create_queue()


def empty(queue):
    while queue.qsize():
        queue.get_nowait()


def check_works(interp):
    for _ in range(2):  # a late cache may fail once more
        assert interp.call(far.add, 1, 2) == 103
    queue = isles.create_queue()
    queue.put(["all", "well"])
    assert interp.call(far.call_method, queue, "get_nowait") == ["all", "well"]


def settle(interp):
    """Let garbage go, and the names in CPython's cache of attributes."""
    for call in (lambda func: func(), interp.call):
        call(gc.collect)
        call(sys._clear_type_cache)


def growth(count, interp, do, repeated, tries, enough):
    """How much more there is after each time, as count() has it: the least of some tries, since
    caches fill up; the first that is below `enough` will do."""
    least = float("inf")
    for _ in range(tries):
        settle(interp)
        before = count()
        for _ in range(repeated):
            do()
        settle(interp)
        least = min(least, (count() - before) / repeated)
        if least < enough:
            break
    return least


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
