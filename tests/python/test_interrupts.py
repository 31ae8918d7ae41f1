"""Stopping what runs in an interpreter: interrupt() and run(timeout=)."""

import random
import threading
import time

import far
import pytest

import isles
from isles import _interpreters


class Running:
    """A call on another thread, which begins before the block does."""

    def __init__(self, interp, func, *args):
        self.outcome = None
        self.begun = isles.create_queue()
        self._interp = interp
        self._thread = threading.Thread(target=self._run, args=(far.begin, self.begun, func, *args))

    def _run(self, func, *args):
        try:
            self.outcome = self._interp.call(func, *args)
        except BaseException as error:
            self.outcome = error

    def __enter__(self):
        self._thread.start()
        self.begun.get(timeout=60)
        time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def ident(self):
        return self._thread.ident

    def join(self, seconds):
        self._thread.join(seconds)
        return not self._thread.is_alive()


def test_what_computes(interp):
    for _ in range(5):
        with Running(interp, far.forever) as running:
            assert interp.interrupt() is True
            assert running.join(10)
        assert isinstance(running.outcome, isles.ExecutionFailed)
        assert running.outcome.excinfo.type.__name__ == "KeyboardInterrupt"
        assert interp.call(far.doubled, 4)


@pytest.mark.parametrize(
    ("exc", "caught"),
    [
        (KeyboardInterrupt, ("KeyboardInterrupt", ())),
        (TimeoutError, ("TimeoutError", ())),
        (ValueError("a", [1, {"b": 2}]), ("ValueError", ("a", [1, {"b": 2}]))),
        (isles.QueueEmpty("none"), ("QueueEmpty", ("none",))),
    ],
)
def test_with_an_exception_of_ones_own(interp, exc, caught):
    with Running(interp, far.catches) as running:
        assert interp.interrupt(exc)
    assert running.outcome == caught


@pytest.mark.parametrize("exc", [far.Unmakeable(), far.NotItself()])
def test_with_an_exception_that_does_not_arrive(interp, exc):
    with Running(interp, far.catches) as running:
        assert interp.interrupt(exc)
    assert running.outcome == ("KeyboardInterrupt", ())


def test_what_waits_for_a_queue(interp):
    queue = isles.create_queue(1)
    for wait in (queue.get, far.wait_for):
        with Running(interp, wait, *([queue] if wait is far.wait_for else [])) as running:
            assert interp.interrupt()
        assert running.outcome.excinfo.type.__name__ == "KeyboardInterrupt"
    queue.put(1)
    with Running(interp, queue.put, 2) as running:
        assert interp.interrupt()
    assert running.outcome.excinfo.type.__name__ == "KeyboardInterrupt"
    assert queue.get() == 1
    assert queue.qsize() == 0


def test_a_rung_thread_waits_as_before(interp):
    queue = isles.create_queue()
    with Running(interp, far.catches):
        assert interp.interrupt()
    with Running(interp, queue.get) as running:
        queue.put("x")
    assert running.outcome == "x"


def test_nothing_runs(interp):
    assert interp.interrupt() is False
    assert interp.call(far.doubled, 4) == interp.call(far.doubled, 4)


def test_what_it_called_on_into(interp):
    with isles.create() as other:
        for func, *args in ([far.forever], [isles.create_queue().get]):
            interp.call(far.calls_on, other, far.spin, 1)
            with Running(interp, far.calls_on, other, func, *args) as running:
                while not other.is_running():  # packing makes another exception of it
                    time.sleep(0.001)
                assert interp.interrupt(LookupError)
            assert running.outcome.excinfo.type.__name__ == "LookupError"
            assert not other.is_running()
            with Running(interp, far.calls_on, other, func, *args) as running:
                while not other.is_running():
                    time.sleep(0.001)
                assert other.interrupt(LookupError)
            assert running.outcome.excinfo.type.__name__ == "ExecutionFailed"
            assert other.call(abs, -1) == interp.call(abs, -1) == 1


def test_only_the_thread_that_is_meant(interp):
    with Running(interp, far.forever) as running:
        assert not _interpreters.interrupt(interp.id, KeyboardInterrupt, threading.get_ident())
        assert not running.join(0.1)
        assert _interpreters.interrupt(interp.id, ident=running.ident)


def test_refused(interp):
    with pytest.raises(isles.InterpreterError, match="main interpreter"):
        isles.get_main().interrupt()
    for exc in (5, int, "KeyboardInterrupt"):
        with pytest.raises(TypeError, match="exc must be an exception"):
            interp.interrupt(exc)
    with pytest.raises(isles.NotShareableError, match="exc"):
        interp.interrupt(ValueError(threading.Lock()))
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.interrupt()


def test_never_the_next_one(interp):
    """Short tasks, and random interrupts that carry the name of the task that they mean: while one
    is sent no other task begins."""
    hits = tasks = 0
    interp.call(far.spin, 1)
    until = time.monotonic() + 3
    rng = random.Random(4)
    begin = threading.Lock()

    def send():
        while time.monotonic() < until:
            with begin:
                interp.interrupt(InterruptedError(tasks))
            time.sleep(rng.random() * 0.0005)

    sender = threading.Thread(target=send)
    sender.start()
    while time.monotonic() < until:
        with begin:
            tasks += 1
        try:
            interp.call(far.spin, 2000)
        except isles.ExecutionFailed as failed:
            hits += 1
            assert failed.excinfo.msg == str(tasks)
    sender.join()
    assert hits > 10, (hits, tasks)
    assert interp.call(abs, -1) == 1


# ---- run() ----


def wait_idle(interp):
    until = time.monotonic() + 20
    while interp.is_running():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_run_without_a_timeout(interp):
    assert interp.run(divmod, (7, 2)) == (3, 1)
    assert interp.run(dict, kwargs={"a": 1}) == {"a": 1}


def test_run_in_time(interp):
    assert interp.run(divmod, [7, 2], timeout=10) == (3, 1)
    with pytest.raises(isles.ExecutionFailed, match="ZeroDivisionError"):
        interp.run(divmod, (7, 0), timeout=10)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            interp.run(abs, (1,), timeout=timeout)


def test_run_too_long(interp):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"took more than 0\.1 s") as caught:
        interp.run(far.forever, timeout=0.1)
    assert time.monotonic() - start >= 0.1
    wait_idle(interp)  # a machine under load may need more than the grace
    cause = caught.value.__cause__
    assert cause is None or cause.excinfo.type.__name__ == "KeyboardInterrupt"
    assert interp.call(abs, -1) == 1


def test_run_blocked_in_c(interp):
    with pytest.raises(TimeoutError, match="stays busy"):
        interp.run(time.sleep, (2.0,), timeout=0.1)
    with pytest.raises(isles.InterpreterBusyError):
        interp.call(abs, -1)
    wait_idle(interp)
    assert interp.call(abs, -1) == 1


@pytest.mark.parametrize("args", [(), (far.SlowToPack(),)], ids=["at once", "slow to pack"])
def test_run_out_of_time_before_it_begins(interp, args):
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            interp.run(far.forever, args, timeout=0)
        until = time.monotonic() + 20
        while threading.active_count() > before:
            assert time.monotonic() < until, "it was not stopped"
            time.sleep(0.01)
    assert interp.call(abs, -1) == 1
