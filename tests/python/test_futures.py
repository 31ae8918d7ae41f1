"""The executor: as `concurrent.futures` has it, and what goes beyond."""

import asyncio
import gc
import math
import os
import sys
import threading
import time
import traceback
import weakref
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool

import far
import far_tasks
import pytest
from child_process import LATE, check_clean, forks, run_script

import isles
from isles import _cpus
from isles._cpus import _quotas_above
from isles._future import Future
from isles.futures import BrokenInterpreterPool, InterpreterPoolExecutor


@pytest.fixture
def pool():
    with InterpreterPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def one():
    """An executor with one worker, ready."""
    with InterpreterPoolExecutor(1) as pool:
        pool.submit(far_tasks.nothing).result()
        yield pool


@pytest.fixture
def gate(tmp_path):
    """A task that ends when the file exists; open() makes it."""

    class Gate:
        path = tmp_path / "gate"

        def close(self, pool):
            return pool.submit(far_tasks.gate, str(self.path))

        def open(self):
            self.path.touch()

    gate = Gate()
    yield gate
    gate.open()


def interpreters():
    return {interp.id for interp in isles.list_all()}


def eventually(condition):
    deadline = time.monotonic() + LATE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# ---- names and parameters ----


def test_names():
    assert isles.InterpreterPoolExecutor is InterpreterPoolExecutor
    assert issubclass(InterpreterPoolExecutor, futures.Executor)
    assert issubclass(BrokenInterpreterPool, futures.BrokenExecutor)
    assert issubclass(BrokenInterpreterPool, BrokenThreadPool)
    fresh = Future()
    for name, value in vars(futures.Future()).items():
        if name != "_condition":
            assert getattr(fresh, name) == value or getattr(fresh, name) == ()


def test_importing_isles_does_not_import_it():
    script = "import isles, sys; print(sys.modules.keys() & {'isles.futures', 'logging'})"
    assert check_clean(script) == "set()\n"


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"max_workers": "4"}, TypeError),
        ({"max_workers": 2.5}, TypeError),
        ({"initializer": "pass"}, TypeError),
        ({"initializer": 3}, TypeError),
        ({"preload": "json"}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": "1"}, TypeError),
        ({"extensions": "none"}, ValueError),
        ({"extensions": 3}, TypeError),
        ({"mp_context": None}, TypeError),
    ],
)
def test_refused_parameters(kwargs, error):
    before = interpreters()
    with pytest.raises(error):
        InterpreterPoolExecutor(**kwargs)
    assert interpreters() == before


def test_thread_names():
    with InterpreterPoolExecutor(1, "some") as pool:
        pool.submit(far_tasks.nothing).result()
        assert [thread.name for thread in pool._threads] == ["some_0"]
    with InterpreterPoolExecutor(1) as pool:
        pool.submit(far_tasks.nothing).result()
        (thread,) = pool._threads
        assert thread.name.startswith("InterpreterPoolExecutor-") and thread.name.endswith("_0")


def test_default_size(monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3)
    monkeypatch.setattr(_cpus, "_quotas", lambda: iter(()))
    assert InterpreterPoolExecutor()._max_workers == 3
    monkeypatch.setattr(_cpus, "_quotas", lambda: iter((8.0, 1.5)))
    assert InterpreterPoolExecutor()._max_workers == 2
    monkeypatch.setattr(_cpus, "_quotas", lambda: iter((0.1,)))
    assert InterpreterPoolExecutor()._max_workers == 1
    monkeypatch.setattr(_cpus, "_quotas", lambda: iter((9.0,)))
    assert InterpreterPoolExecutor()._max_workers == 3


def test_quotas_of_control_groups(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "a" / "cpu.max").write_text("150000 100000\n")
    assert list(_quotas_above(str(tmp_path), "/a/b", "cpu.max")) == [1.5]
    (inner / "quota").write_text("-1\n")
    (inner / "period").write_text("100000\n")
    (tmp_path / "quota").write_text("200000\n")
    (tmp_path / "period").write_text("100000\n")
    assert list(_quotas_above(str(tmp_path), "/a/b", "quota", "period")) == [2.0]
    assert list(_quotas_above(str(tmp_path), "/gone/from/here", "cpu.max")) == []


# ---- submit ----


def test_submit(pool):
    future = pool.submit(far_tasks.add, 1, y=2, z=3)
    assert isinstance(future, futures.Future)
    assert future.result(LATE) == 6 and future.done() and future.exception() is None
    assert pool.submit(pow, 2, 8).result() == 256
    assert pool.submit(dict, self=1, fn=2).result() == {"self": 1, "fn": 2}
    with pytest.raises(TypeError):
        pool.submit(fn=pow)


