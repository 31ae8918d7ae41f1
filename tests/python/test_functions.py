"""What can be called in another interpreter, and what arrives there."""

import collections
import datetime
import functools
import gc
import math
import operator
import subprocess
import sys
import types
import weakref

import far
import pytest

import isles
from isles import _pack

# ---- by reference ----


@pytest.mark.parametrize(
    ("callable", "args", "expected"),
    [
        (far.add, (1,), 111),
        (far.doubled, (4,), ("wrapped", 8)),
        (far.cached, (5,), [5]),
        (far.Point, (1, 2), far.Point(1, 2)),
        (far.Point.origin, (), far.Point(0, 0)),
        (far.Point.dimensions, (), 2),
        (far.Point(1, 2).moved, (3,), far.Point(4, 2)),
        (far.Point(1, 2).dimensions, (), 2),
        (far.Point(1, 2), (3,), far.Point(3, 6)),
        (far.Point.moved, (far.Point(1, 2), 3), far.Point(4, 2)),
        (far.Point.Inner().name, (), "Point.Inner"),
        (far.Point.Inner.name, (far.Point.Inner(),), "Point.Inner"),
        (functools.partial(far.add, 1, c=0), (2,), 3),
        (functools.partial(functools.partial(far.add, 1), c=0), (2,), 3),
        (operator.attrgetter("x"), (far.Point(1, 2),), 1),
        (operator.methodcaller("moved", 1), (far.Point(1, 2),), far.Point(2, 2)),
        (len, ("abc",), 3),
        (math.hypot, (3, 4), 5.0),
        (sorted, ([3, 1, 2],), [1, 2, 3]),
        (int, ("12",), 12),
        (dict, ([(1, 2)],), {1: 2}),
        ("-".join, (["a", "b"],), "a-b"),
        ([1, 2].count, (1,), 1),
        ({1: 2}.get, (1,), 2),
        (str.upper, ("a",), "A"),
        (dict.fromkeys, ("a",), {"a": None}),
        ((1).__add__, (2,), 3),
        (collections.Counter, ("aa",), {"a": 2}),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) if callable(value) else None,
)
def test_call(callable, args, expected, interp):
    for _ in range(2):
        assert interp.call(callable, *args) == expected


def test_state_of_a_module_stays_in_each_interpreter(interp):
    with isles.create() as other:
        assert [interp.call(far.count) for _ in range(3)] == [1, 2, 3]
        assert other.call(far.count) == 1
    assert far.calls == 0


def test_partial_and_function_share_the_module(interp):
    assert interp.call(far.count) == 1
    assert interp.call(functools.partial(far.count)) == 2
    assert interp.call(lambda: far.count()) == 3


def test_bound_method_has_the_object_of_the_moment(interp):
    point = far.Point(1, 2)
    moved = point.moved
    assert interp.call(moved, 1) == far.Point(2, 2)
    point.x = 10
    assert interp.call(moved, 1) == far.Point(11, 2)


def test_argument_is_a_copy(interp):
    values = [1]
    assert interp.call(operator.iadd, values, [2]) == [1, 2]
    assert values == [1]


def test_function_of_a_module_that_hides_it(monkeypatch, interp):
    """What its module calls by that name is another function: it travels by value."""
    original = far.add
    monkeypatch.setattr(far, "add", lambda *args: "another")
    assert interp.call(original, 1) == 111


def test_module_is_missing_there(monkeypatch, interp):
    module = types.ModuleType("made_here")
    exec("def f(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_here", module)
    with pytest.raises(isles.ExecutionFailed, match="No module named 'made_here'"):
        interp.call(module.f)
    assert interp.call(far.here) == interp.id


# ---- by value ----


def test_caches(interp):
    """Of functions that can't be imported: by value, and empty."""

    @functools.lru_cache(maxsize=7, typed=True)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    class Squares:
        @functools.cache
        def of(self, n):
            return n * n

        @functools.cached_property
        def first(self):
            return self.of(1)

    def inside(n):
        return fibonacci(n), fibonacci.cache_parameters(), Squares().of(n), Squares().first

    assert fibonacci(20) == 6765
    assert interp.call(fibonacci, 30) == 832040
    assert interp.call(inside, 30) == (832040, {"maxsize": 7, "typed": True}, 900, 1)
    assert interp.call(lambda func: (func.cache_info().currsize, func(9)), fibonacci) == (0, 34)
    assert fibonacci.cache_info().currsize == 7


