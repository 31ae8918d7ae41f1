"""The demo's tables and its bar chart, on the terminal: with rich, or in plain ASCII."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

BAR: Final = 40  # columns of the longest bar
NOTE: Final = (
    "wall time: from starting the workers to the last result. memory: the most it took on top of\n"
    "the Python it ran in, all processes together (PSS, sampled)."
)

type Row = Sequence[str]


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


def drawers() -> tuple[Any, Any]:
    """What draws a table and what draws bars."""
    try:
        import rich  # noqa: F401
    except ImportError:
        return plain_table, plain_bars
    return rich_table, rich_bars


def is_number(text: str) -> bool:
    return text[:1].isdigit()


# Plain ASCII


def plain_table(title: str, head: Row, rows: Sequence[Row]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    if title:
        print(title)
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [
            cell.rjust(width) if is_number(rows[0][index]) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def plain_bars(values: Sequence[tuple[str, float]]) -> None:
    longest = max(value for _, value in values)
    width = max(len(label) for label, _ in values)
    for label, value in values:
        bar = "#" * max(1, round(BAR * value / longest))
        print(f"{label.rjust(width)} |{bar} {value:.2f}")


# rich


def console() -> Any:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 120  # a file has no width that could cut names
    return Console(highlight=False, width=wide)


def rich_table(title: str, head: Row, rows: Sequence[Row]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(head):
        number = bool(rows) and is_number(rows[0][index])
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def rich_bars(values: Sequence[tuple[str, float]]) -> None:
    from rich.bar import Bar
    from rich.table import Table

    longest = max(value for _, value in values)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right")
    for label, value in values:
        grid.add_row(label, Bar(longest, 0, value, width=BAR, color="cyan"), f"{value:.2f}")
    console().print(grid)
