"""Resident memory of a process and of all that it started, from Linux's /proc.

The measure is PSS: a page that several processes share counts for each in proportion, so the sum
over processes is what they really take. Elsewhere than on Linux there is no figure.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


def pss(pid: int) -> int:
    """Bytes, or 0 if the process is gone or can't be seen."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def children(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, tasks.read_text().split())
        except OSError:
            continue
    return found


def tree(pid: int) -> int:
    """Bytes of a process and all its descendants."""
    return pss(pid) + sum(map(tree, children(pid)))


class Growth:
    """The most that this process and its descendants grew by while in the block.

    `sample` notes the memory of the moment; a thread does so every `interval` seconds.
    """

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._start = tree(os.getpid())
        self._peak = self._start
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def bytes(self) -> int | None:
        return self._peak - self._start if self._start else None

    def sample(self) -> None:
        self._peak = max(self._peak, tree(os.getpid()))

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            self.sample()
