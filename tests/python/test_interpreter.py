"""isles.Interpreter and the functions beside it: PEP 734's names."""

import copy
import gc
import os
import pickle
import threading
import weakref

import far
import pytest

import isles
from isles._interpreters import InterpreterID

stdlib = pytest.importorskip("_interpreters")


@pytest.fixture
def foreign():
    """An interpreter that the standard library made."""
    id = stdlib.create()
    yield isles.Interpreter(id)
    stdlib.destroy(id)


# ---- the objects ----


def test_attributes(interp):
    assert type(interp) is isles.Interpreter
    assert type(interp.id) is int
    assert interp.id > 0
    assert repr(interp) == f"Interpreter({interp.id})"
    assert interp.whence == "_interpreters module"
    assert isles.get_main().id == 0
    assert isles.get_main().whence == "runtime init"


@pytest.mark.parametrize("name", ["id", "whence"])
def test_attributes_are_read_only(name, interp):
    with pytest.raises(AttributeError):
        setattr(interp, name, 1)


def test_one_object_per_id(interp):
    assert isles.Interpreter(interp.id) is interp
    assert isles.Interpreter(InterpreterID(interp.id)) is interp
    assert next(each for each in isles.list_all() if each == interp) is interp
    assert isles.get_current() is isles.get_main() is isles.Interpreter(0)


def test_equality(interp):
    with isles.create() as other:
        assert interp == isles.Interpreter(interp.id)
        assert interp != other
        assert hash(interp) == hash(isles.Interpreter(interp.id))
        assert {interp, other, isles.Interpreter(interp.id)} == {interp, other}
    assert interp != interp.id
    assert interp != InterpreterID(interp.id)
    with pytest.raises(TypeError):
        interp < interp


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_to_the_same_object(protocol, interp):
    assert pickle.loads(pickle.dumps(interp, protocol)) is interp


def test_copies_are_the_same_object(interp):
    assert copy.copy(interp) is interp
    assert copy.deepcopy([interp])[0] is interp


def test_pickle_of_an_ended_one(interp):
    pickled = pickle.dumps(interp)
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        pickle.loads(pickled)


def test_travels(interp):
    with isles.create() as other:
        assert interp.call(far.same, other) is other
        assert interp.call(far.same, interp) is interp
        assert interp.call(far.type_name, other) == "isles.Interpreter"
        assert interp.call(far.call_in, other, far.here) == other.id
        assert interp.call(far.call_in, other, far.call_in, interp, far.here) == interp.id
    assert interp.call(isles.get_current) is interp
    assert interp.call(isles.get_main) is isles.get_main()


def test_weakly_referable(interp):
    assert weakref.ref(interp)() is interp


@pytest.mark.parametrize("bad", [None, "1", 1.0, object(), b"1"])
def test_id_of_wrong_type(bad):
    with pytest.raises(TypeError, match=type(bad).__name__):
        isles.Interpreter(bad)


@pytest.mark.parametrize("bad", [-1, 2**63, -(10**30), 10**30])
def test_id_out_of_range(bad):
    with pytest.raises(ValueError, match=str(bad)):
        isles.Interpreter(bad)


def test_unknown_id():
    with pytest.raises(isles.InterpreterNotFoundError, match=str(2**62)):
        isles.Interpreter(2**62)


def test_wrong_arguments():
    with pytest.raises(TypeError):
        isles.Interpreter()
    with pytest.raises(TypeError):
        isles.Interpreter(id=0)
    with pytest.raises(TypeError):
        isles.create(True)


# ---- create, list_all, close ----


@pytest.mark.parametrize("isolated", [True, False])
def test_create_and_close(isolated):
    before = isles.list_all()
    interp = isles.create(isolated=isolated)
    assert isles.list_all() == [*before, interp]
    assert interp.call(far.here) == interp.id
    assert interp.close() is None
    assert isles.list_all() == before


METHODS = {
    "is_running": (),
    "close": (),
    "exec": ("pass",),
    "call": (far.nothing,),
    "prepare_main": ({"x": 1},),
}


@pytest.mark.parametrize("method", METHODS)
def test_ended(method, interp):
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError, match=str(interp.id)):
        getattr(interp, method)(*METHODS[method])
    with pytest.raises(isles.InterpreterNotFoundError):
        isles.Interpreter(interp.id)
    assert repr(interp) == f"Interpreter({interp.id})"
    assert interp == interp
    assert {interp: 1}[interp] == 1


@pytest.mark.parametrize("method", set(METHODS) - {"is_running"})
def test_foreign_one_is_refused(method, foreign):
    with pytest.raises(isles.InterpreterError, match=f"unrecognized interpreter {foreign.id}") as e:
        getattr(foreign, method)(*METHODS[method])
    assert e.type is isles.InterpreterError


def test_foreign_one_can_be_seen(foreign):
    assert foreign in isles.list_all()
    assert foreign.whence == "_interpreters module"
    assert foreign.is_running() is False


