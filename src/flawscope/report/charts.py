"""All charts of the report, by name, and the bars of time; each chart brings the same data as a table."""

from __future__ import annotations

from flawscope.core.types import Report
from flawscope.report import format as fmt
from flawscope.report import svg
from flawscope.report.curves import overkill_escape, precision_recall, roc
from flawscope.report.histogram import score_histogram
from flawscope.report.learning import learning
from flawscope.report.svg import Chart

ROW = 34.0


def all_charts(report: Report) -> dict[str, Chart]:
    """Return the charts for which the report has data, by name, in the order of the page."""
    made = [
        score_histogram(report),
        overkill_escape(report),
        roc(report),
        precision_recall(report),
        latency(report),
        *learning(report),
    ]
    return {chart.name: chart for chart in made if chart is not None}


def latency(report: Report) -> Chart | None:
    """Draw a bar a stage: the median time filled, the 95th percentile as a line with an end."""
    stages = [(stage, row) for stage, row in report.timings_ms.items() if "p50" in row]
    if not stages:
        return None
    stages.sort(key=lambda item: item[0] == "total")
    longest = max(max(row["p50"], row.get("p95", 0.0)) for _, row in stages)
    width, left = 440.0, 96.0
    parts = []
    plot = svg.Plot(left, 8, width - left - 12, len(stages) * ROW, (0.0, longest or 1.0), (0.0, 1.0))
    for index, (stage, row) in enumerate(stages):
        y = plot.top + index * ROW
        p50, p95 = plot.x(row["p50"]), plot.x(row.get("p95", row["p50"]))
        tip = f"{stage}: median {fmt.milliseconds(row['p50'])}"
        css = "bar total" if stage == "total" else "bar stage"
        parts.append(svg.text(left - 8, y + 20, stage.replace("_", " "), css="row-label", anchor="end"))
        parts.append(svg.rectangle(left, y + 7, max(p50 - left, 1.0), 18, css=css, tip=tip))
        if p95 > p50:
            parts.append(svg.line(p50, y + 16, p95, y + 16, css="whisker"))
            parts.append(svg.line(p95, y + 10, p95, y + 22, css="whisker"))
    parts.append(svg.x_axis(plot, title="Time for one image (ms)"))
    title = "Time by stage"
    summary = "Median (bar) and 95th percentile (line) of the time for one image, by stage."
    return Chart(
        name="latency",
        title=title,
        summary=summary,
        svg=svg.drawing(
            "".join(parts),
            size_wh=(width, plot.bottom + 44),
            name="latency",
            title=title,
            summary=summary,
        ),
        head=("Stage", "Median", "95th percentile"),
        rows=tuple(
            (
                stage.replace("_", " "),
                fmt.milliseconds(row["p50"]),
                fmt.milliseconds(row["p95"]) if "p95" in row else fmt.NOT_KNOWN,
            )
            for stage, row in stages
        ),
    )
