"""Tasks with a deadline, and pools that are left in the middle: schedule(), terminate_workers()."""

import gc
import signal
import threading
import time
import weakref
from decimal import Decimal

import far
import pytest
from child_process import run_script

import isles
from isles import InterpreterPoolExecutor

# Seconds in which KeyboardInterrupt has no effect; then a result.
STUBBORN = 4.0


def took_too_long(future, within):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"more than 0\.2 s") as caught:
        future.result(60)
    assert time.monotonic() - start < within
    return caught.value


def settled(pool, threads):
    """Whether the pool has so many threads before long."""
    deadline = time.monotonic() + 20
    while len(pool._threads) != threads and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(pool._threads) == threads


def test_in_time():
    with InterpreterPoolExecutor(2) as pool:
        assert pool.schedule(divmod, (7, 2)).result(60) == (3, 1)
        assert pool.schedule(int, ["12"], {"base": 3}, timeout=60).result(60) == 5
        assert pool.schedule(abs, iter([-1]), timeout=10**12).result(60) == 1
        with pytest.raises(ZeroDivisionError):
            pool.schedule(divmod, (7, 0), timeout=60).result(60)


def test_refused():
    with InterpreterPoolExecutor(1) as pool:
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="non-negative"):
                pool.schedule(abs, (1,), timeout=timeout)
        for timeout, error in [("1", TypeError), (Decimal(1), TypeError), (10**400, OverflowError)]:
            with pytest.raises(error, match=r"an int or a float|too large"):
                pool.schedule(abs, (1,), timeout=timeout)
        assert pool.submit(abs, -1).result(60) == 1
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.schedule(abs, (1,), timeout=1)


@pytest.mark.parametrize("func", [far.forever, isles.create_queue().get])
def test_what_can_be_interrupted(func, monkeypatch):
    monkeypatch.setattr(isles._clock, "GRACE", 60)  # however busy the machine is
    with InterpreterPoolExecutor(1) as pool:
        before = pool.submit(isles.get_current).result(60)
        error = took_too_long(pool.schedule(func, timeout=0.2), 10)
        assert isinstance(error.__cause__, KeyboardInterrupt)  # which shows where it was
        assert isinstance(error.__cause__.__cause__, isles.ExecutionFailed)
        assert pool.submit(isles.get_current).result(60) == before


def test_what_can_not_be_interrupted():
    with InterpreterPoolExecutor(1) as pool:
        before = pool.submit(isles.get_current).result(60)
        error = took_too_long(pool.schedule(time.sleep, (STUBBORN,), timeout=0.2), STUBBORN - 0.5)
        assert "is not back yet" in str(error)
        assert before.is_running()
        other = pool.submit(isles.get_current).result(60)
        assert other != before
        assert settled(pool, 2)  # the worker's and the clock's: the old one ends when it is back
        with pytest.raises(isles.InterpreterNotFoundError):
            before.is_running()
        assert pool.submit(isles.get_current).result(60) == other
        (stats,) = pool.stats()
        assert stats.interpreter == other.id


def test_it_counts_from_when_the_task_begins():
    with InterpreterPoolExecutor(1) as pool:
        first = pool.submit(time.sleep, 3)
        second = pool.schedule(abs, (-1,), timeout=2)
        assert first.result(60) is None
        assert second.result(60) == 1


def test_the_next_task_is_not_hit():
    with InterpreterPoolExecutor(2) as pool:
        tasks = []
        for number in range(400):
            timed = number % 2
            func, args = (far.spin, (2_000_000,)) if timed else (far.spin, (1000,))
            tasks.append(pool.schedule(func, args, timeout=0.005 if timed else None))
        late = 0
        for number, task in enumerate(tasks):
            error = task.exception(60)
            assert error is None or (number % 2 and isinstance(error, TimeoutError)), error
            late += error is not None
        assert late > 0


