"""What other interpreters hand to Python code in this one: lines and log records.

One queue and one thread for all of them, begun at the first need.  docs/design/output.md.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import isles
from isles import _exit, _interpreters
from isles.queues import QueueEmpty, ShutDown

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 256  # items


class Listener:
    """Items in the queue are (key, argument) for one of the receivers."""

    def __init__(self) -> None:
        self.queue = isles.create_queue()
        # Those of an interpreter's streams are under (its id, the stream's name).
        self.receivers: dict[Any, Callable[[Any], object]] = {"answer": _answer}
        self.receivers["forget"] = self.forget
        # At an interpreter's end a thread that is no daemon is waited for; main has its own way.
        self.thread = threading.Thread(target=self.work, name="isles-listener", daemon=_in_main())
        if not _in_main():
            threading._register_atexit(self.finish)  # type: ignore[attr-defined]
        self.thread.start()

    def work(self) -> None:
        _interpreters._name_thread(self.thread.name)
        while True:
            try:
                items = self.queue.get_many(AT_ONCE)
            except (ShutDown, SystemExit):
                return  # the interpreter or the process ends
            self.deliver(items)

    def deliver(self, items: list[Any]) -> None:
        for key, argument in items:
            try:
                self.receivers[key](argument)
            except BaseException:
                error = threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                with contextlib.suppress(BaseException):  # the next one is delivered all the same
                    threading.excepthook(error)

    def add(self, id: int, name: str, receiver: Callable[[str], object]) -> tuple[int, str]:
        """Return the key of what a stream of an interpreter goes to."""
        self.clear()
        self.receivers[id, name] = receiver
        return id, name

    def clear(self) -> None:
        """Have those of interpreters that have ended forgotten, behind all that these have put."""
        streams = [key for key in tuple(self.receivers) if isinstance(key, tuple)]
        if ended := [key for key in streams if _interpreters._has_ended(key[0])]:
            self.queue.put(("forget", ended))

    def forget(self, keys: list[Any]) -> None:
        for key in keys:
            self.receivers.pop(key, None)

    def flush(self) -> None:
        """Wait until all that was put before has been delivered."""
        try:
            self.clear()
            if threading.current_thread() is not self.thread:
                answer = isles.create_queue()
                self.queue.put(("answer", answer))
                answer.get()
        except ShutDown:
            pass  # this interpreter ends

    def finish(self) -> None:
        """At the end: what there is is delivered, and nothing is taken any more."""
        if not _in_main():
            from isles import _output

            for interp in tuple(isles._redirected):
                _output.flush(interp)
        self.queue.shutdown()
        self.thread.join()
        try:  # if it was sent away before, by the exit of the process
            while True:
                self.deliver(self.queue.get_many(AT_ONCE, block=False))
        except (ShutDown, QueueEmpty):
            pass


def _answer(queue: isles.Queue) -> None:
    queue.put(None)


def _in_main() -> bool:
    return _interpreters.get_current() == _interpreters.get_main()


_beginning = threading.Lock()


def get() -> Listener:
    """Return this interpreter's; thread-safe."""
    with _beginning:
        if isles._listening is None:
            isles._listening = Listener()
            if _in_main():
                _exit.listener = isles._listening
        return isles._listening


def _forked() -> None:
    global _beginning
    _beginning = threading.Lock()
    isles._listening = _exit.listener = None


if _in_main():
    os.register_at_fork(after_in_child=_forked)
