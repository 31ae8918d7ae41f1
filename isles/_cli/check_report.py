"""The table of ``check``, and the reasons below it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .tables import drawers, plain_table

if TYPE_CHECKING:
    from .check import Row
    from .check_process import Try

NOTE: Final = (
    "copies: modules of which an interpreter got a private copy. import, memory: in the main\n"
    "interpreter / one isolated / each of four.\n"
)


def show(rows: "Sequence[Row]", *, stdlib: bool) -> None:
    table, _ = drawers()
    colour = table is not plain_table
    head = ["package", "version", "one", "four at once"]
    head += ["stdlib"] if stdlib else []
    head += ["copies", "import, s", "memory, MB"]
    cells = [row_cells(row, stdlib, colour) for row in rows]
    table("Extension modules in isolated interpreters", head, cells)
    print(NOTE)
    for row in rows:
        for line in reasons(row):
            print(line)
    failed = sum(row.failed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} work" if failed else f"all {len(rows)} work")


def row_cells(row: "Row", stdlib: bool, colour: bool) -> list[str]:
    tries = [row.one, row.four, *([row.stdlib] if stdlib else [])]
    if row.package is None:
        words = [painted("not installed", "red", colour)] + ["-"] * (len(tries) - 1)
        return [row.name, "-", *words, *["-"] * 3]
    if row.main is None:
        words = [painted("fails in main", "yellow", colour)] + ["-"] * (len(tries) - 1)
        return [row.name, row.package.version, *words, *["-"] * 3]
    return [
        row.name,
        row.package.version or "-",
        *(word(one, colour) for one in tries),
        str(len(row.one.copies)) if row.one else "-",
        " / ".join(seconds(one) for one in (row.main, row.one, row.four)),
        " / ".join(memory(*one) for one in ((row.main, 1), (row.one, 1), (row.four, 4))),
    ]


def word(one: "Try | None", colour: bool) -> str:
    if one is None:
        return "-"
    failed = one.word()
    return painted(failed or "works", "red" if failed else "green", colour)


def painted(text: str, style: str, colour: bool) -> str:
    return f"[{style}]{text}[/{style}]" if colour else text


def seconds(one: "Try | None") -> str:
    """The longest of the interpreters' imports."""
    return f"{max(one.seconds):.2f}" if one and one.seconds else "-"


def memory(one: "Try | None", interpreters: int) -> str:
    return f"{one.memory / interpreters / 1e6:.0f}" if one and one.memory is not None else "-"


def reasons(row: "Row") -> list[str]:
    """A line for each thing that doesn't work."""
    if row.package is None:
        return [f"{row.name}: there is no distribution or module of this name"]
    ways = (("one", row.one), ("four at once", row.four), ("standard library", row.stdlib))
    found = [f"{row.name}: {way}: {one.why()}" for way, one in ways if one and one.word()]
    found += [f"{row.name}: in main too: {step}: {why}" for step, why in row.broken.items()]
    return found
