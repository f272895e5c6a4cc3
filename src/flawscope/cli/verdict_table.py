"""The verdicts of `inspect --csv`: RFC 4180, a head line, one line an image."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from flawscope.core.types import Inspection

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
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with an apostrophe before, no spreadsheet takes text for one


def verdict_table(judged: Sequence[Inspection]) -> str:
    """Return the table; the box is that of the largest region, `area_px` the sum over all regions, and what
    is not known stays empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(HEAD)
    for inspection in judged:
        writer.writerow(_row(inspection))
    return stream.getvalue()


def _row(found: Inspection) -> list[object]:
    limits = found.thresholds
    largest = max(found.regions, key=lambda region: region.area_px, default=None)
    judged = found.verdict is not None
    total = found.timings_ms.get("total")
    return [
        _text(found.path),
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
        "" if found.error is None else _text(found.error.message),
        None if total is None else round(total, 3),
        _text("; ".join(found.warnings)),
    ]


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
