"""A comparison drawn: accuracy against time with bubbles by size, and each model's scores on a strip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flawscope.core.cells import Outcome
from flawscope.decision.choosing import UNFIT
from flawscope.decision.compared import RANKED, Row
from flawscope.decision.comparison import Comparison
from flawscope.report import format as fmt
from flawscope.report import svg
from flawscope.report.histogram import WIDTHS
from flawscope.report.svg import Chart, Plot

_HEIGHT = 380.0
_LEFT, _TOP, _BOTTOM = 62.0, 20.0, 52.0
_LARGEST = 26.0  # radius of the largest bubble
_SMALLEST = 5.0
_LINE = 16.0  # height of a label
_LETTER = 7.6  # width of a letter in it
_DOTS = 400  # of one strip


def pareto(comparison: Comparison) -> Chart | None:
    """Draw AUROC against the time of one verdict, a bubble a model, its area the bundle's size; what no other
    beats in both is joined by a line. None where fewer than two models have both."""
    rows = [row for row in comparison.rows if _place(row) is not None]
    if len(rows) < 2:
        return None
    title = "Accuracy against time"
    summary = (
        "AUROC against the median time of one verdict. The area of a bubble is the bundle's size; those that "
        "nothing beats in both are joined."
    )
    drawings = [
        svg.drawing(
            _bubbles(rows, width=width),
            size_wh=(width, _HEIGHT),
            name=f"pareto{suffix}",
            title=title,
            summary=summary,
        )
        for width, suffix in WIDTHS
    ]
    table = []
    for row in sorted(rows, key=lambda one: (_place(one) or (0.0, 0.0))[0]):
        time, quality = _place(row) or (0.0, 0.0)
        table.append(
            (
                row.model,
                fmt.ratio(quality),
                fmt.milliseconds(time),
                fmt.size(round(_size(row) * 1e6)),
                "yes" if row.frontier else "no",
            )
        )
    return Chart(
        name="pareto",
        title=title,
        summary=summary,
        svg=drawings[0],
        svg_narrow=drawings[1],
        head=("Model", "AUROC", "p50", "Size", "Nothing better and faster"),
        rows=tuple(table),
        note="Up is more accurate, left is faster (each step of the axis is a factor). The area of a bubble "
        "is the bundle's size. The line joins what nothing beats in both; dashed: not for this product.",
    )


def strip(outcome: Outcome, *, name: str) -> str:
    """Return a drawing of one cell's test scores, good parts above, defective ones below, with its limits;
    empty where nothing was scored."""
    known = [sample for sample in outcome.samples if sample.score is not None and sample.label is not None]
    if not known:
        return ""
    thinned = known[:: max(1, math.ceil(len(known) / _DOTS))]
    values = sorted(float(sample.score or 0.0) for sample in known)
    low, high = values[0], values[-1]
    width, height = 460.0, 100.0
    plot = Plot(80, 6, width - 94, 56, (low, high if high > low else low + 1), (0.0, 1.0))
    limits = dict(outcome.facts.get("limits", {}))
    parts = [svg.line(plot.left, plot.bottom, plot.right, plot.bottom, css="axis")]
    for key, css in (("review", "limit review"), ("ng", "limit")):
        value = limits.get(key)
        if value is not None and low <= value <= high:
            parts.append(svg.line(plot.x(value), plot.top, plot.x(value), plot.bottom, css=css))
            anchor = "end" if key == "review" else "start"
            shift = -4 if key == "review" else 4
            parts.append(
                svg.text(plot.x(value) + shift, plot.bottom + 16, key.upper(), css="tick", anchor=anchor)
            )
    for lane, css, word in ((0.72, "good", "good"), (0.22, "bad", "defective")):
        y = plot.y(lane)
        parts.append(svg.text(plot.left - 10, y + 4, word, css="row-label", anchor="end"))
        for sample in thinned:
            if sample.is_bad == (css == "bad"):
                tip = f"{sample.id}: {fmt.score(float(sample.score or 0.0))}, {sample.verdict}"
                x = plot.x(float(sample.score or 0.0))
                parts.append(svg.circle(x, y, 4.5, css=f"dot {css}", tip=tip))
    parts.append(svg.text(plot.left, plot.bottom + 34, f"score {fmt.score(low)}"))
    parts.append(svg.text(plot.right, plot.bottom + 34, fmt.score(high), anchor="end"))
    summary = f"Scores of {len(known)} test photographs, good ones above, defective ones below."
    return svg.drawing(
        "".join(parts), size_wh=(width, height), name=name, title="Test scores", summary=summary
    )


def _place(row: Row) -> tuple[float, float] | None:
    quality, time = row.metrics.get(RANKED), row.metrics.get("latency_p50_ms")
    if quality is None or time is None or quality.value is None or not time.value:
        return None
    return time.value, quality.value


def _size(row: Row) -> float:
    metric = row.metrics.get("size_mb")
    return 0.0 if metric is None or metric.value is None else metric.value


def _bubbles(rows: Sequence[Row], *, width: float) -> str:
    places = {row.model: _place(row) or (1.0, 0.0) for row in rows}
    logs = [math.log10(time) for time, _ in places.values()]
    heights = [quality for _, quality in places.values()]
    room = 0.12 * (max(logs) - min(logs)) + 0.08
    below = max(0.0, min(heights) - 0.15 * (max(heights) - min(heights)) - 0.02)
    plot = Plot(
        _LEFT, _TOP, width - _LEFT - 16, _HEIGHT - _TOP - _BOTTOM,
        (min(logs) - room, max(logs) + room * 2.2), (below, min(1.0, max(heights) + 0.03)),
    )  # fmt: skip
    largest = max(_size(row) for row in rows) or 1.0
    scale = min(1.0, width / 700)
    front = sorted(places[row.model] for row in rows if row.frontier)
    parts = [svg.y_axis(plot, title="AUROC", label=lambda value: f"{value:.2f}"), _time_axis(plot)]
    if len(front) > 1:
        parts.append(
            svg.path(plot, [math.log10(time) for time, _ in front], [q for _, q in front], css="curve front")
        )
    radii = {row.model: scale * max(_SMALLEST, _LARGEST * math.sqrt(_size(row) / largest)) for row in rows}
    for row in sorted(rows, key=lambda one: -radii[one.model]):
        time, quality = places[row.model]
        tip = f"{row.model}: AUROC {fmt.ratio(quality)}, {fmt.milliseconds(time)}, {_size(row):.1f} MB"
        css = "bubble unfit" if row.conclusion.word == UNFIT else "bubble"
        parts.append(
            svg.circle(plot.x(math.log10(time)), plot.y(quality), radii[row.model], css=css, tip=tip)
        )
    return "".join([*parts, *_labels(rows, places, radii, plot)])


def _labels(
    rows: Sequence[Row],
    places: dict[str, tuple[float, float]],
    radii: dict[str, float],
    plot: Plot,
) -> list[str]:
    """Name each bubble: right of it, left, above or below, wherever neither a name nor a bubble lies."""
    taken = []  # boxes: left, top, right, bottom
    centres = {}
    for row in rows:
        time, quality = places[row.model]
        x, y, r = plot.x(math.log10(time)), plot.y(quality), radii[row.model]
        centres[row.model] = (x, y, r)
        taken.append((x - r, y - r, x + r, y + r))
    parts = []
    for row in sorted(rows, key=lambda one: -places[one.model][1]):
        x, y, r = centres[row.model]
        name = _short(row.model, most=int(0.5 * plot.width / _LETTER))
        length = _LETTER * len(name)
        choices = [(x + r + 5, y + 4), (x - r - 5 - length, y + 4)]
        for step in range(12):
            choices += [
                (x - length / 2, y - r - 6 - step * _LINE / 2),
                (x - length / 2, y + r + _LINE + step * _LINE / 2),
            ]
        left, base = next((c for c in choices if _free(c, length, taken, plot)), choices[0])
        taken.append((left, base - _LINE + 4, left + length, base + 4))
        if abs(base - 4 - y) > r + _LINE:
            end = base - _LINE + 4 if base > y else base + 4
            parts.append(svg.line(x, y, left + length / 2, end, css="leader"))
        parts.append(svg.text(left, base, name, css="curve-label"))
    return parts


def _short(model: str, *, most: int) -> str:
    """Return a model's name in at most so many letters."""
    return model if len(model) <= most else model[: most - 1].rstrip() + "…"


