"""How an interpreter's life ends: close(), the last holder gone, and nothing else."""

import copy
import gc
import pickle
import textwrap
import threading
import time
import weakref

import pytest
import visits
from child_process import check_clean
from visits import (
    close_oneself,
    close_through,
    forget,
    give_back,
    keep,
    make_and_fail,
    make_one,
    make_some,
    refused_close,
    run_until,
    same,
)

import isles
from isles import _interpreters as low


def ids():
    return [int(id) for id in low.list_all()]


def ended(id):
    return id not in ids()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No test here leaves an interpreter behind."""
    gc.collect()
    before = ids()
    yield
    gc.collect()
    assert ids() == before


@pytest.fixture
def std():
    """The standard library's own interpreters: they are refused, and get through all this."""
    return pytest.importorskip("_interpreters")


# ---- close ----


def test_close_twice():
    interp = isles.create()
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError, match=str(interp.id)):
        interp.close()


def test_after_close():
    interp = isles.create()
    interp.close()
    for use in (
        interp.is_running,
        lambda: interp.exec("pass"),
        lambda: interp.call(int),
        lambda: interp.prepare_main(x=1),
        lambda: interp.whence,
        lambda: isles.Interpreter(interp.id),
        lambda: pickle.loads(pickle.dumps(interp)),
        lambda: low.destroy(interp.id),
    ):
        with pytest.raises(isles.InterpreterNotFoundError):
            use()
    # What needs no interpreter still works.
    assert repr(interp) == f"Interpreter({interp.id})"
    assert interp == interp and hash(interp) == hash(interp)


def test_an_id_is_never_used_twice():
    seen = set()
    for _ in range(20):
        with isles.create() as interp:
            assert interp.id not in seen
            seen.add(interp.id)


def test_close_main():
    for refused in (isles.get_main().close, lambda: low.destroy(0)):
        with pytest.raises(isles.InterpreterError) as caught:
            refused()
        assert type(caught.value) is isles.InterpreterError


@pytest.mark.parametrize("isolated", [True, False])
def test_close_oneself(isolated):
    with isles.create(isolated=isolated) as interp:
        name, _ = interp.call(close_oneself)
        assert name == "InterpreterError"
        assert not interp.is_running()


@pytest.mark.parametrize("isolated", [True, False])
def test_close_main_from_inside(isolated):
    with isles.create(isolated=isolated) as interp:
        assert interp.call(refused_close, 0)[0] == "InterpreterError"


def test_close_what_is_beneath():
    with isles.create() as outer, isles.create() as inner:
        name, text = outer.call(close_through, inner.id, outer.id)
        assert name == "InterpreterBusyError", text
        assert outer.call(int) == inner.call(int) == 0


class Occupied:
    """An interpreter with a thread inside until the end of the with block."""

    def __init__(self, interp):
        self.interp = interp

    def __enter__(self):
        import os

        read, self.write = os.pipe()
        ready, wrote = os.pipe()
        self.fds = (read, self.write, ready, wrote)
        self.thread = self.interp.call_in_thread(run_until, read, wrote)
        os.read(ready, 1)
        return self.interp

    def __exit__(self, *exc_info):
        import os

        os.write(self.write, b"x")
        self.thread.join()
        for fd in self.fds:
            os.close(fd)


@pytest.mark.parametrize("isolated", [True, False])
def test_close_running(isolated):
    with isles.create(isolated=isolated) as interp:
        with Occupied(interp):
            for _ in range(3):
                with pytest.raises(isles.InterpreterBusyError, match=f"interpreter {interp.id} "):
                    interp.close()
                with pytest.raises(isles.InterpreterBusyError):
                    low.destroy(interp.id)
            assert interp.is_running()
        assert interp.call(int) == 0


def test_close_made_by_others(std):
    id = std.create()
    try:
        for refused in (isles.Interpreter(id).close, lambda: low.destroy(id)):
            with pytest.raises(isles.InterpreterError, match="unrecognized") as caught:
                refused()
            assert type(caught.value) is isles.InterpreterError
        # Also when isles is at home there.
        assert std.exec(id, "import isles") is None
        with pytest.raises(isles.InterpreterError, match="unrecognized"):
            isles.Interpreter(id).close()
        assert std.exec(id, "x = 1") is None
    finally:
        std.destroy(id)
    with pytest.raises(isles.InterpreterNotFoundError):
        isles.Interpreter(id)


