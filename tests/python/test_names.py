"""Names of interpreters and threads: in reprs, tracebacks, and the system's tools."""

import os
import pickle
import threading

import pytest

import isles


def names_of_threads():
    """As ps -L shows them."""
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().rstrip("\n"))
        except OSError:
            pass  # ended
    return names


def own_name():
    with open(f"/proc/self/task/{threading.get_native_id()}/comm") as file:
        return file.read().rstrip("\n")


def name_of(id):
    return isles.Interpreter(id).name


def rename(interp, name):
    interp.name = name


def test_default_names(interp):
    assert isles.get_main().name == "MainInterpreter"
    assert interp.name == f"Interpreter-{interp.id}"
    assert repr(interp) == f"Interpreter({interp.id})"


def test_a_name_is_the_same_from_everywhere(interp):
    with isles.create(name="grün") as named:
        assert named.name == "grün"
        assert repr(named) == f"Interpreter({named.id}, name='grün')"
        assert interp.call(name_of, named.id) == "grün"
        assert pickle.loads(pickle.dumps(named)).name == "grün"
        interp.call(rename, named, "other")
        assert named.name == "other"
        named.call(rename, named, "own")
        assert named.name == "own"
    assert named.name == "own"
    with pytest.raises(isles.InterpreterNotFoundError):
        named.name = "late"


@pytest.mark.parametrize("name", ["", "a\0b", "\udc80"])
def test_a_name_is_a_plain_text(interp, name):
    before = isles.list_all()
    with pytest.raises(ValueError):
        interp.name = name
    with pytest.raises(ValueError):
        isles.create(name=name)
    assert isles.list_all() == before


def test_a_name_is_a_str(interp):
    with pytest.raises(TypeError, match="must be a str"):
        interp.name = 3
    with pytest.raises(TypeError, match="must be a str"):
        del interp.name


def test_a_traceback_says_where():
    with (
        isles.create(name="first") as first,
        isles.create() as second,
        pytest.raises(isles.ExecutionFailed) as caught,
    ):
        first.call(second.exec, "1 / 0")
    text = str(caught.value)
    assert f"Uncaught in the interpreter: {first.id} (first)\n" in text
    assert f"Uncaught in the interpreter: {second.id}\n" in text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [("short", "short"), ("x" * 15, "x" * 15), ("InterpreterPool-0_1", "InterpreterPool")],
)
def test_threads_are_named_after_their_interpreter(name, shown):
    seen = isles.create_queue()
    with isles.create(name=name) as interp:
        thread = interp.call_in_thread(put_own_name, seen)
        thread.join()
        assert thread.name == name
        assert seen.get() == shown


def test_long_names_are_cut_between_characters():
    with isles.create(name="ä" * 20) as interp:
        seen = isles.create_queue()
        interp.call_in_thread(put_own_name, seen).join()
        assert seen.get() == "ä" * 7


def put_own_name(queue):
    queue.put(own_name())


def test_workers_and_their_interpreters_are_named_alike():
    with isles.InterpreterPoolExecutor(1, thread_name_prefix="crunch") as pool:
        assert pool.submit(own_name).result() == "crunch_0"
        id = pool.stats()[0].interpreter
        assert isles.Interpreter(id).name == "crunch_0"


def test_isles_own_thread_is_named(interp):
    interp.call(len, "")
    assert "isles-signals" in names_of_threads()
