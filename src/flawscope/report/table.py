"""The report's numbers as CSV, for spreadsheets and scripts: RFC 4180 with a header line.

A text cell that a spreadsheet would take for a formula (it starts with `=`, `+`, `-`, `@`, tab or return) is
given a leading apostrophe: file names come from anywhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from flawscope.core.types import Judged, Report

Cell = str | int | float | None

METRICS_HEAD = ("group", "name", "value", "low", "high", "n", "reason")
SAMPLES_HEAD = (
    "id",
    "path",
    "product",
    "part",
    "group",
    "label",
    "verdict",
    "error_code",
    "error_message",
    "score",
    "p_value",
    "limit_ng",
    "limit_review",
    "limit_pixel",
    "regions",
    "region_peak",
    "region_area_px",
    "total_ms",
    "warnings",
)


def metrics_csv(report: Report) -> str:
    """Return every metric as a line; `group` is image, verdict, pixel or `defect:<name>`. An unknown value is
    an empty cell with its reason."""
    groups = [*report.metrics.items()]
    groups += [(f"defect:{defect}", metrics) for defect, metrics in report.per_defect.items()]
    rows = (
        (group, name, metric.value, metric.low, metric.high, metric.n, metric.reason)
        for group, metrics in groups
        for name, metric in metrics.items()
    )
    return csv_text(METRICS_HEAD, rows)


def samples_csv(report: Report) -> str:
    """Return every test sample as a line: identity, label, verdict or error, score, limits, regions, time.

    `verdict` is empty for what could not be judged; `region_area_px` is the sum over regions; `total_ms` is
    the stage `total`, or the sum of all stages where it was not timed as a whole.
    """
    return csv_text(SAMPLES_HEAD, (_sample_row(judged) for judged in report.judged))


def _sample_row(judged: Judged) -> tuple[Cell, ...]:
    sample, found = judged.sample, judged.inspection
    limits = found.thresholds
    timings = found.timings_ms
    total = timings.get("total", sum(timings.values())) if timings else None
    return (
        sample.id,
        found.path or sample.path,
        sample.product,
        sample.part,
        sample.group,
        sample.label,
        None if found.verdict is None else found.verdict.value,
        None if found.error is None else found.error.code,
        None if found.error is None else found.error.message,
        found.score,
        found.p_value,
        None if limits is None else limits.ng,
        None if limits is None else limits.review,
        None if limits is None else limits.pixel,
        len(found.regions) if found.verdict is not None else None,
        max((region.peak for region in found.regions), default=None),
        sum(region.area_px for region in found.regions) if found.verdict is not None else None,
        None if total is None else round(total, 3),
        "; ".join(found.warnings),
    )


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as RFC 4180 with a head line, safe to open in a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([safe(cell) for cell in row] for row in rows)
    return stream.getvalue()


def safe(value: Cell) -> Cell:
    """Return a cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    # numpy's float64 is a float whose repr is not a number; plain numbers keep full precision
    return float(value) if isinstance(value, float) else value