def test_runs_elsewhere(pool):
    ids = {pool.submit(far_tasks.here).result() for _ in range(4)}
    assert ids and isles.get_current().id not in ids
    assert all(isles.Interpreter(id) in isles.list_all() for id in ids)


def test_functions_by_value(pool, in_main):
    assert pool.submit(lambda x: x * 2, 4).result() == 8
    outer = 10

    def closure(x):
        return x + outer

    assert pool.submit(closure, 1).result() == 11
    outer = 20
    assert pool.submit(closure, 1).result() == 21
    func = in_main("K = 5\ndef func(x): return x + K", "func")
    assert list(pool.map(func, range(6), chunksize=2)) == [5, 6, 7, 8, 9, 10]


def test_function_travels_once(one, monkeypatch):
    from isles import _pack

    packed = []
    pack = _pack.pack
    monkeypatch.setattr(_pack, "pack", lambda func: packed.append(func) or pack(func))
    func = eval("lambda x: x + 1")
    assert [one.submit(func, i).result() for i in range(5)] == [1, 2, 3, 4, 5]
    assert list(one.map(func, range(9), chunksize=2)) == list(range(1, 10))
    assert packed == [func]


def test_workers_are_started_when_needed(gate):
    with InterpreterPoolExecutor(4) as pool:
        assert not pool._threads
        for _ in range(5):
            pool.submit(far_tasks.nothing).result()
        assert len(pool._threads) == 1
        waiting = [gate.close(pool) for _ in range(2)]
        assert len(pool._threads) == 2
        more = [pool.submit(far_tasks.nothing) for _ in range(10)]
        assert len(pool._threads) == 4
        futures.wait(more, LATE)
        gate.open()
        futures.wait(waiting, LATE)
        for _ in range(20):
            pool.submit(far_tasks.nothing)
        assert len(pool._threads) == 4


def test_cancelled_tasks_do_not_count_as_work(one, gate):
    gate.close(one)
    waiting = [one.submit(far_tasks.nothing) for _ in range(5)]
    assert all(future.cancel() for future in waiting)
    gate.open()
    assert one.submit(far_tasks.here).result()
    assert one.stats()[0].tasks == 3


def test_order_of_one_worker(one):
    done = []
    waiting = [one.submit(far_tasks.same, i) for i in range(200)]
    for future in waiting:
        future.add_done_callback(lambda future: done.append(future.result()))
    futures.wait(waiting, LATE)
    eventually(lambda: len(done) == 200)
    assert done == list(range(200))


def test_arguments_that_cannot_travel(pool):
    lock = threading.Lock()
    future = pool.submit(far_tasks.same, lock)
    with pytest.raises(isles.NotShareableError):
        future.result(LATE)
    with pytest.raises(isles.NotShareableError, match="result"):
        pool.submit(far_tasks.unshareable).result(LATE)
    with pytest.raises(TypeError):
        pool.submit("not callable").result(LATE)
    assert pool.submit(far_tasks.add, 1).result() == 1


def test_nothing_is_kept(one):
    class Thing:
        def method(self):
            return self

    thing = Thing()
    gone = weakref.ref(thing)
    one.submit(thing.method)
    del thing
    eventually(lambda: gone() is None)


def test_results_are_not_kept(pool):
    for chunksize in (1, 3):
        for result in pool.map(set, [[1]] * 10, chunksize=chunksize):
            gone = weakref.ref(result)
            del result
            eventually(lambda: gone() is None)


# ---- what a task raises ----


def raised(pool, func, *args):
    error = pool.submit(func, *args).exception(LATE)
    shown = "".join(traceback.format_exception(error))
    return error, shown


def test_exception_as_it_was(pool):
    error, shown = raised(pool, far_tasks.fail_detailed)
    assert type(error) is far_tasks.Detailed
    assert (error.args, error.code, error.extra) == ((42,), 42, [1, 2])
    assert error.__notes__ == ["a note"]
    cause = error.__cause__
    assert type(cause) is isles.ExecutionFailed
    assert cause.excinfo.type.__name__ == "Detailed" and cause.excinfo.msg == "42"
    assert vars(cause).keys() == {"excinfo", "_where"}
    for line in ("in fail_detailed", "    raise error", "a note", "direct cause"):
        assert line in shown
    with pytest.raises(far_tasks.Detailed):
        pool.submit(far_tasks.fail_detailed).result()


def test_exception_chain(pool):
    error, shown = raised(pool, far_tasks.fail_from)
    assert type(error) is RuntimeError and error.args == ("outer",)
    middle = error.__context__
    assert type(middle) is LookupError and middle.__cause__ is not None
    assert type(middle.__cause__) is KeyError and middle.__suppress_context__
    assert type(error.__cause__) is isles.ExecutionFailed
    for line in ("KeyError: 'inner'", "LookupError: middle", "in fail_from"):
        assert line in shown


