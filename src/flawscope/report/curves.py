"""ROC, precision and recall, and false alarms beside missed defects over the limit, from `Report.curves`.

Points are lists of equal length:

- `roc`: `x` share of good parts flagged, `y` share of defective parts found (0 to 1);
- `pr`: `x` recall, `y` precision (0 to 1);
- `overkill_escape`: `limits` on the score, `overkill` and `escape` (0 to 1);

each with optional 95 % bands `low` and `high` (for the last one `overkill_low`, `overkill_high`,
`escape_low`, `escape_high`). A curve that is absent or has fewer than two points is not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Report
from flawscope.report import format as fmt
from flawscope.report import svg
from flawscope.report.histogram import LEFT, WIDTHS, limit_lines, score_range
from flawscope.report.svg import Chart

TABLE_ROWS = 41  # a longer table helps nobody; points between are left out
LINE_POINTS = 300
SIZE_WH = (440.0, 380.0)

Points = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class _Operating:
    """What a limit does on the labelled test parts."""

    name: str
    flagged: int  # good parts above the limit
    found: int  # defective parts above it
    good: int
    bad: int

    @property
    def precision(self) -> float | None:
        above = self.flagged + self.found
        return self.found / above if above else None


@dataclass(frozen=True)
class _Words:
    """What a curve is called."""

    name: str
    title: str
    x: str
    y: str
    summary: str
    note: str


def roc(report: Report) -> Chart | None:
    """Draw the share of defects found against the share of good parts flagged, both limits marked on it."""
    words = _Words(
        "roc",
        "ROC curve",
        "Good parts flagged",
        "Defective parts found",
        "Defective parts found against good parts flagged, over all limits.",
        "At each limit: good parts flagged, defective parts found.",
    )
    marks = [(one.name, one.flagged / one.good, one.found / one.bad) for one in _operating(report)]
    return _unit_curve(report.curves.get("roc", {}), words, marks)


def precision_recall(report: Report) -> Chart | None:
    """Draw precision against recall, both limits marked on it."""
    words = _Words(
        "pr",
        "Precision and recall",
        "Defective parts found (recall)",
        "Flagged and defective (precision)",
        "Precision against recall, over all limits. Precision depends on the share of defective test parts.",
        "At each limit: recall, precision. Precision depends on how many test parts are defective.",
    )
    marks = [
        (one.name, one.found / one.bad, one.precision)
        for one in _operating(report)
        if one.precision is not None
    ]
    return _unit_curve(report.curves.get("pr", {}), words, marks)


def overkill_escape(report: Report) -> Chart | None:
    """Draw false alarms and missed defects against the limit on the score, over the histogram's axis; both
    limits in use are marked."""
    points = report.curves.get("overkill_escape", {})
    if not usable(points, ("limits", "overkill", "escape")):
        return None
    title = "False alarms and missed defects by limit"
    summary = (
        "What another limit on the score would give on these parts; the shaded bands are 95 % intervals."
    )
    height = 300.0
    drawings = [
        svg.drawing(
            _trade_off(report, points, size_wh=(width, height)),
            size_wh=(width, height),
            name=f"overkill-escape{suffix}",
            title=title,
            summary=summary,
        )
        for width, suffix in WIDTHS
    ]
    table = zip(*thinned(points, ("limits", "overkill", "escape"), TABLE_ROWS), strict=True)
    return Chart(
        name="overkill-escape",
        title=title,
        summary=summary,
        svg=drawings[0],
        svg_narrow=drawings[1],
        head=("Limit", "False alarms", "Missed"),
        rows=tuple((fmt.score(x), fmt.percent(over), fmt.percent(missed)) for x, over, missed in table),
    )


def _trade_off(report: Report, points: Points, *, size_wh: tuple[float, float]) -> str:
    x_range = score_range(report)
    shown = [x_range[0] <= x <= x_range[1] for x in points["limits"]]
    points = {
        name: [value for value, inside in zip(column, shown, strict=True) if inside]
        for name, column in points.items()
        if len(column) == len(shown)
    }
    plot = svg.Plot(LEFT, 44, size_wh[0] - LEFT - 16, size_wh[1] - 88, x_range, (0.0, 1.0))
    parts = [svg.y_axis(plot, title="Share of parts", label=_whole_percent)]
    for kind in ("overkill", "escape"):
        if usable(points, ("limits", f"{kind}_low", f"{kind}_high")):
            xs, low, high = thinned(points, ("limits", f"{kind}_low", f"{kind}_high"), LINE_POINTS)
            parts.append(svg.band(plot, xs, low, high, css=f"band {kind}"))
    parts.append(limit_lines(plot, (report.thresholds.review, report.thresholds.ng)))
    for kind, label, share in (("overkill", "False alarms", 0.88), ("escape", "Missed", 0.55)):
        if not usable(points, ("limits", kind)):
            continue
        xs, ys = thinned(points, ("limits", kind), LINE_POINTS)
        parts.append(svg.path(plot, xs, ys, css=f"curve {kind}"))
        x, y = _where(xs, ys, share)
        parts.append(svg.text(plot.x(x) + 10, plot.y(y) + 5, label, css="curve-label"))
    parts.append(svg.x_axis(plot, title="Limit on the score", wanted=max(int(size_wh[0] // 110), 3)))
    return "".join(parts)


def _unit_curve(points: Points, words: _Words, marks: Sequence[tuple[str, float, float]]) -> Chart | None:
    """Draw a curve whose both axes are shares."""
    if not usable(points, ("x", "y")):
        return None
    width, height = SIZE_WH
    plot = svg.Plot(62, 14, width - 88, height - 62, (0.0, 1.0), (0.0, 1.0))
    xs, ys = thinned(points, ("x", "y"), LINE_POINTS)
    parts = [svg.y_axis(plot, title=words.y, label=_whole_percent)]
    if words.name == "roc":
        parts.append(svg.line(plot.x(0), plot.y(0), plot.x(1), plot.y(1), css="chance"))
        parts.append(svg.text(plot.x(0.7) + 8, plot.y(0.7) + 14, "guessing", css="tick"))
    if usable(points, ("x", "low", "high")):
        band_xs, low, high = thinned(points, ("x", "low", "high"), LINE_POINTS)
        parts.append(svg.band(plot, band_xs, low, high, css="band"))
    parts.append(svg.path(plot, xs, ys, css="curve"))
    parts.append(svg.x_axis(plot, title=words.x, label=_whole_percent))
    parts += [_shape(name, plot.x(x), plot.y(y)) for name, x, y in marks]
    parts.append(_key(plot, marks, left=plot.x(0.36) if words.name == "roc" else plot.left + 14))
    where = [f"{name} limit: {fmt.percent(x)}, {fmt.percent(y)}" for name, x, y in marks]
    summary = " ".join([words.summary, *(f"{one}." for one in where)])
    table = zip(*thinned(points, ("x", "y"), TABLE_ROWS), strict=True)
    return Chart(
        name=words.name,
        title=words.title,
        summary=summary,
        svg=svg.drawing("".join(parts), size_wh=SIZE_WH, name=words.name, title=words.title, summary=summary),
        head=(words.x, words.y),
        rows=tuple((fmt.percent(x), fmt.percent(y)) for x, y in table),
        note=words.note if marks else "",
    )


def _shape(name: str, x: float, y: float) -> str:
    """Draw a verdict's shape around a place."""
    return (
        f'<svg class="mark" x="{x - 8:.1f}" y="{y - 8:.1f}" width="16" height="16" viewBox="0 0 24 24">'
        f'<use href="#v-{name.lower()}"/></svg>'
    )


