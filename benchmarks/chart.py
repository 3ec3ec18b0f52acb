"""Draws lines over the number of tables as an SVG, both axes logarithmic; readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.measure import duration

WIDTH, HEIGHT = 800, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 275, 72, 46

# A picture in a README can't follow the page's colours in every viewer, so it has a background of its own; where the
# viewer does tell, it is dark on a dark page.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 12px; fill: #59636e }
.back { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.ours { stroke-width: 3.5 }
.bold { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .back { fill: #0d1117 }
  .grid { stroke: #3d444d }
}
"""

COLOURS = ("#2da44e", "#57ab5a", "#8c959f", "#bc8cff", "#e3863a", "#d9534f", "#4493f8")


def draw(title: str, note: str, sizes: Sequence[int], lines: Mapping[str, Sequence[float]], ours: Sequence[str]) -> str:
    """Return the SVG; ``lines`` has, by name, the seconds at each of ``sizes``; those in ``ours`` are drawn thicker."""
    low = 10.0 ** math.floor(math.log10(min(map(min, lines.values()))))
    high = max(map(max, lines.values())) * 1.3
    plot = _Plot(sizes, low, high)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
        f'<text class="small" x="{LEFT}" y="48">{escape(note)}</text>',
        *plot.grid(),
        *plot.lines(lines, ours),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Plot:
    """Where a value stands on the picture."""

    def __init__(self, sizes: Sequence[int], low: float, high: float) -> None:
        self._sizes, self._low, self._high = sizes, low, high

    def x(self, size: float) -> float:
        share = math.log(size / self._sizes[0]) / math.log(self._sizes[-1] / self._sizes[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, seconds: float) -> float:
        share = math.log(seconds / self._low) / math.log(self._high / self._low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def grid(self) -> Iterator[str]:
        right = WIDTH - RIGHT
        seconds = self._low
        while seconds <= self._high:
            y = self.y(seconds)
            yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
            yield f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_round(seconds)}</text>'
            seconds *= 10
        for size in self._sizes:
            name = f"{size:,} table{'s' if size > 1 else ''}"
            yield (
                f'<text class="small" x="{self.x(size):.1f}" y="{HEIGHT - BOTTOM + 22}" '
                f'text-anchor="middle">{name}</text>'
            )

    def lines(self, lines: Mapping[str, Sequence[float]], ours: Sequence[str]) -> Iterator[str]:
        labels = _apart([self.y(values[-1]) for values in lines.values()])
        for (name, values), colour, label in zip(lines.items(), COLOURS, labels, strict=True):
            places = zip(self._sizes, values, strict=True)
            points = " ".join(f"{self.x(size):.1f},{self.y(value):.1f}" for size, value in places)
            kind, bold = ("line ours", ' class="bold"') if name in ours else ("line", "")
            yield f'<polyline class="{kind}" stroke="{colour}" points="{points}"/>'
            x = WIDTH - RIGHT + 12
            yield f'<circle cx="{x}" cy="{label - 4:.1f}" r="4" fill="{colour}"/>'
            yield f'<text{bold} x="{x + 10}" y="{label:.1f}">{escape(name)}: {duration(values[-1])}</text>'


def _round(seconds: float) -> str:
    return duration(seconds).replace(".00", "").replace(".0", "")


def _apart(heights: list[float], least: float = 19.0) -> list[float]:
    """Move labels down so that none covers another."""
    result = [0.0] * len(heights)
    last = TOP - least
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        last = result[index] = max(heights[index] + 4, last + least)
    return result