def test_own_cause_stays(pool):
    def func():
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise ValueError("bad") from error

    error, shown = raised(pool, func)
    assert type(error) is ValueError
    assert type(error.__cause__) is ZeroDivisionError
    assert type(error.__cause__.__cause__) is isles.ExecutionFailed
    assert "in func" in shown


def test_exception_group(pool):
    error, shown = raised(pool, far_tasks.fail_group)
    assert type(error) is ExceptionGroup and error.message == "several"
    part, deep = error.exceptions
    assert type(part) is ValueError and type(part.__cause__) is FileNotFoundError
    assert part.__cause__.errno == 2 and error.__context__ is part.__cause__
    assert type(deep.exceptions[0]) is TypeError
    assert "in fail_group" in shown


def test_circular_causes(pool):
    error, _ = raised(pool, far_tasks.fail_from_itself)
    assert error.args == ("first",) and error.__cause__.__cause__ is error


@pytest.mark.parametrize("func", [far_tasks.fail_unlucky, far_tasks.fail_unpicklable])
def test_exception_that_cannot_travel(pool, func):
    error, shown = raised(pool, func)
    assert type(error) is isles.ExecutionFailed
    assert f"in {func.__name__}" in shown
    assert vars(error).keys() == {"excinfo", "_where"}


def test_chain_that_cannot_travel(pool):
    error, shown = raised(pool, far_tasks.fail_from_unlucky)
    assert type(error) is ValueError and type(error.__cause__) is isles.ExecutionFailed
    assert "Unlucky: 1 2" in shown


def test_exception_class_of_the_script(pool, in_main):
    source = """
        class Mine(Exception):
            pass
        def func(x):
            error = Mine(x)
            error.x = x
            raise error
    """
    func = in_main(source, "func")
    error, _ = raised(pool, func, 3)
    import __main__

    assert type(error) is __main__.Mine and error.x == 3


def test_base_exceptions(one):
    with pytest.raises(SystemExit) as caught:
        one.submit(far_tasks.leave, 3).result(LATE)
    assert caught.value.code == 3
    with pytest.raises(KeyboardInterrupt):
        one.submit(far_tasks.fail, KeyboardInterrupt()).result(LATE)
    assert one.submit(far_tasks.add, 1).result() == 1


def test_exceptions_of_isles(pool):
    error, _ = raised(pool, far_tasks.fail, isles.InterpreterNotFoundError("mine"))
    assert type(error) is isles.InterpreterNotFoundError and str(error) == "mine"
    assert len(pool.stats()) == 1 and pool.stats()[0].tasks == 1


def test_falsy_exception(pool):
    class Falsy(Exception):
        def __bool__(self):
            return False

    with pytest.raises(Falsy):
        pool.submit(far_tasks.fail, Falsy()).result(LATE)


def test_exception_makes_no_cycle(one):
    gc.collect()
    future = one.submit(far_tasks.fail_detailed)
    try:
        future.result(LATE)
    except far_tasks.Detailed as error:
        gone = weakref.ref(error)
    del future
    one.submit(far_tasks.nothing).result()
    gc.disable()
    try:
        eventually(lambda: gone() is None)
    finally:
        gc.enable()


# ---- futures ----


def test_wait_and_as_completed(pool, gate):
    closed = gate.close(pool)
    quick = pool.submit(far_tasks.nothing)
    done, waiting = futures.wait([closed, quick], LATE, futures.FIRST_COMPLETED)
    assert (done, waiting) == ({quick}, {closed})
    with pytest.raises(TimeoutError):
        closed.result(0.01)
    with pytest.raises(TimeoutError):
        list(futures.as_completed([closed, quick], 0.01))
    assert not closed.cancel() and closed.running()
    order = futures.as_completed([closed, quick], LATE)
    assert next(order) is quick
    gate.open()
    assert next(order) is closed
    failing = pool.submit(far_tasks.fail_detailed)
    done, _ = futures.wait([failing], LATE, futures.FIRST_EXCEPTION)
    assert done == {failing}


