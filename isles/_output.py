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
    raise TypeError(f"output goes to a path, a file, a callable or a Queue, not to {kind}")


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


class Lines(io.RawIOBase):
    """Puts whole lines, each a str, into a queue, and the rest with hand_over().

    Uses nothing of this module: what is printed at an interpreter's end comes after that has gone.
    """

    mode = "w"
    at_end = False  # then a full queue takes it all the same: nobody may be left to make room

    def __init__(self, name: str, queue: isles.Queue, key: Any) -> None:
        super().__init__()
        self.name = name
        self._queue, self._key = queue, key
        self._rest: list[bytes] = []
        self._lock = _thread.RLock()  # a finalizer may print while this thread has it: in between

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        data = bytes(data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        with self._lock:
            rest, self._rest = self._rest, []
            whole = b"".join((*rest, data[:end])) if end else b""
            self._rest = [data[end:], *self._rest] if end else [*rest, data, *self._rest]
        self._put(whole)
        return len(data)

    def hand_over(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, []
        self._put(b"".join(rest))

    def close(self) -> None:
        if not self.closed:
            self.hand_over()
        super().close()

    def _put(self, data: bytes) -> None:
        lines: list[Any] = data.splitlines(True)
        for place, line in enumerate(lines):
            try:
                text = line.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                text = line.decode("utf-8", "backslashreplace")
            lines[place] = text if self._key is None else (self._key, text)
        if lines:
            self._queue._put_kept(lines, self.at_end)


class Stream(io.TextIOWrapper):
    """Writes to Lines at the end of each line, as line_buffering does; only this has a flush()."""

    def flush(self) -> None:
        super().flush()
        self.buffer.hand_over()  # type: ignore[attr-defined]


def install(ways: dict[str, Way]) -> None:
    for name, way in ways.items():
        stream = _stream(name, way)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(name: str, way: Any) -> Any:
    if not isinstance(way[0], int):
        import atexit

        lines = Lines(f"<{name}>", *way)
        stream = Stream(lines, "utf-8", "surrogatepass", newline="\n", line_buffering=True)
        atexit.register(finish, stream)  # the first, which runs last
        return stream
    fd, encoding, errors = way
    if name == "stderr":
        errors = "backslashreplace"
    elif errors is None:
        errors = getattr(sys.stdout, "errors", "strict")
    fd = fd if fd in (1, 2) else os.dup(fd)
    return _interpreters._stream(fd, f"<{name}>", encoding, errors)


def finish(stream: Any) -> None:
    """Hand over what there is of a line, as an interpreter's end does: without a word."""
    try:
        if isinstance(stream, Stream):
            stream.buffer.at_end = True  # type: ignore[attr-defined]
        stream.flush()
    except Exception:
        pass  # closed, or its queue shut down


def flush_here() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        finish(stream)
        if isinstance(stream, Stream) and not stream.closed:
            stream.buffer.at_end = False  # type: ignore[attr-defined]
