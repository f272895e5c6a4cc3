"""Values over the order of parts as SVG: what is usual as a band, each point a link to its part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 8.0, 10.0, 8.0
_SMOOTH = 15  # points whose median the line follows


@dataclass(frozen=True)
class Point:
    """One part's value."""

    value: float
    href: str
    tip: str  # what a pointer that rests on it is told


@dataclass(frozen=True)
class Frame:
    """What a trend is drawn in."""

    title: str
    size_hw: tuple[int, int]
    write: Callable[[float], str]  # words a value
    usual: tuple[float, float] | None = None  # the band of what is usual
    log: bool = False  # a logarithmic axis; values are positive then


def trend(points: Sequence[Point], frame: Frame) -> Markup:
    """Return the drawing; empty for fewer than two points. The line is the running median of 15."""
    if len(points) < 2:
        return Markup("")
    height, width = frame.size_hw
    values = np.array([point.value for point in points])
    low, high = _range(values, frame)
    span = _place(high, frame) - _place(low, frame) or 1.0

    def x(number: int) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * number / (len(points) - 1)

    def y(value: float) -> float:
        share = (_place(value, frame) - _place(low, frame)) / span
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * min(max(share, 0.0), 1.0)

    parts = []
    if frame.usual is not None:
        top, bottom = y(frame.usual[1]), y(frame.usual[0])
        parts.append(
            Markup('<rect class="usual" x="{}" y="{}" width="{}" height="{}"/>').format(
                f"{_LEFT:g}", f"{top:.1f}", f"{width - _LEFT - _RIGHT:g}", f"{max(bottom - top, 1):.1f}"
            )
        )
    for value in (high, low):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                f"{_LEFT - 6:g}", f"{y(value) + 5:.1f}", frame.write(value)
            )
        )
    for number, point in enumerate(points):
        parts.append(
            Markup(
                '<a href="{}"><circle class="point" cx="{}" cy="{}" r="3"><title>{}</title></circle></a>'
            ).format(point.href, f"{x(number):.1f}", f"{y(point.value):.1f}", point.tip)
        )
    line = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in enumerate(running_median(values)))
    parts.append(Markup('<polyline class="trend" points="{}"/>').format(line))
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>').format(
        width, height, frame.title, Markup("").join(parts)
    )


def running_median(values: np.ndarray) -> list[float]:
    """Return the median of each value with the 14 before it, float (n,); of as many as there are at first."""
    return [float(np.median(values[max(0, end - _SMOOTH) : end])) for end in range(1, len(values) + 1)]


def _range(values: np.ndarray, frame: Frame) -> tuple[float, float]:
    known = [*values.tolist(), *(frame.usual or ())]
    low, high = min(known), max(known)
    if frame.log:
        return low, max(high, low * 10)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _place(value: float, frame: Frame) -> float:
    return float(np.log(max(value, 1e-9))) if frame.log else value
