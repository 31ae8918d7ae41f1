"""isles._interpreters, function by function: what each does and what it refuses."""

import builtins
import functools
import inspect
import os
import textwrap
import threading
import time
import types

import far
import pytest

import isles
from isles import _interpreters as low
from isles._interpreters import InterpreterID

stdlib = pytest.importorskip("_interpreters")

# With arguments that are right for each.
BY_ID = {
    "destroy": (),
    "is_running": (),
    "whence": (),
    "run_string": ("pass",),
    "run_func": (far.nothing,),
    "exec": ("pass",),
    "call": (far.nothing,),
    "set___main___attrs": ({"x": 1},),
}
by_id = pytest.mark.parametrize("function", BY_ID)


def invoke(function, id):
    return getattr(low, function)(id, *BY_ID[function])


@pytest.fixture
def id():
    id = low.create()
    yield id
    if id in low.list_all():
        low.destroy(id)


@pytest.fixture
def foreign():
    """The id of an interpreter that the standard library made."""
    id = stdlib.create()
    yield id
    stdlib.destroy(id)


# ---- ids ----


@by_id
@pytest.mark.parametrize("bad", [-1, -(2**63), -(10**30), 2**63, 2**64, 10**30])
def test_id_out_of_range(function, bad):
    with pytest.raises(ValueError, match=str(bad)):
        invoke(function, bad)


@by_id
@pytest.mark.parametrize("bad", [None, "1", b"1", 1.0, object(), (1,)], ids=repr)
def test_id_of_wrong_type(function, bad):
    with pytest.raises(TypeError, match=f"not {type(bad).__name__}"):
        invoke(function, bad)


@by_id
def test_interpreter_is_no_id(function, interp):
    with pytest.raises(TypeError, match=r"not isles\.Interpreter"):
        invoke(function, interp)


@by_id
@pytest.mark.parametrize("kind", [int, InterpreterID])
def test_unknown_id(function, kind):
    with pytest.raises(low.InterpreterNotFoundError, match=str(2**62)):
        invoke(function, kind(2**62))


@by_id
@pytest.mark.parametrize("kind", [int, InterpreterID])
def test_ended_id(function, kind, id):
    low.destroy(id)
    with pytest.raises(low.InterpreterNotFoundError, match=str(int(id))):
        invoke(function, kind(id))


@by_id
@pytest.mark.parametrize("kind", [int, InterpreterID])
def test_either_kind_of_id(function, kind, id):
    invoke(function, kind(id))


@by_id
def test_wrong_number_of_arguments(function, id):
    with pytest.raises(TypeError):
        getattr(low, function)()
    with pytest.raises(TypeError):
        getattr(low, function)(id, *BY_ID[function], 1, {}, 3)


# ---- create, destroy, list_all, get_current, get_main ----


@pytest.mark.parametrize("isolated", [True, False])
def test_create(isolated):
    before = low.list_all()
    id = low.create(isolated=isolated)
    assert type(id) is InterpreterID
    assert id not in before
    assert low.list_all() == [*before, id]
    assert low.destroy(id) is None
    assert low.list_all() == before


def test_create_takes_keywords_only():
    with pytest.raises(TypeError):
        low.create(True)
    with pytest.raises(TypeError):
        low.create(gil=True)


def test_ids_are_never_used_twice():
    ids = []
    for _ in range(5):
        ids.append(int(low.create()))
        low.destroy(ids[-1])
    assert ids == sorted(set(ids))


def test_stays_without_a_holder(id):
    isles.Interpreter(id)
    assert id in low.list_all()


def test_get_current(id):
    assert low.call(id, low.get_current) == id
    assert low.get_current() == low.get_main()


def test_list_all_is_the_same_everywhere(id, foreign):
    everywhere = low.call(id, low.list_all)
    assert everywhere == low.list_all()
    assert {type(each) for each in everywhere} == {InterpreterID}
    assert everywhere[0] == 0
    assert {id, foreign} < set(everywhere)


def test_destroy_refuses_main(id):
    with pytest.raises(low.InterpreterError, match="main interpreter") as excinfo:
        low.destroy(0)
    assert excinfo.type is low.InterpreterError
    name, text = low.call(id, far.attempt, (low.destroy, 0))
    assert name == "InterpreterError"
    assert "main interpreter" in text


def test_destroy_refuses_the_calling_one(id):
    name, text = low.call(id, far.attempt, (low.destroy, id))
    assert name == "InterpreterError"
    assert "calling interpreter" in text
    assert id in low.list_all()


def test_destroy_refuses_a_running_one(id):
    main = isles.get_main()
    name, text = low.call(id, far.call_in, (main, far.attempt, low.destroy, id))
    assert name == "InterpreterBusyError"
    assert "running" in text
    assert id in low.list_all()