def test_close_of_main(interp):
    with pytest.raises(isles.InterpreterError, match="main") as excinfo:
        isles.get_main().close()
    assert excinfo.type is isles.InterpreterError
    assert interp.call(far.attempt, isles.get_main().close)[0] == "InterpreterError"


def test_close_from_within(interp):
    name, text = interp.call(far.attempt, interp.close)
    assert name == "InterpreterError"
    assert "calling interpreter" in text
    assert interp.call(far.here) == interp.id


def test_close_of_a_running_one(interp):
    name, text = interp.call(far.call_in, isles.get_main(), far.attempt, interp.close)
    assert name == "InterpreterBusyError"
    assert f"interpreter {interp.id} is already running" in text
    assert interp.call(far.here) == interp.id


def test_close_runs_atexit(interp, tmp_path):
    interp.prepare_main(path=str(tmp_path / "left"))
    interp.exec("import atexit; atexit.register(lambda: open(path, 'w').close())")
    assert not (tmp_path / "left").exists()
    interp.close()
    assert (tmp_path / "left").exists()


def test_close_waits_for_threads(interp, tmp_path):
    interp.prepare_main(path=str(tmp_path / "done"))
    interp.exec(
        """if True:
        import threading, time
        def work():
            time.sleep(0.2)
            open(path, "w").close()
        threading.Thread(target=work).start()
        """
    )
    interp.close()
    assert (tmp_path / "done").exists()


def test_context_manager():
    with isles.create() as interp:
        assert interp in isles.list_all()
    assert interp not in isles.list_all()


def test_context_manager_with_an_exception():
    with pytest.raises(ZeroDivisionError), isles.create() as interp:
        1 / 0
    assert interp not in isles.list_all()


def test_ends_with_its_last_holder():
    interp = isles.create()
    id = interp.id
    holder = [interp]
    del interp
    assert id in [each.id for each in isles.list_all()]
    holder.clear()
    gc.collect()
    assert id not in [each.id for each in isles.list_all()]


def test_is_held_from_another_interpreter(interp):
    other = isles.create()
    id = other.id
    interp.prepare_main(other=other)
    del other
    gc.collect()
    interp.exec("import isles; assert other in isles.list_all()")
    assert isles.Interpreter(id).call(far.here) == id
    interp.exec("del other")
    gc.collect()
    with pytest.raises(isles.InterpreterNotFoundError):
        isles.Interpreter(id)


# ---- is_running, nesting ----


def test_is_running(interp):
    assert interp.is_running() is False
    assert interp.call(interp.is_running) is True
    assert interp.call(far.call_in, isles.get_main(), interp.is_running) is True
    assert isles.get_main().is_running() is True
    assert interp.is_running() is False


def test_main_calls_itself():
    main = isles.get_main()
    assert main.call(far.here) == 0
    assert main.call(far.same, [1]) == [1]


def test_there_and_back_again(interp):
    main = isles.get_main()
    with isles.create() as other:
        path = (main, far.call_in, other, far.call_in, interp, far.call_in, main, far.here)
        assert interp.call(far.call_in, *path) == 0
        path = (other, far.call_in, interp, far.call_in, other, far.here)
        assert interp.call(far.call_in, *path) == other.id


def test_endless_nesting_is_refused(interp):
    """A calls B calls A ...: an exception, not the end of the C stack."""
    depth, error = interp.call(far.ping, interp)
    assert "RecursionError" in error
    assert depth > 50
    assert interp.call(far.here) == interp.id


# ---- from other threads ----


@pytest.fixture
def held(interp):
    """An interpreter with another thread inside."""
    started, release = os.pipe(), os.pipe()
    thread = threading.Thread(target=interp.call, args=(far.hold, started[1], release[0]))
    thread.start()
    os.read(started[0], 1)
    yield interp
    os.write(release[1], b"x")
    thread.join()
    for fd in (*started, *release):
        os.close(fd)
    assert interp.is_running() is False
    assert interp.call(far.here) == interp.id


@pytest.mark.parametrize("method", set(METHODS) - {"is_running"})
def test_second_thread_is_refused(method, held):
    text = f"interpreter {held.id} is already running"
    with pytest.raises(isles.InterpreterBusyError, match=text):
        getattr(held, method)(*METHODS[method])
    assert held.is_running() is True


def test_third_interpreter_is_refused_too(held):
    with isles.create() as other:
        name, text = other.call(far.attempt, held.call, far.here)
    assert name == "InterpreterBusyError"
    assert f"interpreter {held.id} is already running" in text