def test_constants_that_marshal_refuses(interp):
    captured = 1

    def func():
        return "odd", captured

    day = datetime.date(2026, 1, 1)
    constants = [day if each == "odd" else each for each in func.__code__.co_consts]
    func.__code__ = func.__code__.replace(co_consts=tuple(constants))
    assert interp.call(func) == (day, 1)


def test_lambda(interp):
    assert interp.call(lambda: 42) == 42
    assert interp.call(lambda x, *y, z=1, **k: (x, y, z, k), 1, 2, w=3) == (1, (2,), 1, {"w": 3})
    assert interp.call(functools.partial(lambda a, b: a - b, 5), 3) == 2


def test_function_of_main(in_main, interp):
    assert interp.call(in_main("def f(a, b=2): return __name__, a + b", "f"), 1)[1] == 3


def test_function_of_main_with_its_globals(in_main, interp):
    f = in_main(
        """
        import math
        FACTOR = 3
        def helper(x): return x * FACTOR
        def f(x): return helper(x) + math.floor(0.5)
        """,
        "f",
    )
    assert interp.call(f, 2) == 6


def test_recursive_functions(in_main, interp):
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    even = in_main(
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        """,
        "even",
    )
    for _ in range(2):
        assert interp.call(fib, 10) == 55
        assert interp.call(even, 10) is True


def test_generator_function_by_value(interp):
    def squares(n):
        yield from (i * i for i in range(n))

    assert interp.call(lambda n: list(squares(n)), 4) == [0, 1, 4, 9]


def test_by_value_as_argument_and_result(interp):
    offset = 10
    assert interp.call(far.map_list, lambda x: x + offset, [1, 2]) == [11, 12]
    assert interp.call(lambda: lambda x: x + 1)(1) == 2
    assert interp.call(far.make_lambda)() == 42


def test_argument_of_main(in_main, interp):
    """A class of __main__, also deep inside of arguments."""
    Thing = in_main("class Thing:\n    def __init__(self, x): self.x = x", "Thing")
    assert interp.call(operator.attrgetter("x"), Thing([1])) == [1]
    assert interp.call(far.echo, {"k": [Thing(1)]})[0][0]["k"][0].x == 1


def test_text_that_only_names_main(interp):
    """'__main__' in a value is no reason for anything."""
    for value in ("__main__", ["__main__"], {"__main__": b"__main__"}):
        assert interp.call(far.same, value) == value


# ---- instances come back as what they were ----


def make_local_class():
    class Local:
        def __init__(self, value):
            self.value = value

        def grown(self):
            return type(self)(self.value + 1)

    return Local


def test_instance_of_a_local_class_comes_back(interp):
    Local = make_local_class()
    for value in (1, 2):
        back = interp.call(far.same, Local(value))
        assert type(back) is Local
        assert back.value == value
    assert type(interp.call(Local(1).grown)) is Local
    assert type(interp.call(Local, 3)) is Local
    assert interp.call(lambda: Local(4)).value == 4
    assert interp.call(far.same, Local) is Local


def test_instance_of_a_class_of_main_comes_back(in_main, interp):
    Thing = in_main("class Thing:\n    pass", "Thing")
    make = in_main("def make(): return [Thing()]", "make")
    assert type(interp.call(far.same, Thing())) is Thing
    assert type(interp.call(make)[0]) is Thing
    assert type(interp.call(lambda: Thing())) is Thing


def test_special_classes_of_main_come_back(in_main, interp):
    in_main(
        """
        import collections, dataclasses, enum
        class Color(enum.Enum):
            RED = 1
        Pair = collections.namedtuple("Pair", "a b")
        @dataclasses.dataclass
        class Data:
            a: int
        class Failure(Exception):
            pass
        everything = [Color.RED, Pair(1, 2), Data(3)]
        """,
        "everything",
    )
    main = sys.modules["__main__"]
    back = interp.call(far.same, main.everything)
    assert back == main.everything
    assert [type(each) for each in back] == [main.Color, main.Pair, main.Data]
    assert back[0] is main.Color.RED
    assert type(interp.call(far.same, main.Failure("x"))) is main.Failure


def test_namedtuple_of_main_as_callable_and_argument(in_main, interp):
    """A tuple that isn't exactly a tuple."""
    Adder = in_main(
        """
        import collections
        class Adder(collections.namedtuple("Base", "a b")):
            def __call__(self): return self.a + self.b
        """,
        "Adder",
    )
    assert interp.call(Adder(1, 2)) == 3
    back = interp.call(far.same, Adder(1, 2))
    assert (type(back), back) == (Adder, (1, 2))


def test_class_known_in_two_interpreters(interp):
    Local = make_local_class()
    with isles.create() as other:
        back = interp.call(far.call_in, other, far.same, Local(1))
    assert type(back) is Local


# ---- never stale ----


def test_changed_cell(interp):
    value = 1

    def get():
        return value  # noqa: F821

    assert interp.call(get) == 1
    value = 2
    assert interp.call(get) == 2
    value = [3]
    assert interp.call(get) == [3]
    value.append(4)
    assert interp.call(get) == [3, 4]
    del value
    with pytest.raises((isles.ExecutionFailed, isles.NotShareableError)):
        interp.call(get)


def test_changed_global(in_main, interp):
    get = in_main("value = 1\ndef get(): return value", "get")
    main = sys.modules["__main__"]
    for value in (1, 2, "text", [3], (4, [5]), far.Point(1, 2), len, None):
        main.value = value
        assert interp.call(get) == value
    main.value = held = [1]
    assert interp.call(get) == [1]
    held.append(2)
    assert interp.call(get) == [1, 2]


def test_global_that_appears(in_main, interp):
    get = in_main("def get(): return value", "get")
    with pytest.raises(isles.ExecutionFailed, match="name 'value' is not defined"):
        interp.call(get)
    in_main("value = 1", "value")
    assert interp.call(get) == 1
    del sys.modules["__main__"].value
    with pytest.raises(isles.ExecutionFailed, match="name 'value' is not defined"):
        interp.call(get)


def test_global_that_hides_a_builtin(in_main, interp):
    get = in_main("def get(): return len('abc')", "get")
    assert interp.call(get) == 3
    in_main("def len(text): return 'hidden'", "len")
    assert interp.call(get) == "hidden"


def test_changed_defaults(in_main, interp):
    def f(a=1, *, b=2):
        return a, b

    assert interp.call(f) == (1, 2)
    f.__defaults__ = (3,)
    assert interp.call(f) == (3, 2)
    f.__kwdefaults__["b"] = 4
    assert interp.call(f) == (3, 4)
    f.__kwdefaults__ = {"b": 5}
    assert interp.call(f) == (3, 5)
    f.__defaults__ = None
    with pytest.raises(isles.ExecutionFailed, match="missing 1 required positional argument"):
        interp.call(f)


def test_added_keyword_defaults(interp):
    def f(*, b):
        return b

    assert interp.call(f, b=1) == 1
    f.__kwdefaults__ = {"b": 2}
    assert interp.call(f) == 2


def test_mutable_default(interp):
    values = [1]

    def f(values=values):
        return values

    assert interp.call(f) == [1]
    values.append(2)
    assert interp.call(f) == [1, 2]


def test_changed_code(interp):
    def f():
        return 1

    assert interp.call(f) == 1
    f.__code__ = (lambda: 2).__code__
    assert interp.call(f) == 2


def test_added_attribute(interp):
    def f():
        return getattr(f, "mark", None)

    assert interp.call(f) is None
    f.mark = 1
    assert interp.call(f) == 1
    f.mark = 2
    assert interp.call(f) == 2


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [("__defaults__", (7,), 7), ("__code__", (lambda a=1: a + 50).__code__, 51)],
)
def test_changed_helper(attribute, value, expected, interp):
    def helper(a=1):
        return a

    def f():
        return helper()

    assert interp.call(f) == 1
    setattr(helper, attribute, value)
    assert interp.call(f) == expected


