"""What run.py measured, as text: for its table and for the documentation (page.py)."""

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
STEPS: dict[str, list[tuple[float, str]]] = {
    "ns": [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")],
    "KiB": [(1024, "MiB"), (1, "KiB")],
    "/s": [(1e6, "M/s"), (1e3, "k/s"), (1, "/s")],
}
WORSE = {"ns": "slower", "KiB": "larger"}

Figures = dict[str, Any]


def newest() -> Path:
    """Those of the newest isles, on the newest Python."""
    return max(
        RESULTS.glob("*.json"),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)],
    )


def read(path: Path) -> Figures:
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def scaled(unit: str, value: float) -> tuple[float, str]:
    """The divisor and the unit that suit the value."""
    steps = STEPS.get(unit, [(1, unit)])
    return next((step for step in steps if abs(value) >= step[0]), steps[-1])


def short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def amount(unit: str, value: float) -> str:
    divisor, unit = scaled(unit, value)
    return f"{short(value / divisor)} {unit}".replace(" x", "x")


def losses(rows: list[Figures]) -> list[tuple[str, str]]:
    """How much worse isles is, and at what; rows of growth as one.  A ~ says that it is no more
    than what is measured varies."""
    worse: dict[str, list[Figures]] = {}
    for row in rows:
        if row["worse"]:
            worse.setdefault(row["title"], []).append(row)
    return [(how_much(same), at_what(same)) for same in worse.values()]


def how_much(same: list[Figures]) -> str:
    least, *_, most = sorted(row["worse"] for row in same) * 2
    factors = dict.fromkeys((short(least), short(most)))
    about = "~" if all(row["within_spread"] for row in same) else ""
    return f"{about}{'-'.join(factors)}x {WORSE.get(same[0]['unit'], 'less')}"


def at_what(same: list[Figures]) -> str:
    first = same[0]
    if first["at"] is None:
        return f"{first['name']}{first['detail']} against {first['beside']}"
    details = ", ".join(row["detail"].strip(" ()") for row in same)
    return f"{first['name']} ({details}) against {first['beside']}"