def test_main_is_busy_for_threads_of_others(interp):
    interp.exec(
        """if True:
        import far, isles, threading
        def work():
            global found
            found = far.attempt(isles.get_main().call, far.here)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    name, text = interp.call(far.in_main, "found")
    assert name == "InterpreterBusyError"
    assert "main interpreter is already running" in text


def test_one_thread_after_the_other(interp):
    ids = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: ids.append(interp.call(far.here)))
        thread.start()
        thread.join()
    assert ids == [interp.id] * 3


def test_call_in_thread(interp):
    thread = interp.call_in_thread(far.keep, 1, [2], target=3, args=4, name=5, self=6, callable=7)
    assert isinstance(thread, threading.Thread)
    thread.join()
    kwargs = {"target": 3, "args": 4, "name": 5, "self": 6, "callable": 7}
    assert interp.call(far.kept) == ((1, [2]), kwargs, True)


def test_call_in_thread_drops_the_result(interp):
    thread = interp.call_in_thread(far.count)
    thread.join()
    assert interp.call(far.count) == 2


def test_call_in_thread_fails(interp, monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    interp.call_in_thread(far.boom).join()
    assert [type(error) for error in errors] == [isles.ExecutionFailed]
    assert errors[0].excinfo.formatted == "ValueError: boom"
    assert interp.call(far.here) == interp.id


# ---- prepare_main, exec, call ----


def main_of(interp, name):
    return interp.call(far.in_main, name)


def test_prepare_main(interp):
    assert interp.prepare_main({"a": 1, "b": [2]}, b=3, ns=4, self=5) is None
    assert [main_of(interp, name) for name in ("a", "b", "ns", "self")] == [1, 3, 4, 5]
    interp.prepare_main(None, a=6)
    assert main_of(interp, "a") == 6
    interp.prepare_main((("a", 7), ["b", 8]), b=9)
    assert [main_of(interp, name) for name in "ab"] == [7, 9]


@pytest.mark.parametrize("nothing", [(), (None,), ({},), ([],)])
def test_prepare_main_of_nothing(nothing, interp):
    with pytest.raises(ValueError, match="at least one"):
        interp.prepare_main(*nothing)


def test_prepare_main_copies(interp):
    values = [1]
    interp.prepare_main(values=values)
    interp.exec("values.append(2)")
    assert values == [1]
    assert main_of(interp, "values") == [1, 2]


@pytest.mark.parametrize("bad", [1, [1], "ab", {1: 2}, {None: 2}])
def test_prepare_main_refuses(bad, interp):
    with pytest.raises((TypeError, ValueError)):
        interp.prepare_main(bad)


def test_prepare_main_binds_all_or_nothing(interp):
    with pytest.raises(isles.NotShareableError):
        interp.prepare_main(a=1, b=threading.Lock())
    with pytest.raises(isles.ExecutionFailed, match="name 'a' is not defined"):
        interp.exec("a")


def test_exec_keeps_its_namespace(interp):
    assert interp.exec("x = 1") is None
    interp.exec("def f(): return x + 1")
    interp.exec("import sys; y = f(), __name__, sys.modules['__main__'].__dict__ is globals()")
    assert main_of(interp, "y") == (2, "__main__", True)


def test_exec_of_a_function(interp):
    assert interp.exec(far.count) is None
    assert interp.exec(lambda: far.count()) is None
    assert interp.call(far.count) == 3


@pytest.mark.parametrize("bad", [None, 1, b"pass", ["pass"], object()])
def test_exec_refuses(bad, interp):
    with pytest.raises(TypeError, match=type(bad).__name__):
        interp.exec(bad)


@pytest.mark.parametrize("bad", [None, 1, "print", [len]])
def test_call_refuses(bad, interp):
    with pytest.raises(TypeError, match=type(bad).__name__):
        interp.call(bad)


def test_wrong_number_of_arguments(interp):
    for attempt in (
        lambda: interp.call(),
        lambda: interp.call(callable=len),
        lambda: interp.exec(),
        lambda: interp.exec("pass", "pass"),
        lambda: interp.exec(code="pass"),
        lambda: interp.close(1),
        lambda: interp.prepare_main({}, {}),
    ):
        with pytest.raises(TypeError):
            attempt()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 300])
def test_call_with_many_arguments(count, interp):
    args, kwargs = tuple(range(count)), {f"k{i}": i for i in range(count)}
    assert interp.call(far.echo, *args) == (args, {})
    assert interp.call(far.echo, **kwargs) == ((), kwargs)
    assert interp.call(far.echo, *args, **kwargs) == (args, kwargs)
    assert interp.call(far.echo, [], *args, **kwargs) == (([], *args), kwargs)


def test_call_with_names_of_its_own_parameters(interp):
    kwargs = {"callable": 1, "self": 2, "args": 3, "kwargs": 4, "id": 5}
    assert interp.call(far.echo, **kwargs) == ((), kwargs)


def test_arguments_that_share_something_still_share_it(interp):
    shared = [1]
    (a, b), kwargs = interp.call(far.echo, shared, shared, k=shared)
    assert a is b is kwargs["k"]
    assert a == shared
    assert a is not shared
