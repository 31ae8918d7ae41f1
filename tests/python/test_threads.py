"""Threads and interpreters: who may be inside, what a thread leaves behind, how calls nest."""

import textwrap
import threading
import time

import pytest
from child_process import check_clean
from visits import (
    ask_running,
    call_main,
    call_main_add,
    dive,
    own_thread_calls,
    own_thread_closes,
    there_and_back,
    try_main_from_own_thread,
    wait_for_file,
)

import isles


@pytest.fixture(params=[True, False], ids=["isolated", "shared"])
def interp(request):
    interp = isles.create(isolated=request.param)
    yield interp
    interp.close()


def in_threads(count, body, *args):
    """Run body(number, *args) on that many threads at once; raise what one of them raised."""
    errors = []

    def run(number):
        try:
            body(number, *args)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def insist(use, *args):
    """Call until no other thread is inside."""
    while True:
        try:
            return use(*args)
        except isles.InterpreterBusyError:
            time.sleep(0)


# ---- threads that end ----


def test_thousands_of_short_threads(interp):
    for _ in range(250):
        in_threads(8, lambda n: insist(interp.call, int))
    # close(), in the fixture, trips over any that stayed


def test_short_threads_of_which_nobody_enters_again():
    for _ in range(20):
        interp = isles.create()
        in_threads(10, lambda n: insist(interp.call, int))
        interp.close()


def test_short_threads_in_many_interpreters():
    interps = [isles.create() for _ in range(5)]

    def enter_all(number):
        for interp in interps:
            assert insist(interp.call, abs, -number) == number

    for _ in range(30):
        in_threads(6, enter_all)
    for interp in interps:
        interp.close()


