"""Measures isles beside what people would use instead: `make bench`, or `python bench/run.py`.

Prints a table and writes JSON. It is a report: the exit code is 0 whatever it finds.
`make bench-full` also measures how cost grows, and keeps its figures in bench/results/, one file
for each version of isles and Python.
Ratios: how many times faster isles is; isles / the other, where the target is at most so much, and
for memory; the speed-up itself, between the fastest times, for two together against one.

Not by pyperf: it runs one benchmark after the other, each in processes of its own.  Here the sides
take turns every few milliseconds, in one process where they can, so that what else the machine
does meets them alike.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import aio_rows
import extension_rows
import field_rows
import growth_rows
import pool_rows
import queue_rows
import rows
from figures import RESULTS, losses, scaled, short
from rows import Plan, Row, Sample
from sides import isles_side, stdlib_side

GROUPS = (
    rows.GROUPS
    | queue_rows.GROUPS
    | extension_rows.GROUPS
    | pool_rows.GROUPS
    | aio_rows.GROUPS
    | field_rows.GROUPS
)
FULL = GROUPS | growth_rows.GROUPS
WIDTHS = (39, 20, 23, 23, 8, 8, 8)
HEADS = ("", "beside", "which takes", "isles", "ratio", "target", "reached")


def cell(sample: Sample | None, unit: str) -> str:
    if sample is None:
        return "n/a"
    divisor, unit = scaled(unit, sample.median)
    low, middle, high = (short(v / divisor) for v in (sample.p10, sample.median, sample.p90))
    spread = f" ({low}-{high})" if sample.count > 1 else ""
    return f"{middle} {unit}{spread}".replace(" x", "x", 1)


def line(cells: tuple[str, ...]) -> str:
    first, *others = zip(cells, WIDTHS, strict=True)
    return first[0].ljust(first[1]) + "".join("  " + c.rjust(w) for c, w in others)


def shown(row: Row) -> str:
    ratio = f"{short(row.ratio)}x" if row.ratio is not None else "-"
    reached = {True: "yes", False: "no", None: "-"}[row.reached]
    cells = (row.beside, cell(row.other, row.unit), cell(row.isles, row.unit))
    target = str(row.target) if row.target else "-"
    lines = [line((row.name + row.detail, *cells, ratio, target, reached))]
    if row.target and sys.version_info < row.target.since:
        lines.append(f"    target set for {'.'.join(map(str, row.target.since))} and newer")
    return "\n".join(lines + [f"    {note}" for note in row.notes])


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def isles_version() -> str:
    try:
        return importlib.metadata.version("isles")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def system() -> str:
    kernel = platform.release().partition("-")[0]
    return f"{platform.system()} {kernel}, {platform.machine()}, {' '.join(platform.libc_ver())}"


def machine(plan: Plan) -> dict[str, Any]:
    return {
        "isles": isles_version() if plan.isles else None,
        "stdlib": plan.stdlib.what,
        "python": platform.python_version(),
        "build": " ".join(sys.version.split()),
        "platform": system(),
        "cpus": os.cpu_count(),
        "cpus_usable": os.process_cpu_count(),
        "load_before": load(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": plan.quick,
    }


def print_head(facts: dict[str, Any]) -> None:
    print(f"isles {facts['isles'] or '(not installed)'} beside {facts['stdlib']}")
    print(f"CPython {facts['build']}")
    print(
        f"{facts['platform']}, {facts['cpus']} CPUs ({facts['cpus_usable']} usable),"
        f" load {facts['load_before']}"
    )
    print(
        "medians (p10-p90), sides alternating in short batches; ratio: how many times faster isles"
    )
    print("is, or isles / the other where the target is ≤ so many times\n")
    print(line(HEADS))
    print(line(tuple("-" * width for width in WIDTHS)), flush=True)


def measure(plan: Plan, groups: list[str]) -> list[Row]:
    measured: list[Row] = []
    for name in groups:
        try:
            for row in FULL[name](plan):
                measured.append(row)
                print(shown(row), flush=True)
        except Exception as error:
            measured.append(Row(name, ""))
            measured[-1].fail(f"failed: {type(error).__name__}: {error}")
            print(shown(measured[-1]), flush=True)
    return measured


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the figures go; by default those of a whole --full to bench/results/",
    )
    parser.add_argument(
        "--only", action="append", choices=FULL, metavar="NAME", help=f"of {', '.join(FULL)}"
    )
    parser.add_argument(
        "--full", action="store_true", help="all of them; by default those of growth are left out"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument(
        "--cycles", action="store_true", help="all 2,000 create-use-close cycles, however long"
    )
    return parser.parse_args()


def print_missed(measured: list[Row], all_groups: bool) -> None:
    found = {
        "targets missed": [row.title for row in measured if row.reached is False],
        "failed": [row.title for row in measured if row.failed],
    }
    if all_groups:
        titles = {row.title for row in measured}
        found["targets without a row"] = [name for name in rows.TARGETS if name not in titles]
    for what, names in found.items():
        print(f"{what}: {'; '.join(names) or 'none'}")


def print_losses(measured: list[Row]) -> None:
    print("\nwhere isles is slower, larger or less (~: no more than what is measured varies)")
    for how_much, at_what in losses([row.as_json() for row in measured]):
        print(how_much.rjust(24), at_what, sep="  ")


def kept(args: argparse.Namespace, facts: dict[str, Any]) -> Path | None:
    """The file of this version's figures, if these are all of them."""
    whole = args.full and not args.only and not args.quick and facts["isles"]
    return RESULTS / f"{facts['isles']}-{facts['python']}.json" if whole else None


def main() -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    args = parse()
    plan = Plan(stdlib_side(), isles_side(), args.quick, args.cycles)
    facts = machine(plan)
    print_head(facts)
    measured = measure(plan, args.only or list(FULL if args.full else GROUPS))
    facts["load_after"] = load()
    print_losses(measured)
    print(f"\nload {facts['load_after']}")
    print_missed(measured, not args.only)
    path = args.json or kept(args, facts)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {"machine": facts, "rows": [row.as_json() for row in measured]}
        path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
        print(f"figures in {path}")


if __name__ == "__main__":
    main()
