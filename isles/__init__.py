"""isles: Python in isolated interpreters: every core, one process, nearly any package.

The names and the behaviour are those of PEP 734 and `concurrent.interpreters`, on CPython 3.13 to
3.15; what goes beyond them is keyword-only.

    import isles

    interp = isles.create()
    interp.call(print, "hello from", interp)
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Self

try:
    import isles._interpreters as _interpreters
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{os.path.dirname(__file__)} has no compiled part for Python"
        f" {sys.version_info[0]}.{sys.version_info[1]}: it is isles' source tree, or was installed"
        " for another Python.  Install isles (pip install .), and start Python in another folder",
        name=error.name,
    ) from None

from isles._interpreters import (
    InterpreterBusyError,
    InterpreterError,
    InterpreterNotFoundError,
    NotShareableError,
    Queue,
    RunFailedError as ExecutionFailed,
    SharedBuffer,
    create_queue,
    is_shareable,
    wait,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping

    from isles._extensions import Extension, Policy, set_default_extensions
    from isles._output import Target
    from isles._stock import warm
    from isles.futures import InterpreterPoolExecutor
    from isles.queues import (
        UNBOUND,
        UNBOUND_ERROR,
        UNBOUND_REMOVE,
        ItemInterpreterDestroyed,
        QueueEmpty,
        QueueError,
        QueueFull,
        QueueNotFoundError,
        ShutDown,
    )

__all__ = [
    "UNBOUND",
    "UNBOUND_ERROR",
    "UNBOUND_REMOVE",
    "ExecutionFailed",
    "Interpreter",
    "InterpreterBusyError",
    "InterpreterError",
    "InterpreterNotFoundError",
    "InterpreterPoolExecutor",
    "ItemInterpreterDestroyed",
    "NotShareableError",
    "Queue",
    "QueueEmpty",
    "QueueError",
    "QueueFull",
    "QueueNotFoundError",
    "SharedBuffer",
    "ShutDown",
    "create",
    "create_queue",
    "get_current",
    "get_main",
    "is_shareable",
    "list_all",
    "set_default_extensions",
    "wait",
    "warm",
]

__version__ = "0.1.0"

# Only what the standard library takes: what runs so runs with `concurrent.interpreters` as well.
_STRICT = os.environ.get("ISLES_STRICT", "0") != "0"

_EXTENSIONS = os.environ.get("ISLES_EXTENSIONS", "")

# What this interpreter is handed by others (isles._listener), and whose output goes elsewhere
# (isles._output): before close() returns all has arrived.
_listening: Any = None
_redirected: Any = ()

# Names of isles.queues: many interpreters never need them, and `queue` costs an import.
_LAZY = frozenset(
    (
        "UNBOUND",
        "UNBOUND_ERROR",
        "UNBOUND_REMOVE",
        "ItemInterpreterDestroyed",
        "QueueEmpty",
        "QueueError",
        "QueueFull",
        "QueueNotFoundError",
        "ShutDown",
    )
)


def __getattr__(name: str) -> Any:
    module: Any
    if name == "set_default_extensions":
        from isles import _extensions as module
    elif name == "warm":
        from isles import _stock as module
    elif name == "InterpreterPoolExecutor":
        from isles import futures as module
    elif name in _LAZY:
        from isles import queues as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(module, name)
    return value


_WHENCE = {
    _interpreters.WHENCE_UNKNOWN: "unknown",
    _interpreters.WHENCE_RUNTIME: "runtime init",
    _interpreters.WHENCE_LEGACY_CAPI: "legacy C-API",
    _interpreters.WHENCE_CAPI: "C-API",
    _interpreters.WHENCE_XI: "cross-interpreter C-API",
    _interpreters.WHENCE_STDLIB: "_interpreters module",
}


class Interpreter(_interpreters.Interpreter):
    """A Python interpreter of this process; one object for each id in each interpreter.

    Interpreter(id) gives the object of an existing one (an int or InterpreterID; raises
    InterpreterNotFoundError); isles.create() makes a new one.  An interpreter that create() made
    ends when the last object for it, in whichever other interpreter, is gone; with close(); at the
    end of a with block; or when the process exits.

    Thread-safe.  One thread at a time is inside: a second one gets InterpreterBusyError.  Calls
    nest: code inside may call back into the interpreter that it was called from.
    Follows PEP 734.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self._is_named else ""
        return f"{type(self).__name__}({self.id}{name})"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Interpreter):
            return NotImplemented
        return self.id == other.id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.close()
        except InterpreterNotFoundError:
            pass  # closed inside the block

    def close(self) -> None:
        """End the interpreter: wait for its non-daemon threads, run its atexit callbacks, free what
        it holds.

        What it has printed and logged before has arrived where this interpreter sent it.

        Raises InterpreterBusyError while it is running, or if a thread of it does not end;
        InterpreterNotFoundError if it has ended; InterpreterError for the calling and the main
        interpreter and for those that isles did not make.  Follows PEP 734.
        """
        if self in _redirected:
            from isles import _output

            _output.flush(self)
        super().close()
        if _listening is not None:
            _listening.flush()

    @property
    def whence(self) -> str:
        """Where the interpreter comes from, in the words of `concurrent.interpreters`."""
        return _WHENCE[_interpreters.whence(self.id)]

    def is_running(self) -> bool:
        """Whether a thread is inside (exec, call ...); the main interpreter always runs.

        Raises InterpreterNotFoundError if it has ended.
        """
        return _interpreters.is_running(self.id)

    def prepare_main(
        self, ns: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None, /, **kwargs: Any
    ) -> None:
        """Bind copies of the values in the interpreter's __main__.

        ns maps names (str) to values, or is an iterable of such pairs; keyword arguments come on
        top.  Raises ValueError if there are none, NotShareableError for what can't be pickled, and
        then binds nothing; otherwise raises as call() does.
        """
        values = dict(ns or (), **kwargs)
        if not values:
            raise ValueError("prepare_main() needs at least one name and its value")
        if _STRICT and not all(map(is_shareable, values.values())):
            raise NotShareableError("ISLES_STRICT: prepare_main() takes shareable values only")
        _interpreters.set___main___attrs(self.id, values)

    def extensions(self) -> list[Extension]:
        """Return the extension modules that the interpreter has loaded, by name.

        Each has `name`, `how` ("private" for a copy of its own, "shared" for the process's),
        `origin` (the path of the module) and `file` (the path that was loaded).  Raises as call().
        """
        from isles import _extensions

        if self.id == get_current().id:
            return _extensions.loaded()
        return self.call(_extensions.loaded)

    def interrupt(self, exc: BaseException | type[BaseException] = KeyboardInterrupt) -> bool:
        """Raise exc in what another thread runs in the interpreter; True if something runs.

        exc: an exception, or a class of one, that can be pickled.

        The one who called sees it as whatever the code inside made of it, an ExecutionFailed if
        nothing.  It is raised between two bytecodes, or out of a Queue's wait; what is blocked in C
        (time.sleep(), a lock, a socket) gets it when that returns.  If the code has called on into
        other interpreters, KeyboardInterrupt unwinds those first.  It reaches what runs now or
        nothing: never what runs there next.

        Raises InterpreterNotFoundError if the interpreter has ended, InterpreterError for the main
        one and those that isles did not make, TypeError if exc is no exception, NotShareableError.
        Thread-safe.
        """
        return _interpreters.interrupt(self.id, exc)

    def run(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """As call(func, *args, **kwargs), for `timeout` seconds at most; None: without limit.

        After that it is interrupted (by KeyboardInterrupt; see interrupt()) and TimeoutError is
        raised, about a twentieth of a second later at the latest, also if func is blocked in C or
        catches KeyboardInterrupt: then the interpreter stays busy until it returns.  What had not
        begun is interrupted when it does.  With a timeout func runs on a thread of its own.  Raises
        as call(), and ValueError for a negative timeout.  Thread-safe.
        """
        if not hasattr(args, "__iter__"):
            raise TypeError(f"args are an iterable of arguments, not {type(args).__name__}")
        if timeout is None:
            return self.call(func, *args, **(kwargs or {}))
        from isles._timed import run

        return run(self, timeout, func, args, kwargs or {})

    def call_in_thread(
        self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> threading.Thread:
        """Start and return a new thread that does call(callable, *args, **kwargs).

        The result is dropped; an exception goes to threading.excepthook.  The thread is named after
        the interpreter.
        """
        from isles._exit import CallThread

        thread = CallThread(self, (callable, *args), kwargs)
        thread.start()
        return thread


def create(
    *,
    isolated: bool = True,
    extensions: Policy | None = None,
    name: str | None = None,
    stdout: Target | None = None,
    stderr: Target | None = None,
) -> Interpreter:
    """Make an interpreter, idle, and return it.

    isolated: with its own GIL, so that it runs in parallel with all others, its own allocator, and
    no fork, exec or daemon threads.  Otherwise it shares the main interpreter's GIL.

    extensions: how an isolated interpreter imports extension modules.

    - "private", the default: one that does not support a GIL of its own (NumPy and most others) is
      loaded as a private copy, with static data and types of its own.
    - "strict": such a module raises ImportError, as with the standard library.
    - a mapping of names of packages or modules to "private" (a copy, whatever the module says),
      "shared" (as with the standard library) or "deny" (ImportError; "deny:reason" says why); the
      longest name that fits counts, and all else is as by default.

    name: see Interpreter.name; None: the default one.

    stdout, stderr: where what it prints goes; None: where the process prints.

    - the path (str or PathLike) of a file, which is appended to, or a file object with a
      descriptor, which may be closed afterwards.
    - a callable, called with each line (str, with its end), one after the other, on a thread of
      this interpreter that all such interpreters share.  What it raises goes to
      threading.excepthook.
    - a Queue, into which each line is put, waiting while it is full.

    Lines are whole; flush() hands on what there is of one.  What subprocesses and C code write goes
    to the process's descriptors all the same.

    extensions=None is what set_default_extensions() or the environment variable ISLES_EXTENSIONS
    says.

    Either way it has its own modules, its own __main__, and a copy of the caller's sys.path.
    Takes some milliseconds, or microseconds from a stock: warm().  Raises InterpreterError;
    ValueError or TypeError for another policy or another place for output; OSError for a file.
    Any thread.
    """
    outputs = None
    if stdout is not None or stderr is not None:
        from isles import _output

        outputs = _output.opened(stdout, stderr)
    interp = Interpreter._create(isolated=isolated, extensions=_rules(extensions))
    if name is not None:
        interp.name = name
    if outputs:
        _output.redirect(interp, outputs)
    return interp


# Packages that don't work as private copies, and why; a rule of the user's comes before.
_KNOWN_TO_FAIL = {
    "grpc": "deny:its channels and servers start daemon threads, which CPython refuses in isolated"
    " interpreters (and closing the interpreter would then hang): use it in the main interpreter",
    "readline": "deny:the terminal is the process's, and libreadline is not safe for threads (two"
    " interpreters that load it at once crash): use it in the main interpreter",
}


def _rules(policy: Policy | None) -> dict[str, str] | None:
    if policy is None and not _EXTENSIONS and "isles._extensions" not in sys.modules:
        return _KNOWN_TO_FAIL  # the default, without an import
    from isles import _extensions

    return _extensions.default() if policy is None else _extensions.rules(policy)


def list_all() -> list[Interpreter]:
    """Return all interpreters of the process, oldest first, whoever made them."""
    found = []
    for id in _interpreters.list_all():
        try:
            found.append(Interpreter(id))
        except InterpreterNotFoundError:
            pass  # ended meanwhile
    return found


def get_current() -> Interpreter:
    """Return the calling interpreter."""
    return Interpreter(_interpreters.get_current())


def get_main() -> Interpreter:
    """Return the main interpreter, the one that the process started with."""
    return Interpreter(_interpreters.get_main())


if _interpreters.get_current() == _interpreters.get_main():
    # _pack is for the first call, but imported here, where alone a process can fork: the child of a
    # fork during another thread's import would wait for that thread's module lock for ever.
    from isles import _exit, _functions, _pack, _watches

    _exit.register()
    del _exit, _functions, _pack, _watches
