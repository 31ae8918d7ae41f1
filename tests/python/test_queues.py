"""Queues between interpreters: the whole API, in one and in several interpreters."""

import pickle
import queue as threads_queue
import sys
import textwrap
import threading
import time
import weakref

import pytest
from child_process import LATE, check_clean, forks, run_script

import isles
from isles import queues

both = pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "shared"])

SOON = 0.05  # seconds after which a wait that is to go on has begun


@pytest.fixture(params=[True, False], ids=["isolated", "shared"])
def other(request):
    """An interpreter of either kind, in which `isles` is imported."""
    interp = isles.create(isolated=request.param)
    interp.exec("import isles")
    yield interp
    if interp in isles.list_all():
        interp.close()


class InThread(threading.Thread):
    """Calls a function on a thread of its own; give() is its result, or raises what it raised."""

    def __init__(self, function, *args, **kwargs):
        super().__init__(daemon=True)
        self._call = function, args, kwargs
        self.start()

    def run(self):
        function, args, kwargs = self._call
        try:
            self._result, self._error = function(*args, **kwargs), None
        except BaseException as error:
            self._error = error

    def give(self):
        self.join(LATE)
        assert not self.is_alive(), "it still waits"
        if self._error is not None:
            raise self._error
        return self._result


def waits(function, *args, **kwargs):
    thread = InThread(function, *args, **kwargs)
    thread.join(SOON)
    assert thread.is_alive()
    return thread


# ---- the object ----


def test_create():
    queue = isles.create_queue()
    assert type(queue) is isles.Queue is queues.Queue
    assert queue.maxsize == 0 and queue.qsize() == 0 and queue.empty() and not queue.full()
    assert queue.unbounditems is isles.UNBOUND
    assert isles.create_queue(3).maxsize == 3
    assert isles.create_queue(maxsize=-10).maxsize == -10
    assert isles.create_queue(unbounditems=None).unbounditems is isles.UNBOUND
    assert isles.create_queue(unbounditems=isles.UNBOUND_ERROR).unbounditems is isles.UNBOUND_ERROR
    assert queues.create is isles.create_queue and queues.wait is isles.wait


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"maxsize": "1"}, TypeError),
        ({"maxsize": 1.5}, TypeError),
        ({"maxsize": None}, TypeError),
        ({"maxsize": 2**70}, OverflowError),
        ({"unbounditems": 3}, NotImplementedError),
        ({"size": 1}, TypeError),
    ],
)
def test_create_refuses(kwargs, error):
    with pytest.raises(error):
        isles.create_queue(**kwargs)


def test_identity():
    first, second = isles.create_queue(), isles.create_queue()
    assert first == first and first != second and first != first.id
    assert hash(first) == hash(first.id)
    assert isles.Queue(first.id) is first
    assert isinstance(first.id, int) and second.id > first.id
    assert repr(first) == f"Queue({first.id})"
    assert {first, second, isles.Queue(first.id)} == {first, second}
    for name in ("id", "maxsize", "unbounditems"):
        with pytest.raises(AttributeError):
            setattr(first, name, 1)
    with pytest.raises(TypeError):
        first < second


@pytest.mark.parametrize(
    ("id", "error", "text"),
    [
        (10**9, isles.QueueNotFoundError, "queue 1000000000 not found"),
        (0, isles.QueueNotFoundError, "queue 0 not found"),
        (-1, ValueError, "queue ID must be a non-negative int, got -1"),
        (2**70, OverflowError, ""),
        ("1", TypeError, "id must be an int, got '1'"),
        (1.5, TypeError, "id must be an int, got 1.5"),
    ],
)
def test_no_such_queue(id, error, text):
    with pytest.raises(error) as caught:
        isles.Queue(id)
    assert text in str(caught.value)


def test_lives_as_long_as_its_objects():
    queue = isles.create_queue()
    queue.put([1])
    reference, id = weakref.ref(queue), queue.id
    del queue
    assert reference() is None
    with pytest.raises(isles.QueueNotFoundError):
        isles.Queue(id)