def test_many_wait_for_one(pool, gate):
    future = gate.close(pool)
    got = []
    threads = [threading.Thread(target=lambda: got.append(future.result(LATE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    with pytest.raises(TimeoutError):
        future.exception(0.01)
    gate.open()
    for thread in threads:
        thread.join(LATE)
    assert got == [None] * 8
    assert future._condition.sleepers is None


def test_wait_that_times_out_leaves_nothing(pool, gate):
    future = gate.close(pool)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            future.result(0.001)
    assert not future._condition.sleepers


def test_cancel(one, gate):
    running = gate.close(one)
    waiting = one.submit(far_tasks.set_state, "ran")
    seen = []
    waiting.add_done_callback(seen.append)
    eventually(running.running)
    assert waiting.cancel() and waiting.cancelled() and seen == [waiting]
    with pytest.raises(futures.CancelledError):
        waiting.result()
    gate.open()
    assert one.submit(far_tasks.get_state).result() is None
    assert futures.wait([waiting], LATE).done == {waiting}


def test_asyncio(pool):
    async def main():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(loop.run_in_executor(pool, far_tasks.add, i, 1) for i in range(10))
        )
        wrapped = asyncio.wrap_future(pool.submit(far_tasks.fail_detailed))
        with pytest.raises(far_tasks.Detailed):
            await wrapped
        return results

    assert asyncio.run(main()) == list(range(1, 11))


def test_default_executor_of_a_loop(pool):
    async def main():
        asyncio.get_running_loop().set_default_executor(InterpreterPoolExecutor(1))
        return await asyncio.to_thread(far_tasks.here)

    with pytest.raises(isles.NotShareableError):
        asyncio.run(main())  # to_thread() passes a context on

    async def direct():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(InterpreterPoolExecutor(1))
        return await loop.run_in_executor(None, far_tasks.here)

    assert asyncio.run(direct()) != isles.get_current().id


# ---- map ----


@pytest.mark.parametrize("chunksize", [1, 2, 3, 100])
def test_map(pool, chunksize):
    assert list(pool.map(abs, range(-5, 5), chunksize=chunksize)) == list(map(abs, range(-5, 5)))
    both = pool.map(pow, range(10), range(7), chunksize=chunksize)
    assert list(both) == list(map(pow, range(10), range(7)))
    assert list(pool.map(tuple, [(1, 2), (3, 4)], chunksize=chunksize)) == [(1, 2), (3, 4)]
    assert list(pool.map(abs, [], chunksize=chunksize)) == []
    assert list(pool.map(abs, chunksize=chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 2, 3, 100])
def test_map_unordered(pool, chunksize):
    found = pool.map_unordered(abs, range(-50, 50), chunksize=chunksize)
    assert sorted(found) == sorted(map(abs, range(-50, 50)))
    assert list(pool.map_unordered(pow, [2], [3], chunksize=chunksize)) == [8]
    assert list(pool.map_unordered(abs, [], chunksize=chunksize)) == []


def test_map_unordered_comes_as_it_is_done(pool, gate):
    path = str(gate.path)
    results = pool.map_unordered(lambda x: far_tasks.gate(path) if x == 0 else x, range(4))
    assert {next(results) for _ in range(3)} == {1, 2, 3}
    gate.open()
    assert list(results) == [None]


@pytest.mark.parametrize("chunksize", [1, 2, 3, 100])
def test_map_raises_in_its_turn(pool, chunksize):
    results = pool.map(far_tasks.fail_at, range(6), [4] * 6, chunksize=chunksize)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError) as caught:
        next(results)
    assert caught.value.args == (4,) and "in fail_at" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(results)


def test_map_chunk_whose_results_cannot_travel(pool):
    results = pool.map(lambda x: x if x < 3 else far_tasks.unshareable(), range(4), chunksize=4)
    with pytest.raises(isles.NotShareableError):
        next(results)


@pytest.mark.parametrize("name", ["map", "map_unordered"])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_buffersize(pool, name, chunksize):
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield i

    results = getattr(pool, name)(far_tasks.same, source(), buffersize=3, chunksize=chunksize)
    assert len(taken) == 3 * chunksize
    next(results)
    assert len(taken) == 4 * chunksize
    assert sorted([*results]) != [] and len(taken) == 100


@pytest.mark.parametrize("name", ["map", "map_unordered"])
def test_map_keeps_the_executor_while_it_submits(name):
    results = getattr(InterpreterPoolExecutor(1), name)(far_tasks.same, range(50), buffersize=2)
    gc.collect()
    assert list(results) == list(range(50))


@pytest.mark.parametrize("name", ["map", "map_unordered"])
@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"chunksize": 0}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": -1}, ValueError),
        ({"buffersize": 2.0}, TypeError),
        ({"buffersize": "1"}, TypeError),
    ],
)
def test_map_refuses(pool, name, kwargs, error):
    with pytest.raises(error):
        getattr(pool, name)(abs, [1], **kwargs)
    with pytest.raises(TypeError):
        getattr(pool, name)(abs, 3)


