"""Tables and bars on the terminal: with rich, or in plain ASCII."""

import sys
from collections.abc import Sequence
from typing import Any, Final

BAR: Final = 40  # columns of the longest bar

type Row = Sequence[str]


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
