"""Writes docs/explanation/performance.md: page.md with what run.py measured (`make chart`)."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from string import Template

from figures import WORSE, Figures, amount, losses, newest, read, short

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "performance.md"
TEMPLATE = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
BETTER = {"ns": "faster", "KiB": "smaller"}


def table(head: Iterable[str], lines: Iterable[Iterable[str]], names: int = 1) -> str:
    """The first columns are names, the others figures."""
    cells = [list(head), *map(list, lines)]
    cells.insert(1, ["---"] * names + ["--:"] * (len(cells[0]) - names))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def median(row: Figures, side: str) -> str:
    return amount(row["unit"], row[side]["median"]) if row[side] else "n/a"


def compared(row: Figures) -> str:
    """How many times better isles is, or worse."""
    if not (row["isles"] and row["other"]):
        return ""
    one, other = row["isles"]["median"], row["other"]["median"]
    if one <= 0 or other <= 0:
        return ""
    if row["worse"]:
        return f"**{short(row['worse'])}x {WORSE.get(row['unit'], 'less')}**"
    factor = max(one, other) / min(one, other)
    if factor < 1.01:
        return "as good"
    return f"{short(factor)}x {BETTER.get(row['unit'], 'more')}"


def targets(rows: list[Figures]) -> str:
    judged = [row for row in rows if row["target"]]
    reached = {True: "yes", False: "**no**", None: "not judged"}
    return table(
        ("work", "beside", "which takes", "isles", "ratio", "target", "reached"),
        (
            (
                row["name"] + row["detail"],
                row["beside"],
                median(row, "other"),
                median(row, "isles"),
                f"{short(row['ratio'])}x" if row["ratio"] is not None else "",
                row["target"],
                reached[row["reached"]],
            )
            for row in judged
        ),
        names=2,
    )


def everything(rows: list[Figures]) -> str:
    return table(
        ("work", "beside", "which takes", "isles", "isles is"),
        (
            (
                row["name"] + row["detail"],
                row["beside"],
                median(row, "other"),
                median(row, "isles"),
                compared(row),
            )
            for row in rows
            if row["isles"] or row["other"]
        ),
        names=2,
    )


def growth(rows: list[Figures]) -> Iterable[str]:
    """A table for each measurement, a line for each side."""
    by_name: dict[str, list[Figures]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    for name, same in by_name.items():
        columns = dict.fromkeys(row["detail"] for row in same)
        cells: dict[str, dict[str, str]] = {"isles": {}}
        for row in same:
            cells["isles"][row["detail"]] = median(row, "isles")
            cells.setdefault(row["beside"], {})[row["detail"]] = median(row, "other")
        head = [name, *(column.strip(" ()") for column in columns)]
        yield table(
            head,
            ([side, *(line.get(column, "") for column in columns)] for side, line in cells.items()),
        )


def page(figures: Figures) -> str:
    rows, machine = figures["rows"], figures["machine"]
    single = [row for row in rows if row["at"] is None]
    on = f"CPython {machine['python']}, {machine['cpus']} CPUs, {machine['platform']}"
    on += f", load {machine['load_before']}"
    provisional = " Provisional: of a quick run, or a busy machine." if machine["quick"] else ""
    lost = [f"- {how_much}: {at_what}" for how_much, at_what in losses(rows)]
    return TEMPLATE.substitute(
        made=f"Measured {machine['when'][:10]}: isles {machine['isles']}, {on}.{provisional}",
        targets=targets(single),
        losses="\n".join(lost),
        growth="\n\n".join(growth([row for row in rows if row["at"] is not None])),
        rows=everything(single),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help="where it goes")
    args = parser.parse_args()
    args.page.write_text(page(read(newest())), encoding="utf-8")
    print(args.page)


if __name__ == "__main__":
    main()
