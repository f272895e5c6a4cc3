"""Where scores lie: calibration and test scores over one axis, with both limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Array, Report
from flawscope.report import format as fmt
from flawscope.report import svg
from flawscope.report.svg import Chart

BINS = 40
HEAD = 40.0  # room for the two limits' labels, SVG units
ROW = 92.0
LEFT = 62.0
WIDTHS = ((1040.0, ""), (400.0, "-narrow"))  # for wide and for narrow pages


@dataclass(frozen=True, eq=False)
class Series:
    """One row of the histogram."""

    name: str
    css: str
    values: Array  # float64 (n,)


def score_histogram(report: Report) -> Chart:
    """Draw where scores lie: calibration, good and defective test parts, one row each over one axis, with
    both limits as labelled lines. Scores far beyond the limits are gathered in the last bin."""
    series = _score_series(report)
    limits = report.thresholds
    edges, gathered = _edges([one.values for one in series], limits=(limits.review, limits.ng))
    counts = [np.histogram(np.minimum(one.values, edges[-1]), edges)[0] for one in series]
    named = [
        f"{name} limit {fmt.score(value)}"
        for name, value in (("REVIEW", limits.review), ("NG", limits.ng))
        if value is not None
    ]
    summary = "Number of images by score: " + ", ".join(
        f"{one.name.lower()} {len(one.values)}" for one in series
    )
    summary += ". " + (", ".join(named) if named else "No limit is set") + "."
    last = len(edges) - 2
    rows = tuple(
        (
            f"{fmt.score(edges[index])} to {fmt.score(edges[index + 1])}"
            if not (gathered and index == last)
            else f"{fmt.score(edges[index])} and more",
            *(str(row[index]) for row in counts),
        )
        for index in range(last + 1)
        if any(row[index] for row in counts)
    )
    drawings = [
        svg.drawing(
            histogram_marks(
                series,
                counts,
                edges,
                width=width,
                lines=lambda plot: limit_lines(plot, (limits.review, limits.ng)),
            ),
            size_wh=(width, HEAD + len(series) * ROW + 44),
            name=f"scores{suffix}",
            title="Scores and limits",
            summary=summary,
        )
        for width, suffix in WIDTHS
    ]
    return Chart(
        name="scores",
        title="Scores and limits",
        summary=summary,
        svg=drawings[0],
        svg_narrow=drawings[1],
        head=("Score", *(one.name for one in series)),
        rows=rows,
        note="The last bin also holds every score beyond the axis." if gathered else "",
    )


def score_range(report: Report) -> tuple[float, float]:
    """Return the range of scores that the histogram shows, so that other charts can share its axis."""
    values = [one.values for one in _score_series(report)]
    edges, _ = _edges(values, limits=(report.thresholds.review, report.thresholds.ng))
    return float(edges[0]), float(edges[-1])


def _score_series(report: Report) -> list[Series]:
    series = [Series("Calibration, good", "calibration", report.calibration.scores)]
    wanted = (("Test, good", "good"), ("Test, defective", "bad"), ("Test, not labelled", "unlabelled"))
    for name, css in wanted:
        values = [
            judged.inspection.score
            for judged in report.judged
            if judged.inspection.score is not None
            and css == ("good" if judged.sample.is_good else "bad" if judged.sample.is_bad else "unlabelled")
        ]
        if values:
            series.append(Series(name, css, np.asarray(values, np.float64)))
    return series


def _edges(values: Sequence[Array], *, limits: tuple[float | None, float | None]) -> tuple[Array, bool]:
    """Return the bins' edges and whether the last bin gathers scores that lie beyond the axis."""
    known = [limit for limit in limits if limit is not None]
    pooled = np.concatenate(values)
    low = min(float(pooled.min()), *known) if known else float(pooled.min())
    high = max(float(pooled.max()), *known) if known else float(pooled.max())
    settled = max([float(values[0].max()), *known])  # good parts and limits must stay readable
    cap = settled + 1.5 * (settled - low)
    gathered = settled > low and high > cap
    high = cap if gathered else high
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return np.linspace(low, high, BINS + 1), gathered


def histogram_marks(
    series: Sequence[Series],
    counts: Sequence[Array],
    edges: Array,
    *,
    width: float,
    lines: Callable[[svg.Plot], str],
    title: str = "Score",
) -> str:
    """Return a row of bars for each series over one axis; `lines` draws what goes through all rows down to
    the axis of the plot it is given."""
    parts: list[str] = []
    labels: list[str] = []
    x_range = (float(edges[0]), float(edges[-1]))
    plot = svg.Plot(LEFT, HEAD, width - LEFT - 16, ROW, x_range, (0.0, 1.0))
    for index, (one, row) in enumerate(zip(series, counts, strict=True)):
        most = max(int(row.max()), 1)
        plot = svg.Plot(
            LEFT, HEAD + index * ROW + 22, width - LEFT - 16, ROW - 22, x_range, (0.0, float(most))
        )
        parts.append(svg.line(plot.left, plot.bottom, plot.right, plot.bottom, css="axis"))
        parts.append(svg.text(plot.left - 6, plot.top + 9, str(most), anchor="end"))
        parts.append(svg.text(plot.left - 6, plot.bottom, "0", anchor="end"))
        for left, right, number in zip(edges[:-1], edges[1:], row, strict=True):
            if number:
                x, y = plot.x(float(left)), plot.y(float(number))
                tip = f"{one.name}: {number} from {fmt.score(left)} to {fmt.score(right)}"
                bar = plot.x(float(right)) - x - 1
                parts.append(svg.rectangle(x + 0.5, y, bar, plot.bottom - y, css=f"bar {one.css}", tip=tip))
        words = f"{one.name} ({len(one.values)})"
        labels.append(svg.text(plot.left + 2, plot.top - 7, words, css="row-label"))
    parts.append(lines(plot))
    parts += labels  # over the lines, with a halo
    parts.append(svg.x_axis(plot, title=title, wanted=max(int(width // 110), 3)))
    return "".join(parts)


def limit_lines(plot: svg.Plot, limits: tuple[float | None, float | None], *, top: float = 0.0) -> str:
    """Draw both limits from the label line down to the axis; the labels stand on lines of their own."""
    parts = []
    for name, css, value, y in (
        ("REVIEW", "limit review", limits[0], top + 13),
        ("NG", "limit ng", limits[1], top + 30),
    ):
        if value is None:
            continue
        x = plot.x(value)
        far = x > plot.left + plot.width / 2
        parts.append(svg.line(x, y - 9, x, plot.bottom, css=css))
        label = f"{name} limit {fmt.score(value)}"
        parts.append(
            svg.text(
                x + (-5 if far else 5), y + 1, label, css="limit-label", anchor="end" if far else "start"
            )
        )
    return "".join(parts)