def test_list_all():
    before = queues.list_all()
    first, second = isles.create_queue(), isles.create_queue()
    assert queues.list_all() == [*before, first, second]
    del first
    assert queues.list_all() == [*before, second]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    queue = isles.create_queue()
    assert pickle.loads(pickle.dumps(queue, protocol)) is queue
    for constant in (isles.UNBOUND, isles.UNBOUND_ERROR, isles.UNBOUND_REMOVE):
        assert pickle.loads(pickle.dumps(constant, protocol)) is constant


def test_exceptions():
    assert issubclass(isles.QueueEmpty, (isles.QueueError, threads_queue.Empty))
    assert issubclass(isles.QueueEmpty, threads_queue.Empty)
    assert issubclass(isles.QueueFull, threads_queue.Full)
    assert issubclass(isles.ShutDown, threads_queue.ShutDown)
    names = "QueueEmpty QueueFull ShutDown QueueNotFoundError ItemInterpreterDestroyed".split()
    for name in names:
        assert issubclass(getattr(isles, name), isles.QueueError)
    assert issubclass(isles.QueueError, RuntimeError)
    assert repr(isles.UNBOUND) == "isles.queues.UNBOUND"


def test_importing_isles_stays_cheap(interp):
    interp.exec("import sys, isles")
    for name in ("queue", "isles.queues"):
        assert not interp.call(eval, f"{name!r} in sys.modules")
    interp.exec("isles.QueueEmpty")
    assert interp.call(eval, "'isles.queues' in sys.modules")
    with pytest.raises(AttributeError, match="no attribute 'QueueEmptyish'"):
        _ = isles.QueueEmptyish


# ---- items ----

ITEMS = [
    None,
    True,
    0,
    -(2**63),
    2**200,
    1.5,
    "text",
    "\N{SNOWMAN}\0",
    b"",
    b"x" * 100_000,
    (),
    (1, ("a", None)),
    [1, [2, [3]]],
    {"a": 13, "b": {"c": [1.5, None]}},
    {1, 2},
    isles.UNBOUND,
    isles.get_main(),
]


def test_items_come_as_they_were():
    queue = isles.create_queue()
    for item in ITEMS:
        queue.put(item)
    for item in ITEMS:
        back = queue.get()
        assert back == item and type(back) is type(item)


def test_copies():
    queue = isles.create_queue()
    orig = [1, 2, 3]
    queue.put(orig)
    orig.append(4)
    assert queue.get() == [1, 2, 3]


def test_order_and_size():
    queue = isles.create_queue()
    for i in range(100):
        assert queue.qsize() == i
        queue.put(i)
    assert not queue.full() and not queue.empty()
    assert [queue.get() for _ in range(100)] == list(range(100))
    assert queue.empty()


@pytest.mark.parametrize("maxsize", [1, 3, 11])
def test_bounded(maxsize):
    queue = isles.create_queue(maxsize)
    for i in range(maxsize):
        assert not queue.full()
        queue.put_nowait(i)
    assert queue.full() and queue.qsize() == maxsize
    for refused in (
        lambda: queue.put_nowait(1),
        lambda: queue.put(1, False),
        lambda: queue.put(1, block=False, timeout=3600),
        lambda: queue.put(1, timeout=0),
        lambda: queue.put(1, True, 0.01),
    ):
        with pytest.raises(isles.QueueFull, match=f"queue {queue.id} is full"):
            refused()
    assert [queue.get_nowait() for _ in range(maxsize)] == list(range(maxsize))
    for refused in (
        queue.get_nowait,
        lambda: queue.get(False),
        lambda: queue.get(block=False, timeout=3600),
        lambda: queue.get(timeout=0),
        lambda: queue.get(True, 0.01),
    ):
        with pytest.raises(isles.QueueEmpty, match=f"queue {queue.id} is empty"):
            refused()


