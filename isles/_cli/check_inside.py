"""What ``check`` runs in the child process and inside its interpreters, and how it reports.

The report is a file of JSON lines, written as things happen: it is there when the process is gone.
Whoever writes a line says who he is, the number of an interpreter; None is the process itself.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import isles

ROUNDS: Final = 5  # of the smoke expression
RESIDENT: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


class Log:
    """Writes to the report; lines of several interpreters don't mix."""

    def __init__(self, path: str, who: int | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._who = who

    def __call__(self, event: str, **details: Any) -> None:
        line = json.dumps({"who": self._who, "event": event, **details})
        os.write(self._file, line.encode() + b"\n")

    def attempt(self, what: str, function: Callable[..., object], *args: object) -> None:
        """Call it; begin and end are reported, the latter with the error."""
        self("begin", what=what)
        error = None
        try:
            function(*args)
        except BaseException as raised:  # extension modules may raise what is no Exception
            error = describe(raised)
        self("done", what=what, error=error)


def describe(error: BaseException) -> str:
    """In one line, the cause rather than what was made of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."


def load(job: dict[str, Any], who: int) -> None:
    """Import what a user imports, in the interpreter that this is called in."""
    log = Log(job["report"], who)
    start = time.perf_counter()
    for name in job["imports"]:
        log.attempt(f"import {name}", importlib.import_module, name)
    log("imported", seconds=time.perf_counter() - start)


def use(job: dict[str, Any], who: int) -> None:
    """Import the rest, and use it."""
    log = Log(job["report"], who)
    for name in job["extensions"]:
        log.attempt(f"import {name}", importlib.import_module, name)
    if job["smoke"]:
        log.attempt("use", rounds, job["smoke"])
    copies = [one.name for one in isles.get_current().extensions() if one.how == "private"]
    log("loaded", copies=copies)


def rounds(source: str) -> None:
    code = compile(source, "<smoke>", "exec")
    for _ in range(ROUNDS):
        exec(code, {"__name__": "smoke"})


def log_growth(log: Log, before: int) -> None:
    if before:
        log("memory", bytes=resident() - before)


def resident() -> int:
    """Bytes of memory that this process has; 0 where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * RESIDENT
    except OSError:
        return 0


def in_interpreters(job: dict[str, Any], log: Log) -> None:
    """All at once, each on a thread of its own."""
    from concurrent.futures import ThreadPoolExecutor

    interps = [isles.create(extensions=job["policy"]) for _ in range(job["interpreters"])]
    with ThreadPoolExecutor(len(interps)) as pool:

        def in_all(function: Callable[..., None]) -> None:
            def inside(number: int, interp: isles.Interpreter) -> None:
                log.attempt(f"call {number}", interp.call, function, job, number)

            list(pool.map(inside, range(len(interps)), interps))

        before = resident()
        in_all(load)
        log_growth(log, before)
        in_all(use)
    for number, interp in enumerate(interps):
        log.attempt(f"close {number}", interp.close)


def in_main(job: dict[str, Any], log: Log) -> None:
    before = resident()
    load(job, 0)
    log_growth(log, before)
    use(job, 0)


def main() -> None:
    job = json.loads(sys.argv[1])
    log = Log(job["report"], None)
    (in_interpreters if job["interpreters"] else in_main)(job, log)
    log("end")


if __name__ == "__main__":
    from isles._cli import check_inside

    check_inside.main()  # its functions go into interpreters by this name
