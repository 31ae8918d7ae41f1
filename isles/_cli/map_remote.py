"""What ``map`` runs inside its interpreters.

Each interpreter has this module of its own; `_target` is the function that it calls.
"""

import importlib
import io
import json
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

_target: Callable[[str], Any]


class TargetError(Exception):
    """There is no such module or function; the message says which."""


def prepare(module: str, function: str) -> None:
    """Import the function to call; keep what it prints out of the results."""
    global _target
    sys.stdout = sys.stderr
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    _target = find(module, function)


def find(module: str, function: str) -> Callable[[str], Any]:
    try:
        place = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            hint = " (a module has no .py in its name)" if module.endswith(".py") else ""
            raise TargetError(f"there is no module {module!r}{hint}") from None
        raise  # the module is there, one that it imports is not
    try:
        target = attrgetter(function)(place)
    except AttributeError:
        raise TargetError(f"module {module!r} has no function {function!r}") from None
    if not callable(target):
        raise TargetError(f"{module}:{function} is not a function but {type(target).__name__}")
    found: Callable[[str], Any] = target
    return found


def call(text: str) -> str:
    """The function's result for one input, as JSON."""
    return encode(_target(text))


def encode(result: Any) -> str:
    """Strict JSON: NaN and infinities, which have no form in it, are errors too."""
    try:
        return json.dumps(result, allow_nan=False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"the result can't be written as JSON: {error}") from None