def test_a_queue_in_a_queue():
    outer, inner = isles.create_queue(), isles.create_queue()
    outer.put(inner)
    assert outer.get() is inner
    outer.put([inner, {"x": inner}])
    inner.put("still here")
    id = inner.id
    del inner
    (inner, more) = outer.get()
    assert inner.id == id and more["x"] is inner
    assert inner.get() == "still here"


def test_what_can_not_travel():
    queue = isles.create_queue()
    for item in (threading.Lock(), [threading.Lock()]):
        with pytest.raises(isles.NotShareableError):
            queue.put(item)
        with pytest.raises(isles.NotShareableError):
            queue.put_many([1, item])
    assert queue.empty()


class Fails:
    """Raises, when it is unpickled."""

    def __init__(self, error="ValueError('no')"):
        self.error = error

    def __reduce__(self):
        return exec, (f"raise {self.error}",)


def test_an_item_that_can_not_be_read_is_gone():
    queue = isles.create_queue()
    queue.put(Fails())
    queue.put(2)
    with pytest.raises(ValueError, match="no"):
        queue.get()
    assert queue.get() == 2


# ---- arguments ----


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError),
        (-0.5, ValueError),
        (float("-inf"), ValueError),
        (float("nan"), ValueError),
        (float("inf"), OverflowError),
        (10**400, OverflowError),
        ("1", TypeError),
        ([], TypeError),
    ],
)
def test_bad_timeouts(timeout, error):
    queue = isles.create_queue(1)
    for call in (
        lambda: queue.get(timeout=timeout),
        lambda: queue.get_many(1, timeout=timeout),
        lambda: queue.put(1, timeout=timeout),
        lambda: queue.put_many([1], timeout=timeout),
        lambda: isles.wait([queue], timeout),
    ):
        with pytest.raises(error):
            call()
    assert queue.empty()
    queue.put(1, False, timeout)  # not looked at
    assert queue.get(False, timeout) == 1


@pytest.mark.parametrize("timeout", [threading.TIMEOUT_MAX, 1e18, 10**300, 3600, None])
def test_huge_timeouts(timeout):
    queue = isles.create_queue(1)
    queue.put(1, timeout=timeout)
    assert queue.get(timeout=timeout) == 1
    thread = waits(queue.get, timeout=timeout)
    queue.put(2)
    assert thread.give() == 2


def test_bad_arguments():
    queue = isles.create_queue()
    for call in (
        lambda: queue.put(),
        lambda: queue.put(1, True, None, isles.UNBOUND),
        lambda: queue.put(1, obj=1),
        lambda: queue.put(1, wrong=1),
        lambda: queue.put_nowait(1, False),
        lambda: queue.get(True, None, None),
        lambda: queue.get(obj=1),
        lambda: queue.get_nowait(1),
        lambda: queue.get_many(),
        lambda: queue.get_many("1"),
        lambda: queue.put_many(),
        lambda: queue.put_many(1),
        lambda: queue.shutdown(1, 2),
        lambda: isles.wait(),
        lambda: isles.wait(queue.id),
        lambda: isles.wait(queue),
        lambda: isles.wait([queue, 1]),
        lambda: isles.Queue(),
        lambda: isles.Queue(id=queue.id),
    ):
        with pytest.raises(TypeError):
            call()
    for max in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            queue.get_many(max)
    for call in (queue.put, queue.put_nowait, lambda x, **kw: queue.put_many([x], **kw)):
        with pytest.raises(NotImplementedError, match="unsupported unbound replacement op 3"):
            call(1, unbounditems=3)
    assert queue.empty()
    queue.put(obj=1, block=True, timeout=None, unbounditems=None)
    assert queue.get(block=True, timeout=None) == 1


# ---- waiting ----


def test_a_reader_waits_for_an_item():
    queue = isles.create_queue()
    thread = waits(queue.get)
    queue.put("item")
    assert thread.give() == "item"


