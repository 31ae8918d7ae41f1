"""How callables and values travel that C code alone can't pack: imported at the first of them."""

import builtins
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

from isles import _STRICT, _pickling

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))


def dumps(obj: object) -> bytes:
    """Pickle by value what pickle can't name elsewhere: things of __main__, lambdas ..."""
    buffer = io.BytesIO()
    _pickling.by_value_pickler()(buffer, None, None).dump(obj)
    return buffer.getvalue()


def reduce(obj: Any) -> Any:
    """What pickle needs of what cloudpickle does not do, or not as well; None for the rest.

    Of code it drops the name of the file, and with it the lines of tracebacks.  What functools
    caches it takes by name.
    """
    if isinstance(obj, types.CodeType):
        try:
            return marshal.loads, (marshal.dumps(obj),)
        except ValueError:  # constants that somebody has put there
            return None
    if isinstance(obj, functools._lru_cache_wrapper) and not _is_importable(obj):
        parameters = obj.cache_parameters()
        return _pickling.cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
    if _is_stateless(obj):
        return _pickling.function, (marshal.dumps(obj.__code__), obj.__name__, obj.__qualname__)
    return None


def globals_read(obj: Any) -> dict[str, Any]:
    """The globals that the code of a function reads which goes by value; empty for all else."""
    if not isinstance(obj, types.FunctionType) or _is_importable(obj):
        return {}
    names = _names(obj.__code__) & obj.__globals__.keys()
    read = {name: _global(obj, name) for name in names}
    for value in read.values():
        if isinstance(value, types.ModuleType):
            _import_submodules(value, {*obj.__code__.co_names})
    return read


def check_strictly(obj: object) -> None:
    """With ISLES_STRICT: raise for what the standard library does not pickle."""
    if _STRICT:
        _Strict(io.BytesIO(), protocol=5).dump(obj)


class _Strict(pickle.Pickler):
    """Fails where the standard library's pickling does; what it writes is of no use."""

    def reducer_override(self, obj: Any) -> Any:
        if _is_stateless(obj) or _is_of_script(obj):
            return _pickling.function, ()
        if getattr(obj, "__module__", None) == "__main__" and isinstance(obj, types.FunctionType):
            raise pickle.PicklingError(f"{obj!r} is not in the script")
        return NotImplemented


def _is_of_script(obj: Any) -> bool:
    """Whether running the script again would define the function or class again."""
    if not isinstance(obj, (types.FunctionType, type)) or obj.__module__ != "__main__":
        return False
    file = obj.__code__.co_filename if isinstance(obj, types.FunctionType) else ""
    return "<" not in file[:1] + obj.__qualname__


def _is_stateless(obj: Any) -> bool:
    """Whether an object is a function whose code says all, and that has to go by value."""
    if not isinstance(obj, types.FunctionType) or _is_importable(obj):
        return False
    if obj.__closure__ or obj.__defaults__ or obj.__kwdefaults__ or obj.__dict__:
        return False
    if getattr(obj, "__annotate__", None) or obj.__annotations__ or obj.__type_params__:
        return False
    try:
        names = _global_names(obj.__code__, frozenset())
    except _Untraceable:
        return False
    if obj.__globals__.get("__package__") and _imports(obj.__code__):
        return False  # it may be relative
    return names <= vars(builtins).keys() - obj.__globals__.keys()


_LAZY: Any = getattr(types, "LazyImportType", ())  # since 3.15


def _global(func: types.FunctionType, name: str) -> Any:
    """A global, as if the function used it: what was imported lazily is imported then."""
    value = func.__globals__[name]
    if isinstance(value, _LAZY):
        func.__globals__[name] = value = value.resolve()
    return value


def _import_submodules(module: types.ModuleType, names: set[str]) -> None:
    """Import the lazily imported ones that code with these names may use: cloudpickle looks."""
    prefix = f"{module.__name__}."
    for name in sorted(getattr(sys, "lazy_modules", ())):  # since 3.15
        if name.startswith(prefix) and names.issuperset(name.removeprefix(prefix).split(".")):
            importlib.import_module(name)


# What a packed callable is: binding/functions.h.
_PICKLE, _NAME, _CODE = range(3)


