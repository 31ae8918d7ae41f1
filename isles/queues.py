"""Queues between interpreters: what `concurrent.interpreters` has under the same names, and more.

Imported at the first need of a name that C code alone doesn't have, such as an exception.
"""

import queue

from isles._interpreters import Queue, create_queue as create, list_queues as list_all, wait

__all__ = [
    "UNBOUND",
    "UNBOUND_ERROR",
    "UNBOUND_REMOVE",
    "ItemInterpreterDestroyed",
    "Queue",
    "QueueEmpty",
    "QueueError",
    "QueueFull",
    "QueueNotFoundError",
    "ShutDown",
    "create",
    "list_all",
    "wait",
]


class QueueError(RuntimeError):
    """An operation on a queue failed."""


class QueueNotFoundError(QueueError):
    """There is no queue of that id, or nothing refers to it any more."""


class QueueEmpty(QueueError, queue.Empty):
    """get_nowait() found nothing, or nothing came in time."""


class QueueFull(QueueError, queue.Full):
    """put_nowait() found no room, or none was made in time.

    From put_many(): `items_put` is how many items (int) were put.
    """

    items_put: int


class ShutDown(QueueError, queue.ShutDown):
    """The queue was shut down: it takes nothing any more, or has nothing any more.

    From put_many(): `items_put` is how many items (int) were put.
    """

    items_put: int


class ItemInterpreterDestroyed(QueueError):
    """The item to get was put, with UNBOUND_ERROR, by an interpreter that has ended."""


class _Unbound:
    """A constant; one object in each interpreter, and that also when it travels."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"{__name__}.{self._name}"

    def __reduce__(self) -> str:
        return self._name


UNBOUND = _Unbound("UNBOUND")
"""Put in the place of an item whose interpreter has ended, and got as that."""

UNBOUND_ERROR = _Unbound("UNBOUND_ERROR")
"""Getting an item whose interpreter has ended raises ItemInterpreterDestroyed."""

UNBOUND_REMOVE = _Unbound("UNBOUND_REMOVE")
"""An item whose interpreter has ended goes with it."""