def test_close_made_by_others_and_ended(std):
    id = std.create()
    interp = isles.Interpreter(id)
    std.destroy(id)
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.is_running()


def test_close_from_another_interpreter():
    with isles.create() as other:
        interp = isles.create()
        assert other.call(refused_close, interp.id) is None
        assert ended(interp.id)


def test_close_takes_no_arguments():
    with isles.create() as interp:
        with pytest.raises(TypeError):
            interp.close(1)
        with pytest.raises(TypeError):
            interp.close(x=1)


@pytest.mark.parametrize("count", [2, 8])
def test_concurrent_closes(count):
    for _ in range(15):
        interp = isles.create()
        outcomes = []
        barrier = threading.Barrier(count)

        def close(interp=interp, outcomes=outcomes, barrier=barrier):
            barrier.wait()
            try:
                outcomes.append(interp.close())
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=close) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(None) == 1
        failures = [error for error in outcomes if error is not None]
        assert [type(error) for error in failures] == [isles.InterpreterNotFoundError] * (count - 1)
        assert ended(interp.id)


def test_close_against_calls():
    """A caller gets its result, or a clear refusal; the closer succeeds in the end."""
    for _ in range(10):
        interp = isles.create()
        outcomes = []

        def call(interp=interp, outcomes=outcomes):
            while True:
                time.sleep(0.0005)  # leave the closer a gap
                try:
                    outcomes.append(interp.call(int, "3"))
                except isles.InterpreterBusyError:
                    outcomes.append(3)
                except isles.InterpreterNotFoundError:
                    return
                except BaseException as error:
                    outcomes.append(error)
                    return

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not outcomes:
            time.sleep(0.001)
        while True:
            try:
                interp.close()
                break
            except isles.InterpreterBusyError:
                pass
        for thread in threads:
            thread.join()
        assert set(outcomes) == {3}


# ---- what close waits for and runs ----


@pytest.mark.parametrize("isolated", [True, False])
def test_close_joins_threads(isolated, capfd):
    with isles.create(isolated=isolated) as interp:
        interp.exec(
            textwrap.dedent("""
                import threading, time
                def late():
                    time.sleep(0.2)
                    print("late", flush=True)
                threading.Thread(target=late).start()
            """)
        )
    assert capfd.readouterr().out == "late\n"


def test_close_refuses_daemon_threads():
    interp = isles.create(isolated=False)
    interp.exec(
        textwrap.dedent("""
            import threading
            done = threading.Event()
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
        """)
    )
    for _ in range(2):
        with pytest.raises(isles.InterpreterBusyError, match="thread"):
            interp.close()
    assert not interp.is_running()
    interp.exec("done.set(); thread.join()")
    for _ in range(100):  # its thread state goes a moment after join() returned
        try:
            interp.close()
            break
        except isles.InterpreterBusyError:
            threading.Event().wait(0.01)
    assert ended(interp.id)


def test_close_runs_atexit_callbacks(capfd):
    with isles.create() as interp:
        interp.exec("import atexit; atexit.register(print, 'bye', flush=True)")
        assert capfd.readouterr().out == ""
    assert capfd.readouterr().out == "bye\n"


def test_close_runs_destructors(capfd):
    with isles.create() as interp:
        interp.exec("class C:\n def __del__(self): print('gone', flush=True)\nc = C(); c.c = c")
    assert capfd.readouterr().out == "gone\n"


def test_close_in_the_destructor_of_another():
    """An interpreter's end ends those that only it held, at any depth."""
    first = isles.create()
    chain = [first.id]
    holder = first
    for _ in range(4):
        interp = isles.create()
        chain.append(interp.id)
        holder.prepare_main(held=interp)
        holder = interp
    del interp, holder
    assert set(chain) <= set(ids())
    first.close()
    assert not set(chain) & set(ids())