def _free(
    place: tuple[float, float],
    length: float,
    taken: Sequence[tuple[float, float, float, float]],
    plot: Plot,
) -> bool:
    """Say whether a name fits at a place, its left end on the base line, within the plot and beside all."""
    left, base = place
    top, right, bottom = base - _LINE + 4, left + length, base + 4
    if left < plot.left + 2 or right > plot.right + 12 or top < plot.top - 16 or bottom > plot.bottom:
        return False
    return all(left >= c or right <= a or top >= d or bottom <= b for a, b, c, d in taken)


def _time_axis(plot: Plot) -> str:
    """Return the lower axis in ms, its steps factors: 1, 2, 5, 10, ..."""
    low, high = plot.x_range
    parts = [svg.line(plot.left, plot.bottom, plot.right, plot.bottom, css="axis")]
    values = [
        factor * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in (1, 2, 5)
        if low <= math.log10(factor) + power <= high
    ]
    if len(values) < 3:  # hardly a factor from end to end
        values = [value for value in svg.ticks(10**low, 10**high, wanted=4) if value > 0]
    for value in values:
        x = plot.x(math.log10(value))
        parts.append(svg.line(x, plot.bottom, x, plot.bottom + 4, css="axis"))
        parts.append(svg.text(x, plot.bottom + 17, f"{value:g}", anchor="middle"))
    middle = plot.left + plot.width / 2
    title = "Median time of one verdict (ms)"
    return "".join([*parts, svg.text(middle, plot.bottom + 38, title, css="axis-title", anchor="middle")])