def test_threads_end_while_it_closes():
    for _ in range(15):
        interp = isles.create()
        go = threading.Event()
        entered = threading.Barrier(7)

        def enter(number, interp=interp, go=go, entered=entered):
            insist(interp.call, int)
            entered.wait()
            go.wait()

        threads = [threading.Thread(target=enter, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        entered.wait()
        go.set()
        interp.close()
        for thread in threads:
            thread.join()


def test_thread_outlives_the_interpreter():
    """A thread's table forgets what ended; the next one in the same slot is another."""
    for _ in range(50):
        interp = isles.create()
        interp.exec("x = 1")
        interp.close()
        with isles.create() as other:
            with pytest.raises(isles.ExecutionFailed, match="NameError"):
                other.exec("x")


def test_own_thread_of_the_interpreter(interp):
    interp.exec(
        textwrap.dedent("""
            import threading
            out = []
            threads = [threading.Thread(target=out.append, args=(i,)) for i in range(50)]
            for t in threads: t.start()
            for t in threads: t.join()
            assert sorted(out) == list(range(50))
        """)
    )


# ---- threading.local ----

LOCAL = """
import threading
local = threading.local()
gone = []
class Noted:
    def __init__(self, n): self.n = n
    def __del__(self): gone.append(self.n)
def enter(n):
    before = getattr(local, "value", None)
    local.value = Noted(n)
    return before and before.n
"""


def test_threading_local_stays(interp):
    interp.exec(LOCAL)
    assert interp.call(call_main, "enter", 1) is None
    assert interp.call(call_main, "enter", 2) == 1
    seen = []
    in_threads(1, lambda n: seen.append(interp.call(call_main, "enter", 3)))
    assert seen == [None]
    assert interp.call(call_main, "enter", 4) == 2


def test_threading_local_of_ended_threads_goes(interp):
    interp.exec(LOCAL)
    for number in range(20):
        in_threads(1, lambda _, n=number: interp.call(call_main, "enter", n))
    interp.exec("import gc; gc.collect()")
    interp.exec("assert sorted(gone) == list(range(20)), gone")


def test_many_threads_with_locals_and_close():
    for _ in range(10):
        interp = isles.create()
        interp.exec(LOCAL)
        in_threads(8, lambda n: insist(interp.call, call_main, "enter", n))
        interp.close()


def test_current_thread_inside(interp):
    """One OS thread is one thread, whichever interpreter it is in."""
    ident = interp.call(threading.get_ident)
    assert ident == threading.get_ident()
    assert interp.call(threading.get_native_id) == threading.get_native_id()


# ---- nesting ----


def test_a_b_a(interp):
    assert there_and_back([interp.id, 0]) == [0, interp.id, 0]


def test_a_b_c_b_a(interp):
    with isles.create() as other:
        route = [interp.id, other.id, interp.id, 0, other.id, other.id, interp.id]
        assert there_and_back(route) == [0, *route]


def test_itself(interp):
    assert isles.get_main().call(int) == 0
    assert there_and_back([interp.id, interp.id]) == [0, interp.id, interp.id]


def test_nested_exceptions(interp):
    with isles.create() as other:
        with pytest.raises(isles.ExecutionFailed, match="NotFound"):
            interp.call(there_and_back, [other.id, interp.id, 2**62])
        assert not other.is_running() and not interp.is_running()
        assert there_and_back([interp.id, other.id]) == [0, interp.id, other.id]


def test_deep_but_allowed(interp):
    route = [interp.id, 0] * 20
    assert there_and_back(route) == [0, *route]


def test_depth_limit_is_an_exception(interp):
    depth, text = dive([interp.id, 0], 0)
    assert depth >= 20
    assert "recursion" in text or "nested" in text
    assert not interp.is_running()
    assert there_and_back([interp.id, 0]) == [0, interp.id, 0]


def test_depth_limit_is_an_exception_in_a_thread(interp):
    found = []

    def deep(number):
        with isles.create() as other:
            found.append(dive([interp.id, other.id], 0))

    in_threads(1, deep)
    assert found[0][0] >= 20


def test_recursion_inside_each_level():
    check_clean(
        textwrap.dedent("""
            import isles
            a, b = isles.create(), isles.create()
            SOURCE = '''
            import isles
            def dive(ids, depth):
                def down(n):
                    if n: return down(n - 1)
                    return isles.Interpreter(ids[depth % 2]).call(go, ids, depth + 1)
                try:
                    return down(300)
                except (RecursionError, isles.ExecutionFailed) as e:
                    return depth
            def go(ids, depth):
                import __main__
                return __main__.dive(ids, depth)
            '''
            import textwrap
            for i in (a, b):
                i.exec(textwrap.dedent(SOURCE))
            def start(ids):
                import __main__
                return __main__.dive(ids, 0)
            assert a.call(start, [b.id, a.id]) > 3
            a.close(); b.close()
        """)
    )


def test_endless_recursion_inside(interp):
    with pytest.raises(isles.ExecutionFailed, match="RecursionError"):
        interp.exec("def f(): f()\nf()")
    assert interp.call(int) == 0


# ---- busy ----


@pytest.fixture
def occupied(interp, tmp_path):
    """An interpreter with another thread inside."""
    flag = tmp_path / "flag"
    thread = interp.call_in_thread(wait_for_file, str(flag))
    while not interp.is_running():
        time.sleep(0.001)
    yield interp
    flag.touch()
    thread.join()
    assert not interp.is_running()


def test_busy(occupied):
    message = f"interpreter {occupied.id} is already running"
    for use in (
        lambda: occupied.call(int),
        lambda: occupied.exec("pass"),
        lambda: occupied.prepare_main(x=1),
        lambda: occupied.close(),
    ):
        with pytest.raises(isles.InterpreterBusyError, match=message):
            use()
    assert occupied.is_running()


def test_busy_from_another_interpreter(occupied):
    with isles.create() as other:
        with pytest.raises(isles.ExecutionFailed, match="InterpreterBusyError"):
            other.call(there_and_back, [occupied.id])
        assert other.call(int) == 0


def test_main_is_busy_for_other_threads():
    errors = []

    def enter(number):
        try:
            isles.get_main().exec("pass")
        except BaseException as error:
            errors.append(error)

    in_threads(1, enter)
    assert errors == []  # it has main beneath it: main is where it comes from
    with isles.create() as interp:
        (text,) = interp.call(try_main_from_own_thread)
    assert "main interpreter is already running" in text


def test_only_one_at_a_time(interp):
    """A counter without a lock inside: exact, because one thread at a time is there."""
    interp.exec("count = 0\ndef step():\n global count\n n = count\n count = n + 1")
    done = []

    def step(number):
        for _ in range(100):
            insist(interp.call, call_main, "step")
            done.append(1)

    in_threads(6, step)
    assert len(done) == 600
    interp.exec("assert count == 600, count")


def test_is_running_seen_by_others(occupied):
    assert occupied.is_running()
    with isles.create() as other:
        assert other.call(ask_running, occupied.id)
        assert not other.is_running()


# ---- threads that belong to another interpreter ----


def test_own_thread_calls_others(interp):
    with isles.create() as other:
        assert interp.call(own_thread_calls, [other.id]) == [interp.id, other.id]
        assert interp.call(own_thread_calls, [other.id] * 3) == [interp.id, *[other.id] * 3]


def test_own_thread_calls_back_into_its_own(interp):
    """The thread is at home in the interpreter: coming back to it is plain nesting."""
    with isles.create() as other:
        route = [other.id, interp.id, other.id]
        assert interp.call(own_thread_calls, route) == [interp.id, *route]


def test_own_thread_goes_on_after_the_call_has_left(interp):
    with isles.create() as other:
        interp.prepare_main(other=other)
        interp.exec(
            textwrap.dedent("""
                import threading, time
                result = []
                def run():
                    for n in range(50):
                        result.append(other.call(abs, -n))
                        time.sleep(0.001)
                thread = threading.Thread(target=run)
                thread.start()
            """)
        )
        for _ in range(20):
            assert interp.call(int) == 0
        interp.exec("thread.join(); assert result == list(range(50)), result")
        interp.exec("del other")


def test_own_thread_and_close():
    """close() waits for a thread of the interpreter that is in another one at the moment."""
    with isles.create() as other:
        interp = isles.create()
        interp.prepare_main(other=other)
        interp.exec(
            textwrap.dedent("""
                import threading, time
                threading.Thread(target=other.call, args=(time.sleep, 0.2)).start()
            """)
        )
        while not other.is_running():
            time.sleep(0.001)
        interp.close()
        assert not other.is_running()
        assert other.call(int) == 0


def test_own_threads_closes_what_called_it():
    """A thread of B calls main-made C, which closes B: refused, B is beneath."""
    with isles.create() as b, isles.create() as c:
        name = b.call(own_thread_closes, c.id, b.id)
        assert name == "InterpreterBusyError"
        assert b.call(int) == c.call(int) == 0


# ---- in parallel ----


def test_in_parallel_without_mixing():
    interps = [isles.create() for _ in range(4)]

    def work(number):
        interp = interps[number]
        interp.prepare_main(me=number)
        for i in range(200):
            assert interp.call(call_main_add, i) == number + i
            interp.exec(f"assert me == {number}")

    in_threads(4, work)
    for interp in interps:
        interp.close()


def test_closing_on_a_thread_that_threading_did_not_start():
    # 3.13.0 complains if such a thread's mark outlives the module.
    script = """
import threading
import isles

def name():
    import asyncio  # keeps `threading` up to the last moment
    return type(threading.current_thread()).__name__

def use(interp):
    print(interp.call(name))
    interp.close()

interp = isles.create()
print(interp.call(name))
thread = threading.Thread(target=use, args=(interp,))
thread.start()
thread.join()
"""
    assert check_clean(script) == "_MainThread\n_DummyThread\n"
