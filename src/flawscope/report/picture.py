"""Which pictures a report shows, and in which order: mistakes, then what was hardest, then what was clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from types import MappingProxyType

from flawscope.core.types import Judged, Report, Thresholds, Verdict


class Kind(IntEnum):
    """What a picture shows, most important first."""

    MISSED = 0
    FALSE_ALARM = 1
    REVIEW = 2
    HARDEST = 3
    CLEAREST = 4
    UNLABELLED = 5
    NOT_JUDGED = 6


QUOTAS: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.MISSED: 8,
        Kind.FALSE_ALARM: 8,
        Kind.REVIEW: 6,
        Kind.HARDEST: 6,
        Kind.CLEAREST: 4,
        Kind.UNLABELLED: 4,
    }
)


@dataclass(frozen=True, eq=False)
class Picture:
    """One judged image, ready to be shown: thumbnails that the caller has made (report/ decodes no images).

    `overlay_jpeg` shows the heat map on the absolute scale (1.0 is the pixel threshold) and the regions.
    Where `mask_outlined` is true, the true defect's outline is drawn into the images already.
    """

    judged: Judged
    image_jpeg: bytes
    overlay_jpeg: bytes
    mask_outlined: bool = False


def choose(report: Report, *, limit: int = 24) -> tuple[Judged, ...]:
    """Return at most `limit` test samples worth a picture: a share for each kind, mistakes first.

    Places that a kind does not use go to the others in the order of importance.
    """
    ranked = _ranked(report.judged, report)
    taken: list[Judged] = []
    rest: list[Judged] = []
    for kind, members in ranked.items():
        quota = QUOTAS.get(kind, 0)
        taken += members[:quota]
        if quota:
            rest += members[quota:]
    chosen = {id(judged) for judged in (taken + rest)[:limit]}
    return tuple(judged for members in ranked.values() for judged in members if id(judged) in chosen)


def grouped(pictures: Sequence[Picture], report: Report) -> dict[Kind, list[Picture]]:
    """Return the pictures by kind, both kinds and pictures in the order in which they are shown."""
    by_id = {id(picture.judged): picture for picture in pictures}
    ranked = _ranked([picture.judged for picture in pictures], report)
    return {kind: [by_id[id(judged)] for judged in members] for kind, members in ranked.items()}


def _ranked(judged: Sequence[Judged], report: Report) -> dict[Kind, list[Judged]]:
    """Sort samples into kinds and each kind by what is most worth seeing; empty kinds are left out."""
    middle = _median_margins(report)
    kinds: dict[Kind, list[Judged]] = {kind: [] for kind in Kind}
    for sample in judged:
        kinds[_kind(sample, report.thresholds, middle)].append(sample)
    kinds[Kind.MISSED].sort(key=_score)
    kinds[Kind.FALSE_ALARM].sort(key=_score, reverse=True)
    kinds[Kind.REVIEW].sort(key=lambda one: (one.sample.is_good, -_score(one)))
    kinds[Kind.HARDEST].sort(key=lambda one: margin(one, report.thresholds))
    kinds[Kind.CLEAREST].sort(key=lambda one: margin(one, report.thresholds), reverse=True)
    kinds[Kind.UNLABELLED].sort(key=_score, reverse=True)
    return {kind: members for kind, members in kinds.items() if members}


def _kind(judged: Judged, limits: Thresholds, middle: Mapping[bool, float]) -> Kind:
    verdict, sample = judged.inspection.verdict, judged.sample
    if verdict is None:
        return Kind.NOT_JUDGED
    if sample.label is None:
        return Kind.UNLABELLED
    if verdict is Verdict.REVIEW:
        return Kind.REVIEW
    if sample.is_bad and verdict is Verdict.OK:
        return Kind.MISSED
    if sample.is_good and verdict is Verdict.NG:
        return Kind.FALSE_ALARM
    return Kind.HARDEST if margin(judged, limits) <= middle[sample.is_good] else Kind.CLEAREST


def margin(judged: Judged, limits: Thresholds) -> float:
    """Return how far a rightly judged part's score lies from the limit it kept; 0 where none is known."""
    value = judged.inspection.score
    limit = limits.review if judged.sample.is_good else limits.ng
    if limit is None:
        limit = limits.ng if judged.sample.is_good else limits.review
    return 0.0 if value is None or limit is None else abs(value - limit)


def is_right(judged: Judged) -> bool:
    """Tell whether a good part was called OK or a defective one NG."""
    verdict, sample = judged.inspection.verdict, judged.sample
    return (sample.is_good and verdict is Verdict.OK) or (sample.is_bad and verdict is Verdict.NG)


def _median_margins(report: Report) -> dict[bool, float]:
    """Return the median margin of the rightly judged, by whether they are good."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for judged in report.judged:
        if is_right(judged):
            found[judged.sample.is_good].append(margin(judged, report.thresholds))
    return {good: median(margins) if margins else 0.0 for good, margins in found.items()}


def _score(judged: Judged) -> float:
    value = judged.inspection.score
    return float("-inf") if value is None else value