def test_a_writer_waits_for_room():
    queue = isles.create_queue(1)
    queue.put(1)
    thread = waits(queue.put, 2)
    assert queue.get() == 1
    thread.give()
    assert queue.get() == 2


def test_timeouts():
    queue = isles.create_queue(1)
    start = time.monotonic()
    with pytest.raises(isles.QueueEmpty):
        queue.get(timeout=0.1)
    with pytest.raises(isles.QueueEmpty):
        queue.get_many(2, timeout=0.1)
    queue.put(1)
    with pytest.raises(isles.QueueFull):
        queue.put(2, timeout=0.1)
    assert 0.3 <= time.monotonic() - start < LATE


def test_an_idle_reader_uses_no_cpu():
    queue = isles.create_queue()

    def read():
        start = time.thread_time()
        with pytest.raises(isles.QueueEmpty):
            queue.get(timeout=0.5)
        with pytest.raises(isles.QueueEmpty):
            queue.get_many(3, timeout=0.1)
        assert isles.wait([queue], timeout=0.1) == []
        return time.thread_time() - start

    assert InThread(read).give() < 0.02


def test_what_is_encoded_counts_at_the_put():
    queue = isles.create_queue(1)
    queue.put(0)
    item = [1]
    thread = waits(queue.put, item)
    item.append(2)
    queue.get()
    thread.give()
    assert queue.get() == [1]


def test_many_threads():
    queue, results = isles.create_queue(5), isles.create_queue()

    def write(me):
        for i in range(500):
            queue.put((me, i))

    def read():
        last = [-1] * 4
        for me, i in queue:
            assert i > last[me]
            last[me] = i
            results.put(i)

    readers = [InThread(read) for _ in range(4)]
    for writer in [InThread(write, me) for me in range(4)]:
        writer.give()
    queue.shutdown()
    for reader in readers:
        reader.give()
    assert sum(results.get_many(10_000)) == 4 * sum(range(500))


# ---- many at once ----


def test_put_many_and_get_many():
    queue = isles.create_queue()
    queue.put_many(iter("abcdef"))
    queue.put_many([])
    assert queue.get_many(4) == ["a", "b", "c", "d"]
    assert queue.get_many(sys.maxsize * 10) == ["e", "f"]
    thread = waits(queue.get_many, 10)
    queue.put_many([1, 2, 3])
    got = thread.give()
    assert got + (queue.get_many(10) if queue.qsize() else []) == [1, 2, 3]
    with pytest.raises(isles.QueueEmpty):
        queue.get_many(1, block=False)


def test_put_many_waits_for_room():
    queue = isles.create_queue(2)
    thread = waits(queue.put_many, range(6))
    assert queue.full()
    assert [queue.get() for _ in range(6)] == list(range(6))
    thread.give()


def test_put_many_tells_how_far_it_got():
    queue = isles.create_queue(3)
    with pytest.raises(isles.QueueFull) as caught:
        queue.put_many(range(5), timeout=0.01)
    assert caught.value.items_put == 3
    with pytest.raises(isles.QueueFull) as caught:
        queue.put_many(range(5), block=False)
    assert caught.value.items_put == 0
    assert queue.get() == 0
    thread = waits(queue.put_many, "xyz")
    queue.shutdown()
    with pytest.raises(isles.ShutDown) as caught:
        thread.give()
    assert caught.value.items_put == 1
    assert list(queue) == [1, 2, "x"]


def test_put_many_of_an_iterable_that_fails():
    queue = isles.create_queue()
    with pytest.raises(ZeroDivisionError):
        queue.put_many(1 / i for i in (2, 1, 0))
    assert queue.empty()