def test_changed_global_of_a_helper(in_main, interp):
    f = in_main(
        """
        value = 1
        def inner(): return value
        def middle(): return inner()
        def f(): return middle()
        """,
        "f",
    )
    assert interp.call(f) == 1
    in_main("value = 2", "value")
    assert interp.call(f) == 2
    in_main("def inner(): return 'new'", "inner")
    assert interp.call(f) == "new"


def test_changed_class(in_main, interp):
    Thing = in_main("class Thing:\n    value = 1\n    def get(self): return self.value", "Thing")

    def get():
        return Thing().get()

    assert interp.call(get) == 1
    Thing.value = 2
    assert interp.call(get) == 2
    Thing.get = lambda self: "new"
    assert interp.call(get) == "new"


def test_changed_class_called_itself(in_main, interp):
    Thing = in_main(
        "class Thing:\n    value = 1\n    def __init__(self): self.x = self.value", "Thing"
    )
    assert interp.call(Thing).x == 1
    Thing.value = 2
    assert interp.call(Thing).x == 2


def test_captured_method_of_a_list(interp):
    values = [1]
    count = values.count

    def f():
        return count(1)

    assert interp.call(f) == 1
    values.append(1)
    assert interp.call(f) == 2


def test_captured_module_that_cannot_be_imported(interp):
    module = types.ModuleType("made_up")
    module.value = 1

    def f():
        return module.value

    assert interp.call(f) == 1
    module.value = 2
    assert interp.call(f) == 2


