"""Cycles of create, import numpy, compute and close, in four threads, and what they leave behind.

`python numpy_cycles.py CYCLES [bare]` prints how much memory stays of a cycle, and where it lies;
"bare" leaves NumPy out.
"""

import ctypes
import gc
import re
import sys
import threading
import time
from collections import defaultdict

import isles

THREADS = 4
PIECES = {
    "copies, as on disk": "clean pages of copies: the kernel takes them back when it needs room",
    "copies, written to": "their static data, relocations included",
    "malloc, used": "by extension modules, the linker and CPython",
    "malloc, free": "kept by glibc for later",
    "other anonymous": "CPython's arenas of objects, stacks, what malloc has mapped",
}


def compute() -> float:
    import numpy

    rows = numpy.arange(90_000, dtype=float).reshape(300, 300)
    rows = numpy.sqrt(rows @ rows) + numpy.eye(300)
    return float(numpy.linalg.inv(rows)[0, 0] + numpy.sort(rows, axis=0).sum())


def cycle(work) -> float:
    with isles.create() as interp:
        return interp.call(work)


def cycles(count: int, work) -> list[float]:
    """Do `count` cycles in the threads; how long each took."""
    turns = iter(range(count))
    seconds, results, errors = [], set(), []

    def some() -> None:
        try:
            for _ in turns:
                start = time.monotonic()
                results.add(cycle(work))
                seconds.append(time.monotonic() - start)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=some) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert len(results) == 1, results
    return seconds


class Malloc(ctypes.Structure):
    """glibc's struct mallinfo2, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def mappings() -> list[tuple[str, float, float]]:
    """All of the process: the path, or "", and of what is resident all and the anonymous part."""
    found = []
    with open("/proc/self/smaps") as file:
        for line in file:
            name, *rest = line.split()
            if not name.endswith(":"):
                path = rest[4] if len(rest) > 4 else ""
            elif name == "Rss:":
                resident = int(rest[0]) / 1024
            elif name == "Anonymous:":
                found.append((path, resident, int(rest[0]) / 1024))
    return found


def memory() -> dict[str, float]:
    """Where the memory of the process lies, in MB; and how many mappings there are."""
    gc.collect()
    found: dict[str, float] = defaultdict(float)
    all = mappings()
    before = ""
    for (path, resident, anonymous), (behind, _, _) in zip(all, [*all[1:], ("", 0, 0)]):
        # What is zero at first has no file: it lies in the midst of its copy.
        of = before if not path and before == behind else path
        before = path
        found["resident"] += resident
        found["mappings"] += 1
        if re.search(r"/[0-9a-f]{32}/[^/]+\.so", of):  # in the cache folder
            found["copies, as on disk"] += resident - anonymous
            found["copies, written to"] += anonymous
        else:
            found["other anonymous"] += anonymous
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Malloc
    info = mallinfo()
    found["malloc, used"], found["malloc, free"] = info.uordblks / 2**20, info.fordblks / 2**20
    found["other anonymous"] -= found["malloc, used"] + found["malloc, free"]
    return found


def main(count: int, work) -> None:
    cycles(2 * THREADS, work)  # what is needed once is there now
    before, start = memory(), time.monotonic()
    seconds = cycles(count, work)
    passed, after = time.monotonic() - start, memory()
    each = {name: (after[name] - before[name]) / count for name in after}
    tenth = max(1, count // 10)
    first, last = sum(seconds[:tenth]) / tenth, sum(seconds[-tenth:]) / tenth
    print(f"{count} cycles in {passed:.1f} s: {first:.3f} s each at first, {last:.3f} s in the end")
    print(f"a cycle leaves {each['resident']:.2f} MB and {each['mappings']:.0f} mappings:")
    for name, what in PIECES.items():
        print(f"  {each.get(name, 0):7.2f} MB  {name} ({what})")


if __name__ == "__main__":
    main(int(sys.argv[1]), float if sys.argv[2:] == ["bare"] else compute)
