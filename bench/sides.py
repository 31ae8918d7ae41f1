"""The two sides of every comparison, and processes, with one set of names for all."""

import multiprocessing
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import work

HERE = Path(__file__).resolve().parent


class Interp(Protocol):
    def call(self, function: Callable[..., Any], /, *args: Any) -> Any: ...
    def exec(self, source: str, /) -> None: ...
    def close(self) -> None: ...


class Side:
    """A module that makes interpreters, and queues between them if its calls take arguments."""

    def __init__(
        self,
        name: str,
        what: str,
        make: Callable[[], Interp],
        make_queue: Callable[[], Any] | None,
    ):
        self.name = name
        self.what = what
        self.create = make
        self.create_queue = make_queue

    @property
    def passes_arguments(self) -> bool:
        return self.create_queue is not None

    def ready(self) -> Interp:
        """An interpreter in which `import work` finds this folder's module."""
        interp = self.create()
        interp.exec(f"import sys; sys.path.insert(0, {str(HERE)!r}); import work")
        return interp


def isles_side() -> Side | None:
    try:
        import isles
    except ImportError:
        return None
    return Side("isles", "isles", isles.create, isles.create_queue)


def stdlib_side() -> Side:
    if sys.version_info >= (3, 14):
        from concurrent import interpreters

        make, make_queue = interpreters.create, interpreters.create_queue
        return Side("stdlib", "concurrent.interpreters", make, make_queue)
    return Side("stdlib", "_interpreters", Low, None)


class Low:
    """CPython 3.13 has only the low-level `_interpreters`, whose `call` takes no
    arguments and brings back no result."""

    def __init__(self) -> None:
        import _interpreters

        self._module: Any = _interpreters
        self._id = self._module.create("isolated")

    def call(self, function: Callable[..., Any], /) -> None:
        failure = self._module.call(self._id, function)
        if failure is not None:
            raise RuntimeError(failure.formatted)

    def exec(self, source: str, /) -> None:
        failure = self._module.exec(self._id, source)
        if failure is not None:
            raise RuntimeError(failure.formatted)

    def close(self) -> None:
        self._module.destroy(self._id)


class Process:
    """A process that answers calls."""

    def __init__(self, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=work.answer, args=(there,))
        self._process.start()
        there.close()
        self.call(work.nothing)  # it is there only now

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        self._pipe.send((function, args))
        return self._pipe.recv()

    def exec(self, source: str, /) -> None:
        self.call(exec, source)

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def side(name: str) -> Side:
    what, _, method = name.partition(", ")
    if what == "processes":
        return Side(name, "multiprocessing", partial(Process, method), None)
    found = isles_side() if what == "isles" else stdlib_side()
    if found is None:
        raise SystemExit("isles is not installed")
    return found