@pytest.mark.parametrize(
    "function", [name for name in BY_ID if name not in ("is_running", "whence")]
)
def test_foreign_one_is_refused(function, foreign):
    with pytest.raises(
        low.InterpreterError, match=f"unrecognized interpreter {foreign}"
    ) as excinfo:
        invoke(function, foreign)
    assert excinfo.type is low.InterpreterError
    assert foreign in low.list_all()


def test_foreign_one_is_refused_in_itself(foreign):
    failed = stdlib.exec(
        foreign,
        f"""if True:
        from isles import _interpreters as low
        try:
            low.destroy({foreign})
        except low.InterpreterError as error:
            assert "unrecognized" in str(error), error
        else:
            assert False
        """,
    )
    assert failed is None
    assert foreign in low.list_all()


def test_one_interpreter_destroys_another(id):
    other = low.create()
    assert low.call(id, low.destroy, (other,)) is None
    assert other not in low.list_all()


# ---- is_running, whence ----


def test_is_running(id, foreign):
    assert low.is_running(id) is False
    assert low.call(id, low.is_running, (id,)) is True
    assert low.call(id, low.is_running, (0,)) is True
    assert low.is_running(0) is True
    assert low.is_running(foreign) is False


def test_the_standard_library_sees_that_it_is_running(id):
    source = f"import {stdlib.__name__} as stdlib; running = stdlib.is_running({int(id)})"
    low.exec(id, source)
    assert in_main_of(id, "running") is True
    assert stdlib.is_running(int(id)) is False


def test_busy_when_the_standard_library_runs_it(id):
    read, write = os.pipe()
    thread = threading.Thread(target=stdlib.exec, args=(int(id), f"import os; os.read({read}, 1)"))
    thread.start()
    while not stdlib.is_running(int(id)):
        time.sleep(0.001)
    with pytest.raises(low.InterpreterBusyError):
        low.exec(id, "1")
    os.write(write, b"x")
    thread.join()
    low.exec(id, "1")


def test_whence(id, foreign):
    assert low.whence(0) == low.WHENCE_RUNTIME == 1
    assert low.whence(id) == low.WHENCE_STDLIB == 5
    assert low.whence(foreign) == low.WHENCE_STDLIB
    assert (low.WHENCE_UNKNOWN, low.WHENCE_LEGACY_CAPI) == (0, 2)
    assert (low.WHENCE_CAPI, low.WHENCE_XI) == (3, 4)


# ---- run_string, exec ----


def in_main_of(id, expression):
    return low.call(id, far.in_main, (expression,))


@pytest.mark.parametrize("function", [low.run_string, low.exec])
def test_source_runs_in_main(function, id):
    assert function(id, "x = __name__") is None
    function(id, "y = x.upper()")
    assert in_main_of(id, "y") == "__MAIN__"


@pytest.mark.parametrize("function", [low.run_string, low.exec])
def test_failing_source(function, id):
    with pytest.raises(low.RunFailedError) as excinfo:
        function(id, "x = 1\n1 / 0\n")
    info = excinfo.value.excinfo
    assert info.formatted == "ZeroDivisionError: division by zero"
    assert "    1 / 0\n" in info.errdisplay
    assert in_main_of(id, "x") == 1


@pytest.mark.parametrize("bad", [None, 1, b"pass", ["pass"], far.nothing, far.nothing.__code__])
def test_run_string_takes_strings_only(bad, id):
    with pytest.raises(TypeError):
        low.run_string(id, bad)


@pytest.mark.parametrize("bad", [None, 1, b"pass", ["pass"], len, far.Point])
def test_exec_refuses(bad, id):
    with pytest.raises(TypeError, match=type(bad).__name__):
        low.exec(id, bad)


def test_exec_code_object(id):
    code = compile("x = __name__\ndef f(): return 42", "<here>", "exec")
    assert low.exec(id, code) is None
    assert in_main_of(id, "x") == "__main__"
    assert in_main_of(id, "f()") == 42


def test_exec_code_object_again_runs_again(id):
    code = compile("x = globals().get('x', 0) + 1", "<here>", "exec")
    for _ in range(3):
        low.exec(id, code)
    assert in_main_of(id, "x") == 3


def test_code_with_free_variables_is_refused(id):
    value = 1

    def closure():
        return value

    for function in (low.exec, low.run_func):
        with pytest.raises((TypeError, ValueError, low.RunFailedError)):
            function(id, closure.__code__)
    assert low.call(id, far.same, (1,)) == 1


def test_code_that_wants_arguments_is_refused(id):
    with pytest.raises((TypeError, ValueError, low.RunFailedError)):
        low.exec(id, far.same.__code__)
    assert low.call(id, far.same, (1,)) == 1