def test_context_manager():
    with isles.create() as interp:
        assert isles.Interpreter(interp.id) is interp
    assert ended(interp.id)
    with isles.create() as interp:
        interp.close()  # before the end of the block: that is no error there
    with pytest.raises(ZeroDivisionError), isles.create() as interp:
        1 / 0
    assert ended(interp.id)


# ---- nobody holds it ----


def test_not_held():
    id = isles.create().id
    assert ended(id)


def test_held_twice():
    interp = isles.create()
    id, other = interp.id, isles.Interpreter(interp.id)
    del interp
    assert not ended(id)
    assert other.call(int) == 0
    del other
    assert ended(id)


def test_held_by_a_cycle():
    interp = isles.create()
    cycle = [interp]
    cycle.append(cycle)
    id = interp.id
    del interp, cycle
    assert not ended(id)
    gc.collect()
    assert ended(id)


def test_held_by_a_subclass_instance_in_a_cycle():
    class Mine(isles.Interpreter):
        pass

    mine = Mine._create(isolated=True, extensions={})
    id = mine.id
    mine.me = mine
    ref = weakref.ref(mine)
    del mine
    gc.collect()
    assert ref() is None
    assert ended(int(id))


def test_not_owned():
    """What the low-level create() makes stays until destroy()."""
    id = low.create()
    interp = isles.Interpreter(id)
    del interp
    assert not ended(int(id))
    low.destroy(id)


def test_held_by_a_call_that_runs():
    """The bound method in the thread keeps it, and then nothing does."""
    interp = isles.create()
    id = interp.id
    with Occupied(interp) as occupied:
        del interp, occupied
        assert not ended(id)


def test_held_by_an_occupied_thread_only():
    import os

    read, write = os.pipe()
    ready, wrote = os.pipe()
    interp = isles.create()
    id = interp.id
    thread = interp.call_in_thread(run_until, read, wrote)
    del interp
    os.read(ready, 1)
    gc.collect()
    assert not ended(id)
    os.write(write, b"x")
    thread.join()
    del thread
    assert ended(id)
    for fd in (read, write, ready, wrote):
        os.close(fd)


def test_dropped_while_it_runs():
    """Code inside calls back and drops the last object: it ends when that code has left."""
    visits.dropping = [isles.create()]
    id = visits.dropping[0].id
    call = visits.dropping[0].exec
    call("import isles, visits; isles.get_main().call(visits.drop); still = 'here'")
    assert visits.dropping == []
    assert not ended(id)  # the bound method holds it
    del call
    assert ended(id)


def test_weakref():
    interp = isles.create()
    ref = weakref.ref(interp)
    assert ref() is interp
    del interp
    assert ref() is None


def test_pickled():
    """A pickle is only a number: it holds nothing."""
    interp = isles.create()
    data = pickle.dumps(interp)
    assert pickle.loads(data) is interp
    id = interp.id
    del interp
    assert ended(id)
    with pytest.raises(isles.InterpreterNotFoundError):
        pickle.loads(data)


def test_as_a_result():
    """In flight it is held by nobody on either side, and must arrive alive."""
    with isles.create() as other:
        for _ in range(5):
            interp = other.call(make_one)
            assert interp.call(int) == 0
            id = interp.id
            del interp
            other.call(gc.collect)
            assert ended(id)


@pytest.mark.parametrize("how", ["tuple", "list", "dict", "nested"])
def test_inside_a_result(how):
    with isles.create() as other:
        result = other.call(make_some, how)
        made = set(ids()) - {0, other.id}
        assert len(made) == 1
        (id,) = made
        assert isles.Interpreter(id).call(int) == 0
        del result
        assert ended(id)


def test_result_that_is_dropped():
    with isles.create() as other:
        before = ids()
        other.call_in_thread(make_one).join()
        assert ids() == before


def test_result_that_can_not_come_back():
    with isles.create() as other:
        before = ids()
        with pytest.raises(isles.NotShareableError):
            other.call(make_and_fail)
        assert ids() == before


@pytest.mark.parametrize("wrap", [lambda i: i, lambda i: (i,), lambda i: [i], lambda i: {"i": i}])
def test_held_by_another_interpreter(wrap):
    with isles.create() as other:
        interp = isles.create()
        id = interp.id
        other.call(keep, wrap(interp))
        del interp
        assert not ended(id)
        other.call(forget)
        other.call(gc.collect)
        assert ended(id)


