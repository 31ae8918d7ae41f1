"""``python -m isles check``."""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from . import check_packages, check_report
from .check_packages import Package
from .check_process import Broken, Try, attempt
from .check_smoke import first_of, smoke_of
from .errors import UsageError

AT_ONCE: Final = 4
RETRIES: Final = 5  # of the main interpreter, each without one more module that ends the process


@dataclass
class Row:
    """What was found out about a package.

    package: None if it isn't installed. broken: what doesn't work in the main interpreter either.
    stdlib: with the standard library's policy, if that was asked for. The tries are None where
    nothing works in the main interpreter.
    """

    name: str
    package: Package | None
    broken: Broken
    main: Try | None = None
    one: Try | None = None
    four: Try | None = None
    stdlib: Try | None = None

    @property
    def failed(self) -> bool:
        """Whether isles is to blame, or there is nothing to check."""
        tries = [one for one in (self.one, self.four) if one is not None]
        return self.package is None or any(one.word() for one in tries)

    def as_dict(self) -> dict[str, Any]:
        package = self.package
        tries = {"main": self.main, "one": self.one, "four": self.four, "stdlib": self.stdlib}
        return {
            "name": package.name if package else self.name,
            "version": package.version if package else None,
            "imports": package.imports if package else [],
            "extensions": package.extensions if package else [],
            "failed": self.failed,
            "broken_in_main": self.broken,
            **{way: one.as_dict() if one else None for way, one in tries.items()},
        }


def run(options: argparse.Namespace) -> int:
    names = wanted(options)
    rows = []
    with ThreadPoolExecutor(options.jobs) as pool:
        done = pool.map(lambda name: check(name, options.stdlib, options.timeout), names)
        for row in progress(done, len(names)):
            rows.append(row)
    if options.json:
        print(json.dumps(summary(rows), indent=2))
    else:
        check_report.show(rows, stdlib=options.stdlib)
    return int(any(row.failed for row in rows))


def summary(rows: list[Row]) -> dict[str, Any]:
    """All that the table shows and more, for --json."""
    return {
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}",
        "failed": sum(row.failed for row in rows),
        "packages": [row.as_dict() for row in rows],
    }


def wanted(options: argparse.Namespace) -> list[str]:
    """The names, each once, in the order that they were asked for."""
    names = list(options.packages)
    for path in options.requirement:
        names += check_packages.required(path)
    if options.installed:
        names += check_packages.installed()
    if not names and options.installed:
        raise UsageError("nothing to check: no installed package has extension modules")
    if not names and options.requirement:
        raise UsageError(f"nothing to check: {', '.join(options.requirement)} names no package")
    if not names:
        raise UsageError("nothing to check: name packages, -r FILE or --installed")
    return list(dict.fromkeys(names))


def progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """Say on a terminal how far it is."""
    shown = sys.stderr.isatty()
    for number, row in enumerate(rows, 1):
        if shown:
            print(f"\r\x1b[Kisles check: {number}/{total} {row.name}", end="", file=sys.stderr)
        yield row
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr)


def check(name: str, stdlib: bool, timeout: float) -> Row:
    package = check_packages.find(name)
    if package is None:
        return Row(name, None, {})
    package.imports[:0] = first_of(package.name)
    smoke = smoke_of(package.name)

    def once(interpreters: int, policy: str = "private") -> Try:
        return attempt(
            package,
            interpreters=interpreters,
            policy=policy,
            smoke=smoke,
            broken=row.broken,
            timeout=timeout,
        )

    row = Row(name, package, {})
    row.main = in_main(row, once)
    if row.main is None:
        return row
    row.one = once(1)
    row.four = once(AT_ONCE)
    if stdlib:
        row.stdlib = once(1, "strict")
        if not row.stdlib.word():
            row.stdlib = once(AT_ONCE, "strict")
    return row


def in_main(row: Row, once: Any) -> Try | None:
    """Try the main interpreter, without what ends the process; None if nothing is left.

    What fails is noted in the row.
    """
    for _ in range(RETRIES):
        result: Try = once(0)
        row.broken.update(result.errors)
        if result.fatal is None:
            break
        row.broken[result.step] = result.reason
    assert row.package is not None
    every = {f"import {one}" for one in row.package.imports + row.package.extensions}
    return result if result.fatal is None and every - row.broken.keys() else None
