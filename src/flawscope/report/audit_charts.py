"""Where photographs lie against their like: a histogram of light or of focus, the odd ones marked."""

from __future__ import annotations

import numpy as np

from flawscope.core.types import Array
from flawscope.data.audit.findings import Measure
from flawscope.report import svg
from flawscope.report.histogram import WIDTHS
from flawscope.report.svg import Chart

_BINS = 48
_LEFT, _TOP, _HEIGHT = 62.0, 34.0, 130.0
_LABEL = 72.0  # px that a limit's label takes
_BEYOND = 1.5  # times the limit that the axis shows at least


def measure_chart(measure: Measure) -> Chart | None:
    """Draw how many photographs lie where, on a scale of the square root so that single ones are seen; those
    that are off are hatched. None where nothing was measured."""
    known = np.isfinite(measure.values)
    if not known.any():
        return None
    values, off = measure.values[known], measure.off[known]
    edges = _edges(values, measure)
    usual, odd = (np.histogram(np.clip(values[mask], edges[0], edges[-1]), edges)[0] for mask in (~off, off))
    summary = f"{measure.title}: {len(values)} photographs, {int(off.sum())} of them off."
    drawings = [
        svg.drawing(
            _marks(measure, edges, usual, odd, width=width),
            size_wh=(width, _TOP + _HEIGHT + 44),
            name=f"{measure.name}{suffix}",
            title=measure.title,
            summary=summary,
        )
        for width, suffix in WIDTHS
    ]
    rows = tuple(
        (f"{_factor(edges[i])} to {_factor(edges[i + 1])}", str(usual[i]), str(odd[i]))
        for i in range(len(usual))
        if usual[i] or odd[i]
    )
    return Chart(
        name=measure.name,
        title=measure.title,
        summary=summary,
        svg=drawings[0],
        svg_narrow=drawings[1],
        head=("Times the usual", "As usual", "Off"),
        rows=rows,
        note="Hatched: named below. Heights by the square root, so that single photographs are seen. "
        "A line is the least distance that is named; where the rest vary widely, more is asked for.",
    )


def _edges(values: Array, measure: Measure) -> Array:
    bounds = [abs(limit) for limit in measure.limits if limit is not None]
    reach = max([_BEYOND * bound for bound in bounds] + [float(np.abs(values).max()) * 1.02])
    return np.linspace(-min(reach, 3.0), min(reach, 3.0), _BINS + 1)


def _marks(measure: Measure, edges: Array, usual: Array, odd: Array, *, width: float) -> str:
    most = float(np.sqrt(max((usual + odd).max(), 1)))
    plot = svg.Plot(
        _LEFT, _TOP, width - _LEFT - 16, _HEIGHT, (float(edges[0]), float(edges[-1])), (0.0, most)
    )
    parts = [svg.line(plot.left, plot.bottom, plot.right, plot.bottom, css="axis")]
    parts.append(svg.text(plot.left - 6, plot.top + 9, str(int((usual + odd).max())), anchor="end"))
    parts.append(svg.text(plot.left - 6, plot.bottom, "0", anchor="end"))
    for i in range(len(usual)):
        x = plot.x(float(edges[i]))
        bar = plot.x(float(edges[i + 1])) - x - 1
        base = 0
        for css, word, number in (("good", "as usual", usual[i]), ("bad", "off", odd[i])):
            if number:
                top = plot.y(float(np.sqrt(base + number)))
                bottom = plot.y(float(np.sqrt(base)))
                tip = f"{number} {word}, {_factor(edges[i])} to {_factor(edges[i + 1])} times the usual"
                parts.append(svg.rectangle(x + 0.5, top, bar, bottom - top, css=f"bar {css}", tip=tip))
                base += int(number)
    for limit in measure.limits:
        if limit is not None:
            place = plot.x(limit)
            parts.append(svg.line(place, plot.top - 8, place, plot.bottom, css="limit review"))
            label = f"{_factor(limit)} times"
            left_of_it = limit < 0 or place + _LABEL > width
            anchor = "end" if left_of_it else "start"
            parts.append(
                svg.text(
                    place + (-5 if left_of_it else 5), plot.top - 2, label, css="limit-label", anchor=anchor
                )
            )
    wanted = max(int(width // 110), 3)
    parts.append(svg.x_axis(plot, title="Times the usual", label=_factor, wanted=wanted))
    return "".join(parts)


def _factor(log: float) -> str:
    return f"{np.exp(log):.2f}"
