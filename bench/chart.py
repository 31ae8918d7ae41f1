"""Draws what run.py measured of executors: `make chart`, or `python bench/chart.py JSON SVG`."""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot

# The row's name; the title; the unit, how much of the row's that is, and whether less is better.
PANELS: list[tuple[str, str, str, float, bool]] = [
    ("the first result", "the first result of a new pool", "ms", 1e6, True),
    ("a task", "a task, of many", "µs", 1e3, True),
    ("a task of map, chunks of 1,000", "a task of map(chunksize=1000)", "µs", 1e3, True),
    ("10 MB of bytes as the argument", "a task with a 10 MB argument", "ms", 1e6, True),
    ("memory of 4 workers", "memory of four workers", "MiB", 1024, True),
    ("two workers against one", "pure Python, two workers against one", "x", 1, False),
]
KINDS = {
    "isles": "isles",
    "stdlib": "interpreters (stdlib)",
    "threads": "threads",
    "processes, fork": "processes, fork",
    "processes, forkserver": "processes, forkserver",
    "loky": "processes, loky",
}
OURS, THEIRS = "#c2410c", "#94a3b8"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "isles",
    "font.size": 9,
    "font.family": "sans-serif",
}


def medians(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """The median of each kind of executor, in the order of KINDS."""
    found = {}
    for row in rows:
        if row["name"] == name and row["isles"] and row["other"]:
            found["isles"] = row["isles"]["median"]
            found[row["beside"]] = row["other"]["median"]
    return {kind: found[kind] for kind in KINDS if kind in found}


def draw(axes: Any, values: dict[str, float], title: str, unit: str, less_is_better: bool) -> None:
    names = [KINDS[kind] for kind in values]
    colours = [OURS if kind == "isles" else THEIRS for kind in values]
    bars = axes.barh(names, list(values.values()), color=colours, height=0.7)
    labels = [f" {value:.3g} {unit}".replace(" x", "x") for value in values.values()]
    axes.bar_label(bars, labels)
    axes.invert_yaxis()
    better = f"{'less' if less_is_better else 'more'} is better"
    if max(values.values()) > 20 * min(values.values()):
        axes.set_xscale("log")
        better += ", log scale"
        axes.set_xlim(min(values.values()) / 3, max(values.values()) * 8)
    else:
        axes.set_xlim(0, max(values.values()) * 1.35)
    axes.set_title(f"{title}\n({better})", fontsize=9)
    axes.set_xticks([], minor=False)
    axes.set_xticks([], minor=True)
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path, help="what run.py wrote")
    parser.add_argument("svg", type=Path, help="where the chart goes")
    args = parser.parse_args()
    figures = json.loads(args.json.read_text())
    mpl.rcParams.update(STYLE)
    figure, grid = pyplot.subplots(2, 3, figsize=(10, 5), layout="constrained")
    for axes, (name, title, unit, scale, less) in zip(grid.flat, PANELS, strict=True):
        values = medians(figures["rows"], name)
        if not values:
            raise SystemExit(f"{args.json} has no figures of {name!r}")
        draw(axes, {kind: value / scale for kind, value in values.items()}, title, unit, less)
        if axes not in grid[:, 0]:
            axes.set_yticklabels([])
    machine = figures["machine"]
    figure.suptitle(
        f"Executors on CPython {machine['python']}, {machine['cpus']} CPUs,"
        f" isles {machine['isles']}, {machine['when'][:10]}: medians of one run",
        fontsize=9,
    )
    args.svg.parent.mkdir(parents=True, exist_ok=True)
    # Without the date, so that the same figures make the same file.
    figure.savefig(args.svg, facecolor="white", metadata={"Date": None})
    print(args.svg)


if __name__ == "__main__":
    main()
