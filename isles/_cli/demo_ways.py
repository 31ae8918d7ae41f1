"""The demo's four ways to do the same work, and the measuring of one.

Each way is measured in a Python of its own (`python -m isles._cli WAY`), so that none inherits
another's memory, caches or threads.
"""

import contextlib
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Final

from . import demo_complexity
from .demo_complexity import Measured, measure_files, quiet
from .memory import Growth

type Chunk = tuple[str, ...]
type Results = Iterable[tuple[Measured, ...]]
type Way = Callable[[list[Chunk], int], AbstractContextManager[Results]]


@contextlib.contextmanager
def single(chunks: list[Chunk], workers: int) -> Iterator[Results]:
    """One after the other, here."""
    quiet()
    yield map(measure_files, chunks)


@contextlib.contextmanager
def threads(chunks: list[Chunk], workers: int) -> Iterator[Results]:
    with ThreadPoolExecutor(workers, initializer=quiet) as pool:
        yield pool.map(measure_files, chunks)


@contextlib.contextmanager
def processes(chunks: list[Chunk], workers: int) -> Iterator[Results]:
    """Started by a fork server: the default on Linux since 3.14, and safe with threads."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=quiet) as pool:
        yield pool.map(measure_files, chunks)


@contextlib.contextmanager
def interpreters(chunks: list[Chunk], workers: int) -> Iterator[Results]:
    from isles.futures import InterpreterPoolExecutor

    with InterpreterPoolExecutor(workers, initializer=quiet) as pool:
        yield pool.map(measure_files, chunks)


WAYS: Final[dict[str, Way]] = {
    "single": single,
    "threads": threads,
    "processes": processes,
    "interpreters": interpreters,
}


def measure(way: str, chunks: list[Chunk], workers: int) -> dict[str, Any]:
    """Do the work in one way.

    The time goes from before the workers start until all results are here. The memory is the
    most that was taken on top of what this Python had before, with the workers still alive.
    """
    with Growth() as growth:
        start = time.perf_counter()
        with WAYS[way](chunks, workers) as parts:
            results = [one for part in parts for one in part]
            seconds = time.perf_counter() - start
            growth.sample()
    return {
        "way": way,
        "seconds": seconds,
        "memory": growth.bytes,
        "totals": demo_complexity.total(results)._asdict(),
        "digest": digest(results),
        "most_complex": demo_complexity.most_complex(results, 10),
    }


def digest(results: list[Measured]) -> str:
    """Of every function's name, line and complexity, in order."""
    return hashlib.sha256(repr(results).encode("utf-8", "backslashreplace")).hexdigest()
