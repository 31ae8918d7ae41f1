"""What fails in another interpreter is a clear exception here, and the other stays usable."""

import builtins
import copy
import pickle
import re
import sys
import threading
import types
import weakref

import far
import pytest

import isles


@pytest.fixture
def interp(interp):
    """Usable afterwards, whatever a test does in it."""
    yield interp
    assert interp.call(far.add, 1, b=2) == 103
    interp.exec("assert __name__ == '__main__'")


def failure(action, *args):
    """The ExecutionFailed that an action ends in."""
    with pytest.raises(isles.ExecutionFailed) as excinfo:
        action(*args)
    return excinfo.value


def names(info):
    return info.type.__module__, info.type.__qualname__, info.type.__name__


# ---- what ExecutionFailed tells ----


def test_failing_source(interp):
    error = failure(interp.exec, "def f(x):\n    raise ValueError(x)\n\nf('boo')\n")
    info = error.excinfo
    assert names(info) == ("builtins", "ValueError", "ValueError")
    assert info.msg == "boo"
    assert info.formatted == "ValueError: boo"
    name = re.search(r'File "(.*)", line 4', info.errdisplay)[1]
    assert [line for line in info.errdisplay.splitlines() if set(line) - set(" ~^")] == [
        "Traceback (most recent call last):",
        f'  File "{name}", line 4, in <module>',
        "    f('boo')",
        f'  File "{name}", line 2, in f',
        "    raise ValueError(x)",
        "ValueError: boo",
    ]
    assert str(error) == (
        f"ValueError: boo\n\nUncaught in the interpreter: {interp.id}\n\n{info.errdisplay}"
    )


def test_execution_failed_of_an_excinfo(interp):
    info = failure(interp.exec, "raise ValueError('boo')").excinfo
    error = isles.ExecutionFailed(info)
    for same in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert same.excinfo == info
        assert same.args == ("ValueError: boo",)
        assert str(same).startswith("ValueError: boo\n\nUncaught in the interpreter:\n\nTraceback")
    assert str(isles.ExecutionFailed("boo")) == "boo"
    with pytest.raises(AttributeError, match="formatted"):
        isles.ExecutionFailed(1)


def test_failing_function(interp):
    error = failure(interp.call, far.boom, "boo")
    lines = error.excinfo.errdisplay.splitlines()
    line = far.boom.__code__.co_firstlineno + 1
    assert lines[:3] == [
        "Traceback (most recent call last):",
        f'  File "{far.__file__}", line {line}, in boom',
        "    raise ValueError(text)  # this very line",
    ]
    assert lines[-1] == "ValueError: boo"


def test_failing_lambda(interp):
    error = failure(interp.call, lambda: 1 / 0)
    assert error.excinfo.formatted == "ZeroDivisionError: division by zero"
    assert f'File "{__file__}", line' in error.excinfo.errdisplay
    assert "failure(interp.call, lambda: 1 / 0)" in error.excinfo.errdisplay


def test_failing_function_with_something_captured(interp):
    """It is pickled, and keeps the file that its lines come from."""
    zero = 0

    class Divider:
        def divide(self, number):
            return number / zero  # in a class

    def divide(number):
        return number / zero  # in a function

    for callable in (divide, Divider().divide):
        display = failure(interp.call, callable, 1).excinfo.errdisplay
        assert f'File "{__file__}", line' in display
        assert "return number / zero  # in a" in display


def test_function_of_earlier_source_still_has_its_lines(interp):
    interp.exec("def f():\n    return 1 / 0  # the place\n")
    for i in range(10):
        interp.exec(f"x = {i}")
    for _ in range(2):
        assert "    return 1 / 0  # the place\n" in failure(interp.exec, "f()").excinfo.errdisplay


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("é = '€'; 1 / 0  # ünïcödé 🐍", "é = '€'; 1 / 0  # ünïcödé 🐍"),
        ("x = 1\r\n1 / 0\r\n", "1 / 0"),
        ("'''\n\n'''\n\n1 / 0", "1 / 0"),
        ("s = 'a\x0cb'\n1 / 0  # here", "1 / 0  # here"),
        ("s = 'a\x85b\u2028c\x1c'\n1 / 0  # here", "1 / 0  # here"),
    ],
)
def test_source_lines(source, line, interp):
    assert f"    {line}\n" in failure(interp.exec, source).excinfo.errdisplay


