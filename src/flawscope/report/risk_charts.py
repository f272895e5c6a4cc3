"""Where risks lie: good and defective parts over one axis, with the bands; and the same for qrs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flawscope.core.types import Array
from flawscope.decision.rated import RatedSample, RiskReport
from flawscope.report import format as fmt
from flawscope.report import svg
from flawscope.report.histogram import HEAD, ROW, WIDTHS, Series, histogram_marks
from flawscope.report.svg import Chart

_KINDS = (("Good", "good"), ("Defective", "bad"), ("Not labelled", "unlabelled"))
_LEVELS = 3  # lines on which the names of bands stand


def risk_histogram(report: RiskReport) -> Chart | None:
    """Draw where risks lie, the bands' limits as labelled lines; None where nothing was rated."""
    limits = (
        ("medium", report.limits.medium),
        ("high", report.limits.high),
        ("critical", report.limits.critical),
    )
    words = ", ".join(f"{name} above {fmt.score(value)}" for name, value in limits)
    return _histogram(
        _series(report, lambda one: one.risk),
        np.linspace(0.0, 100.0, 41),
        name="risk",
        title="Risk",
        words=words,
        lines=lambda plot: _bands(plot, limits),
    )


def qrs_histogram(report: RiskReport) -> Chart | None:
    """Draw where the published score lies: a share of the product, not comparable between images."""
    series = _series(report, lambda one: one.rated.qrs)
    highest = max((float(one.values.max()) for one in series), default=0.0)
    return _histogram(
        series,
        np.linspace(0.0, highest if highest > 0 else 1.0, 41),
        name="qrs",
        title="QRS as published",
        words=f"share of the product whose weight is above {report.threshold:g}",
        lines=lambda plot: "",
    )


def _histogram(
    series: Sequence[Series],
    edges: Array,
    *,
    name: str,
    title: str,
    words: str,
    lines: Callable[[svg.Plot], str],
) -> Chart | None:
    if not series:
        return None
    counts = [np.histogram(one.values, edges)[0] for one in series]
    summary = "Number of photographs: " + ", ".join(f"{one.name.lower()} {len(one.values)}" for one in series)
    summary += f"; {words}."
    drawings = [
        svg.drawing(
            histogram_marks(series, counts, edges, width=width, lines=lines, title=title),
            size_wh=(width, HEAD + len(series) * ROW + 44),
            name=f"{name}{suffix}",
            title=title,
            summary=summary,
        )
        for width, suffix in WIDTHS
    ]
    rows = tuple(
        (f"{fmt.score(edges[i])} to {fmt.score(edges[i + 1])}", *(str(row[i]) for row in counts))
        for i in range(len(edges) - 1)
        if any(row[i] for row in counts)
    )
    head = (title, *(one.name for one in series))
    return Chart(name, title, summary, drawings[0], head, rows, drawings[1])


def _series(report: RiskReport, value: Callable[[RatedSample], float | None]) -> list[Series]:
    found = []
    for name, css in _KINDS:
        values = [
            value(one)
            for one in report.rated
            if one.risk is not None
            and css == ("good" if one.sample.is_good else "bad" if one.sample.is_bad else "unlabelled")
        ]
        if values:
            found.append(Series(name, css, np.asarray(values, np.float64)))
    return found


def _bands(plot: svg.Plot, limits: Sequence[tuple[str, float]]) -> str:
    """Draw where each band begins; the names stand on lines of their own, so that close limits can be told
    apart."""
    parts = []
    for level, (name, value) in enumerate(limits):
        x, y = plot.x(value), 11.0 + level * (HEAD - 10) / (_LEVELS - 1)
        far = x > plot.left + plot.width / 2
        css = "limit ng" if name == "critical" else "limit review"
        parts.append(svg.line(x, y - 9, x, plot.bottom, css=css))
        parts.append(
            svg.text(
                x + (-5 if far else 5),
                y + 1,
                f"{name} above {fmt.score(value)}",
                css="limit-label",
                anchor="end" if far else "start",
            )
        )
    return "".join(parts)
