"""Draws what run.py measured of executors and of growth: `make chart`."""

import argparse
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import matplotlib as mpl
from figures import amount, newest, read

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

DOCS = Path(__file__).resolve().parent.parent / "docs"

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
        if row["name"] == name and row["beside"] in KINDS and row["isles"] and row["other"]:
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


# The row's name; the title; what the axis counts; the row's unit.
LINES: list[tuple[str, str, str, str]] = [
    ("create, of many", "create one", "interpreters", "ns"),
    ("call(f) in turn", "a call, each in turn", "interpreters", "ns"),
    ("memory after a call, of many", "memory of each, after a call", "interpreters", "KiB"),
    ("bytes through a queue", "bytes there and back, through queues", "bytes", "ns"),
    ("bytearray by a call", "a bytearray there and back, by a call", "bytes", "ns"),
    ("a task of those queued", "a task, from submit() to its result", "tasks", "ns"),
]
STOCK = ("create from a stock, of many", "isles, from a stock")
# The kind; the label; the colour; the style of the line.
SERIES: list[tuple[str, str, str, str]] = [
    ("isles", "isles", OURS, "-"),
    (STOCK[1], STOCK[1], OURS, ":"),
    ("stdlib", "interpreters (stdlib)", "#1d4ed8", "-"),
    ("threads", "threads", "#15803d", "-"),
    ("processes, fork", "processes, fork", "#475569", "-"),
    ("processes, forkserver", "processes, forkserver", "#475569", "--"),
    ("loky", "processes, loky", "#94a3b8", "-"),
    ("multiprocessing.Pipe", "a process, by multiprocessing.Pipe", "#475569", ":"),
]


def lines(rows: list[dict[str, Any]], name: str) -> dict[str, dict[int, float]]:
    """The medians of each kind, by how many or how large."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for kind, side in (("isles", "isles"), (row["beside"], "other")):
            if row["name"] == name and row[side]:
                found.setdefault(kind, {})[row["at"]] = row[side]["median"]
    return found


def draw_lines(axes: Any, found: dict[str, dict[int, float]], panel: tuple[str, ...]) -> None:
    _, title, what, unit = panel
    for kind, label, colour, style in SERIES:
        if kind in found:
            at = sorted(found[kind])
            values = [found[kind][one] for one in at]
            width = 2 if kind.startswith("isles") else 1.2
            axes.plot(at, values, style, color=colour, label=label, linewidth=width, marker=".")
    axes.set_xscale("log", base=2 if what == "interpreters" else 10)
    if unit == "ns":
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(10 ** floor(log10(low)), 10 ** ceil(log10(high)))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MultipleLocator(1024))
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(what, fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(unit, value)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.grid(color="#e2e8f0", linewidth=0.6)
    axes.tick_params(length=0, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def count(value: float) -> str:
    for of, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= of:
            return f"{value / of:g}{unit}"
    return f"{value:g}"


def figure_of(figures: dict[str, Any], what: str) -> tuple[Any, Any]:
    figure, grid = pyplot.subplots(2, 3, figsize=(10, 5), layout="constrained")
    machine = figures["machine"]
    figure.suptitle(
        f"{what} on CPython {machine['python']}, {machine['cpus']} CPUs,"
        f" isles {machine['isles']}, {machine['when'][:10]}: medians of one run",
        fontsize=9,
    )
    return figure, grid


def executors(figures: dict[str, Any]) -> Any:
    figure, grid = figure_of(figures, "Executors")
    for axes, (name, title, unit, scale, less) in zip(grid.flat, PANELS, strict=True):
        values = medians(figures["rows"], name)
        draw(axes, {kind: value / scale for kind, value in values.items()}, title, unit, less)
        if axes not in grid[:, 0]:
            axes.set_yticklabels([])
    return figure


def growth(figures: dict[str, Any]) -> Any:
    figure, grid = figure_of(figures, "How cost grows,")
    figure.set_size_inches(10, 6.4)
    labels: dict[str, Any] = {}
    for axes, panel in zip(grid.flat, LINES, strict=True):
        found = lines(figures["rows"], panel[0])
        if panel[0].startswith("create"):
            found[STOCK[1]] = lines(figures["rows"], STOCK[0]).get("isles", {})
        draw_lines(axes, found, panel)
        labels |= {
            label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
    order = [label for _, label, _, _ in SERIES if label in labels]
    figure.legend(
        [labels[label] for label in order],
        order,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=DOCS, help="where the charts go")
    args = parser.parse_args()
    figures = read(newest())
    mpl.rcParams.update(STYLE)
    names = {row["name"] for row in figures["rows"]}
    missing = {panel[0] for panel in [*PANELS, *LINES]} - names
    if missing:
        raise SystemExit(f"{newest()} has no figures of {', '.join(sorted(missing))}")
    for name, figure in (("executors", executors(figures)), ("growth", growth(figures))):
        path = args.folder / f"{name}.svg"
        # Without the date, so that the same figures make the same file.
        figure.savefig(path, facecolor="white", metadata={"Date": None})
        print(path)


if __name__ == "__main__":
    main()