def _key(plot: svg.Plot, marks: Sequence[tuple[str, float, float]], *, left: float) -> str:
    """Say in the free corner which shape is which limit and what it gives (across, up)."""
    parts = []
    for index, (name, x, y) in enumerate(marks):
        down = plot.bottom - 14 - 21 * (len(marks) - 1 - index)
        parts.append(_shape(name, left + 8, down - 5))
        words = f"{name} limit: {fmt.percent(x)}, {fmt.percent(y)}"
        parts.append(svg.text(left + 22, down, words, css="limit-label"))
    return "".join(parts)


def _operating(report: Report) -> list[_Operating]:
    """Count the labelled test parts above each limit that is set; none without good and defective parts."""
    scored = [judged for judged in report.judged if judged.inspection.score is not None]
    good = np.asarray([one.inspection.score for one in scored if one.sample.is_good], np.float64)
    bad = np.asarray([one.inspection.score for one in scored if one.sample.is_bad], np.float64)
    if not len(good) or not len(bad):
        return []
    limits = (("REVIEW", report.thresholds.review), ("NG", report.thresholds.ng))
    return [
        _Operating(name, int((good > value).sum()), int((bad > value).sum()), len(good), len(bad))
        for name, value in limits
        if value is not None
    ]


def usable(points: Points, names: Sequence[str]) -> bool:
    """Say whether these columns are there, of one length, and make a line."""
    columns = [points.get(name, ()) for name in names]
    return len(columns[0]) >= 2 and len({len(column) for column in columns}) == 1


def thinned(points: Points, names: Sequence[str], most: int) -> list[list[float]]:
    """Return the columns at no more than `most` rows, evenly taken, the first and the last among them."""
    length = len(points[names[0]])
    kept = sorted({round(index) for index in np.linspace(0, length - 1, min(most, length))})
    return [[float(points[name][index]) for index in kept] for name in names]


def _where(xs: Sequence[float], ys: Sequence[float], share: float) -> tuple[float, float]:
    """Return the point of a curve whose height is nearest to `share`."""
    index = min(range(len(ys)), key=lambda place: abs(ys[place] - share))
    return xs[index], ys[index]


def _whole_percent(share: float) -> str:
    return f"{share * 100:.0f}{fmt.NBSP}%"
