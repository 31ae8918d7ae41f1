"""NumPy's arrays on the same memory, between interpreters with a NumPy of their own."""

import far
import pytest

import isles

numpy = pytest.importorskip("numpy", reason="NumPy has no wheel for this Python")


@pytest.fixture(scope="module")
def interp():
    with isles.create() as interp:
        yield interp


ARRAYS = {
    "one dimension": lambda: numpy.arange(1000.0),
    "C order": lambda: numpy.arange(12, dtype="i2").reshape(3, 4),
    "Fortran order": lambda: numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
    "complex": lambda: numpy.arange(6, dtype="c16"),
    "booleans": lambda: numpy.array([True, False]),
    "text": lambda: numpy.array(["a", "bcd"]),
    "records": lambda: numpy.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_arrive_as_arrays(name, interp):
    data = ARRAYS[name]()
    assert interp.call(far.describe_array, data) == far.describe_array(data)
    back = interp.call(far.same, data)
    assert (back == data).all() and numpy.shares_memory(back, data)


def test_arrays_keep_their_flags(interp):
    data = numpy.arange(10.0)
    interp.call(far.poke, data, 7, 0xFF)
    assert data[0] != 0
    data.flags.writeable = False
    assert not interp.call(far.same, data).flags.writeable


def test_the_same_array_twice(interp):
    data = numpy.arange(10)
    assert interp.call(far.are_same, data, data)
    one, (two,) = interp.call(far.same, [data, [data]])
    assert one is two


def test_arrays_of_objects_are_pickled(interp):
    data = numpy.array([1, "a", None], dtype=object)
    assert interp.call(far.same, data).tolist() == [1, "a", None]


@pytest.mark.parametrize(
    "data", [numpy.arange(100)[::3], numpy.array(["2026-11-25"], dtype="M8[D]")]
)
def test_what_pickle_has_no_buffer_of_arrives_equal(data, interp):
    assert (interp.call(far.same, data) == data).all()


def test_in_dataclasses_and_containers(interp):
    data = numpy.arange(10.0)
    back = interp.call(far.same, far.Point({"rows": [data]}, (data, data[2:])))
    assert numpy.shares_memory(back.x["rows"][0], data)
    assert numpy.shares_memory(back.y[1], data) and (back.y[1] == data[2:]).all()


def test_an_array_of_another_interpreter_outlives_it():
    with isles.create() as other:
        other.exec("import numpy; data = numpy.arange(1000.0)")
        back = other.call(far.in_main, "data")
    assert type(back) is numpy.ndarray and back.sum() == 499500


def test_where_numpy_is_denied_it_arrives_as_a_view():
    data = numpy.arange(10.0)
    with isles.create(extensions={"numpy": "deny:not here"}) as other:
        assert other.call(far.type_name, data) == "builtins.memoryview"
        back = other.call(far.poke, data, 7, 0)
    assert numpy.shares_memory(numpy.asarray(back), data)


def test_in_four_at_once(interp):
    interps = [isles.create() for _ in range(4)]
    data = numpy.arange(4 * 1000.0)
    parts = numpy.split(data, 4)
    threads = [
        one.call_in_thread(far.call_method, part, "__imul__", 2)
        for one, part in zip(interps, parts, strict=True)
    ]
    for thread in threads:
        thread.join()
    assert data.sum() == 2 * sum(range(4000))
    for one in interps:
        one.close()


def test_in_data_frames(interp):
    pandas = pytest.importorskip("pandas", reason="not among the tests' requirements: too large")
    frame = pandas.DataFrame({"x": numpy.arange(1000.0), "y": numpy.arange(1000)})
    back = interp.call(far.same, {"frames": [frame]})["frames"][0]
    assert back.equals(frame)
    assert numpy.shares_memory(back["x"].to_numpy(), frame["x"].to_numpy())