def test_get_many_loses_nothing_but_what_can_not_be_read():
    queue = isles.create_queue()
    queue.put_many([1, 2, Fails(), 3, Fails(), 4])
    assert queue.get_many(10) == [1, 2]
    with pytest.raises(ValueError, match="no"):
        queue.get_many(10)
    assert queue.get_many(10) == [3]
    with pytest.raises(ValueError, match="no"):
        queue.get()
    assert queue.get_many(10) == [4]
    queue.put_many([1, Fails("KeyboardInterrupt")])
    with pytest.raises(KeyboardInterrupt):
        queue.get_many(10)
    assert queue.qsize() == 2 and queue.get() == 1


# ---- shutting down ----


def test_shutdown():
    queue = isles.create_queue()
    queue.put_many([1, 2])
    queue.shutdown()
    with pytest.raises(isles.ShutDown, match=f"queue {queue.id} is shut down"):
        queue.put(3)
    with pytest.raises(isles.ShutDown):
        queue.put_nowait(3)
    assert queue.get() == 1 and queue.get_many(5) == [2]
    for get in (queue.get, queue.get_nowait, lambda: queue.get_many(1)):
        with pytest.raises(isles.ShutDown):
            get()
    queue.shutdown()
    queue.shutdown(immediate=True)
    assert list(queue) == []


def test_shutdown_at_once():
    queue = isles.create_queue()
    queue.put([1])
    queue.shutdown(True)
    assert queue.empty()
    with pytest.raises(isles.ShutDown):
        queue.get()


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_wakes_everybody(immediate):
    empty, full = isles.create_queue(), isles.create_queue(1)
    full.put(1)
    threads = [waits(empty.get), waits(empty.get_many, 2), waits(full.put, 2)]
    ends, watches = waits(list, empty), waits(isles.wait, [empty])
    empty.shutdown(immediate)
    full.shutdown(immediate)
    for thread in threads:
        with pytest.raises(isles.ShutDown):
            thread.give()
    assert ends.give() == [] and watches.give() == [empty]


def test_iteration():
    queue = isles.create_queue()
    assert iter(queue) is queue
    thread = waits(list, queue)
    queue.put_many("ab")
    queue.shutdown()
    assert thread.give() == ["a", "b"]


# ---- several queues ----


def test_wait():
    first, second, third = (isles.create_queue() for _ in range(3))
    assert isles.wait([first, second], timeout=0) == []
    assert isles.wait([first, second], timeout=0.01) == []
    assert isles.wait([]) == isles.wait((), 0.01) == []
    thread = waits(isles.wait, (first, second))
    third.put(1)
    second.put(1)
    assert thread.give() == [second]
    first.put(1)
    assert isles.wait(iter([first, second, third, first])) == [first, second, third, first]
    assert second.get() == 1
    assert isles.wait({second, third}, 0) == [third]
    second.shutdown()
    assert isles.wait([second]) == [second]


def test_wait_does_not_take():
    queue = isles.create_queue()
    watcher, reader = waits(isles.wait, [queue]), waits(queue.get)
    queue.put(1)
    assert reader.give() == 1
    queue.put(2)
    assert watcher.give() == [queue]
    assert queue.get() == 2


# ---- other interpreters ----


def test_there_and_back(other):
    there, back = isles.create_queue(), isles.create_queue()

    def serve(there, back):
        for item in there:
            back.put([item, item])
        back.shutdown()

    thread = other.call_in_thread(serve, there, back)
    for item in ITEMS:
        there.put(item)
        assert back.get() == [item, item]
    there.shutdown()
    assert list(back) == []
    thread.join(LATE)
    assert not thread.is_alive()


def test_one_queue_in_two_interpreters(other):
    queue = isles.create_queue(7, unbounditems=isles.UNBOUND_ERROR)
    other.prepare_main(queue=queue)
    assert other.call(eval, "queue.id") == queue.id
    other.exec(f"same = isles.Queue({queue.id}) is queue")
    assert other.call(eval, "same")
    assert other.call(eval, "queue.maxsize, queue.unbounditems is isles.UNBOUND_ERROR") == (7, True)
    other.exec("mine = isles.create_queue(); queue.put(mine); mine.put('in it')")
    mine = queue.get()
    assert mine.id == other.call(eval, "mine.id")
    assert mine.get() == "in it"