def test_interrupted_by_somebody_else():
    begun = isles.create_queue()
    with InterpreterPoolExecutor(1) as pool:
        task = pool.schedule(far.begin, (begun, far.forever), timeout=60)
        begun.get(timeout=60)
        assert pool.interrupt(task, ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            task.result(60)


@pytest.mark.parametrize("func", [time.sleep, far.stubborn])
def test_callbacks_of_what_is_given_up_hold_nobody_up(func):
    with InterpreterPoolExecutor(2) as pool:
        stuck = pool.schedule(func, (STUBBORN,), timeout=0.2)
        stuck.add_done_callback(lambda _: time.sleep(STUBBORN))
        start = time.monotonic()
        assert isinstance(pool.schedule(far.forever, timeout=0.3).exception(60), TimeoutError)
        assert time.monotonic() - start < STUBBORN
        assert pool.submit(abs, -1).result(60) == 1


def test_with_a_limit_of_tasks():
    with InterpreterPoolExecutor(1, max_tasks_per_child=1) as pool:
        stuck = pool.schedule(time.sleep, (STUBBORN,), timeout=0.2)
        assert [pool.submit(abs, -n).result(60) for n in range(3)] == [0, 1, 2]
        took_too_long(stuck, 1)


def test_shutdown_waits_for_what_is_stuck():
    pool = InterpreterPoolExecutor(1)
    start = time.monotonic()
    stuck = pool.schedule(time.sleep, (STUBBORN,), timeout=0.2)
    waiting = pool.submit(abs, -1)
    pool.shutdown()
    assert time.monotonic() - start >= STUBBORN
    assert isinstance(stuck.exception(0), TimeoutError)
    assert waiting.result(0) == 1
    assert not any(thread.is_alive() for thread in pool._threads)


@pytest.mark.parametrize("circle", [False, True])
def test_nothing_stays_of_a_pool_that_is_dropped(circle):
    pool = InterpreterPoolExecutor(1)
    if circle:
        pool.itself = pool
    task = pool.schedule(abs, (-1,), timeout=60)
    assert task.result(60) == 1
    threads, gone = list(pool._threads), weakref.ref(pool)
    del pool, task
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_terminate_workers():
    begun = isles.create_queue()
    pool = InterpreterPoolExecutor(1)
    running = pool.submit(far.begin, begun, far.forever)
    waiting = pool.submit(abs, -1)
    begun.get(timeout=60)
    pool.terminate_workers()
    assert isinstance(running.exception(60), KeyboardInterrupt)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    pool.terminate_workers()  # does nothing
    pool.shutdown()
    assert not any(thread.is_alive() for thread in pool._threads)


def test_terminating_waits_for_nobody():
    pool = InterpreterPoolExecutor(1, initializer=slow_start)
    pool.submit(abs, -1)
    task = pool.submit(far.forever)
    while not task.running():
        time.sleep(0.001)
    slow = pool.schedule(far.forever, [Slow()])
    pool.interrupt(task)
    while not slow.running():
        time.sleep(0.001)
    start = time.monotonic()
    pool.terminate_workers()
    assert time.monotonic() - start < Slow.SECONDS / 2
    assert isinstance(slow.exception(60), KeyboardInterrupt)
    pool.shutdown()


class Slow:
    """An argument that takes long to travel."""

    SECONDS = 4

    def __reduce__(self):
        time.sleep(self.SECONDS)
        return object, ()


def test_names_of_threads_that_can_not_be():
    for prefix, error in [("a\0b", ValueError), ("\ud800", UnicodeEncodeError)]:
        with pytest.raises(error):
            InterpreterPoolExecutor(thread_name_prefix=prefix)


SCRIPT = """
import time, isles
def forever(*args):
    while True:
        pass
def begin(begun):
    begun.put(None)
    forever()
if __name__ == "__main__":
    begun = isles.create_queue()
    with isles.InterpreterPoolExecutor(2) as pool:
        tasks = [pool.submit(begin, begun) for _ in range(5)]
        begun.get()
        print("begun", flush=True)
        {wait}
"""


@pytest.mark.parametrize("wait", ["tasks[0].result()", "list(pool.map(forever, range(9)))"])
def test_ctrl_c_leaves_the_block(wait):
    ended = run_script(SCRIPT.format(wait=wait), interrupt=True)
    assert ended.code == -signal.SIGINT, ended
    assert ended.err.endswith("\nKeyboardInterrupt\n"), ended
    assert ended.err.count("Traceback") == 1, ended
    assert ended.seconds < 5, ended


def test_leaving_the_process_with_a_stuck_task():
    ended = run_script("""
import time, isles
if __name__ == "__main__":
    pool = isles.InterpreterPoolExecutor(1)
    task = pool.schedule(time.sleep, (60,), timeout=0.1)
    print(type(task.exception()).__name__)
""")
    assert (ended.code, ended.out, ended.err) == (0, "TimeoutError\n", ""), ended
    assert ended.seconds < 5, ended


def test_in_an_interpreter(interp):
    assert interp.call(far.late_in_a_pool) == ("TimeoutError", 7)
    assert threading.active_count() < 20


def slow_start():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass


def test_an_initializer_is_not_hit_by_what_is_meant_for_a_task():
    with InterpreterPoolExecutor(1, initializer=slow_start, max_tasks_per_child=1) as pool:
        pool.submit(abs, -1).result(60)
        task = pool.schedule(far.forever, timeout=0.1)  # its interpreter is made first
        other = pool.schedule(far.forever)
        while not other.running():
            time.sleep(0.001)
        assert pool.interrupt(other, ValueError("enough"))
        assert isinstance(task.exception(60), TimeoutError)
        assert isinstance(other.exception(60), ValueError)
        assert pool.submit(abs, -1).result(60) == 1
