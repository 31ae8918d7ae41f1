"""A warm stock of interpreters: docs/design/stock.md."""

import os
import time
from collections.abc import Iterable

import isles
from isles import _interpreters

LOOK_EVERY = 0.002


def follow() -> None:
    """Give the stock the default rules for extension modules, which have changed."""
    _interpreters._stock_set(-1, [], isles._rules(None))


def warm(n: int, *, preload: Iterable[str] = (), wait: float = 0.0) -> int:
    """Keep n finished interpreters ready for create(); return how many are ready now.

    n: how many; 0 ends the stock.  Off (0) by default, and in a child process made by fork.
    preload: names of modules that each of them has imported.
    wait: seconds to wait for the stock to be full and for what was closed to have ended, at most.

    A thread of low priority makes them, one after the other; with new settings warm() makes the
    first one itself, so that what fails raises here and changes nothing.  One that is taken is
    replaced, and is never used again.  create() takes one if it would make the same: isolated, with
    the same sys.path, rules for extension modules, environment and standard streams; otherwise it
    makes one, as without a stock (the stock then follows main's sys.path, and the environment).
    Until they are taken list_all() does not show them.  If one can't be made later on, the stock
    ends, and the next create() warns (RuntimeWarning).

    While there is a stock, close() of an isolated interpreter returns at once and that thread ends
    it, unless n of them wait for that already, or threads run in it.

    Raises ExecutionFailed if a module can't be imported; InterpreterError; ValueError, TypeError
    for other arguments.  In the main interpreter only, on any thread.  wait is interrupted by
    Ctrl-C.
    """
    if isinstance(preload, str):
        raise TypeError("preload must be an iterable of names, not a str")
    modules = list(preload)
    for name in modules:
        if not isinstance(name, str):
            raise TypeError(f"preload must have names (str), not {name!r}")
    if not isinstance(n, int):
        raise TypeError(f"n must be an integer, not {type(n).__name__}")
    if n < 0:
        raise ValueError("n must be at least 0")
    if _interpreters.get_current() != _interpreters.get_main():
        raise isles.InterpreterError("isles.warm() works in the main interpreter only")
    deadline = time.monotonic() + wait
    names = [str.__str__(name) for name in modules]
    _interpreters._stock_set(n, names, isles._rules(None))
    ready, works = _interpreters._stock_state()
    while works and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        ready, works = _interpreters._stock_state()
    return ready


if _interpreters.get_current() == _interpreters.get_main():
    # Not in the middle of making one: a child has none of the locks' owners.
    os.register_at_fork(
        before=_interpreters._stock_hold, after_in_parent=_interpreters._stock_release
    )
