"""The risks of a set of parts, and what can be said of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Array, Inspection, Json, Metric, Sample
from flawscope.decision.bands import Band, RiskLimits
from flawscope.decision.risk import FACTORS, Rating
from flawscope.metrics.comparison import Test, cliffs_delta, hedges_g, mann_whitney, welch
from flawscope.metrics.ranking import auroc


@dataclass(frozen=True, eq=False)
class Rated:
    """One photograph's risk beside its inspection; without rating, band and qrs where it was not judged."""

    inspection: Inspection
    rating: Rating | None = None
    band: Band | None = None
    qrs: float | None = None
    qrs_rests_on: str = ""  # the weights that qrs counts
    region: str = ""  # how the product's region was found
    region_share: float | None = None  # of the photograph
    over: int = 0  # cells of the weights over the threshold, within the region
    cells: int = 0  # of the region
    warnings: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """Return the risk, or why there is none, as JSON."""
        error = self.inspection.error
        verdict = self.inspection.verdict
        return {
            "path": self.inspection.path,
            "verdict": None if verdict is None else verdict.value,
            "error": None if error is None else {"code": error.code, "message": error.message},
            "risk": None if self.rating is None else self.rating.to_json(),
            "band": None if self.band is None else self.band.value,
            "qrs": self.qrs,
            "qrs_rests_on": self.qrs_rests_on,
            "region": self.region,
            "region_share": self.region_share,
            "weights_over": self.over,
            "region_cells": self.cells,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class RatedSample:
    """A sample beside its risk, and how many of its weights over the threshold the sheet lists."""

    sample: Sample
    rated: Rated
    listed: int = 0

    @property
    def risk(self) -> float | None:
        """The risk, 0 to 100; None where it was not judged."""
        return None if self.rated.rating is None else self.rated.rating.risk

    def to_json(self) -> Json:
        """Return the risk's JSON with the sample's identity and label."""
        sample = self.sample
        known = {
            "id": sample.id,
            "label": sample.label,
            "product": sample.product,
            "part": sample.part,
            "group": sample.group,
            "role": None if sample.role is None else sample.role.value,
        }
        return known | self.rated.to_json() | {"weights_listed": self.listed}


@dataclass(frozen=True)
class Comparison:
    """Defective against non-defective in one score."""

    good: int
    bad: int
    mean_good: float | None
    mean_bad: float | None
    welch: Test
    mann_whitney: Test
    hedges_g: Metric
    cliffs_delta: Metric
    auroc: Metric

    @classmethod
    def of(cls, values: Array, is_bad: Array) -> Comparison:
        """Compare scores float64 (n,) of parts that are bad or not, bool (n,)."""
        bad, good = values[is_bad], values[~is_bad]
        return cls(
            good=len(good),
            bad=len(bad),
            mean_good=float(good.mean()) if len(good) else None,
            mean_bad=float(bad.mean()) if len(bad) else None,
            welch=welch(bad, good),
            mann_whitney=mann_whitney(bad, good),
            hedges_g=hedges_g(bad, good),
            cliffs_delta=cliffs_delta(bad, good),
            auroc=auroc(values, is_bad),
        )

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {
            "good": self.good,
            "bad": self.bad,
            "mean_good": self.mean_good,
            "mean_bad": self.mean_bad,
            "welch": self.welch.to_json(),
            "mann_whitney": self.mann_whitney.to_json(),
            "effect": {"hedges_g": self.hedges_g.to_json(), "cliffs_delta": self.cliffs_delta.to_json()},
            "auroc": self.auroc.to_json(),
        }


@dataclass(frozen=True)
class Group:
    """The risks of one lot or one defect: how many photographs, median and highest risk, bands, and how well
    its defective (a defect: itself) stand out from the good ones."""

    name: str
    images: int
    bad: int
    median: float
    highest: float
    median_qrs: float
    bands: Mapping[str, int]
    auroc: Metric

    def to_json(self) -> Json:
        """Return the group as JSON."""
        return {
            "images": self.images,
            "bad": self.bad,
            "median_risk": self.median,
            "highest_risk": self.highest,
            "median_qrs": self.median_qrs,
            "bands": dict(self.bands),
            "auroc": self.auroc.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Analysis:
    """What a set of rated parts says together."""

    risk: Comparison
    qrs: Comparison
    per_lot: tuple[Group, ...]
    per_defect: tuple[Group, ...]
    notes: tuple[str, ...]

    def to_json(self) -> Json:
        """Return the analysis of the risk, with that of qrs beside it."""
        return self.risk.to_json() | {
            "qrs": self.qrs.to_json(),
            "per_lot": {group.name: group.to_json() for group in self.per_lot},
            "per_defect": {group.name: group.to_json() for group in self.per_defect},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class RiskReport:
    """The risks of a set of photographs by one bundle, and what was assumed."""

    bundle_id: str
    bundle_name: str
    method: str
    product: str
    has_classes: bool
    roles: tuple[str, ...]
    seen: int  # of the photographs, that served to teach, choose or calibrate
    threshold: float
    limits: RiskLimits
    rated: tuple[RatedSample, ...]
    analysis: Analysis
    created: str = ""  # ISO 8601, UTC
    split_digest: str = ""
    coords: str = ""  # the file, where one was given
    zones: str = ""
    warnings: tuple[str, ...] = ()
    unlisted: int = 0  # weights over the threshold that the sheet leaves out

    def ranked(self) -> tuple[RatedSample, ...]:
        """Return what was judged, highest risk first; of equal risks the odder score."""
        judged = [one for one in self.rated if one.risk is not None]
        return tuple(
            sorted(judged, key=lambda one: (-(one.risk or 0.0), -(one.rated.inspection.score or 0.0)))
        )

    def bands(self) -> dict[Band, int]:
        """Return how many photographs are in each band, most urgent first."""
        counts = Counter(one.rated.band for one in self.rated)
        return {band: counts[band] for band in reversed(Band)}

    def to_json(self) -> Json:
        """Return the documented JSON of `risk`."""
        return {
            "bundle_id": self.bundle_id,
            "bundle_name": self.bundle_name,
            "method": self.method,
            "product": self.product,
            "created": self.created,
            "split_digest": self.split_digest,
            "roles": list(self.roles),
            "seen": self.seen,
            "threshold": self.threshold,
            "limits": self.limits.to_json(),
            "coords": self.coords,
            "zones": self.zones,
            "bands": {band.value: count for band, count in self.bands().items()},
            "analysis": self.analysis.to_json(),
            "warnings": list(self.warnings),
            "weights_unlisted": self.unlisted,
            "samples": [one.to_json() for one in self.rated],
        }


def analyse(rated: Sequence[RatedSample]) -> Analysis:
    """Compare the labelled, judged photographs of a set; what is undefined says why."""
    judged = [one for one in rated if one.rated.rating is not None]
    known = [one for one in judged if one.sample.label is not None]
    is_bad = np.array([one.sample.is_bad for one in known], np.bool_)
    risks = np.array([one.risk for one in known], np.float64)
    shares = np.array([one.rated.qrs for one in known], np.float64)
    parts = len({one.sample.part_key for one in known})
    notes = []
    if parts < len(known):
        notes.append(
            f"{len(known)} photographs show {parts} parts. Photographs of one part resemble each other, and "
            "the tests take them as independent: their p-values are smaller than they should be."
        )
    if len(judged) > len(known):
        notes.append(
            f"{len(judged) - len(known)} photographs without a label are in the list, not in the tests."
        )
    lots = sorted({one.sample.group for one in judged if one.sample.group})
    defects = sorted({str(one.sample.label) for one in known if one.sample.is_bad})
    good = [one for one in known if one.sample.is_good]
    return Analysis(
        risk=Comparison.of(risks, is_bad),
        qrs=Comparison.of(shares, is_bad),
        per_lot=tuple(_group(lot, [one for one in judged if one.sample.group == lot]) for lot in lots),
        per_defect=tuple(
            _group(defect, [one for one in known if one.sample.label == defect], against=good)
            for defect in defects
        ),
        notes=tuple(notes),
    )


def _group(name: str, members: Sequence[RatedSample], *, against: Sequence[RatedSample] = ()) -> Group:
    """Measure one lot, or one defect against good parts."""
    risks = np.array([one.risk for one in members], np.float64)
    known = [one for one in (*members, *against) if one.sample.label is not None]
    counts = Counter(one.rated.band for one in members)
    return Group(
        name=name,
        images=len(members),
        bad=sum(one.sample.is_bad for one in members),
        median=float(np.median(risks)),
        highest=float(risks.max()),
        median_qrs=float(np.median([one.rated.qrs or 0.0 for one in members])),
        bands={band.value: counts[band] for band in reversed(Band)},
        auroc=auroc(
            np.array([one.risk for one in known], np.float64),
            np.array([one.sample.is_bad for one in known], np.bool_),
        ),
    )


def factor_points(rated: Rated) -> dict[str, float | None]:
    """Return the points of every factor by name; None where there is no rating."""
    if rated.rating is None:
        return dict.fromkeys(FACTORS)
    return {factor.name: factor.points for factor in rated.rating.factors}
