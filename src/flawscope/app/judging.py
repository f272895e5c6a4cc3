"""From accepted bytes to a record: what every photograph goes through on the line."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from flawscope.app.active import Opened
from flawscope.core import digest
from flawscope.core.errors import ImageError
from flawscope.core.types import Image, Inspection
from flawscope.decision.bands import Band
from flawscope.flows.drift import looks_of
from flawscope.imaging.read import read_bytes
from flawscope.runtime.risk import quick_rating
from flawscope.store.heat import heat_png
from flawscope.store.records import NOT_JUDGED, InspectionRecord, Origin, QueueState, Risk, detail_of
from flawscope.store.shadows import ShadowRecord
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_TO_REVIEW = frozenset({Band.HIGH, Band.CRITICAL})


@dataclass(frozen=True, eq=False)
class Work:
    """One accepted photograph."""

    id: str
    given_id: bool  # by the client, who may send it again
    at_us: int
    origin: Origin
    content: bytes
    opened: Opened
    done: Future[InspectionRecord]


@dataclass(frozen=True, eq=False)
class Read:
    """A photograph that is read, or why not."""

    work: Work
    sha256: str
    image: Image | None
    error: ImageError | None
    read_ms: float


@dataclass(frozen=True, eq=False)
class Beside:
    """A photograph that a bundle in the shadow judges beside the line."""

    opened: Opened
    image: Image
    record: InspectionRecord  # the line's


def judge_beside(beside: Beside, store: Store) -> None:
    """Keep what a bundle in the shadow says. Whatever goes wrong with it is no business of the line's."""
    record = beside.record
    try:
        (inspection,) = beside.opened.inspector.many([beside.image])
        said = ShadowRecord(
            inspection_id=record.id,
            bundle_id=beside.opened.record.id,
            verdict=NOT_JUDGED if inspection.verdict is None else inspection.verdict.value,
            line_verdict=record.verdict,
            score=inspection.score,
            p_value=inspection.p_value,
            defect=inspection.likeliest or "",
            at_us=record.at_us,
        )
        store.shadows.add_all([said])
    except Exception:
        _log.exception("bundle %s failed in the shadow", beside.opened.record.id)


def read_work(work: Work, *, max_pixels: int) -> Read:
    """Read an accepted photograph; its size is known from its header before anything is decoded."""
    start = time.perf_counter()
    sha256 = digest.of_bytes(work.content)
    image, error = None, None
    try:
        image = read_bytes(
            work.content,
            name=work.origin.name or "The image",
            levels=work.opened.inspector.bundle.contents.preprocess.levels,
            max_pixels=max_pixels,
        )
    except ImageError as fault:
        error = fault
    return Read(work, sha256, image, error, (time.perf_counter() - start) * 1000)


def looks_measured(read: Read) -> dict[str, float]:
    """Return how a photograph looks, for drift to be told by; empty where that cannot be measured."""
    if read.image is None:
        return {}
    try:
        looks = looks_of(read.work.opened.inspector.bundle, read.image)
    except ImageError:
        return {}
    return {name: round(value, 6) for name, value in looks.items() if math.isfinite(value)}


def record_from(
    read: Read, inspection: Inspection, *, sampled: bool, looks: Mapping[str, float]
) -> InspectionRecord:
    """Make the record of a judged photograph. REVIEW and high risks wait for a person; `sampled` draws a part
    that passed for later calibrations; `looks` is what was measured of the scene."""
    work = read.work
    inspector = work.opened.inspector
    rating = quick_rating(inspector, inspection)
    risk, band = None, None
    if rating is not None:
        band = work.opened.limits.band(rating.risk)
        factors = tuple((one.name, one.measured, one.points) for one in rating.factors)
        risk = Risk(rating.risk, band.value, factors)
    verdict = NOT_JUDGED if inspection.verdict is None else inspection.verdict.value
    review = verdict == "REVIEW" or band in _TO_REVIEW
    return InspectionRecord(
        id=work.id,
        at_us=work.at_us,
        origin=work.origin,
        bundle_id=work.opened.record.id,
        verdict=verdict,
        score=inspection.score,
        p_value=inspection.p_value,
        risk=None if risk is None else risk.risk,
        defect=inspection.likeliest or "",
        error_code="" if inspection.error is None else inspection.error.code,
        image_sha256=read.sha256,
        image_bytes=len(work.content),
        queue=QueueState.WAITING if review else QueueState.NO,
        detail=detail_of(inspection, risk) | {"looks": dict(looks)},
        heat_png=heat_png(inspection, inspector.thresholds),
        sampled=sampled and verdict == "OK",
    )
