"""``python -m isles demo``."""

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from . import demo_report, demo_svg
from .errors import CommandError, UsageError

CHUNK: Final = 12  # files in one call, in every way
LABELS: Final = {
    "single": "one interpreter",
    "threads": "threads",
    "processes": "processes",
    "interpreters": "isolated interpreters",
}


def run(options: argparse.Namespace) -> int:
    if options.chart and not Path(options.chart).absolute().parent.is_dir():
        raise UsageError(f"there is no folder for {options.chart!r}")
    load = os.getloadavg()[0]
    root, files = library(options.files)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    figures = [measure(way, chunks, options.jobs) for way in LABELS]
    check_agreement(figures)
    summary = {**summarise(figures, root, options.jobs), "load_before": load}
    if options.chart:
        write_chart(options.chart, demo_svg.chart(summary))
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        demo_report.show(summary)
    return 0


def library(limit: int | None) -> tuple[str, list[str]]:
    """The folder of the standard library and its .py files, each read once.

    Reading them here puts them into the system's cache, for the first way as for the last.
    """
    root = sysconfig.get_path("stdlib")
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        files += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    files = sorted(filter(os.path.isfile, files))[:limit]
    if not files:
        raise CommandError(f"{root} has no .py files (is the standard library zipped?)")
    for name in files:
        Path(name).read_bytes()
    return root, files


def measure(way: str, chunks: list[list[str]], workers: int) -> dict[str, Any]:
    """Measure one way in a fresh Python.

    It is in a process group of its own, and gets Ctrl-C once, from here: the processes that it
    may have started end as it ends, in order.
    """
    if sys.stderr.isatty():
        print(f"isles demo: {LABELS[way]} ...", file=sys.stderr)
    flags = ["-P"] if sys.flags.safe_path else []  # the same isles as here
    child = subprocess.Popen(
        [sys.executable, *flags, "-m", "isles._cli"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        job = {"way": way, "workers": workers, "chunks": chunks}
        output, _ = child.communicate(json.dumps(job))
    except KeyboardInterrupt:
        stop(child)
        raise
    if child.returncode != 0:
        raise CommandError(f"{LABELS[way]}: ended with exit code {child.returncode}")
    figures: dict[str, Any] = json.loads(output)
    return figures


def stop(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        child.kill()


def check_agreement(figures: list[dict[str, Any]]) -> None:
    """All four ways must have found the same."""
    first = figures[0]
    for other in figures[1:]:
        if (other["digest"], other["totals"]) == (first["digest"], first["totals"]):
            continue
        raise CommandError(
            f"{LABELS[other['way']]} and {LABELS[first['way']]} found different things:\n"
            f"  {LABELS[other['way']]}: {other['totals']}, digest {other['digest'][:16]}\n"
            f"  {LABELS[first['way']]}: {first['totals']}, digest {first['digest'][:16]}"
        )


def summarise(figures: list[dict[str, Any]], root: str, workers: int) -> dict[str, Any]:
    """All that the tables, the charts and the JSON show."""
    first = figures[0]
    return {
        "python": sys.version.split()[0],
        "library": root,
        "workers": workers,
        "totals": first["totals"],
        "digest": first["digest"],
        "ways": [
            {
                "way": one["way"],
                "label": LABELS[one["way"]],
                "seconds": one["seconds"],
                "speedup": first["seconds"] / one["seconds"],
                "memory": one["memory"],
            }
            for one in figures
        ],
        "most_complex": [
            {"file": os.path.relpath(file, root), "function": name, "line": line, "complexity": n}
            for file, name, line, n in first["most_complex"]
        ],
    }


def write_chart(name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"can't write the chart: {error}") from None