def test_outlives_the_interpreter_that_made_it(other):
    queue = other.call(lambda: __import__("isles").create_queue(3))
    other.close()
    queue.put(1)
    assert queue.get() == 1 and queue.maxsize == 3


def test_lives_on_in_the_other_interpreter(other):
    queue = isles.create_queue()
    id = queue.id
    other.prepare_main(queue=queue)
    queue.put("left behind")
    del queue
    assert other.call(eval, "queue.get()") == "left behind"
    assert isles.Queue(id).empty()
    other.exec("del queue")
    with pytest.raises(isles.QueueNotFoundError):
        isles.Queue(id)


def test_many_interpreters():
    queue, results = isles.create_queue(4), isles.create_queue()

    def work(queue, results):
        total = 0
        for number in queue:
            total += number
        results.put(total)

    interps = [isles.create(isolated=i % 2 == 0) for i in range(4)]
    threads = [interp.call_in_thread(work, queue, results) for interp in interps]
    for i in range(1000):
        queue.put(i)
    queue.shutdown()
    assert sum(results.get() for _ in interps) == sum(range(1000))
    for thread, interp in zip(threads, interps, strict=True):
        thread.join()
        interp.close()


# ---- items whose interpreter has ended ----


def test_unbound_items(other):
    queue = isles.create_queue()
    queue.put("main's", unbounditems=isles.UNBOUND_REMOVE)
    other.prepare_main(queue=queue)
    other.exec(
        textwrap.dedent("""
            queue.put(1, unbounditems=isles.UNBOUND)
            queue.put([2] * 1000, unbounditems=isles.UNBOUND_ERROR)
            queue.put_nowait(3)
            queue.put(4, unbounditems=isles.UNBOUND_REMOVE)
            queue.put_many([[5], isles.get_current()], unbounditems=isles.UNBOUND)
        """)
    )
    assert queue.qsize() == 7
    other.close()
    assert queue.qsize() == 6
    assert queue.get() == "main's"
    assert queue.get() is isles.UNBOUND
    with pytest.raises(isles.ItemInterpreterDestroyed, match="interpreter destroyed"):
        queue.get()
    assert [queue.get() for _ in range(3)] == [isles.UNBOUND] * 3
    assert queue.empty()


@pytest.mark.parametrize("default", ["UNBOUND", "UNBOUND_ERROR", "UNBOUND_REMOVE"])
def test_unbound_by_default(other, default):
    queue = isles.create_queue(unbounditems=getattr(isles, default))
    other.prepare_main(queue=queue)
    other.exec("queue.put(1); queue.put_many([2]); queue.put(3, unbounditems=None)")
    other.exec("import isles; queue.put(4, unbounditems=isles.UNBOUND)")
    other.close()
    if default == "UNBOUND":
        assert queue.get_many(9) == [isles.UNBOUND] * 4
    elif default == "UNBOUND_REMOVE":
        assert queue.get_many(9) == [isles.UNBOUND]
    else:
        for _ in range(2):
            with pytest.raises(isles.ItemInterpreterDestroyed):
                queue.get_many(9)
        with pytest.raises(isles.ItemInterpreterDestroyed):
            queue.get()
        assert queue.get_many(9) == [isles.UNBOUND]


def test_removal_makes_room(other):
    queue = isles.create_queue(1)
    other.prepare_main(queue=queue)
    other.exec("queue.put(1, unbounditems=isles.UNBOUND_REMOVE)")
    thread = waits(queue.put, 2)
    other.close()
    thread.give()
    assert queue.get() == 2


