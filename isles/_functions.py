"""What has to be known of a function before it travels: its name elsewhere, what its code uses."""

import builtins
import importlib
import sys
import types
import weakref
from typing import Any


def is_importable(obj: Any) -> bool:
    """Whether another interpreter gets the same object by importing its module."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(name, str) or not isinstance(module, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def is_stateless(obj: Any) -> bool:
    """Whether an object is a function whose code says all, and that has to go by value."""
    if not isinstance(obj, types.FunctionType) or is_importable(obj):
        return False
    if obj.__closure__ or obj.__defaults__ or obj.__kwdefaults__ or obj.__dict__:
        return False
    if getattr(obj, "__annotate__", None) or obj.__annotations__ or obj.__type_params__:
        return False
    try:
        names = global_names(obj.__code__, frozenset())
    except Untraceable:
        return False
    if obj.__globals__.get("__package__") and _imports(obj.__code__):
        return False  # it may be relative
    return names <= vars(builtins).keys() - obj.__globals__.keys()


def globals_read(obj: Any) -> dict[str, Any]:
    """The globals that the code of a function reads which goes by value; empty for all else."""
    if not isinstance(obj, types.FunctionType) or is_importable(obj):
        return {}
    names = _names(obj.__code__) & obj.__globals__.keys()
    read = {name: global_value(obj, name) for name in names}
    for value in read.values():
        if isinstance(value, types.ModuleType):
            _import_submodules(value, {*obj.__code__.co_names})
    return read


_LAZY: Any = getattr(types, "LazyImportType", ())  # since 3.15


def global_value(func: types.FunctionType, name: str) -> Any:
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


class Untraceable(Exception):
    """Something captured can change without its identity changing, or the copy would remember."""


_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_STORES = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")


def global_names(code: types.CodeType, captured: frozenset[str]) -> set[str]:
    """The globals that the code reads; it may write neither these nor captured variables."""
    import dis

    names = set()
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in _STORES:
            if instruction.opname.endswith("GLOBAL") or name in captured:
                raise Untraceable
        elif instruction.opname in _LOADS:
            names.add(name)
    for inner in _inner(code):
        names |= global_names(inner, captured & set(inner.co_freevars))
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
