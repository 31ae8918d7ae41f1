"""Log records of other interpreters for the main interpreter's loggers.

    import isles.logging

    interp = isles.create(name="crunch")
    isles.logging.forward(interp)

    pool = isles.InterpreterPoolExecutor(initializer=isles.logging.forwarder())

As with `logging.handlers.QueueHandler` and `QueueListener`: a handler of the interpreter's root
logger sends each record, and a thread of the main interpreter has its own logger of that name
handle it, if this is enabled for the record's level.  Nothing has to be started or stopped.

A record arrives with `interpreter`, the id (int) of the interpreter that it comes from, and
`interpreterName` (str), which formats can name: "%(interpreterName)s".  The message is formatted
where it was logged, and so is the traceback: `args` and `exc_info` are None, `exc_text` is a str.
What was given as `extra` arrives if it can be pickled, and as its repr() otherwise.
"""

from __future__ import annotations

import logging
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import isles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["forward", "forwarder"]

_PLAIN = frozenset((type(None), bool, int, float, str))


_MAIN = "the main interpreter's records are where they should be"


def forward(interp: isles.Interpreter, *, level: int | str = logging.NOTSET) -> None:
    """Send the log records of an interpreter to the main interpreter's loggers.

    level: of the interpreter's root logger and of the handler that it gets, an int or a name: what
    is below is not sent.  By default all is, and main's loggers choose.  Called again it changes
    the level.

    What was logged has been handled when the main interpreter closes the interpreter, shuts an
    executor down or exits; records are handled one after the other.  From any interpreter and
    thread; raises as Interpreter.call(), ValueError or TypeError for another level, and
    InterpreterError for the main interpreter, or if called on a thread that does not come from the
    main interpreter in one whose own records are not forwarded.
    """
    if interp == isles.get_main():
        raise isles.InterpreterError(_MAIN)
    interp.call(forwarder(level))


def forwarder(level: int | str = logging.NOTSET) -> Callable[[], None]:
    """Return what forwards the records of whichever interpreter it is called in.

    To be an executor's initializer, or to be called in one.  See forward().
    """
    return partial(_install, _queue(), logging.Handler(level).level)


# ---- in the interpreter that logs ----


class _Handler(logging.Handler):
    def __init__(self, queue: isles.Queue, level: int) -> None:
        super().__init__(level)
        self.queue = queue
        self.interp = isles.get_current()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.queue._put_kept([("log", self.packed(record))])
        except Exception:
            self.handleError(record)

    def packed(self, record: logging.LogRecord) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its attributes, and those that are pickled: each with its repr."""
        values = vars(record) | {
            "msg": record.getMessage(),
            "args": None,
            "exc_info": None,
            "interpreter": self.interp.id,
            "interpreterName": self.interp.name,
        }
        if record.exc_info and not record.exc_text:
            values["exc_text"] = logging.Formatter().formatException(record.exc_info)
        others = {}
        for name in [name for name, value in values.items() if type(value) not in _PLAIN]:
            others[name] = _pickled(values.pop(name))
        return values, others


def _pickled(value: object) -> tuple[bytes, str]:
    try:
        return pickle.dumps(value), repr(value)
    except Exception:
        return b"", repr(value)


def _forwards() -> _Handler | None:
    found = (each for each in logging.getLogger().handlers if isinstance(each, _Handler))
    return next(found, None)


def _install(queue: isles.Queue, level: int) -> None:
    if isles.get_current() == isles.get_main():
        raise isles.InterpreterError(_MAIN)
    root = logging.getLogger()
    if (before := _forwards()) is not None:
        root.removeHandler(before)
    root.addHandler(_Handler(queue, level))
    root.setLevel(level)


# ---- in the main interpreter ----


def _queue() -> isles.Queue:
    """The main interpreter's, from anywhere."""
    if isles.get_current() == isles.get_main():
        from isles import _listener

        listener = _listener.get()
        listener.receivers["log"] = _handle
        return listener.queue
    if (handler := _forwards()) is not None:
        return handler.queue
    return isles.get_main().call(_queue)


def _handle(packed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    values, others = packed
    record = logging.makeLogRecord({})
    # The times since the start of logging are those of this interpreter.
    values["relativeCreated"] = record.relativeCreated - (record.created - values["created"]) * 1000
    vars(record).update(values)
    for name, (pickled, text) in others.items():
        try:
            value = pickle.loads(pickled)
        except Exception:  # whatever it raises
            value = text
        setattr(record, name, value)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