@pytest.mark.parametrize("function", [low.exec, low.run_func])
def test_function_without_arguments(function, id):
    assert function(id, far.count) is None  # the result is dropped
    assert function(id, far.count) is None
    assert low.call(id, far.count) == 3


@pytest.mark.parametrize("function", [low.exec, low.run_func])
def test_result_need_not_travel(function, id):
    assert function(id, far.make_generator) is None


@pytest.mark.parametrize("function", [low.exec, low.run_func])
def test_function_that_wants_arguments(function, id):
    with pytest.raises(low.RunFailedError, match="missing 1 required positional") as excinfo:
        function(id, far.same)
    assert excinfo.value.excinfo.type.__name__ == "TypeError"


# ---- run_func ----


@pytest.mark.parametrize(
    "callable",
    [
        functools.partial(far.run, "import far; far.count()"),
        lambda: far.count(),
        compile("import far; far.count()", "<here>", "exec"),
        functools.partial(far.count),
    ],
    ids=["partial", "lambda", "code", "plain partial"],
)
def test_run_func(callable, id):
    assert low.run_func(id, callable) is None
    assert low.call(id, far.count) == 2


@pytest.mark.parametrize("bad", [None, 1, "pass", ["pass"], object()])
def test_run_func_needs_a_callable(bad, id):
    with pytest.raises(TypeError, match=type(bad).__name__):
        low.run_func(id, bad)


def test_run_func_fails(id):
    with pytest.raises(low.RunFailedError) as excinfo:
        low.run_func(id, far.boom)
    assert excinfo.value.excinfo.formatted == "ValueError: boom"
    assert "raise ValueError(text)  # this very line" in str(excinfo.value)


def test_run_func_of_what_cannot_be_pickled(id):
    with pytest.raises(low.NotShareableError):
        low.run_func(id, functools.partial(len, far.make_generator()))


# ---- call ----


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), ((), {})),
        (((1, "a"),), ((1, "a"), {})),
        (([1, "a"],), ((1, "a"), {})),
        (((), {"k": None}), ((), {"k": None})),
        (((1, [2]), {"k": {3}}), ((1, [2]), {"k": {3}})),
        ((tuple(range(20)), {"k": 1}), (tuple(range(20)), {"k": 1})),
    ],
)
def test_call(args, expected, id):
    assert low.call(id, far.echo, *args) == expected


@pytest.mark.parametrize("args", [(None,), (5,), ((), None), ((), [("k", 1)]), ((), {1: 2})])
def test_call_with_wrong_arguments(args, id):
    with pytest.raises((TypeError, low.RunFailedError)):
        low.call(id, far.echo, *args)
    assert low.call(id, far.same, (1,)) == 1


@pytest.mark.parametrize("bad", [None, 1, "print"])
def test_call_needs_a_callable(bad, id):
    with pytest.raises((TypeError, low.RunFailedError), match="callable"):
        low.call(id, bad)


# ---- set___main___attrs ----


def test_set_main_attrs(id):
    values = {"x": 1, "ys": [1, {2}], "näme": far.Point(1, 2), "f": far.add}
    assert low.set___main___attrs(id, values) is None
    low.run_string(id, "z = x, ys, näme.x, f(1)")
    assert in_main_of(id, "z") == (1, [1, {2}], 1, 111)


def test_set_main_attrs_of_any_mapping(id):
    low.set___main___attrs(id, types.MappingProxyType({"x": 1}))
    low.set___main___attrs(id, {})
    assert in_main_of(id, "x") == 1


@pytest.mark.parametrize("bad", [None, 1, [("x", 1)], "x"])
def test_set_main_attrs_needs_a_mapping(bad, id):
    with pytest.raises(TypeError):
        low.set___main___attrs(id, bad)


@pytest.mark.parametrize("key", [1, None, b"x", ("x",)])
def test_names_are_strings(key, id):
    with pytest.raises(TypeError, match=type(key).__name__):
        low.set___main___attrs(id, {"x": 1, key: 2})
    with pytest.raises(low.RunFailedError, match="name 'x' is not defined"):
        in_main_of(id, "x")


def test_nothing_is_bound_if_one_value_cannot_travel(id):
    with pytest.raises(low.NotShareableError):
        low.set___main___attrs(id, {"x": 1, "y": far.make_generator()})
    with pytest.raises(low.RunFailedError, match="name 'x' is not defined"):
        in_main_of(id, "x")


class OddMapping:
    """It has what a mapping has, and says what it is told."""

    def __init__(self, keys):
        self.given = keys

    def keys(self):
        return self.given

    def items(self):
        return self.given

    def __getitem__(self, key):
        return {"x": 1}[key]