def test_interpreters_that_isles_did_not_make():
    interpreters = pytest.importorskip("concurrent.interpreters", reason="new in 3.14")
    queue = isles.create_queue()
    interp = interpreters.create()
    interp.prepare_main(id=queue.id)
    interp.exec("import isles; queue = isles.Queue(id); queue.put([1])")
    interp.exec("queue.put(2, unbounditems=isles.UNBOUND_REMOVE); queue.put('x' * 1000)")
    assert queue.qsize() == 3
    interp.close()
    assert queue.get_many(9) == [isles.UNBOUND] * 2


def test_what_items_hold_goes_with_the_queue(other):
    before = isles.list_all()
    queue = isles.create_queue()
    queue.put(isles.create())
    queue.put([isles.create()])
    assert len(isles.list_all()) == len(before) + 2
    assert isinstance(queue.get(), isles.Interpreter)
    del queue
    assert isles.list_all() == before
    queue = isles.create_queue()
    queue.put(isles.create())
    queue.shutdown(immediate=True)
    assert isles.list_all() == before
    other.exec("queue = isles.create_queue(); queue.put([isles.create(), isles.create()])")
    other.close()
    assert isles.list_all() == [interp for interp in before if interp != other]


def test_close_waits_for_a_thread_that_reads(other):
    queue = isles.create_queue()
    other.prepare_main(queue=queue)
    other.exec("import threading; threading.Thread(target=queue.get).start()")
    thread = waits(other.close)
    queue.put(1)
    thread.give()


def test_an_interpreter_that_reads_is_busy(other):
    queue = isles.create_queue()
    other.prepare_main(queue=queue)
    thread = other.call_in_thread(eval, "1")
    thread.join()
    thread = waits(other.exec, "queue.get()")
    with pytest.raises(isles.InterpreterBusyError):
        other.close()
    queue.put(1)
    thread.give()


# ---- signals ----

SIGNALS = """\
import os, signal, sys, threading, time
import isles

def kick(number=signal.SIGINT, after=0.1):
    def send():
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)
    sent = []
    threading.Thread(target=send, daemon=True).start()
    return sent

def interrupted(function, *args, **kwargs):
    sent = kick()
    try:
        function(*args, **kwargs)
    except KeyboardInterrupt:
        took = time.monotonic() - sent[0]
        assert took < 1, took
    else:
        raise AssertionError('not interrupted')

empty, full = isles.create_queue(), isles.create_queue(1)
full.put(1)
"""


def clean(source: str) -> str:
    return check_clean(SIGNALS + textwrap.dedent(source), timeout=60)


def test_ctrl_c_interrupts_at_once():
    clean("""
        interrupted(empty.get)
        interrupted(empty.get, timeout=60)
        interrupted(full.put, 2)
        interrupted(full.put_many, [2, 3])
        interrupted(isles.wait, [empty])
        interrupted(list, empty)
        assert full.qsize() == 1 and full.get() == 1
        empty.put(5)
        assert empty.get() == 5
    """)


@both
def test_ctrl_c_inside_another_interpreter(isolated):
    clean(f"""
        interp = isles.create(isolated={isolated})
        interp.prepare_main(empty=empty, full=full)
        for _ in range(3):
            interrupted(interp.exec, 'empty.get()')
        interrupted(interp.exec, 'full.put(2)')
        interrupted(interp.exec, 'import isles; isles.wait([empty], 60)')
        empty.put(5)
        assert interp.call(eval, 'empty.get()') == 5
        interp.close()
    """)


def test_ctrl_c_two_interpreters_deep():
    clean("""
        outer, inner = isles.create(), isles.create()
        inner.prepare_main(empty=empty)
        outer.prepare_main(inner=inner)
        interrupted(outer.exec, "inner.exec('empty.get()')")
    """)


def test_a_handler_that_returns_does_not_end_the_wait():
    out = clean("""
        signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))
        interp = isles.create()
        interp.prepare_main(empty=empty)
        for get in (empty.get, lambda **_: interp.call(eval, 'empty.get(timeout=1)')):
            kick(signal.SIGUSR1)
            threading.Timer(0.6, empty.put, ['item']).start()
            start = time.monotonic()
            assert get(timeout=30) == 'item'
            assert time.monotonic() - start > 0.5
        start = time.monotonic()
        kick(signal.SIGUSR1)
        try:
            empty.get(timeout=0.5)
        except isles.QueueEmpty:
            assert 0.5 <= time.monotonic() - start < 5
    """)
    assert out == "handled\n" * 3


