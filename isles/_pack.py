"""How callables and values travel that C code alone can't pack: imported at the first of them."""

import functools
import io
import marshal
import pickle
import types
from typing import Any

from isles import _STRICT, _pickling
from isles._functions import is_importable, is_stateless
from isles._watches import watches_of


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
    if isinstance(obj, functools._lru_cache_wrapper) and not is_importable(obj):
        parameters = obj.cache_parameters()
        return _pickling.cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
    if is_stateless(obj):
        return _pickling.function, (marshal.dumps(obj.__code__), obj.__name__, obj.__qualname__)
    return None


def check_strictly(obj: object) -> None:
    """With ISLES_STRICT: raise for what the standard library does not pickle."""
    if _STRICT:
        _Strict(io.BytesIO(), protocol=5).dump(obj)


class _Strict(pickle.Pickler):
    """Fails where the standard library's pickling does; what it writes is of no use."""

    def reducer_override(self, obj: Any) -> Any:
        if is_stateless(obj) or _is_of_script(obj):
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


# What a packed callable is: binding/functions.h.
_PICKLE, _NAME, _CODE = range(3)


def pack(func: Any) -> tuple[int, bytes, Any]:
    """Pack a callable; return what the bytes are, those, and what a copy depends on.

    The last item is None if the copy may not be used for a second call; otherwise a tuple of
    watches, each (owner, where, value) as functions.c reads them.
    """
    if is_importable(func):
        return _NAME, f"{func.__module__}\0{func.__qualname__}".encode(), ()
    # Before the pickling: what changes in between makes the next call pack again.
    watches = watches_of(func)
    try:
        if is_stateless(func):
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
