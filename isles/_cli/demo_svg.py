"""The demo's comparison as an SVG, written by hand: no dependency, light and dark pages alike."""

from typing import Any, Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
LEFT: Final = 170  # where bars begin
RIGHT: Final = 190  # kept free for values
TOP: Final = 70
ROW: Final = 40
BAR: Final = 22

FOOTNOTE: Final = "Speed-up against one interpreter; extra memory of all processes together (PSS)."

STYLE: Final = """\
    text { font: 14px system-ui, sans-serif; fill: #57606a; }
    .title { font-size: 17px; font-weight: 600; fill: #24292f; }
    .small { font-size: 12px; }
    .bar { fill: #8c959f; }
    .ours { fill: #2f81f7; }
    @media (prefers-color-scheme: dark) {
      text { fill: #9da7b1; }
      .title { fill: #e6edf3; }
      .bar { fill: #6e7681; }
    }"""


def chart(summary: dict[str, Any]) -> str:
    """A horizontal bar for each way: its wall time, with speed-up and memory beside it."""
    ways = summary["ways"]
    height = TOP + ROW * len(ways) + 34
    title = "The same work in four ways: wall time, shorter is better"
    body = [
        f'  <text class="title" x="16" y="30">{title}</text>',
        f'  <text class="small" x="16" y="50">{escape(subtitle(summary))}</text>',
        *(row(index, one, summary) for index, one in enumerate(ways)),
        f'  <text class="small" x="16" y="{height - 14}">{FOOTNOTE}</text>',
    ]
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{title}">'
    )
    return "\n".join([start, f"  <title>{title}</title>", style(), *body, "</svg>", ""])


def style() -> str:
    return f"  <style>\n{STYLE}\n  </style>"


def subtitle(summary: dict[str, Any]) -> str:
    totals = summary["totals"]
    return (
        f"Python {summary['python']}, {summary['workers']} at once: {totals['files']:,} files "
        f"of the standard library, {totals['functions']:,} functions measured"
    )


def row(index: int, one: dict[str, Any], summary: dict[str, Any]) -> str:
    longest = max(way["seconds"] for way in summary["ways"])
    length = max(2.0, (WIDTH - LEFT - RIGHT) * one["seconds"] / longest)
    top = TOP + ROW * index
    base = top + BAR // 2 + 5
    kind = "bar ours" if one["way"] == "interpreters" else "bar"
    size = f'width="{length:.1f}" height="{BAR}" rx="3"'
    return "\n".join(
        [
            f'  <text x="{LEFT - 10}" y="{base}" text-anchor="end">{escape(one["label"])}</text>',
            f'  <rect class="{kind}" x="{LEFT}" y="{top}" {size}/>',
            f'  <text x="{LEFT + length + 8:.1f}" y="{base}">{escape(values(one))}</text>',
        ]
    )


def values(one: dict[str, Any]) -> str:
    text = f"{one['seconds']:.2f} s, {one['speedup']:.2f}\N{MULTIPLICATION SIGN}"
    return text if one["memory"] is None else f"{text}, {one['memory'] / 1e6:.0f} MB"