def test_new_function_at_the_old_address(interp):
    """Made and dropped in a loop, functions often get the address of the one before."""
    for i in range(50):
        assert interp.call(eval(f"lambda: {i}")) == i


@pytest.mark.parametrize("kind", ["cell", "global"])
def test_copy_does_not_remember(kind, in_main, interp):
    """By value means: each call begins with what the caller has."""
    if kind == "global":
        f = in_main("n = 0\ndef f():\n    global n\n    n += 1\n    return n", "f")
    else:
        n = 0

        def f():
            nonlocal n
            n += 1
            return n

    assert [interp.call(f) for _ in range(3)] == [1, 1, 1]
    assert f() == 1
    assert interp.call(f) == 2


# ---- a repeated call ships and compiles nothing ----


@pytest.fixture
def pickled(monkeypatch):
    """What was pickled by value here."""
    objects = []

    def dumps(obj, *args, **kwargs):
        objects.append(obj)
        return original(obj, *args, **kwargs)

    original = _pack.dumps
    monkeypatch.setattr(_pack, "dumps", dumps)
    return objects


def count_events(interp, action):
    """What interp's audit hook and its __import__ see while something is done in it."""
    interp.exec("seen.clear()")
    action()
    interp.exec("found = dict(seen)")
    return interp.call(far.in_main, "found")


def make_closure(factor):
    def scaled(x):
        return x * factor * far.add(0, 1, c=0)

    return scaled


@pytest.fixture
def watched(interp):
    """An interpreter that counts its audit events and imports; the sources used here are known."""
    interp.exec(
        """if True:
        import builtins, collections, sys
        seen = collections.Counter()
        sys.addaudithook(lambda event, args: seen.update([event]))
        def count(*args, original=builtins.__import__, **kwargs):
            seen.update(["__import__"])
            return original(*args, **kwargs)
        builtins.__import__ = count
        """
    )
    count_events(interp, lambda: None)
    return interp


ARRIVAL = {"pickle.find_class", "code.__new__", "compile", "__import__", "marshal.loads"}


@pytest.mark.parametrize(
    ("func", "args"),
    [(far.add, (1,)), (lambda x: x, (1,)), (make_closure(3), (2,)), (far.Point.dimensions, ())],
    ids=["reference", "lambda", "closure", "static method"],
)
def test_function_is_shipped_once(func, args, watched, pickled):
    first = count_events(watched, lambda: watched.call(func, *args))
    assert ARRIVAL & set(first)
    pickled.clear()
    again = count_events(watched, lambda: [watched.call(func, *args) for _ in range(5)])
    assert not ARRIVAL & set(again)
    assert pickled == []


