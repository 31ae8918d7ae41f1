"""Measurements that need a process of their own: `python child.py WHAT ...` prints JSON.

memory SIDE COUNT    resident KiB that each of COUNT new interpreters adds
cycles SIDE COUNT    resident KiB before and after COUNT create-use-close cycles in four threads
imports SIDE PACKAGE what bare_import.py says: in a new process ("main"), or in the first and the
                     fourth interpreter
pool KIND WORKERS    KiB that an executor with so many workers adds, its processes included
alive KIND MOST      the ns and KiB that 1, 2, 4 ... MOST interpreters or processes cost
messages ROUNDS, queued ROUNDS, field ROUNDS
                     what growth_rows.py and field_rows.py take in a new process
burn N               waits for lines on standard input, answers each with the ns of work.burn(N)
"""

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare_import
import work
from bare_import import resident
from sides import HERE, Interp, Side, side

THREADS = 4
WARM_UP = 40
CALLS_NS = 20_000_000

# The same on both sides, whatever their call() does.
USE = "import work; work.nothing()"


def memory(maker: Side, count: int) -> dict[str, float]:
    interps = [maker.create() for _ in range(2)]
    for interp in interps:
        interp.call(work.nothing)
    start = resident()
    fresh = [maker.create() for _ in range(count)]
    idle = resident()
    for interp in fresh:
        interp.call(work.nothing)
        interp.exec("pass")
    used = resident()
    for interp in interps + fresh:
        interp.close()
    return {"idle": (idle - start) / count, "used": (used - start) / count}


def cycle(maker: Side, count: int) -> None:
    for _ in range(count):
        interp = maker.create()
        interp.exec(USE)
        interp.close()


def in_threads(maker: Side, count: int) -> None:
    threads = [
        threading.Thread(target=cycle, args=(maker, count // THREADS)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cycles(maker: Side, count: int) -> dict[str, float]:
    failures: list[str] = []
    threading.excepthook = lambda args: failures.append(f"{args.exc_type.__name__}")
    in_threads(maker, WARM_UP)
    before = resident()
    start = time.perf_counter()
    in_threads(maker, count)
    seconds = time.perf_counter() - start
    if failures:
        raise SystemExit(f"a thread failed: {failures[0]}")
    return {"before": before, "after": resident(), "seconds": seconds}


def imports(where: str, package: str) -> dict[str, dict[str, int]]:
    if where == "main":
        script = HERE / "bare_import.py"
        os.execv(sys.executable, [sys.executable, "-P", str(script), package])
    interps = [side("isles").create() for _ in range(4)]
    taken = [interp.call(bare_import.take, package) for interp in interps]
    for interp in interps:
        interp.close()
    return {"first": taken[0], "fourth": taken[3]}


def proportional(pid: object = "self") -> int:
    """KiB of a process and of those below it; what several share counts for each in part."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            total += sum(map(proportional, children.read_text().split()))
    except FileNotFoundError:
        pass  # it has just ended
    return total


def pool(kind: str, workers: int) -> dict[str, float]:
    import pool_rows

    make = pool_rows.makers()[kind]
    with make(1) as executor:  # the imports
        executor.submit(work.nothing).result()
    before = proportional()
    with make(workers) as executor:
        together = [executor.submit(time.sleep, 0.2) for _ in range(workers)]
        for future in [*together, *(executor.submit(work.nothing) for _ in range(workers * 10))]:
            future.result()
        gc.collect()
        return {"pool": proportional() - before}


def alive(kind: str, most: int) -> dict[str, dict[int, float]]:
    """Per interpreter; "KIND, from a stock" takes them from a full one."""
    create, stocked = side(kind).create, kind.endswith("from a stock")
    taken: dict[str, dict[int, float]] = {"create": {}, "call": {}, "kib": {}}
    interps: list[Interp] = []
    first = create()  # the imports
    first.call(work.nothing)
    first.close()
    before = proportional()
    count = 1
    while count <= most:
        missing = count - len(interps)
        if stocked:
            stock(missing + 1)  # the second one shows that its thread is at work
        start = time.perf_counter_ns()
        interps += [create() for _ in range(missing)]
        taken["create"][count] = (time.perf_counter_ns() - start) / missing
        if stocked:
            stock(0)
        taken["call"][count] = calls_in_turn(interps)
        gc.collect()
        taken["kib"][count] = (proportional() - before) / count
        count *= 2
    for interp in interps:
        interp.close()
    return taken


def stock(count: int) -> None:
    import isles

    if isles.warm(count, wait=60) < count:
        raise SystemExit("the stock is not full")


def calls_in_turn(interps: list[Interp]) -> float:
    """The ns of a call, once each has had one."""
    for interp in interps:
        interp.call(work.nothing)
    calls, start = 0, time.perf_counter_ns()
    while (taken := time.perf_counter_ns() - start) < CALLS_NS:
        for _ in range(max(1, 64 // len(interps))):
            for interp in interps:
                interp.call(work.nothing)
                calls += 1
    return taken / calls


def burn(n: int) -> None:
    for _ in sys.stdin:
        start = time.perf_counter_ns()
        work.burn(n)
        print(time.perf_counter_ns() - start, flush=True)


def from_rows(what: str, rounds: int) -> Any:
    import field_rows
    import growth_rows

    take = {
        "messages": growth_rows.take_messages,
        "queued": growth_rows.take_queued,
        "field": field_rows.take_field,
    }
    return take[what](rounds)


def main() -> None:
    what, *args = sys.argv[1:]
    measure: dict[str, Callable[..., Any]] = {
        "memory": lambda name, count: memory(side(name), int(count)),
        "cycles": lambda name, count: cycles(side(name), int(count)),
        "imports": imports,
        "pool": lambda kind, workers: pool(kind, int(workers)),
        "alive": lambda kind, most: alive(kind, int(most)),
    }
    if what == "burn":
        burn(int(args[0]))
    elif what in measure:
        print(json.dumps(measure[what](*args)))
    else:
        print(json.dumps(from_rows(what, int(args[0]))))


if __name__ == "__main__":
    main()
