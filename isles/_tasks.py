"""The far side of isles.futures, and how what a task raises comes back (docs/design/pools.md).

Imported in a worker's interpreter with its first chunk or failure.
"""

from __future__ import annotations

import pickle
from itertools import starmap

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would cost every interpreter more than all the rest
    from collections.abc import Callable, Iterable
    from typing import Any

    from isles import ExecutionFailed

    type Links = list[tuple[int | None, int | None, bool]]

_done: list | None = None  # what a chunk had done when it failed: for carry(), which comes next


def preload(modules: list[str]) -> None:
    import importlib

    for module in modules:
        importlib.import_module(module)


# ---- an initializer ----

_kept: dict[str, object] = {}  # what it left in the script's globals


def initialize(func: Callable, *args: object) -> None:
    """Call an initializer; what it stores in the globals of the script is what tasks see there.

    Functions of the script travel by value, each with a copy of the globals that it uses.
    """
    variables = getattr(func, "__globals__", {})
    before = dict(variables)
    func(*args)
    if getattr(func, "__module__", None) != "__main__":
        return  # those of a module stay there
    missing = object()
    for name, value in variables.items():
        if before.get(name, missing) is not value:
            _kept[name] = value
    if _kept:
        _hook()


def _hook() -> None:
    global _set_plain_state
    from cloudpickle import cloudpickle

    if cloudpickle._function_setstate is not set_state:
        _set_plain_state = cloudpickle._function_setstate
        cloudpickle._function_setstate = set_state


_set_plain_state: Callable | None = None


def set_state(func: Any, state: object) -> None:
    """In place of cloudpickle's function of another name, which completes a copied function."""
    if _set_plain_state is None:  # a function that was packed where this was hooked came here
        from cloudpickle.cloudpickle import _function_setstate as plain
    else:
        plain = _set_plain_state
    plain(func, state)
    if func.__module__ == "__main__":
        func.__globals__.update(_kept)


# ---- tasks ----


def run_chunk(func: Callable, chunk: Iterable, spread: bool) -> list:
    """Return func's results for the items of a chunk, or for each item's items if `spread`."""
    global _done
    results: list[Any] = []
    try:
        results.extend(starmap(func, chunk) if spread else map(func, chunk))
    except BaseException:
        _done = results
        raise
    return results


def carry(error: BaseException) -> bytes | None:
    """Pack an exception with its chain, and with the results of its chunk; None if it can't travel.

    Called where it was raised.
    """
    global _done
    done, _done = _done, None
    chain = _chain(error)
    # Some only fail to be loaded: then the next one is tried, over there.
    tries = [dumped for part in (chain, [error]) if (dumped := _dumps((part, _links(part))))]
    return pickle.dumps((tries, _dumps(done))) if tries else None


def revive(failed: ExecutionFailed) -> tuple[BaseException, list | None]:
    """Return the exception that a failed task raised, or `failed` itself if it did not travel, and
    the results that its chunk had by then, None if there is no chunk or they did not travel.

    The last cause of the exception is `failed`, which shows the traceback of the task.
    """
    carried = vars(failed).pop("_carried", None)
    if carried is None:
        return failed, None
    tries, done = pickle.loads(carried)
    results = _loads(done)
    for dumped in tries:
        try:
            errors, links = pickle.loads(dumped)
            _link(errors, links)
            failed.__traceback__ = None  # its frames are those of who asked
            _append_cause(errors[0], failed)
        except BaseException:  # what a class's own code raises, and be it SystemExit
            continue
        return errors[0], results
    return failed, results


def _dumps(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        data = pickle.dumps(value, 5)
        if b"__main__" not in data:
            return data
    except Exception:
        pass
    from isles import _pack

    try:
        return _pack.dumps(value)
    except Exception:
        return None


def _loads(data: bytes | None) -> Any:
    try:
        return pickle.loads(data) if data else None
    except BaseException:
        return None


def _chain(error: BaseException) -> list[BaseException]:
    """The exception, its causes and contexts, and the parts of groups: what pickle leaves out, or
    what it keeps without its own causes."""
    found, waiting = {id(error): error}, [error]
    while waiting:
        last = waiting.pop()
        parts = last.exceptions if isinstance(last, BaseExceptionGroup) else ()
        for other in (last.__cause__, last.__context__, *parts):
            if other is not None and id(other) not in found:
                found[id(other)] = other
                waiting.append(other)
    return list(found.values())


def _links(errors: list[BaseException]) -> Links:
    """For each, where its cause and its context are in the list."""
    places = {id(error): place for place, error in enumerate(errors)}
    return [
        (places.get(id(e.__cause__)), places.get(id(e.__context__)), e.__suppress_context__)
        for e in errors
    ]


def _link(errors: list[BaseException], links: Links) -> None:
    for error, (cause, context, suppress) in zip(errors, links, strict=True):
        if cause is not None:
            error.__cause__ = errors[cause]
        if context is not None:
            error.__context__ = errors[context]
        error.__suppress_context__ = suppress


def _append_cause(error: BaseException, failed: ExecutionFailed) -> None:
    seen = {id(error)}
    while (cause := error.__cause__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
    if error.__cause__ is None:  # otherwise they go in a circle, and the last has one
        error.__cause__ = failed