def test_holder_is_closed():
    other, interp = isles.create(), isles.create()
    id = interp.id
    other.prepare_main(held=interp)
    del interp
    assert not ended(id)
    other.close()
    assert ended(id)


def test_arguments_of_a_refused_call():
    interp, other = isles.create(), isles.create()
    other.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        other.call(keep, interp)
    with pytest.raises(isles.InterpreterNotFoundError):
        other.call(keep, [interp])
    id = interp.id
    del interp
    assert ended(id)


def test_argument_beside_one_that_can_not_travel():
    with isles.create() as other:
        interp = isles.create()
        with pytest.raises(isles.NotShareableError):
            other.call(keep, interp, threading.Lock())
        with pytest.raises(isles.NotShareableError):
            other.call(keep, [interp, threading.Lock()])
        id = interp.id
        del interp
        assert ended(id)


def test_holding_one_another():
    """No collector sees across interpreters: such a pair lives until one is closed."""
    one, two = isles.create(), isles.create()
    pair = {one.id, two.id}
    one.prepare_main(other=two)
    two.prepare_main(other=one)
    del one, two
    gc.collect()
    assert pair <= set(ids())
    isles.Interpreter(min(pair)).close()
    gc.collect()
    assert not pair & set(ids())


def test_holding_itself():
    interp = isles.create()
    id = interp.id
    interp.prepare_main(me=interp)
    del interp
    gc.collect()
    if not ended(id):
        isles.Interpreter(id).close()
        pytest.fail("an interpreter that only it holds itself is still there")


def test_in_an_exception():
    def fail():
        interp = isles.create()
        number.append(interp.id)
        interp.exec("1/0")

    number = []
    with pytest.raises(isles.ExecutionFailed) as caught:
        fail()
    del caught
    gc.collect()
    assert ended(number[0])


def test_dropped_in_a_thread():
    number = []
    thread = threading.Thread(target=lambda: number.append(isles.create().id))
    thread.start()
    thread.join()
    assert ended(number[0])


def test_failing_destructor_of_the_holder():
    """Dropping while an exception is on its way leaves that exception alone."""
    with pytest.raises(ZeroDivisionError):
        interp = isles.create()
        id = interp.id
        try:
            1 / 0
        finally:
            del interp
    assert ended(id)


def test_none_leaks():
    before = ids()
    for _ in range(30):
        interp = isles.create()
        interp.prepare_main(x=[1])
        interp.call(len, [1, 2])
        del interp
    assert ids() == before


def test_dropped_by_many_threads():
    with isles.create() as other:
        for _ in range(10):
            interp = isles.create()
            id = interp.id
            barrier = threading.Barrier(4)

            def hold(own, barrier=barrier):
                barrier.wait()
                del own[0]

            threads = [threading.Thread(target=hold, args=([interp],)) for _ in range(3)]
            for thread in threads:
                thread.start()
            other.prepare_main(held=interp)
            del interp
            barrier.wait()
            other.exec("del held")
            for thread in threads:
                thread.join()
            del threads, thread
            gc.collect()
            assert ended(id)


# ---- one object for each id ----


def test_one_object_for_each_id():
    with isles.create() as interp:
        assert isles.Interpreter(interp.id) is interp
        assert isles.Interpreter(low.InterpreterID(interp.id)) is interp
        assert interp in isles.list_all()
        assert next(i for i in isles.list_all() if i == interp) is interp
        assert pickle.loads(pickle.dumps(interp)) is interp
        assert copy.copy(interp) is interp and copy.deepcopy(interp) is interp
        assert interp.call(give_back, interp) is interp
        assert interp.call(give_back, [interp])[0] is interp
        assert interp.call(isles.get_current) is interp
    assert isles.get_main() is isles.get_main() is isles.get_current()


def test_one_object_in_other_interpreters():
    with isles.create() as interp:
        assert interp.call(same, interp)


