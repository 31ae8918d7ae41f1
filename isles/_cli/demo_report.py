"""The demo's tables and its bar chart, on the terminal."""

import os
from typing import Any, Final

from .tables import Row, drawers

NOTE: Final = (
    "wall time: from starting the workers to the last result. memory: the most it took on top of\n"
    "the Python it ran in, all processes together (PSS, sampled)."
)


def show(summary: dict[str, Any]) -> None:
    tables = (
        ("", ("way", "wall time", "speed-up", "memory"), way_rows(summary)),
        (
            "The ten most complex functions",
            ("complexity", "function", "file", "line"),
            function_rows(summary),
        ),
    )
    print(headline(summary), end="\n\n")
    table, bars = drawers()
    table(*tables[0])
    print(NOTE)
    print(warning(summary["load_before"]))
    print("Wall time in seconds (shorter is better)")
    bars([(one["label"], one["seconds"]) for one in summary["ways"]])
    print()
    table(*tables[1])


def headline(summary: dict[str, Any]) -> str:
    totals = summary["totals"]
    bad = totals["unparsable"]
    note = f" {bad:,} don't parse, as tests of just that." if bad else ""
    return (
        f"{totals['files']:,} files of Python {summary['python']}'s standard library: "
        f"{totals['lines']:,} lines, {totals['functions']:,} functions.{note}\n"
        f"{summary['workers']} at once. All four ways found the same."
    )


def warning(load: float) -> str:
    """A line for a machine that had other work, which makes times vary; "" for an idle one."""
    count = os.cpu_count() or 1
    if load < count / 4:
        return ""
    return f"This machine was busy before (load {load:.1f} on {count} CPUs): compare with care.\n"


def way_rows(summary: dict[str, Any]) -> list[Row]:
    return [
        (
            one["label"],
            f"{one['seconds']:.2f} s",
            f"{one['speedup']:.2f}x",
            megabytes(one["memory"]),
        )
        for one in summary["ways"]
    ]


def function_rows(summary: dict[str, Any]) -> list[Row]:
    return [
        (str(one["complexity"]), one["function"], one["file"], str(one["line"]))
        for one in summary["most_complex"]
    ]


def megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.0f} MB"