@pytest.mark.parametrize(
    ("error", "formatted"),
    [
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError("ü\0\ud800"), "ValueError: ü\0\ud800"),
        (ValueError("a\nb"), "ValueError: a\nb"),
        (OSError(2, "gone", "f"), "FileNotFoundError: [Errno 2] gone: 'f'"),
        (pickle.PicklingError("p"), "_pickle.PicklingError: p"),
        (far.Failure("f"), "far.Failure: f"),
        (far.Failure.Inner("i"), "far.Failure.Inner: i"),
    ],
    ids=ascii,
)
def test_excinfo(error, formatted, interp):
    """`formatted` is as the last line of a traceback, and as `concurrent.interpreters` has it."""
    info = failure(interp.call, far.raise_it, error).excinfo
    assert info.msg == str(error)
    assert names(info) == (
        type(error).__module__,
        type(error).__qualname__,
        type(error).__name__,
    )
    assert info.formatted == formatted
    assert info.errdisplay.endswith(f"\n{formatted}")


def test_class_of_the_other_main(interp):
    info = failure(interp.exec, "class A:\n  class B(Exception): pass\nraise A.B('m')").excinfo
    assert names(info) == ("__main__", "A.B", "B")
    assert info.formatted == "A.B: m"


def test_chained_exceptions(interp):
    source = "try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise KeyError('k') from e"
    display = failure(interp.exec, source).excinfo.errdisplay
    cause = "The above exception was the direct cause of the following exception:"
    assert display.index("    1 / 0\n") < display.index(cause) < display.index("    raise KeyError")
    display = failure(interp.exec, source.replace(" from e", "")).excinfo.errdisplay
    assert "During handling of the above exception, another exception occurred:" in display


def test_notes(interp):
    source = "e = ValueError('x')\ne.add_note('one')\ne.add_note('two')\nraise e"
    assert failure(interp.exec, source).excinfo.errdisplay.endswith("ValueError: x\none\ntwo")


def test_exception_group(interp):
    source = "raise ExceptionGroup('many', [ValueError(1), ExceptionGroup('in', [KeyError(2)])])"
    info = failure(interp.exec, source).excinfo
    assert info.formatted == "ExceptionGroup: many (2 sub-exceptions)"
    for line in ("    | ValueError: 1\n", "    | ExceptionGroup: in", "      | KeyError: 2\n"):
        assert line in info.errdisplay


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 +", "invalid syntax"),
        ("x = 1\ndef f(:", "invalid syntax"),
        ("x = (", "'(' was never closed"),
        ("if x:\n  y\n z", "unindent"),
        ("return 1", "'return' outside function"),
        ("await x", "'await' outside function"),
        ("0777", "leading zeros in decimal integer literals"),
        ("from __future__ import nope", "future feature nope is not defined"),
    ],
)
def test_syntax_error(source, message, interp):
    info = failure(interp.exec, source).excinfo
    assert info.type.__name__ in ("SyntaxError", "IndentationError")
    assert message in info.msg
    assert re.search(rf'File "<.*>", line {1 + source.count(chr(10))}\n', info.errdisplay)
    assert message in info.errdisplay.splitlines()[-1]


def test_syntax_error_shows_its_line(interp):
    display = failure(interp.exec, "x = 1\ny = = 2\n").excinfo.errdisplay
    assert "line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax" in display


def test_null_in_source(interp):
    info = failure(interp.exec, "x = 1\0").excinfo
    assert info.formatted == "SyntaxError: source code string cannot contain null bytes"