def test_two_functions_in_turn_are_shipped_once(watched, pickled):
    f, g = make_closure(1), make_closure(2)

    def both():
        assert (watched.call(f, 1), watched.call(g, 1)) == (1, 2)

    first = count_events(watched, both)
    assert first["marshal.loads"] >= 2
    assert not ARRIVAL & set(count_events(watched, both))
    assert pickled == [f, g]


def test_each_interpreter_gets_it_once(pickled):
    f = make_closure(5)
    with isles.create() as one, isles.create() as two:
        assert [each.call(f, 1) for each in (one, two, one, two)] == [5] * 4
    assert pickled == [f]


def test_function_is_shipped_again_when_it_changed(pickled, interp):
    value = 1
    f = lambda: value  # noqa: E731
    assert interp.call(f) == interp.call(f) == 1
    value = 2
    assert interp.call(f) == interp.call(f) == 2
    assert pickled == [f, f]


def test_function_can_be_collected(interp):
    """Having been called doesn't keep it, nor what it captured."""

    class Big:
        pass

    big = Big()
    f = lambda: type(big).__name__  # noqa: E731, F821
    assert interp.call(f) == "Big"
    refs = weakref.ref(f), weakref.ref(big)
    del f, big
    interp.call(far.nothing)
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_more_functions_than_are_remembered(interp):
    functions = [eval(f"lambda: {i}") for i in range(1100)]
    for _ in range(2):
        assert [interp.call(f) for f in functions] == list(range(1100))


def test_source_is_compiled_once(watched):
    source = "x = [i for i in range(3)]\nassert x"
    assert count_events(watched, lambda: watched.exec(source))["compile"] == 1
    assert "compile" not in count_events(watched, lambda: watched.exec(source))
    for i in range(10):
        watched.exec(f"y = {i}")
    assert "compile" not in count_events(watched, lambda: watched.exec(source))


def test_more_sources_than_are_remembered(interp):
    for turn in range(2):
        for i in range(300):
            interp.exec(f"total = {'total + ' * (i > 0)}{i}")
        assert interp.call(far.in_main, "total") == sum(range(300)), turn


def test_cloudpickle_is_not_needed_for_references(interp):
    interp.call(far.add, 1)
    assert interp.call(far.has_module, "cloudpickle") is False
    interp.call(lambda: 1)
    assert interp.call(far.has_module, "cloudpickle") is False
    interp.call(lambda: far.add(1))
    assert interp.call(far.has_module, "cloudpickle") is True


# ---- functions whose code says all ----


def test_stateless_function_runs_in_main(interp):
    interp.exec("x = 1")
    assert interp.call(lambda: globals()["x"]) == 1
    interp.call(lambda value: globals().update(x=value), 2)
    assert interp.call(far.in_main, "x") == 2


def test_stateless_function_as_a_value(interp):
    def twice(n):
        """Twice."""
        return sum(m + m for m in [n])

    copy = interp.call(far.same, twice)
    assert copy(4) == 8
    assert (copy.__name__, copy.__qualname__) == (twice.__name__, twice.__qualname__)
    assert copy.__doc__ == "Twice."
    assert copy.__code__ == twice.__code__


def test_name_that_is_missing_here_is_not_one_of_the_other_main(interp):
    interp.exec("elsewhere = 1")
    with pytest.raises(isles.ExecutionFailed, match="name 'elsewhere' is not defined"):
        interp.call(lambda: elsewhere)  # noqa: F821


def test_shadowed_builtin(in_main, interp):
    f = in_main("len = lambda value: 'mine'\ndef f(): return len(())", "f")
    assert interp.call(f) == "mine"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython 3.13 needs a frame")
@pytest.mark.parametrize("func", [dir, locals, globals, vars])
def test_builtins_about_the_caller_are_about_main(func, interp):
    interp.exec("x = 1")
    assert "x" in interp.call(func)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", type("Name", (str,), {})("own")])
