"""Learning curves: the loss by step while a network was trained, and what SELECT said of it.

They are in `Report.curves` under `learning/NAME`: `step` and `loss`, and, where the network was judged on
SELECT, `select_step` and `select_loss`.
"""

from __future__ import annotations

from flawscope.core.types import Report
from flawscope.report import svg
from flawscope.report.curves import LINE_POINTS, TABLE_ROWS, Points, thinned, usable
from flawscope.report.svg import Chart

PREFIX = "learning/"
_SIZE_WH = (440.0, 260.0)


def learning(report: Report) -> list[Chart]:
    """Return a chart for every course that the report knows of."""
    return [
        _course(name.removeprefix(PREFIX), points)
        for name, points in report.curves.items()
        if name.startswith(PREFIX) and usable(points, ("step", "loss"))
    ]


def _course(name: str, points: Points) -> Chart:
    width, height = _SIZE_WH
    judged = usable(points, ("select_step", "select_loss"))
    steps, losses = thinned(points, ("step", "loss"), LINE_POINTS)
    seen = thinned(points, ("select_step", "select_loss"), LINE_POINTS) if judged else [[], []]
    shown = [*losses, *seen[1]]
    low, high = min(0.0, *shown), 1.05 * max(shown)
    plot = svg.Plot(62, 14, width - 88, height - 62, (0.0, steps[-1]), (low, high or 1.0))
    labels = svg.ticks(low, high or 1.0)
    written = dict(zip(labels, svg.plain_labels(labels), strict=True))
    parts = [svg.y_axis(plot, title="Loss", label=lambda value: written.get(value, f"{value:g}"))]
    parts.append(svg.path(plot, steps, losses, css="curve"))
    parts += _key(plot, "taught", css="curve", row=int(judged))
    if judged:
        parts.append(svg.path(plot, seen[0], seen[1], css="curve overkill"))
        parts += _key(plot, "held out to choose by", css="curve overkill", row=0)
    parts.append(svg.x_axis(plot, title="Step"))
    summary = f"The loss by step, from {losses[0]:.3g} to {losses[-1]:.3g}" + (
        f"; on what was held out to choose by, {min(seen[1]):.3g} at best." if judged else "."
    )
    title = f"Learning curve: {name.replace('_', ' ')}"
    table = zip(*thinned(points, ("step", "loss"), TABLE_ROWS), strict=True)
    return Chart(
        name=f"learning-{name}",
        title=title,
        summary=summary,
        svg=svg.drawing(
            "".join(parts), size_wh=_SIZE_WH, name=f"learning-{name}", title=title, summary=summary
        ),
        head=("Step", "Loss"),
        rows=tuple((f"{step:.0f}", f"{loss:.4g}") for step, loss in table),
    )


def _key(plot: svg.Plot, words: str, *, css: str, row: int) -> list[str]:
    """Say in the lower left corner, `row` lines up, which line is which."""
    down = plot.bottom - 14 - 20 * row
    return [
        svg.line(plot.left + 12, down - 4, plot.left + 42, down - 4, css=css),
        svg.text(plot.left + 50, down, words, css="limit-label"),
    ]
