"""Plot areas, axes and marks as inline SVG. Colours and fonts come from the page's style sheet by class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Chart:
    """A drawing for wide pages, one for narrow ones (empty: the same), and the data as a table."""

    name: str
    title: str
    summary: str
    svg: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    svg_narrow: str = ""
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A rectangle in SVG units and the ranges of data that it shows; values outside are held at its edge."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the horizontal place of a value."""
        low, high = self.x_range
        return self.left + self.width * _within((value - low) / ((high - low) or 1.0))

    def y(self, value: float) -> float:
        """Return the vertical place of a value (up is more)."""
        low, high = self.y_range
        return self.top + self.height * (1.0 - _within((value - low) / ((high - low) or 1.0)))

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height


def ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Return about `wanted` round values (steps of 1, 2 or 5 times a power of ten) from `low` to `high`."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def text(
    x: float, y: float, content: str, *, css: str = "tick", anchor: str = "start", turn: float = 0.0
) -> str:
    """Return a text mark; `content` is escaped."""
    rotated = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{rotated}'
    return f'<text class="{css}" {place}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> str:
    """Return a straight line."""
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rectangle(x: float, y: float, width: float, height: float, *, css: str, tip: str = "") -> str:
    """Return a rectangle, with a hover text where `tip` is given."""
    shape = f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>"


def circle(x: float, y: float, radius: float, *, css: str, tip: str = "") -> str:
    """Return a circle, with a hover text where `tip` is given."""
    shape = f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
    return f"{shape}><title>{escape(tip)}</title></circle>" if tip else f"{shape}/>"


def path(plot: Plot, xs: Sequence[float], ys: Sequence[float], *, css: str) -> str:
    """Return a line through points of data."""
    points = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline class="{css}" points="{points}"/>'


def band(plot: Plot, xs: Sequence[float], low: Sequence[float], high: Sequence[float], *, css: str) -> str:
    """Return the area between two lines over the same points."""
    there = [f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in zip(xs, high, strict=True)]
    back = [f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in zip(xs, low, strict=True)]
    return f'<polygon class="{css}" points="{" ".join(there + back[::-1])}"/>'


def plain_labels(values: Sequence[float]) -> list[str]:
    """Write ticks with the same number of decimals, as few as tell them apart."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    decimals = max(-math.floor(math.log10(step) + 1e-9), 0) if step > 0 else 0
    return [f"{value:.{decimals}f}" for value in values]


def x_axis(plot: Plot, *, title: str, label: Callable[[float], str] | None = None, wanted: int = 5) -> str:
    """Return the lower axis with ticks, their labels (plain numbers by default) and a title below."""
    low, high = plot.x_range
    parts = [line(plot.left, plot.bottom, plot.right, plot.bottom, css="axis")]
    values = ticks(low, high, wanted=wanted)
    written = plain_labels(values) if label is None else [label(value) for value in values]
    for value, words in zip(values, written, strict=True):
        place = plot.x(value)
        parts.append(line(place, plot.bottom, place, plot.bottom + 4, css="axis"))
        parts.append(text(place, plot.bottom + 17, words, anchor="middle"))
    middle = plot.left + plot.width / 2
    parts.append(text(middle, plot.bottom + 35, title, css="axis-title", anchor="middle"))
    return "".join(parts)


def y_axis(plot: Plot, *, title: str, label: Callable[[float], str], wanted: int = 5) -> str:
    """Return the left axis with grid lines, tick labels and a title standing upright beside it."""
    low, high = plot.y_range
    parts = []
    for value in ticks(low, high, wanted=wanted):
        place = plot.y(value)
        parts.append(line(plot.left, place, plot.right, place, css="grid"))
        parts.append(text(plot.left - 6, place + 4, label(value), anchor="end"))
    middle = plot.top + plot.height / 2
    parts.append(text(plot.left - 44, middle, title, css="axis-title", anchor="middle", turn=-90))
    return "".join(parts)


def drawing(content: str, *, size_wh: tuple[float, float], name: str, title: str, summary: str) -> str:
    """Return a whole SVG with title and description for screen readers; `name` is unique in the page."""
    width, height = size_wh
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="{name}-svg-title {name}-svg-desc">'
        f'<title id="{name}-svg-title">{escape(title)}</title>'
        f'<desc id="{name}-svg-desc">{escape(summary)}</desc>'
        f"{content}</svg>"
    )


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