def test_odd_names(name, interp):
    def func():
        return 1

    func.__name__ = func.__qualname__ = name
    assert interp.call(func) == 1
    copy = interp.call(far.same, func)
    assert (copy.__name__, copy.__qualname__) == (name, name)


def test_relative_import_in_a_nested_function(tmp_path, monkeypatch):
    package = tmp_path / "far_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sibling.py").write_text("VALUE = 42")
    (package / "nested.py").write_text(
        "def outer():\n"
        "    def inner():\n"
        "        from .sibling import VALUE\n"
        "        return VALUE\n"
        "    return inner\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from far_package import nested

    with isles.create() as interp:
        assert interp.call(nested.outer()) == 42


# ---- globals ----


def test_global_that_only_the_body_of_a_class_names(in_main, interp):
    source = """
        import threading

        limit, kind, lock = 3, int, threading.Lock()

        def func():
            class Local:
                lock = kind
                most = limit if lock else None

                def method[T: kind](self) -> kind:
                    return self.most

            bound = Local.method.__type_params__[0].__bound__
            return Local().method(), bound is kind is Local.method.__annotations__["return"]
    """
    func = in_main(source, "func")
    assert interp.call(func) == (3, True)
    sys.modules["__main__"].limit = 4
    assert interp.call(func) == (4, True)


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports are new in CPython 3.15")
def test_lazy_imports(in_main, interp):
    source = """
        lazy import json
        lazy import xml.dom.minidom
        lazy from textwrap import dedent
        lazy import no_such_module

        def helper():
            return dedent("  a")

        def func():
            return json.dumps(1), xml.__name__, helper()

        def submodule():
            return xml.dom.minidom.__name__

        def missing():
            return no_such_module
    """
    func = in_main(source, "func")
    for _ in range(2):
        assert interp.call(func) == ("1", "xml", "a")
        assert interp.call(sys.modules["__main__"].submodule) == "xml.dom.minidom"
    with pytest.raises(isles.NotShareableError, match="no_such_module"):
        interp.call(sys.modules["__main__"].missing)


# ---- ISLES_STRICT ----

STRICT = """
import os, pathlib, sys
os.environ["ISLES_STRICT"] = "1"
import isles

y = 1

def outer(value):
    return lambda: value

def uses_global(n=2):
    return y + n

class Thing:
    pass

interp = isles.create()

def check(f, *args):
    try:
        print(type(interp.call(f, *args)).__name__)
    except isles.NotShareableError:
        print("refused")
"""


def strictly(*lines, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(STRICT + "\n".join(lines))
    return subprocess.run(
        [sys.executable, "-P", script], check=True, capture_output=True, text=True
    ).stdout.split()


def test_strict(tmp_path):
    assert (
        strictly(
            "check(lambda: 1)",
            "check(uses_global)",
            "check(Thing)",
            "check(int, '1')",
            "check(outer(1))",
            "check(outer, 1)",
            "check(lambda: y)",
            "exec('def new(): return y'); check(new)",
            tmp_path=tmp_path,
        )
        == ["int", "int", "Thing", "int"] + ["refused"] * 4
    )


def test_strict_prepare_main(tmp_path):
    assert strictly(
        "interp.prepare_main(a=(1, 'b'))",
        "try: interp.prepare_main(a=2, b=[])",
        "except isles.NotShareableError: print(interp.call(eval, 'a'))",
        tmp_path=tmp_path,
    ) == ["(1,", "'b')"]


@pytest.mark.slow  # and memory means nothing under a sanitizer
def test_copies_do_not_pile_up(interp):
    """What a function captured stays with its copy, so copies are given up beyond 16 MiB."""

    def holding(number):
        data = bytes([number % 256]) * 500_000
        return lambda: len(data)

    interp.exec(
        "def resident():\n"
        "    with open('/proc/self/statm') as statm:\n"
        "        return int(statm.read().split()[1]) // 256\n"
    )
    for number in range(20):
        interp.call(holding(number))
    before = interp.call(eval, "resident()")
    for number in range(300):
        assert interp.call(holding(number)) == 500_000
    assert interp.call(eval, "resident()") - before < 60  # MiB; 150 if they stayed