def pack(func: Any) -> tuple[int, bytes, Any]:
    """Pack a callable; return what the bytes are, those, and what a copy depends on.

    The last item is None if the copy may not be used for a second call; otherwise a tuple of
    watches, each (owner, where, value) as functions.c reads them.
    """
    if _is_importable(func):
        return _NAME, f"{func.__module__}\0{func.__qualname__}".encode(), ()
    watches: Any = None
    if isinstance(func, types.FunctionType):
        try:
            # Before the pickling: what changes in between makes the next call pack again.
            watches = tuple(_watches(func, None, {id(func)}))
        except _Untraceable:
            pass
    try:
        if _is_stateless(func):
            check_strictly(func)
            names = str(func.__name__), str(func.__qualname__)  # marshal knows no subclasses
            return _CODE, marshal.dumps((*names, func.__code__)), watches
        return _PICKLE, dumps(func), watches
    except Exception as error:
        if (name := _culprit(func)) is None:
            raise
        raise pickle.PicklingError(f"{func.__qualname__}() uses {name!r}: {error}") from error


def _culprit(func: Any) -> str | None:
    """The name of something that a function has captured and that can't be pickled."""
    import inspect

    captured: dict[str, Any] = {}
    if isinstance(func, types.MethodType):
        captured["self"] = func.__self__
    elif isinstance(func, types.FunctionType):
        try:
            variables = inspect.getclosurevars(func)
            captured = {**variables.nonlocals, **variables.globals}
        except ValueError:
            pass  # a variable that has no value yet
    for name, value in captured.items():
        try:
            dumps(value)
        except Exception:
            return name
    return None


def _is_importable(obj: Any) -> bool:
    """Whether another interpreter gets the same object by importing its module."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(name, str) or not isinstance(module, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


class _Untraceable(Exception):
    """Something captured can change without its identity changing, or the copy would remember."""


_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")

# (owner, where, value) or (owner, name): functions.c says what they mean.
type _Watch = tuple[Any, int | str | None, Any] | tuple[Any, str]


def _watches(func: types.FunctionType, owner: Any, seen: set[int]) -> Iterator[_Watch]:
    defaults = func.__defaults__
    if func.__kwdefaults__ or func.__dict__ or not all(map(_is_atom, defaults or ())):
        raise _Untraceable
    yield owner, None, (func.__code__, defaults)
    for watch in _captured(func, owner):
        yield watch if len(watch) == 2 else (owner, watch[1], _watched(watch[2]))
        value: Any = watch[-1]
        by_value = isinstance(value, types.FunctionType) and not _is_importable(value)
        if by_value and id(value) not in seen:
            seen.add(id(value))
            yield from _watches(value, _weak(value), seen)


def _captured(func: types.FunctionType, owner: Any) -> Iterator[_Watch]:
    """What a copy of the function carries: its cells, and the globals that its code names."""
    for index, cell in enumerate(func.__closure__ or ()):
        try:
            yield owner, index, cell.cell_contents
        except ValueError:  # still empty
            raise _Untraceable from None
    for name in _global_names(func.__code__, frozenset(func.__code__.co_freevars)):
        if name in func.__globals__:
            yield owner, name, _global(func, name)
        else:
            yield owner, name


def _global_names(code: types.CodeType, captured: frozenset[str]) -> set[str]:
    """The globals that the code reads; it may write neither these nor captured variables."""
    import dis

    names = set()
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in _STORES:
            if instruction.opname.endswith("GLOBAL") or name in captured:
                raise _Untraceable
        elif instruction.opname in _LOADS:
            names.add(name)
    for inner in _inner(code):
        names |= _global_names(inner, captured & set(inner.co_freevars))
    return names


_known_names: weakref.WeakKeyDictionary[types.CodeType, set[str]] = weakref.WeakKeyDictionary()


def _names(code: types.CodeType) -> set[str]:
    """The globals that the code reads; not what the body of a class has given a value before."""
    names = _known_names.get(code)
    if names is None:
        names = _known_names[code] = _find_names(code)
    return names


def _find_names(code: types.CodeType) -> set[str]:
    import dis

    names: set[str] = set()
    own: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            own.add(instruction.argval)
        elif instruction.opname in _LOADS and instruction.argval not in own:
            names.add(instruction.argval)
    return names.union(*map(_names, _inner(code)))


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _imports(code: types.CodeType) -> bool:
    import dis

    imports = any(each.opname == "IMPORT_NAME" for each in dis.get_instructions(code))
    return imports or any(map(_imports, _inner(code)))


def _is_atom(value: object) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_is_atom, value))  # type: ignore[call-overload]
    return type(value) in _ATOMS


def _watched(value: Any) -> Any:
    if _is_atom(value):
        return value
    if isinstance(value, types.FunctionType) or _goes_by_name(value):
        return _weak(value)
    raise _Untraceable


def _goes_by_name(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        spec = getattr(value, "__spec__", None)
        return spec is not None and sys.modules.get(spec.name) is value
    return isinstance(value, (types.BuiltinFunctionType, type)) and _is_importable(value)


def _weak(value: Any) -> Any:
    try:
        return weakref.ref(value)
    except TypeError:
        raise _Untraceable from None
