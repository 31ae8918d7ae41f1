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
    type Way = tuple[int, str, str | None] | tuple[isles.Queue, Any] | None

NAMES = "stdout", "stderr"


# ---- in the interpreter that asks ----


class File:
    """A descriptor of its own, or one of the process's standard ones, and how text is written."""

    def __init__(self, fd: int, encoding: str = "utf-8", errors: str | None = None) -> None:
        self.fd, self.encoding, self.errors = fd, encoding, errors

    def __del__(self) -> None:
        if self.fd > 2:
            os.close(self.fd)


def opened(target: Target | File | None) -> Any:
    """Return what a target is: None, a File, a Queue or a callable.  Raises as create()."""
    if target is None or isinstance(target, (File, isles.Queue)):
        return target
    if isinstance(target, (str, os.PathLike)):
        return File(os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666))
    if hasattr(target, "fileno"):
        try:
            fd = target.fileno()
        except io.UnsupportedOperation:
            message = f"{target!r} has no descriptor; its write method would be called with lines"
            raise ValueError(message) from None
        if hasattr(target, "flush"):
            target.flush()
        encoding = getattr(target, "encoding", None) or "utf-8"
        own = fd if fd in (1, 2) else os.dup(fd)
        return File(own, encoding, getattr(target, "errors", None))
    if callable(target):
        return target
    kind = type(target).__name__
    raise TypeError(f"output goes to a path, a file, a callable or a Queue, not to {kind}")


def redirect(interp: isles.Interpreter, *targets: Any) -> None:
    """Send what a new interpreter prints to what opened() gave; closes it if that fails."""
    import weakref

    if not isles._redirected:
        isles._redirected = weakref.WeakSet()
    try:
        ways = [_way(interp.id, *each) for each in zip(NAMES, targets, strict=True)]
        interp.call(install, *ways)
    except BaseException:
        interp.close()
        raise
    isles._redirected.add(interp)


def _way(id: int, name: str, target: Any) -> Way:
    if target is None:
        return None
    if isinstance(target, File):
        return target.fd, target.encoding, target.errors
    if isinstance(target, isles.Queue):
        return target, None
    from isles import _listener

    listener = _listener.get()
    listener.receivers[id, name] = target
    return listener.queue, (id, name)


def flush(interp: isles.Interpreter) -> None:
    """Hand over what an interpreter has printed since its last end of a line, if it is idle."""
    try:
        interp.call(flush_here)
    except _interpreters.InterpreterError:
        pass  # busy, or ended


# ---- in the other one ----


class Lines(io.RawIOBase):
    """Puts whole lines, each a str, into a queue, and the rest with flush().

    Uses nothing of this module: what is printed at an interpreter's end comes after that has gone.
    """

    mode = "w"

    def __init__(self, name: str, queue: isles.Queue, key: Any) -> None:
        super().__init__()
        self.name = name
        self._queue, self._key = queue, key
        self._rest: list[bytes] = []
        self._lock = _thread.RLock()  # a finalizer may print while this thread has it

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        data = bytes(data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        with self._lock:
            if not end:
                self._rest.append(data)
                return len(data)
            whole = b"".join((*self._rest, data[:end]))
            self._rest = [data[end:]]
        self._put(whole, False)
        return len(data)

    def flush(self, at_end: bool = False) -> None:
        super().flush()
        with self._lock:
            rest, self._rest = b"".join(self._rest), []
        self._put(rest, at_end)

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush(True)
            finally:
                super().close()
                if self._key is not None:
                    self._queue._put_kept([(self._key, None)])

    def _put(self, data: bytes, at_end: bool) -> None:
        lines: list[Any] = data.splitlines(True)
        for place, line in enumerate(lines):
            try:
                text = line.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                text = line.decode("utf-8", "backslashreplace")
            lines[place] = text if self._key is None else (self._key, text)
        self._queue._put_kept(lines, at_end)


def install(*ways: Way) -> None:
    for name, way in zip(NAMES, ways, strict=True):
        if way is not None:
            stream = _stream(name, way)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _stream(name: str, way: Any) -> Any:
    if not isinstance(way[0], int):
        lines = Lines(f"<{name}>", *way)
        return io.TextIOWrapper(
            lines, "utf-8", "surrogatepass", newline="\n", write_through=True
        )
    fd, encoding, errors = way
    if name == "stderr":
        errors = "backslashreplace"
    elif errors is None:
        errors = getattr(sys.stdout, "errors", "strict")
    fd = fd if fd in (1, 2) else os.dup(fd)
    return _interpreters._stream(fd, f"<{name}>", encoding, errors)


def flush_here() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            lines = stream.buffer  # type: ignore[union-attr]
            lines.flush(True) if isinstance(lines, Lines) else lines.flush()
        except Exception:
            pass  # as at the interpreter's end