@pytest.mark.parametrize("name", ["map", "map_unordered"])
def test_map_timeout(one, gate, name):
    gate.close(one)
    results = getattr(one, name)(far_tasks.set_state, ["ran", "again"], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    assert one.submit(far_tasks.get_state).result() is None  # what had not begun was cancelled


def test_map_closed_early(one, gate):
    path = str(gate.path)

    def func(x):
        if x == 1:
            far_tasks.gate(path)
        if x > 1:
            far_tasks.set_state("ran")

    results = one.map(func, range(5))
    next(results)
    results.close()
    gate.open()
    assert one.submit(far_tasks.get_state).result() is None


# ---- the workers' interpreters ----


def test_initializer():
    with InterpreterPoolExecutor(2, initializer=far_tasks.set_state, initargs=("set",)) as pool:
        assert {pool.submit(far_tasks.get_state).result() for _ in range(6)} == {"set"}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"initializer": far_tasks.fail, "initargs": (ValueError("no"),)},
        {"initializer": far_tasks.same},
        {"initializer": far_tasks.same, "initargs": (threading.Lock(),)},
        {"preload": ["json", "there_is_no_such_module"]},
    ],
    ids=["raises", "arguments", "unshareable", "preload"],
)
def test_broken(kwargs, caplog):
    before = interpreters()
    pool = InterpreterPoolExecutor(2, **kwargs)
    waiting = []
    for _ in range(5):
        try:
            waiting.append(pool.submit(far_tasks.nothing))
        except BrokenInterpreterPool:
            break
    for future in waiting:
        with pytest.raises(BrokenInterpreterPool):
            future.result(LATE)
    with pytest.raises(BrokenInterpreterPool):
        pool.submit(far_tasks.nothing)
    pool.shutdown()
    with pytest.raises(BrokenInterpreterPool):
        pool.submit(far_tasks.nothing)
    assert "Exception in initializer" in caplog.text
    assert interpreters() == before


def test_preload():
    with InterpreterPoolExecutor(1, preload=["colorsys", "xml.dom"]) as pool:
        loaded = pool.submit(lambda: set(__import__("sys").modules)).result()
        assert {"colorsys", "xml.dom"} <= loaded


def test_shared_gil(monkeypatch):
    create = isles.create
    asked = []
    monkeypatch.setattr(isles, "create", lambda **kwargs: asked.append(kwargs) or create(**kwargs))
    with InterpreterPoolExecutor(1, isolated=False) as pool:
        assert pool.submit(far_tasks.add, 1).result() == 1
    assert asked == [{"isolated": False, "extensions": None}]


def test_extensions():
    with InterpreterPoolExecutor(1, extensions={"_ctypes": "deny:not here"}) as pool:
        error = pool.submit(__import__, "ctypes").exception(LATE)
        assert isinstance(error, ImportError)


def test_max_tasks_per_child():
    before = interpreters()
    with InterpreterPoolExecutor(1, max_tasks_per_child=3) as pool:
        seen = [pool.submit(far_tasks.count).result() for _ in range(7)]
        ids = [id for id, _ in seen]
        assert [count for _, count in seen] == [1, 2, 3, 1, 2, 3, 1]
        assert len(set(ids)) == 3
        assert isles.Interpreter(ids[-1]).id == ids[-1]
        assert len(interpreters() - before) <= 3  # a spare one, and one that is about to end
        assert len(list(pool.map(far_tasks.same, range(100), chunksize=10))) == 100
    assert interpreters() == before


def test_max_tasks_counts_failures():
    with InterpreterPoolExecutor(1, max_tasks_per_child=2) as pool:
        first = pool.submit(far_tasks.here).result()
        pool.submit(far_tasks.fail_detailed).exception()
        assert pool.submit(far_tasks.here).result() != first


def test_closed_interpreter_is_replaced(one):
    id = one.submit(far_tasks.here).result()
    eventually(lambda: one.stats()[0].tasks == 2)
    isles.Interpreter(id).close()
    assert one.stats()[0].interpreter == id
    assert one.submit(far_tasks.here).result(LATE) != id
    assert list(one.map(far_tasks.same, range(10), chunksize=3)) == list(range(10))
    isles.Interpreter(one.stats()[0].interpreter).close()
    assert list(one.map(far_tasks.same, range(10), chunksize=10)) == list(range(10))


def test_busy_interpreter_fails_its_task_only(one):
    interp = isles.Interpreter(one.submit(far_tasks.here).result())
    thread = interp.call_in_thread(far_tasks.sleep, 0.3)
    eventually(interp.is_running)
    with pytest.raises(isles.InterpreterBusyError):
        one.submit(far_tasks.nothing).result(LATE)
    thread.join()
    assert one.submit(far_tasks.here).result(LATE) == interp.id