def test_set_main_attrs_of_a_minimal_mapping(id):
    low.set___main___attrs(id, OddMapping(["x"]))
    assert in_main_of(id, "x") == 1


@pytest.mark.parametrize(
    ("keys", "error"),
    [(5, TypeError), (["x", 5], KeyError), (["x", []], TypeError), (["x", ()], KeyError)],
)
def test_set_main_attrs_of_a_mapping_that_fails(keys, error, id):
    with pytest.raises(error):
        low.set___main___attrs(id, OddMapping(keys))
    with pytest.raises(low.RunFailedError, match="name 'x' is not defined"):
        in_main_of(id, "x")


class OddDict(dict):
    """A dict whose items() is no list of pairs."""

    def items(self):
        return self.given


@pytest.mark.parametrize("items", [5, [1], ["ab"], [()], [("x",)], [("x", 1, 2)]])
def test_items_of_a_dict_that_lies(items, id):
    """As for dict(): an exception or what the dict holds, but no crash."""
    odd = OddDict(y=2)
    odd.given = items
    try:
        low.set___main___attrs(id, odd)
    except (TypeError, ValueError):
        pass
    else:
        assert in_main_of(id, "y") == 2


# ---- is_shareable ----


class Int(int):
    pass


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        10**100,
        1.5,
        float("nan"),
        "",
        "é\ud800\0",
        b"",
        b"\x00",
        (),
        (1, ("a", (b"b", None))),
        far.nest(100),
        memoryview(b"x"),
        isles.SharedBuffer(1),
        isles.create_queue(),
        (isles.create_queue(), memoryview(b"x")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shareable(value):
    assert low.is_shareable(value) is True


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        set(),
        object(),
        far.nothing,
        len,
        int,
        Int(1),
        (1, []),
        ((([],),),),
        far.Point(1, 2),
        bytearray(),
        Exception(),
        isles,
    ],
    ids=ascii,
)
def test_not_shareable(value):
    assert low.is_shareable(value) is False


def test_shareable_of_a_very_deep_tuple():
    assert low.is_shareable(far.nest(200_000)) is True


def test_shareable_of_tuples_that_share():
    value = ()
    for _ in range(60):
        value = (value, value)  # 2**60 paths
    assert low.is_shareable(value) is True
    assert low.is_shareable((value, [])) is False


def test_tuples_that_share_travel_as_such(id):
    value = ()
    for _ in range(60):
        value = (value, value)
    back = low.call(id, far.same, (value,))
    for _ in range(60):
        assert len(back) == 2 and back[0] is back[1]
        back = back[0]


# ---- exceptions and module state ----


def test_exceptions():
    assert issubclass(low.InterpreterError, RuntimeError)
    for name in ("InterpreterNotFoundError", "InterpreterBusyError", "RunFailedError"):
        assert getattr(low, name).__bases__ == (low.InterpreterError,)
    assert low.NotShareableError.__bases__ == (low.InterpreterError, TypeError)
    assert isles.ExecutionFailed is low.RunFailedError


def test_each_interpreter_has_its_own_module(id):
    names = ("InterpreterID", "InterpreterError", "RunFailedError", "Interpreter")
    source = (
        f"from isles import _interpreters; ids = [id(getattr(_interpreters, n)) for n in {names}]"
    )
    others = [low.create() for _ in range(3)]
    try:
        for each in (id, *others):
            low.run_string(each, source)
        found = [in_main_of(each, "ids") for each in (id, *others)]
    finally:
        for other in others:
            low.destroy(other)
    found.append([builtins.id(getattr(low, name)) for name in names])
    assert len({address for ids in found for address in ids}) == 5 * len(names)


def test_module_serves_many_interpreters_at_once(id):
    """Each makes one, from within, down to a depth of five."""
    source = textwrap.dedent(
        """
        import far
        from isles import _interpreters as low
        def go(depth, source):
            ids = [int(low.get_current())]
            if depth:
                id = low.create()
                low.run_string(id, source)
                low.set___main___attrs(id, {"depth": depth - 1, "source": source})
                low.run_string(id, "found = go(depth, source)")
                ids += low.call(id, far.in_main, ("found",))
                low.destroy(id)
            return ids
        """
    )
    before = low.list_all()
    low.run_string(id, source)
    low.set___main___attrs(id, {"source": source})
    low.run_string(id, "found = go(5, source)")
    found = in_main_of(id, "found")
    assert found[0] == id
    assert len(set(found)) == 6
    assert low.list_all() == before


def test_everything_has_a_signature():
    for module in (isles, low):
        for name, value in vars(module).items():
            if callable(value) and not isinstance(value, type) and not name.startswith("_"):
                assert inspect.signature(value) is not None, name
    for type_ in (isles.Interpreter, isles.Queue):
        assert list(inspect.signature(type_).parameters) == ["id"]
