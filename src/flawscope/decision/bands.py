"""Bands of risk: where low ends and critical begins, by the bundle's own calibration.

The rule. A good part none of whose places is over the pixel limit has the risk 40 times how sure the bundle
is, and that the calibration knows of every held-out good part; one with places over the limit counts as
above everything. Then `medium` begins above the rank limit of `review_alpha` among these risks, `high` above
that of `alpha`, as for verdicts: on average so many good parts lie there. `critical` begins above the median
risk of labelled defects of SELECT, where there are at least eight bad parts and that lies above `high`;
otherwise halfway from `high` to the top of the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from flawscope.core.types import Array, Calibration, Json
from flawscope.decision.calibration import p_values, percent, thresholds
from flawscope.decision.risk import BASE, HIGHEST

FEWEST_DEFECTS = 8  # bad parts of SELECT, below which their median says little


class Band(StrEnum):
    """How urgent a part is, in words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True)
class RiskLimits:
    """Risks (0 to 100) above which a band begins, and the rule by which they were set, in words."""

    medium: float
    high: float
    critical: float
    rule: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.medium <= self.high <= self.critical <= HIGHEST:
            raise ValueError(f"limits of risk must rise from 0 to {HIGHEST:g}, not {self}")

    def band(self, risk: float) -> Band:
        """Return the band of a risk: above, not at, a limit the next one begins."""
        if risk > self.critical:
            return Band.CRITICAL
        if risk > self.high:
            return Band.HIGH
        return Band.MEDIUM if risk > self.medium else Band.LOW

    def to_json(self) -> Json:
        """Return limits and rule as JSON."""
        return {"medium": self.medium, "high": self.high, "critical": self.critical, "rule": self.rule}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RiskLimits:
        """Read what `to_json` wrote."""
        medium, high, critical = (float(values[name]) for name in ("medium", "high", "critical"))
        return cls(medium, high, critical, str(values["rule"]))


def sure_by_score(scores: Array, calibration: Calibration, *, classes: bool) -> Array:
    """Return how sure a bundle is that parts of these scores are bad, float64 (n,) from 0 to 1.

    With classes the score is log-odds, and this is the calibrated probability of being bad. Without, there is
    no probability to be had from good parts alone: it is 1 - p, the share of good parts that look less odd.
    """
    if classes:
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scores, -500.0, 500.0))))
    return 1.0 - p_values(calibration, scores)


def risk_limits(calibration: Calibration, *, classes: bool, defects: Sequence[float] = ()) -> RiskLimits:
    """Return the limits by the rule of this module; `defects` are risks of SELECT's bad parts, one a part."""
    sure = sure_by_score(calibration.scores, calibration, classes=classes)
    calm = calibration.maxima <= thresholds(calibration).pixel
    risks = np.where(calm, BASE * sure, HIGHEST)
    order = np.argsort(risks, kind="stable")
    ranked = replace(
        calibration,
        scores=risks[order],
        maxima=calibration.maxima[order],
        weights=calibration.weights[order],
        limit_ng=None,
        limit_review=None,
    )
    found = thresholds(ranked)
    assert found.review is not None  # there is at least one part
    high = float(risks[calm].max()) if found.ng is None else found.ng
    medium = min(found.review, high)
    rule = (
        f"medium above {percent(calibration.review_alpha)} and high above {percent(calibration.alpha)} of "
        f"{calibration.parts} held-out good parts, by rank; "
    )
    if found.ng is None:
        rule = f"medium and high above all {calibration.parts} held-out good parts, too few for ranks; "
        medium = min(medium, high)
    middle = float(np.median(defects)) if len(defects) >= FEWEST_DEFECTS else None
    if middle is not None and middle > high:
        rule += f"critical above the median of {len(defects)} labelled defects"
        return RiskLimits(medium, high, middle, rule)
    rule += "critical halfway from high to 100"
    return RiskLimits(medium, high, (high + HIGHEST) / 2, rule)