def test_no_interpreter_to_be_had(one, monkeypatch):
    id = one.submit(far_tasks.here).result()
    isles.Interpreter(id).close()
    create = isles.create

    def refuse(**kwargs):
        raise isles.InterpreterError("none left")

    monkeypatch.setattr(isles, "create", refuse)
    for _ in range(2):
        with pytest.raises(isles.InterpreterError, match="none left"):
            one.submit(far_tasks.nothing).result(LATE)
    monkeypatch.setattr(isles, "create", create)
    assert one.submit(far_tasks.here).result(LATE) > id


def test_first_interpreter_fails(monkeypatch):
    create = isles.create
    tries = []

    def once(**kwargs):
        tries.append(kwargs)
        if len(tries) == 1:
            raise isles.InterpreterError("not yet")
        return create(**kwargs)

    monkeypatch.setattr(isles, "create", once)
    with InterpreterPoolExecutor(1) as pool:
        assert pool.submit(far_tasks.add, 1).result(LATE) == 1
    assert len(tries) == 2


def test_stats(one):
    assert InterpreterPoolExecutor(2).stats() == []
    one.submit(far_tasks.sleep, 0.2).result()
    time.sleep(0.2)
    (stats,) = one.stats()
    assert stats.tasks == 2 and isles.Interpreter(stats.interpreter).id == stats.interpreter
    assert 0.2 <= stats.busy < LATE and 0.15 <= stats.waiting < LATE
    one.submit(far_tasks.fail_detailed).exception()
    assert one.stats()[0].tasks == 3
    one.shutdown()
    assert one.stats()[0].interpreter is None and one.stats()[0].tasks == 3


@pytest.mark.skipif("PYTHONMALLOC" in os.environ, reason="there are no arenas then")
def test_stats_of_memory():
    with InterpreterPoolExecutor(1) as pool:
        pool.submit(abs, -1).result(60)
        before = pool.stats()[0].memory
        assert 2**20 <= before < 2**27
        pool.submit(far_tasks.hoard, 1_000_000).result(60)
        assert pool.stats()[0].memory - before >= 16_000_000
    with InterpreterPoolExecutor(1, isolated=False) as pool:
        pool.submit(abs, -1).result(60)
        assert pool.stats()[0].memory is None
    assert pool.stats()[0].memory is None


