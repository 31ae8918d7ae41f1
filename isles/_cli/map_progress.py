"""What ``map`` writes: results, reports, and a progress bar where there is a terminal.

The bar is one line on standard error. rich draws it if it is installed (``isles[cli]``), but
doesn't own the terminal: results and reports may go to the same one, and clear the bar first.
"""

import sys
import time
from collections.abc import Callable
from shutil import get_terminal_size
from typing import Final

INTERVAL: Final = 0.1  # seconds between two drawings of the bar
_CLEAR: Final = "\r\x1b[K"

type Draw = Callable[[int, int, float], str]  # done, failed, seconds -> one line


def plain_bar(total: int | None) -> Draw:
    """A bar of plain characters."""

    def draw(done: int, failed: int, seconds: float) -> str:
        trouble = f", {failed} failed" if failed else ""
        if total is None:
            return f"{done} done{trouble}, {seconds:.0f} s"
        share = done / total if total else 1.0
        bar = ("#" * round(30 * share)).ljust(30, ".")
        return f"[{bar}] {done}/{total} {share:4.0%}{trouble}, {seconds:.0f} s"

    return draw


def rich_bar(total: int | None) -> Draw:
    """A bar drawn by rich; ImportError if rich isn't installed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, width=max(20, get_terminal_size().columns - 1))
    bar = Progress(
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        auto_refresh=False,
    )
    task = bar.add_task("", total=total)

    def draw(done: int, failed: int, seconds: float) -> str:
        trouble = f" [red]{failed} failed[/red]" if failed else ""
        count = f"{done}" if total is None else f"{done}/{total}"
        bar.update(task, completed=done, description=count + trouble)
        with console.capture() as capture:
            console.print(bar)
        text: str = capture.get()
        return text.rstrip("\n")

    return draw


def best_bar(total: int | None) -> Draw:
    try:
        return rich_bar(total)
    except ImportError:
        return plain_bar(total)


class Screen:
    """Standard output and standard error of ``map``, with the bar in between."""

    def __init__(self, total: int | None) -> None:
        self._draw = best_bar(total) if sys.stderr.isatty() else None
        self._shared = self._draw is not None and sys.stdout.isatty()
        self._shown = False
        self._start = time.monotonic()
        self._due = self._start
        self.tick = INTERVAL if self._draw else None

    def results(self, text: str) -> None:
        if self._shared:
            self.clear()
        sys.stdout.write(text)
        sys.stdout.flush()

    def report(self, text: str) -> None:
        self.clear()
        sys.stderr.write(text)
        sys.stderr.flush()

    def progress(self, done: int, failed: int) -> None:
        """Draw the bar, if there is one and the last drawing is old."""
        now = time.monotonic()
        if self._draw is None or now < self._due:
            return
        self._due = now + INTERVAL
        self._shown = True
        sys.stderr.write(_CLEAR + self._draw(done, failed, now - self._start))
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