def test_lone_surrogate_in_source(interp):
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        interp.exec("x = '\ud800'")


def test_coding_line_does_not_count_in_text(interp):
    """A str is text already: exec() and compile() ignore the comment, too."""
    interp.exec("# -*- coding: latin-1 -*-\nx = 'é€'\nassert len(x) == 2, ascii(x)")
    interp.exec("# -*- coding: nonsense -*-\n")


def test_future_does_not_leak(interp):
    interp.exec("from __future__ import annotations")
    interp.exec("def f(x: 1 + 1): pass\nassert f.__annotations__ == {'x': 2}, f.__annotations__")


# ---- exceptions that are odd ----


def test_str_raises(interp):
    info = failure(interp.call, far.raise_it, far.BadStr()).excinfo
    assert names(info) == ("far", "BadStr", "BadStr")
    assert info.msg == "<exception str() failed>"
    assert info.errdisplay.endswith("far.BadStr: <exception str() failed>")


ODD = {
    "str is no str": "def __str__(self): return 5",
    "str raises SystemExit": "def __str__(self): raise SystemExit",
    "str raises itself": "def __str__(self): raise self",
    "str recurses": "def __str__(self): return str(self)",
    "str is a subclass": "def __str__(self): return type('S', (str,), {})('odd')",
    "str is long": "def __str__(self): return 'x' * 10_000_000",
    "module is no str": "__module__ = 5",
    "module is a subclass": "__module__ = type('S', (str,), {})('odd')",
    "getattribute raises": "def __getattribute__(self, name): raise KeyError(name)",
    "setattr raises": "def __setattr__(self, name, value): raise KeyError(name)",
    "notes are no list": "__notes__ = 5",
    "hash raises": "def __hash__(self): raise KeyError",
    "eq raises": "__eq__ = None",
    "class lies": "__class__ = property(lambda self: 1 / 0)",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_exception(body, interp):
    error = failure(interp.exec, f"class E(Exception):\n    {body}\nraise E('x')")
    assert error.excinfo.type.__name__ == "E"
    assert str(error).startswith(error.excinfo.formatted)


def test_odd_metaclass(interp):
    source = """if True:
        class Meta(type):
            def __getattribute__(cls, name):
                raise ZeroDivisionError
        class E(Exception, metaclass=Meta): pass
        raise E("x")
        """
    info = failure(interp.exec, source).excinfo
    assert info.msg == "x"
    assert {type(info.type.__name__), type(info.type.__qualname__), type(info.formatted)} == {str}


def test_cause_that_goes_in_a_circle(interp):
    source = "a, b = ValueError('a'), ValueError('b')\na.__cause__ = b\nb.__cause__ = a\nraise a"
    assert failure(interp.exec, source).excinfo.formatted == "ValueError: a"


def test_long_chain_of_exceptions(interp):
    source = (
        "e = None\nfor i in range(3000):\n  n = ValueError(i)\n  n.__cause__ = e\n  e = n\nraise e"
    )
    assert failure(interp.exec, source).excinfo.formatted == "ValueError: 2999"


@pytest.mark.parametrize(
    ("source", "formatted"),
    [
        ("raise SystemExit", "SystemExit"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise MemoryError", "MemoryError"),
        ("raise StopIteration(1)", "StopIteration: 1"),
        ("raise BaseException('b')", "BaseException: b"),
        (
            "raise BaseExceptionGroup('b', [SystemExit()])",
            "BaseExceptionGroup: b (1 sub-exception)",
        ),
    ],
)
@pytest.mark.parametrize("way", ["exec", "call"])
def test_exceptions_that_are_no_errors(way, source, formatted, interp, capfd):
    error = failure(*((interp.exec, source) if way == "exec" else (interp.call, far.run, source)))
    assert error.excinfo.formatted == formatted
    assert "Traceback" in error.excinfo.errdisplay
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "source",
    [
        "def f(): return f() + 1\nf()",
        "class C:\n  def __repr__(self): return repr(self)\nrepr(C())",
        "def f(x): return sorted([1, 2], key=f)\nf(1)",
        "x = []\nfor _ in range(200_000): x = [x]\nrepr(x)",
    ],
)
def test_recursion_without_end(source, interp):
    info = failure(interp.exec, source).excinfo
    assert info.type.__name__ == "RecursionError"
    assert len(info.errdisplay) < 20_000


def test_recursion_without_end_in_a_call(interp):
    for _ in range(3):
        info = failure(interp.call, far.recurse).excinfo
        assert info.type.__name__ == "RecursionError"
        assert "return recurse() + 1" in info.errdisplay


def test_source_too_deep_for_the_compiler(interp):
    for source in ("(" * 5000 + ")" * 5000, "-" * 100_000 + "1", "a" + ".b" * 100_000):
        info = failure(interp.exec, source).excinfo
        assert info.type.__name__ in ("SyntaxError", "MemoryError", "RecursionError", "NameError")


# ---- big things ----


def test_source_of_10_mb(interp):
    size = 10 * 2**20
    interp.exec(f"x = '{'é' * (size // 2)}'")
    interp.exec(f"assert len(x) == {size // 2}")
    interp.exec("#\n" * (size // 2) + "y = 1")
    display = failure(interp.exec, "#\n" * (size // 2) + "1 / 0").excinfo.errdisplay
    assert f"line {size // 2 + 1}, in <module>\n    1 / 0\n" in display


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        10**5000,
        -(10**5000),
        1 << 1000000,
        True,
        0.1,
        float("inf"),
        -0.0,
        1j,
        b"\x00" * 10**7,
        "🐍\0\ud800" * 10**6,
        {1, 2},
        frozenset(),
        range(3),
        {"a": [None, (..., NotImplemented)]},
        (),
        ((),),
        ("a", (1, (b"", None))),
        [],
        (1, []),
        slice(1, 2),
        int,
        Exception,
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_there_and_back(value, interp):
    back = interp.call(far.same, value)
    assert type(back) is type(value)
    assert back == value
    assert (interp.call(far.same, value=(value,))[0]) == value


def test_nan(interp):
    nan = interp.call(far.same, float("nan"))
    assert nan != nan


def test_subclasses_of_builtins_stay_what_they_are(interp):
    assert type(interp.call(far.same, far.Text("x"))) is far.Text
    assert type(interp.call(far.same, (far.Text("x"),))[0]) is far.Text


@pytest.mark.parametrize("depth", [15, 16, 17, 18, 100, 300])
def test_nested_tuples(depth, interp):
    assert interp.call(far.depth_of, far.nest(depth)) == depth
    assert far.depth_of(interp.call(far.nest, depth)) == depth


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_very_deep_tuples(depth, interp):
    """They travel, or are refused as pickle would refuse them."""
    for action in (
        lambda: interp.call(far.depth_of, far.nest(depth)),
        lambda: far.depth_of(interp.call(far.nest, depth)),
    ):
        try:
            assert action() == depth
        except (isles.NotShareableError, isles.ExecutionFailed) as error:
            assert re.search("recursion|stack", str(error), re.IGNORECASE)


def test_list_that_holds_itself(interp):
    ring = [1]
    ring.append(ring)
    back = interp.call(far.same, ring)
    assert back[1] is back


# ---- what can't travel ----


UNPICKLABLE = {
    "lock": threading.Lock,
    "generator": far.make_generator,
    "frame": lambda: sys._getframe(),
    "weak reference": lambda: weakref.ref(far.Point),
    "thread": threading.current_thread,
    "reduce": lambda: far.NoPickle(ZeroDivisionError("no")),
    "reduce with TypeError": lambda: far.NoPickle(TypeError("no")),
    "reduce with a bad str": lambda: far.NoPickle(far.BadStr()),
    "reduce with an odd str": lambda: far.NoPickle(far.OddStr()),
    "reduce with an odd cause": lambda: far.NoPickle(far.WithOddCause()),
    "reduces to nonsense": lambda: far.Reduced(5, ()),
    "recursion": lambda: far.NoPickle(RecursionError("no")),
}
unpicklable = pytest.mark.parametrize("make", UNPICKLABLE.values(), ids=UNPICKLABLE)


@unpicklable
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (1, [x])], ids=["plain", "wrapped"])
def test_argument_cannot_travel(make, wrap, interp):
    with pytest.raises(isles.NotShareableError, match="can't travel") as excinfo:
        interp.call(far.same, wrap(make()))
    assert isinstance(excinfo.value, TypeError)
    assert excinfo.value.__cause__ is not None
    with pytest.raises(isles.NotShareableError):
        interp.call(far.same, value=wrap(make()))
    with pytest.raises(isles.NotShareableError):
        interp.prepare_main(value=wrap(make()))


@unpicklable
def test_callable_cannot_travel(make, interp):
    value = make()
    with pytest.raises(isles.NotShareableError, match="can't travel"):
        interp.call(lambda: value)


class HasLock:
    def __init__(self):
        self.lock = threading.Lock()

    def method(self):
        pass


def test_a_callable_that_cannot_travel_says_what_it_has_captured(interp, in_main):
    lock = threading.Lock()
    with pytest.raises(isles.NotShareableError, match=r"<lambda>\(\) uses 'lock': cannot pickle"):
        interp.call(lambda: lock)
    func = in_main("import threading; guard = threading.Lock()\ndef f(): return guard", "f")
    with pytest.raises(isles.NotShareableError, match=r"f\(\) uses 'guard': cannot pickle"):
        interp.call(func)
    with pytest.raises(isles.NotShareableError, match=r"HasLock\.method\(\) uses 'self': cannot"):
        interp.call(HasLock().method)


RESULTS = {
    "generator": far.make_generator,
    "reduce": lambda: far.no_pickle(ZeroDivisionError("no")),
    "reduce with TypeError": lambda: far.no_pickle(TypeError("no")),
    "reduce with a bad str": lambda: far.no_pickle(far.BadStr()),
    "reduce with an odd str": lambda: far.no_pickle(far.OddStr()),
    "reduce with an odd cause": lambda: far.no_pickle(far.WithOddCause()),
    "lock": lambda: far.threading.Lock(),
    "in a tuple": lambda: (1, far.make_generator()),
}


@pytest.mark.parametrize("func", RESULTS.values(), ids=RESULTS)
def test_result_cannot_come_back(func, interp):
    with pytest.raises(isles.NotShareableError, match=r"the result can't come back: ."):
        interp.call(func)


def test_the_reason_is_told(interp):
    with pytest.raises(isles.NotShareableError, match=r"can't travel.*: because") as excinfo:
        interp.call(far.same, far.NoPickle(ValueError("because")))
    assert isinstance(excinfo.value.__cause__, ValueError)
    with pytest.raises(isles.NotShareableError, match=r"far\.NoPickle object .*: because"):
        interp.call(far.no_pickle, ValueError("because"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupted_while_pickling(error, interp):
    """Not an error of the argument's: it goes on as it is."""
    with pytest.raises(error):
        interp.call(far.same, far.NoPickle(error()))
    assert failure(interp.call, far.no_pickle, error()).excinfo.type.__name__ == error.__name__


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), far.BadStr()])
def test_argument_cannot_be_unpickled(error, interp):
    info = failure(interp.call, far.same, far.reduced_to(far.raise_it, error)).excinfo
    assert info.type.__name__ == type(error).__name__
    assert "raise error" in info.errdisplay


def test_result_cannot_be_unpickled(interp):
    """That happens here: it is an exception like any other of ours."""
    with pytest.raises(ValueError, match="no"):
        interp.call(far.reduced_to, far.raise_it, ValueError("no"))


def test_module_is_missing_there(interp, monkeypatch):
    module = types.ModuleType("only_here")
    exec("class Thing: pass\ndef f(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    for action, arg in (
        (interp.call, module.f),
        (lambda x: interp.call(far.same, x), module.Thing()),
    ):
        info = failure(action, arg).excinfo
        assert info.formatted == "ModuleNotFoundError: No module named 'only_here'"
    with pytest.raises(isles.ExecutionFailed, match="only_here"):
        interp.prepare_main(thing=module.Thing())


def test_module_fails_to_import_there(tmp_path, monkeypatch):
    (tmp_path / "picky.py").write_text(
        "import isles\nassert isles.get_current().id == 0, 'not there'\ndef f(): return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picky", raising=False)
    import picky

    with isles.create() as interp:
        for _ in range(2):
            info = failure(interp.call, picky.f).excinfo
            assert info.formatted == "AssertionError: not there"
            assert "assert isles.get_current().id == 0" in info.errdisplay
        assert interp.call(far.add, 1) == 111


# ---- failures of failures ----


def test_failure_through_several_interpreters(interp):
    with isles.create() as other:
        error = failure(interp.call, far.relay, [other, isles.get_main()], far.boom)
    assert "isles.ExecutionFailed" in error.excinfo.errdisplay
    assert "raise ValueError(text)  # this very line" in str(error)


def test_text_of_nested_failures_does_not_explode(interp):
    once = len(str(failure(interp.call, far.boom)))
    path = [interp, isles.get_main()] * 5
    nested = str(failure(far.relay, path, far.boom))
    assert "this very line" in nested
    assert len(nested) < once * 10 * len(path)


def test_failure_that_is_caught_and_raised_again(interp):
    error = failure(interp.call, far.boom)
    with pytest.raises(isles.ExecutionFailed, match="ValueError: boom"):
        raise error


def test_failure_pickles(interp):
    """It has to reach the parent from a worker of a process pool, and other interpreters."""
    error = failure(interp.call, far.boom)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is isles.ExecutionFailed
    assert str(again) == str(error)
    assert again.excinfo.type.__name__ == "ValueError"
    assert interp.call(str, error) == str(error)


def test_failures_are_not_chained_to_anything(interp):
    error = failure(interp.call, far.boom)
    assert (error.__cause__, error.__context__) == (None, None)


def test_no_broken_traceback_module_hides_the_failure(interp):
    interp.exec("import sys; sys.modules['traceback'] = None")
    assert failure(interp.call, far.boom).excinfo.formatted == "ValueError: boom"


@pytest.mark.parametrize(
    "damage",
    [
        "import sys; sys.path = None",
        "import sys; del sys.path",
        "import sys; sys.modules.clear()",
        "import sys; del sys.modules['__main__']",
        "import sys; sys.modules['isles'] = None; sys.modules['isles._remote'] = None",
        "import builtins; builtins.__import__ = None",
        "import builtins; del builtins.__dict__['ValueError'], builtins.__dict__['str']",
        "globals().clear()",
        "import sys; del sys.stdout, sys.stderr",
        "import sys; sys.setrecursionlimit(60)",
    ],
)
def test_damage_stays_inside(damage):
    """Not usable any more, maybe, but nothing else breaks."""
    with isles.create() as interp:
        interp.exec(damage)
        with pytest.raises(isles.ExecutionFailed):
            interp.exec("raise ValueError('x')")
        for action in (lambda: interp.call(far.boom), lambda: interp.exec("1 / 0")):
            with pytest.raises(isles.InterpreterError):
                action()
    with isles.create() as another:
        assert another.call(far.add, 1) == 111
    assert builtins.str is str


def test_sources_do_not_stay(interp):
    """Each failure shows its lines, and what it showed them from is given back."""
    for number in range(300):
        padding = "#" * 20_000
        info = failure(interp.exec, f"x = {number}\nraise ValueError(x)  # {number}\n{padding}")
        assert f"raise ValueError(x)  # {number}" in info.excinfo.errdisplay
    interp.exec("import linecache")
    assert interp.call(eval, "sum(name.startswith('<exec') for name in linecache.cache)") == 0