def test_parallel_calls_from_many_threads():
    with InterpreterPoolExecutor(3) as pool:
        sums = []

        def work():
            sums.append(sum(pool.submit(far_tasks.same, i).result() for i in range(300)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sums == [sum(range(300))] * 4
        assert sum(stats.tasks for stats in pool.stats()) == 1200


def test_many_workers():
    before = interpreters()
    with InterpreterPoolExecutor(16) as pool:
        assert list(pool.map(math.factorial, range(500))) == [*map(math.factorial, range(500))]
        eventually(lambda: len(interpreters() - before) == 16)
    assert interpreters() == before


# ---- the end ----


def test_shutdown():
    before = interpreters()
    pool = InterpreterPoolExecutor(2)
    waiting = [pool.submit(far_tasks.sleep, 0.01) for _ in range(20)]
    pool.shutdown()
    assert all(future.done() for future in waiting)
    assert not any(thread.is_alive() for thread in pool._threads)
    assert interpreters() == before
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(far_tasks.nothing)
    with pytest.raises(RuntimeError):
        pool.map(far_tasks.same, [1])
    pool.shutdown()


def test_shutdown_without_waiting():
    pool = InterpreterPoolExecutor(2)
    results = pool.map(far_tasks.same, range(20))
    pool.shutdown(wait=False)
    assert list(results) == list(range(20))
    for thread in pool._threads:
        thread.join(LATE)
        assert not thread.is_alive()


def test_shutdown_cancels(one, gate):
    running = gate.close(one)
    waiting = [one.submit(far_tasks.nothing) for _ in range(5)]
    eventually(running.running)
    one.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    assert running.result(LATE) is None
    one.shutdown()


def test_dropped_executor():
    before = interpreters()
    pool = InterpreterPoolExecutor(2)
    waiting = [pool.submit(far_tasks.sleep, 0.01) for _ in range(10)]
    threads = pool._threads
    del pool
    gc.collect()
    for thread in threads:
        thread.join(LATE)
        assert not thread.is_alive()
    assert all(future.done() for future in waiting)
    assert interpreters() == before


def test_inside_an_interpreter(interp):
    def work(shut_down):
        pool = isles.InterpreterPoolExecutor(1)
        result = pool.submit(far_tasks.add, 1, 2).result()
        if shut_down:
            pool.shutdown()
        else:
            far_tasks.state = pool
        return result

    before = interpreters()
    assert interp.call(work, True) == 3
    assert interpreters() == before
    assert interp.call(work, False) == 3
    interp.close()
    assert interpreters() == before - {interp.id}


EXIT = """\
import os, sys, threading, time
import isles
sys.path.insert(0, sys.argv[1])
import far
import far_tasks

def forever():
    while True:
        pass

def stubborn():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

pool = isles.InterpreterPoolExecutor(2)
"""

EXITS = {
    "idle": ("pool.submit(far_tasks.nothing).result()", 0, ""),
    "new": ("", 0, ""),
    "starting": ("pool.submit(far_tasks.nothing)", 0, ""),
    "queued": ("for i in range(20): pool.submit(far_tasks.write, 1, b'%d ' % i)", 0, None),
    "running": ("pool.submit(forever)", 0, ""),
    "running and queued": ("f = [pool.submit(forever) for _ in range(50)]", 0, ""),
    "asleep": ("f = [pool.submit(time.sleep, 60) for _ in range(5)]", 0, ""),
    "stubborn": ("f = [pool.submit(stubborn) for _ in range(5)]", 0, ""),
    "exit code": ("pool.submit(forever); time.sleep(0.2); sys.exit(7)", 7, ""),
    "waited for": (
        "f = [pool.submit(time.sleep, 60) for _ in range(5)]\n"
        "for x in f: threading.Thread(target=x.result).start()",
        0,
        "",
    ),
    "no waiting": ("f = pool.submit(forever); time.sleep(0.2); pool.shutdown(wait=False)", 0, ""),
    "broken": ("p = isles.InterpreterPoolExecutor(1, initializer=forever); p.submit(int)", 0, ""),
    "map": ("r = pool.map(far_tasks.sleep, [0.01] * 1000, chunksize=3); next(r)", 0, ""),
}


@pytest.mark.parametrize("name", EXITS)
def test_exit(name):
    body, code, out = EXITS[name]
    ended = run_script(EXIT + body, os.path.dirname(__file__), timeout=15)
    assert (ended.code, ended.err) == (code, ""), ended
    if out is None:
        assert sorted(map(int, ended.out.split())) == list(range(20)), ended
    else:
        assert ended.out == out, ended
    assert ended.seconds < 3.0, ended  # two, on a machine with nothing else to do


@forks
def test_fork():
    script = """
import os, isles
pool = isles.InterpreterPoolExecutor(1)
assert pool.submit(pow, 2, 3).result() == 8
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    assert pool.stats() == []
    assert pool.submit(pow, 2, 4).result(20) == 16
    pool.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert pool.submit(pow, 2, 5).result() == 32
pool.shutdown()
"""
    check_clean(script)


def test_submit_at_exit():
    script = """
import atexit, isles
@atexit.register
def late():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error)
pool = isles.InterpreterPoolExecutor(1)
pool.submit(int).result()
"""
    assert "cannot schedule new futures" in check_clean(script)


def test_globals_of_the_script():
    """The idiom of multiprocessing: an initializer stores what the tasks use."""
    script = """
import isles
model = None
factor = 1
def init(value):
    global model, extra
    model = [value]
    set_extra()
def set_extra():
    global extra
    extra = 5
def work(x):
    return helper(x) + extra
def helper(x):
    return model[0] * x * factor
if __name__ == "__main__":
    with isles.InterpreterPoolExecutor(2, initializer=init, initargs=(10,)) as pool:
        print(list(pool.map(work, range(4))), list(pool.map(work, range(4), chunksize=2)))
        factor, model = 2, "not seen"
        print(pool.submit(work, 1).result())
        print(pool.submit(lambda: work).result().__name__)
    print(model, "extra" in globals())
"""
    assert check_clean(script).splitlines() == [
        "[5, 15, 25, 35] [5, 15, 25, 35]",
        "25",
        "work",
        "not seen False",
    ]


# ---- the spare interpreter of those that are replaced ----


def _ids_and_modules():
    return isles.get_current().id, "json" in sys.modules


def test_replacing_takes_the_spare_one():
    with isles.InterpreterPoolExecutor(1, max_tasks_per_child=1, preload=["json"]) as pool:
        ids, spares = [], []
        for _ in range(5):
            id, has_json = pool.submit(_ids_and_modules).result()
            assert has_json
            ids.append(id)
            deadline = time.monotonic() + 60
            while not pool._crew.keeper.spare and time.monotonic() < deadline:
                time.sleep(0.001)
            [(spare, _)] = pool._crew.keeper.spare
            spares.append(spare.id)
            del spare
    assert ids[1:] == spares[:-1]
    assert len(set(ids)) == 5
    assert not pool._crew.keeper.spare


def test_the_spare_one_is_as_a_new_one(monkeypatch):
    def variable():
        return os.environ.get("ISLES_TEST_SPARE")

    with isles.InterpreterPoolExecutor(1, max_tasks_per_child=1) as pool:
        assert pool.submit(variable).result() is None
        deadline = time.monotonic() + 10
        while not pool._crew.keeper.spare and time.monotonic() < deadline:
            time.sleep(0.001)
        monkeypatch.setenv("ISLES_TEST_SPARE", "1")
        assert pool.submit(variable).result() == "1"


def test_initializer_is_for_those_that_are_used():
    queue = isles.create_queue()
    with isles.InterpreterPoolExecutor(
        1, max_tasks_per_child=2, initializer=queue.put, initargs=(1,)
    ) as pool:
        list(pool.map(abs, range(5)))
    assert queue.qsize() == 3


# ---- interrupt() ----


def test_interrupt_what_runs():
    begun = isles.create_queue()
    with isles.InterpreterPoolExecutor(1) as pool:
        running = pool.submit(far.begin, begun, far.forever)
        waiting = pool.submit(abs, -1)
        begun.get(timeout=60)
        assert pool.interrupt(waiting) is False
        assert pool.interrupt(running, ValueError("stop")) is True
        with pytest.raises(ValueError, match="stop"):
            running.result(60)
        assert waiting.result(60) == 1
        assert pool.interrupt(running) is False


def test_interrupt_refused():
    with isles.InterpreterPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match="future must come from"):
            pool.interrupt(futures.Future())
        begun = isles.create_queue()
        running = pool.submit(far.begin, begun, far.forever)
        begun.get(timeout=60)
        with pytest.raises(TypeError, match="exc must be an exception"):
            pool.interrupt(running, 5)
        assert pool.interrupt(running)
        assert isinstance(running.exception(60), KeyboardInterrupt)


def test_interrupts_reach_their_task_or_none():
    """Short tasks, random interrupts, each with the name of the task that it means."""
    with isles.InterpreterPoolExecutor(2) as pool:
        pool.submit(far.spin, 1).result()
        tasks = [pool.submit(far.spin, 3000) for _ in range(20_000)]
        sent = 0
        for number in range(0, len(tasks), 7):
            while not (tasks[number].running() or tasks[number].done()):
                time.sleep(0)
            sent += pool.interrupt(tasks[number], InterruptedError(str(number)))
        hits = 0
        for number, task in enumerate(tasks):
            error = task.exception(60)
            if error is not None:
                hits += 1
                assert isinstance(error, InterruptedError)
                assert error.args == (str(number),)
        assert 0 < hits <= sent


# ---- what must not end a worker ----


def _raise(error):
    raise error


class _Unruly(Exception):
    def __reduce__(self):
        return _raise, (SystemExit(3),)


def _raise_unruly():
    raise _Unruly


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_callback_that_raises_no_exception(error, caplog):
    with InterpreterPoolExecutor(1) as pool:
        begun = isles.create_queue()
        task = pool.submit(far.begin, begun, begun.get)
        task.add_done_callback(lambda future: future.result())
        begun.get(timeout=60)
        assert pool.interrupt(task, error)
        assert isinstance(task.exception(60), type(error))
        assert pool.submit(abs, -1).result(60) == 1
    assert "exception calling callback" in caplog.text


def test_exception_that_can_not_be_made_again():
    with InterpreterPoolExecutor(1) as pool:
        assert isinstance(pool.submit(_raise_unruly).exception(60), isles.ExecutionFailed)
        assert pool.submit(abs, -1).result(60) == 1


def test_worker_that_fails_is_replaced(monkeypatch, caplog):
    with InterpreterPoolExecutor(1) as pool:
        pool.submit(abs, -1).result(60)
        (worker,) = pool._crew.workers
        monkeypatch.setattr(worker, "recover", lambda task, error: _raise(error))
        assert isinstance(pool.submit(divmod, 1, 0).exception(60), isles.ExecutionFailed)
        assert pool.submit(abs, -1).result(60) == 1
        assert pool._crew.workers != [worker]
    assert "Exception in a worker" in caplog.text


def test_none_is_left_after_shutdown():
    pool = InterpreterPoolExecutor(2, max_tasks_per_child=1)
    before = isles.list_all()
    tasks = [pool.submit(time.sleep, 0.1) for _ in range(6)]
    pool.shutdown()
    assert all(task.done() for task in tasks)
    assert isles.list_all() == before


def test_default_prefix():
    assert InterpreterPoolExecutor(1, thread_name_prefix=None)._thread_name_prefix
