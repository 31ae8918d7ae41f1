"""InterpreterID: an opaque handle over an int64."""

import copy
import operator
import pickle

import far
import pytest

from isles._interpreters import InterpreterID, get_current, get_main

LARGEST = 2**63 - 1


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**53 + 1, LARGEST])
def test_holds_an_int64(value):
    id = InterpreterID(value)
    assert int(id) == value
    assert operator.index(id) == value
    assert type(int(id)) is int
    assert repr(id) == f"InterpreterID({value})"
    assert InterpreterID(id) == id


@pytest.mark.parametrize("value", [-1, -(2**63), -(2**64), 2**63, 2**64, 10**100])
def test_out_of_range(value):
    with pytest.raises(ValueError, match=str(value)):
        InterpreterID(value)


@pytest.mark.parametrize("value", [None, "1", b"1", 1.0, 1j, [1], (1,), object()])
def test_wrong_type(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        InterpreterID(value)


def test_wrong_arguments():
    with pytest.raises(TypeError):
        InterpreterID()
    with pytest.raises(TypeError):
        InterpreterID(1, 2)
    with pytest.raises(TypeError):
        InterpreterID(id=1)


@pytest.mark.parametrize("value", [0, 7, LARGEST])
def test_equals_and_hashes_as_its_int(value):
    id = InterpreterID(value)
    assert id == InterpreterID(value)
    assert id == value
    assert value == id
    assert not id != value
    assert hash(id) == hash(value)
    assert {id, value} == {value}
    assert {value: "found"}[id] == "found"


@pytest.mark.parametrize("other", [8, 2**64 + 7, -1, InterpreterID(8), 7.5, "7", None, (7,)])
def test_differs(other):
    assert InterpreterID(7) != other
    assert not InterpreterID(7) == other


@pytest.mark.parametrize("other", [7, 8, InterpreterID(7), InterpreterID(8)])
@pytest.mark.parametrize("order", [operator.lt, operator.le, operator.gt, operator.ge])
def test_has_no_order(order, other):
    with pytest.raises(TypeError):
        order(InterpreterID(7), other)
    with pytest.raises(TypeError):
        order(other, 7 if isinstance(other, InterpreterID) else InterpreterID(7))


def test_no_arithmetic():
    with pytest.raises(TypeError):
        InterpreterID(7) + 1


def test_immutable():
    with pytest.raises(AttributeError):
        InterpreterID(7).value = 8


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(protocol):
    id = InterpreterID(LARGEST)
    again = pickle.loads(pickle.dumps(id, protocol))
    assert type(again) is InterpreterID
    assert again == id


def test_copies():
    id = InterpreterID(7)
    assert copy.copy(id) == copy.deepcopy([id])[0] == id


def test_travels(interp):
    id = InterpreterID(interp.id)
    back = interp.call(far.same, id)
    assert type(back) is InterpreterID
    assert back == id
    assert interp.call(far.type_name, id) == "isles._interpreters.InterpreterID"
    assert interp.call(repr, id) == repr(id)


def test_current_and_main(interp):
    assert type(get_current()) is InterpreterID
    assert get_current() == get_main() == 0
    assert interp.call(get_current) == interp.id
    assert interp.call(get_main) == 0
