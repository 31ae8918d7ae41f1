"""What the benchmarks run inside interpreters: an importable module like a user's own."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # the interpreters that are measured import this: `typing` would be most of it
    from typing import Any


def nothing() -> None:
    pass


def add(a: int, b: int) -> int:
    return a + b


def first(d: dict[str, object]) -> object:
    return d["a"]


def same(x: object) -> object:
    return x


def kind(x: object) -> str:
    return type(x).__name__


def echo(there: Any, back: Any) -> None:
    for item in iter(there.get, None):
        back.put(item)


def echo_delays(there: Any, back: Any) -> None:
    """Answers the time when something was put with how long ago that is, in ns."""
    for stamp in iter(there.get, None):
        back.put(time.monotonic_ns() - stamp)


def write(orders: Any, queue: Any) -> None:
    for count, item in iter(orders.get, None):
        for _ in range(count):
            queue.put(item)


def read(orders: Any, queue: Any, done: Any) -> None:
    for count in iter(orders.get, None):
        for _ in range(count):
            queue.get()
        done.put(count)


def echo_pipe(pipe: Any) -> None:
    while (item := pipe.recv()) is not None:
        pipe.send(item)


def answer(pipe: Any) -> None:
    while (order := pipe.recv()) is not None:
        function, args = order
        pipe.send(function(*args))


def burn(n: int) -> int:
    """CPU-bound pure Python: integers, a dict, a list and strings."""
    seen: dict[int, int] = {}
    names: list[str] = []
    total = 0
    for start in range(1, n):
        x, steps = start, 0
        while x != 1 and x not in seen:
            x = x // 2 if x % 2 == 0 else 3 * x + 1
            steps += 1
        seen[start] = steps = steps + seen.get(x, 0)
        names.append(f"{start}:{steps}")
        total += len(names[start // 2])
        if len(seen) > 5000:
            seen.clear()
    return total


def small_arrays(count: int) -> float:
    """Many small NumPy operations, bound by the interpreter."""
    import numpy

    data = numpy.arange(20.0)
    total = 0.0
    for i in range(count):
        total += float(((data + i) * 0.5).sum())
    return total


def halves(data: Any) -> int:
    """A large operation on a large array."""
    return int(data[: len(data) // 2].sum()) + int(data[len(data) // 2 :].sum())
