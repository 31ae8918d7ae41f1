"""What the packed copy of a function depends on: when that has changed, it is packed again."""

import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

from isles._functions import Untraceable, global_names, global_value, is_importable

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))

# (owner, where, value) or (owner, name): functions.c says what they mean.
type _Watch = tuple[Any, int | str | None, Any] | tuple[Any, str]


def watches_of(func: Any) -> tuple[_Watch, ...] | None:
    """All of them; None if what it depends on can't be watched."""
    if not isinstance(func, types.FunctionType):
        return None
    try:
        return tuple(_watches(func, None, {id(func)}))
    except Untraceable:
        return None


def _watches(func: types.FunctionType, owner: Any, seen: set[int]) -> Iterator[_Watch]:
    defaults = func.__defaults__
    if func.__kwdefaults__ or func.__dict__ or not all(map(_is_atom, defaults or ())):
        raise Untraceable
    yield owner, None, (func.__code__, defaults)
    for watch in _captured(func, owner):
        yield watch if len(watch) == 2 else (owner, watch[1], _watched(watch[2]))
        value: Any = watch[-1]
        by_value = isinstance(value, types.FunctionType) and not is_importable(value)
        if by_value and id(value) not in seen:
            seen.add(id(value))
            yield from _watches(value, _weak(value), seen)


def _captured(func: types.FunctionType, owner: Any) -> Iterator[_Watch]:
    """What a copy of the function carries: its cells, and the globals that its code names."""
    for index, cell in enumerate(func.__closure__ or ()):
        try:
            yield owner, index, cell.cell_contents
        except ValueError:  # still empty
            raise Untraceable from None
    for name in global_names(func.__code__, frozenset(func.__code__.co_freevars)):
        if name in func.__globals__:
            yield owner, name, global_value(func, name)
        else:
            yield owner, name


def _is_atom(value: object) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_is_atom, value))  # type: ignore[call-overload]
    return type(value) in _ATOMS


def _watched(value: Any) -> Any:
    if _is_atom(value):
        return value
    if isinstance(value, types.FunctionType) or _goes_by_name(value):
        return _weak(value)
    raise Untraceable


def _goes_by_name(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        spec = getattr(value, "__spec__", None)
        return spec is not None and sys.modules.get(spec.name) is value
    return isinstance(value, (types.BuiltinFunctionType, type)) and is_importable(value)


def _weak(value: Any) -> Any:
    try:
        return weakref.ref(value)
    except TypeError:
        raise Untraceable from None
