"""The verdicts of `inspect --csv`: RFC 4180, a head line, one line an image."""

from __future__ import annotations

from collections.abc import Sequence

from flawscope.core.types import GOOD, Inspection
from flawscope.report.table import Cell, csv_text

HEAD = (
    "path",
    "verdict",
    "score",
    "p_value",
    "limit_ng",
    "limit_review",
    "regions",
    "box_left",
    "box_top",
    "box_right",
    "box_bottom",
    "area_px",
    "peak",
    "error_code",
    "error_message",
    "total_ms",
    "warnings",
    "likeliest",
    "probability_bad",
)


def verdict_table(judged: Sequence[Inspection]) -> str:
    """Return the table; the box is that of the largest region, `area_px` the sum over all regions, and what
    is not known stays empty."""
    return csv_text(HEAD, [_row(inspection) for inspection in judged])


def _row(found: Inspection) -> list[Cell]:
    limits = found.thresholds
    largest = max(found.regions, key=lambda region: region.area_px, default=None)
    judged = found.verdict is not None
    chances = found.probabilities or {}
    total = found.timings_ms.get("total")
    return [
        found.path,
        "" if found.verdict is None else found.verdict.value,
        found.score,
        found.p_value,
        None if limits is None else limits.ng,
        None if limits is None else limits.review,
        len(found.regions) if judged else None,
        *((None,) * 4 if largest is None else largest.box_xyxy),
        sum(region.area_px for region in found.regions) if judged else None,
        None if largest is None else max(region.peak for region in found.regions),
        "" if found.error is None else found.error.code,
        "" if found.error is None else found.error.message,
        None if total is None else round(total, 3),
        "; ".join(found.warnings),
        found.likeliest,
        round(1.0 - chances[GOOD], 6) if chances else None,
    ]
