"""Write docs/compatibility.md from what `python -m isles check --json` found: `make compatibility`.

Arguments: the JSON files, one for each version of Python.
"""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("compatibility.md")

# Why a package doesn't work, found out by hand.
CAUSES = {
    "grpcio": "its channels and servers start daemon threads, which CPython refuses in isolated "
    "interpreters, so isles refuses the import and says so. As ordinary threads they work in four "
    "at once.",
}

HEAD = """\
# Compatibility

Much-downloaded packages with compiled code, in their newest wheels, in isolated interpreters.
**Yes** says that all its extension modules can be imported, and that a small use of the package
runs, in one isolated interpreter and in four at once, each on a thread of its own. What fails in
the main interpreter too (modules for Tk without Tk) doesn't count. `python -m isles check PACKAGE`
does the same on your machine, and measures time and memory.

"stdlib" is the same with the standard library's policy, which refuses what doesn't declare support
(`extensions="strict"`). "copies" counts the extension modules of which an interpreter got a private
copy, also those of other packages that it imports.

"""


def main(paths: list[str]) -> None:
    found = sorted(map(read, paths), key=lambda one: version_key(one["python"]))
    PAGE.write_text(page(found), encoding="utf-8")


def read(path: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return summary


def version_key(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def page(found: list[dict[str, Any]]) -> str:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        for row in one["packages"]:
            by_name.setdefault(key(row["name"]), []).append(row)
    notes: dict[str, int] = {}  # numbered as they come
    pythons = [short(one["python"]) for one in found]
    head = ["package", "version", *pythons, "stdlib", "copies"]
    lines = [line(head), line(["---"] * len(head))]
    lines += [line(row_cells(name, rows, notes)) for name, rows in by_name.items()]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = ", ".join(one["python"] for one in found)
    made = f"Made by `make compatibility` on {date}: {found[0]['machine']}, CPython {versions}."
    counts = "\n".join(map(count, found))
    told = "\n".join(f"{number}. {note}" for note, number in notes.items())
    return "\n\n".join(filter(None, [HEAD.strip(), made, counts, "\n".join(lines), told])) + "\n"


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def key(name: str) -> str:
    return name.lower().replace("_", "-")


def short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def works(row: dict[str, Any], ways: tuple[str, ...]) -> bool:
    return all(row[way] is not None and row[way]["works"] for way in ways)


def count(one: dict[str, Any]) -> str:
    rows = [row for row in one["packages"] if row["version"] is not None]
    ours = sum(works(row, ("one", "four")) for row in rows)
    stdlib = sum(works(row, ("stdlib",)) for row in rows)
    return (
        f"- CPython {short(one['python'])}: {ours} of {len(rows)} work with isles, "
        f"{stdlib} with the standard library."
    )


def row_cells(name: str, rows: list[dict[str, Any]], notes: dict[str, int]) -> list[str]:
    """One package; version, stdlib and copies are those of the newest Python that has it."""
    cells = [cell(name, row, notes) for row in rows]
    there = [row for row in rows if row["version"] is not None]
    if not there:
        return [name, "", *cells, "", ""]
    last = there[-1]
    stdlib = "yes" if works(last, ("stdlib",)) else "no"
    copies = str(len(last["one"]["private"])) if last["one"] else ""
    return [name, last["version"], *cells, stdlib, copies]


def cell(name: str, row: dict[str, Any], notes: dict[str, int]) -> str:
    if row["version"] is None:
        return "no wheel"
    if works(row, ("one", "four")):
        return "yes"
    reasons = [row[way]["reason"] for way in ("one", "four") if row[way]]
    reasons = [one for one in reasons if one] or list(row["broken_in_main"].values())
    number = notes.setdefault(f"{name}: {CAUSES.get(name, reasons[0])}", len(notes) + 1)
    return f"**no** ({number})"


if __name__ == "__main__":
    main(sys.argv[1:])