def test_the_handler_may_use_the_queue():
    clean("""
        signal.signal(signal.SIGUSR1, lambda *_: empty.put('from the handler'))
        kick(signal.SIGUSR1)
        assert empty.get() == 'from the handler'
    """)


def test_the_main_thread_inside_waits_without_being_watched():
    clean("""
        interp = isles.create()
        interp.prepare_main(empty=empty)
        interp.exec('''if True:
            import isles, time
            for timeout in (1.3, 0.5):  # the watcher goes to sleep within the first
                before = time.process_time()
                try:
                    empty.get(timeout=timeout)
                except isles.QueueEmpty:
                    pass
                used = time.process_time() - before
            assert used < 0.01, used''')
    """)


# ---- leaving the process ----

EXIT = {
    "thread": "threading.Thread(target=wait).start()",
    "daemon thread": "threading.Thread(target=wait, daemon=True).start()",
    "in an interpreter": "threading.Thread(target=interp.exec, args=('wait()',)).start()",
    "daemon in an interpreter": """
        threading.Thread(target=interp.exec, args=('wait()',), daemon=True).start()
    """,
    "thread of an interpreter": """
        interp.exec('import threading; threading.Thread(target=wait).start()')
    """,
    "again and again": """
        def again():
            while True:
                try:
                    wait()
                except Exception:
                    pass
        threading.Thread(target=again).start()
    """,
}
WAITS = ["empty.get()", "full.put(2)", "list(empty)", "isles.wait([empty])", "empty.get(True, 60)"]


@both
@pytest.mark.parametrize("name", EXIT)
def test_exit(name, isolated):
    for wait in WAITS if name == "thread" and isolated else WAITS[:1]:
        define = f"import isles\ndef wait():\n    {wait}\n"
        ended = run_script(
            SIGNALS
            + define
            + f"interp = isles.create(isolated={isolated})\n"
            + "interp.prepare_main(empty=empty, full=full)\n"
            + f"interp.exec({define!r})\n"
            + textwrap.dedent(EXIT[name])
            + "\ntime.sleep(0.1)\nsys.exit(3)\n",
            timeout=10,
        )
        assert (ended.code, ended.out, ended.err) == (3, "", ""), ended
        assert ended.seconds < 5, ended


def test_exit_callbacks_may_wait():
    out = check_clean(
        SIGNALS
        + textwrap.dedent("""
            import atexit
            @atexit.register
            def late():
                try:
                    empty.get(timeout=0.05)
                except isles.QueueEmpty:
                    print('waited')
        """)
    )
    assert out == "waited\n"


# ---- forked children ----


@forks
def test_fork():
    clean("""
        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)
        interp = isles.create()
        mixed = isles.create_queue()
        interp.prepare_main(mixed=mixed)
        interp.exec('import isles; mixed.put(1); mixed.put(2, unbounditems=isles.UNBOUND_REMOVE)')
        mixed.put([3])
        for wait in (empty.get, lambda: full.put(2), lambda: isles.wait([empty])):
            threading.Thread(target=wait, daemon=True).start()
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            assert mixed.get() is isles.UNBOUND and mixed.get() == [3] and mixed.empty()
            empty.put(1)
            assert empty.get() == 1
            assert full.get() == 1 and full.empty()
            threading.Timer(0.05, empty.put, [7]).start()
            assert empty.get() == 7
            mine = isles.create()
            mine.prepare_main(empty=empty)
            mine.exec("empty.put('hello')")
            assert empty.get() == 'hello'
            mine.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert mixed.get() == 1 and mixed.get() == 2
    """)
