"""An import in a Python that has loaded nothing else: `python bare_import.py PACKAGE` prints JSON.

child.py runs the same function in an interpreter.
"""

import _imp
import gc
import sys
import time

TYPE_CHECKING = False  # of typing's, which would be loaded
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def resident() -> int:
    gc.collect()
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))


class Timed:
    """A function, and the ns that it took so far; a call inside of a call counts once."""

    inside = False
    taken = 0

    def __init__(self, function: "Callable[..., Any]"):
        self.function = function

    def __call__(self, *args: "Any") -> "Any":
        if Timed.inside:
            return self.function(*args)
        Timed.inside, start = True, time.perf_counter_ns()
        try:
            return self.function(*args)
        finally:
            Timed.inside = False
            Timed.taken += time.perf_counter_ns() - start


def take(package: str) -> dict[str, int]:
    """The ns of the import, of which for making compiled modules; KiB; how many modules came."""
    for name in ("create_dynamic", "create_builtin"):
        setattr(_imp, name, Timed(getattr(_imp, name)))
    modules, before, start = len(sys.modules), resident(), time.perf_counter_ns()
    __import__(package)
    taken = time.perf_counter_ns() - start
    return {
        "ns": taken,
        "compiled": Timed.taken,
        "modules": len(sys.modules) - modules,
        "kib": resident() - before,
    }


if __name__ == "__main__":
    print(str(take(sys.argv[1])).replace("'", '"'))
