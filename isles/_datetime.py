"""On 3.13 only: values of the datetime in Python travel as those of the one in C.

Interpreters have the former there (binding/gate.c), the main interpreter the latter.
"""

from types import ModuleType
from typing import Any


def rename(module: ModuleType) -> None:
    """Make the classes of _pydatetime pickle as `datetime`'s."""
    for name in ("date", "time", "datetime", "timedelta", "timezone", "tzinfo"):
        getattr(module, name).__module__ = "datetime"
    # By its arguments alone: the one in C takes no state.
    module.timezone.__reduce__ = _reduce_timezone


def _reduce_timezone(zone: Any) -> tuple[Any, tuple[Any, ...]]:
    return type(zone), zone.__getinitargs__()
