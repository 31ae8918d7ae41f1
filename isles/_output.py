"""Where an interpreter's sys.stdout and sys.stderr go: isles.create(stdout=).

docs/design/output.md.
"""

from __future__ import annotations

import _thread
import io
import os
import sys

import isles
from isles import _interpreters

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would cost every interpreter more than all the rest
    from collections.abc import Callable
    from typing import Any, Protocol

    class HasDescriptor(Protocol):
        def fileno(self) -> int: ...

    type Target = str | os.PathLike[str] | HasDescriptor | Callable[[str], object] | isles.Queue
    # A descriptor, encoding and errors; a queue, and what goes into it before each line.
    type Way = tuple[int, str, str | None] | tuple[isles.Queue, Any]


# ---- in the interpreter that asks ----

_beginning = _thread.allocate_lock()


class File:
    """A descriptor of its own, or one of the process's standard ones, and how text is written."""

    def __init__(self, fd: int, encoding: str = "utf-8", errors: str | None = None) -> None:
        self.fd, self.encoding, self.errors = fd, encoding, errors

    def __del__(self) -> None:
        if self.fd > 2:
            os.close(self.fd)


def opened(stdout: Target | File | None, stderr: Target | File | None) -> dict[str, Any]:
    """Return what those are that are given: Files, Queues or callables.  Raises as create()."""
    targets = {"stdout": stdout, "stderr": stderr}
    return {name: _opened(target) for name, target in targets.items() if target is not None}


def _opened(target: Target | File) -> Any:
    if isinstance(target, (File, isles.Queue)):
        return target
    if isinstance(target, (str, os.PathLike)):
        return File(os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666))
    if callable(target):
        return target
    if hasattr(target, "fileno"):
        try:
            fd = target.fileno()
        except io.UnsupportedOperation:
            message = f"{target!r} has no descriptor: give its write method instead"
            raise ValueError(message) from None
        if hasattr(target, "flush"):
            target.flush()
        encoding = getattr(target, "encoding", None) or "utf-8"
        own = fd if fd in (1, 2) else os.dup(fd)
        return File(own, encoding, getattr(target, "errors", None))
    kind = type(target).__name__
    hint = " (for a descriptor: open() takes one; for nowhere: os.devnull)" * (kind == "int")
    raise TypeError(f"output goes to a path, a file, a callable or a Queue, not to {kind}{hint}")


def redirect(interp: isles.Interpreter, outputs: dict[str, Any]) -> None:
    """Send what a new interpreter prints to what opened() gave; closes it if that fails."""
    import weakref

    with _beginning:
        if isles._redirected == ():
            isles._redirected = weakref.WeakSet()
    try:
        interp.call(install, {name: _way(interp.id, name, outputs[name]) for name in outputs})
    except BaseException:
        interp.close()
        raise
    isles._redirected.add(interp)


def _way(id: int, name: str, target: Any) -> Way:
    if isinstance(target, File):
        return target.fd, target.encoding, target.errors
    if isinstance(target, isles.Queue):
        return target, None
    from isles import _listener

    listener = _listener.get()
    return listener.queue, listener.add(id, name, target)


def flush(interp: isles.Interpreter) -> None:
    """Hand over what an interpreter has printed since its last end of a line, if it is idle."""
    try:
        interp.call(flush_here)
    except _interpreters.InterpreterError:
        pass  # busy, or ended


# ---- in the other one ----


class Put:
    """Puts lines into a queue, each with the key if there is one."""

    def __init__(self, queue: isles.Queue, key: Any) -> None:
        self.queue, self.key = queue, key
        self.at_end = False  # then a full queue takes them: nobody may be left to make room

    def __call__(self, lines: list[Any]) -> None:
        if self.key is not None:
            lines = [(self.key, line) for line in lines]
        self.queue._put_kept(lines, self.at_end)


def _put_of(stream: Any) -> Put | None:
    return getattr(getattr(stream, "buffer", None), "put", None)


def install(ways: dict[str, Way]) -> None:
    for name, way in ways.items():
        stream = _stream(name, way)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(name: str, way: Any) -> Any:
    target = way[0]
    if isinstance(target, int):
        target, encoding, errors = way
        if name == "stderr":
            errors = "backslashreplace"
        elif errors is None:
            errors = getattr(sys.stdout, "errors", "strict")
        target = target if target in (1, 2) else os.dup(target)
        return _interpreters._stream(target, f"<{name}>", encoding, errors)

    import atexit

    stream = _interpreters._stream(Put(*way), f"<{name}>", "utf-8", "surrogatepass")
    atexit.register(finish, stream)  # the first, which runs last
    return stream


def finish(stream: Any) -> None:
    """Hand over what there is of a line, as an interpreter's end does: without a word."""
    try:
        if (put := _put_of(stream)) is not None:
            put.at_end = True
        stream.flush()
    except Exception:
        pass  # closed, or its queue shut down


def flush_here() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        finish(stream)
        if (put := _put_of(stream)) is not None:
            put.at_end = False


if _interpreters.get_current() == _interpreters.get_main():
    os.register_at_fork(after_in_child=_beginning._at_fork_reinit)  # type: ignore[attr-defined]