def test_one_object_for_racing_threads():
    for _ in range(30):
        id = low.create()
        found = []
        barrier = threading.Barrier(4)

        def find(id=id, found=found, barrier=barrier):
            barrier.wait()
            found.append(isles.Interpreter(id))

        threads = [threading.Thread(target=find) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({*map(__builtins__["id"], found)}) == 1
        found.clear()
        low.destroy(id)


def test_subclass_has_objects_of_its_own():
    class Mine(isles.Interpreter):
        pass

    with isles.create() as interp:
        mine = Mine(interp.id)
        assert type(mine) is Mine and mine is not interp
        assert mine == interp and hash(mine) == hash(interp)


# ---- in processes of their own ----


def test_gc_in_every_interpreter_at_once():
    check_clean(
        textwrap.dedent("""
            import gc, threading, isles
            def work():
                import gc, isles
                for _ in range(5):
                    mine = [isles.create()]
                    mine.append(mine)
                    mine[0].exec("x = []; x.append(x)")
                    del mine
                    gc.collect()
            interps = [isles.create() for _ in range(3)]
            threads = [i.call_in_thread(work) for i in interps]
            for t in threads: t.join()
            del threads, t
            print(len(isles.list_all()))
            assert len(isles.list_all()) == 4
        """)
    )


def test_reload():
    """The package forgotten and imported again knows the same interpreters."""
    check_clean(
        textwrap.dedent("""
            import sys, isles
            interp = isles.create()
            for name in [n for n in sys.modules if n.split(".")[0] == "isles"]:
                del sys.modules[name]
            import isles as again
            assert again is not isles
            assert again.Interpreter(interp.id).call(int) == 0
            interp.close()
        """)
    )


# ---- isles in places where one might not expect it ----


def test_imported_by_site_in_every_interpreter(tmp_path):
    """Then it registers itself in an interpreter that is still being made."""
    (tmp_path / "sitecustomize.py").write_text("import isles\n")
    inner = textwrap.dedent("""
        import sys, isles
        for _ in range(3):
            with isles.create() as interp:
                interp.exec('import sys; assert "sitecustomize" in sys.modules')
                assert interp.call(len, 'abc') == 3
    """)
    check_clean(
        textwrap.dedent("""
            import os, subprocess, sys
            path = os.pathsep.join([sys.argv[1], *filter(None, sys.path)])
            env = {**os.environ, 'PYTHONPATH': path}
            sys.exit(subprocess.call([sys.executable, '-c', sys.argv[2]], env=env))
        """),
        str(tmp_path),
        inner,
    )


def test_imported_in_another_owners_interpreter_only():
    """Main then sees to the end of what was made there all the same."""
    check_clean(
        textwrap.dedent("""
            import sys, time
            import _interpreters
            id = _interpreters.create('isolated')
            failure = _interpreters.exec(id, '''if True:
                import sys
                sys.path[:] = %r
                import isles
                from isles import _interpreters
                made = _interpreters.create()
                _interpreters.run_string(made, 'x = 1')
            ''' % (sys.path,))
            assert failure is None, failure
            time.sleep(0.01)
            assert 'isles' in sys.modules
            _interpreters.destroy(id)
        """)
    )


def test_collected_with_its_type_at_the_end():
    """The collector may clear the type, and with it the way to the module, before the object."""
    check_clean(
        textwrap.dedent("""
            import isles
            with isles.create() as interp:
                interp.exec('''if True:
                    import sys
                    import isles
                    class Mine(isles.Interpreter):
                        pass
                    mine = Mine._create(isolated=True, extensions={})
                    mine.itself = mine, Mine
                    Mine.instance = mine
                    mine.exec('pass')
                    del sys.modules['isles'], sys.modules['isles._interpreters'], isles, mine, Mine
                ''')
            assert len(isles.list_all()) == 1, isles.list_all()
        """)
    )


def test_creating_does_not_read_all_mappings():
    """CPython has the main thread read them again and again while it makes an interpreter."""
    check_clean("""
import isles, mmap, threading, time

def create():
    start = time.perf_counter()
    with isles.create():
        return time.perf_counter() - start

kept = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ * (i % 2)) for i in range(30_000)]
here = min(create() for _ in range(4))
there = []
for _ in range(4):
    thread = threading.Thread(target=lambda: there.append(create()))
    thread.start()
    thread.join()
assert here < 5 * min(there) + 0.05, (here, there)
""")
