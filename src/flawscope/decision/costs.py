"""Overkill against escape, and the limit that costs least: an estimate from SELECT, never a promise.

Overkill is a good part above the limit, an escape a bad part not above it. Parts count, not photographs: a
part photographed k times gives each photograph the weight 1/k.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np

from flawscope.core.errors import ConfigError, DataError, LeakError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Array, Calibration, Metric, Role
from flawscope.decision.calibration import percent
from flawscope.metrics.intervals import wilson


@dataclass(frozen=True, eq=False)
class OverkillEscapeCurve:
    """Overkill and escape at every limit that tells the parts apart, with 95 % intervals (Wilson)."""

    limits: Array  # float64 (k,), rising
    overkill: Array  # float64 (k,), falling, share of good parts above the limit
    overkill_low: Array
    overkill_high: Array
    escape: Array  # float64 (k,), rising, share of bad parts not above the limit
    escape_low: Array
    escape_high: Array
    good_parts: int
    bad_parts: int

    def to_json(self, *, points: int = 200) -> dict[str, list[float]]:
        """Return the curve for drawing, thinned to `points` limits, both ends included."""
        kept = np.unique(np.linspace(0, len(self.limits) - 1, points).round().astype(int))
        names = [field.name for field in dataclasses.fields(self) if not field.name.endswith("_parts")]
        return {name: getattr(self, name)[kept].tolist() for name in names}


@dataclass(frozen=True)
class Choice:
    """A limit chosen by cost, with what it is estimated to cost and to let through."""

    limit: float
    cost: float  # expected, per part
    overkill: Metric
    escape: Metric
    words: str
    reason: str  # short, for `Calibration.limit_reason`


def overkill_escape_curve(scored: ScoreSet) -> OverkillEscapeCurve:
    """Return overkill and escape at every limit between two scores, and beyond the outermost.

    Raises LeakError for samples that serve for FIT or CALIBRATE, DataError without good or without bad ones.
    """
    if scored.role not in (Role.SELECT, Role.TEST):
        raise LeakError(
            f"An overkill/escape curve got scores of samples that serve for {scored.role}",
            expected=f"samples that serve for {Role.SELECT} or {Role.TEST}",
            found=f"{len(scored)} samples with the role {scored.role}",
        )
    good, bad = scored.is_good, scored.is_bad
    for members, word in ((good, "good"), (bad, "bad")):
        if not members.any():
            raise DataError(
                f"Overkill and escape need good and bad parts, and there is no {word} one",
                remedy="Add labelled defects to the data that is selected on",
            )
    distinct = np.unique(scored.scores[good | bad])
    limits = np.concatenate(
        [[np.nextafter(distinct[0], -np.inf)], (distinct[:-1] + distinct[1:]) / 2, [distinct[-1]]]
    )
    good_parts, overkill = _shares_above(scored, good, limits)
    bad_parts, found = _shares_above(scored, bad, limits)
    escape = 1.0 - found
    overkill_low, overkill_high = _intervals(overkill, good_parts)
    escape_low, escape_high = _intervals(escape, bad_parts)
    return OverkillEscapeCurve(
        limits=limits,
        overkill=overkill,
        overkill_low=overkill_low,
        overkill_high=overkill_high,
        escape=escape,
        escape_low=escape_low,
        escape_high=escape_high,
        good_parts=good_parts,
        bad_parts=bad_parts,
    )


def choose_by_cost(
    scored: ScoreSet, *, cost_escape: float, cost_overkill: float, bad_share: float | None = None
) -> Choice:
    """Return the limit with the least expected cost per part, estimated on SELECT.

    Costs are in any one unit, both above 0. `bad_share` is the share of bad parts on the line (above 0, below
    1); without it the share among the parts at hand is taken, which is usually far too high. Where several
    limits cost the same, the middle of the longest run of them is taken. Raises ConfigError for costs and
    shares out of range, LeakError for another role than SELECT, DataError without good or bad parts.
    """
    scored.require(Role.SELECT, use="A choice of limits by cost")
    for name, cost in (("cost_escape", cost_escape), ("cost_overkill", cost_overkill)):
        if not (np.isfinite(cost) and cost > 0):
            raise ConfigError(f"{name} is no cost", expected="a number above 0", found=f"{cost}")
    if bad_share is not None and not 0 < bad_share < 1:
        raise ConfigError("bad_share is no share", expected="above 0 and below 1", found=f"{bad_share}")
    curve = overkill_escape_curve(scored)
    at_hand = curve.bad_parts / (curve.bad_parts + curve.good_parts)
    prior = at_hand if bad_share is None else bad_share
    costs = cost_escape * prior * curve.escape + cost_overkill * (1 - prior) * curve.overkill
    best = _middle_of_longest_run(costs <= costs.min() * (1 + 1e-12))
    overkill = Metric(
        float(curve.overkill[best]),
        float(curve.overkill_low[best]),
        float(curve.overkill_high[best]),
        curve.good_parts,
    )
    escape = Metric(
        float(curve.escape[best]),
        float(curve.escape_low[best]),
        float(curve.escape_high[best]),
        curve.bad_parts,
    )
    reason = f"by cost: an escape {cost_escape:g}, an overkill {cost_overkill:g}"
    return Choice(
        limit=float(curve.limits[best]),
        cost=float(costs[best]),
        overkill=overkill,
        escape=escape,
        words=_words(overkill, escape, prior=prior, given=bad_share is not None),
        reason=reason,
    )


def with_choice(calibration: Calibration, choice: Choice) -> Calibration:
    """Return the calibration with its NG limit moved to the choice; that ends the promise about NG."""
    return dataclasses.replace(calibration, limit_ng=choice.limit, limit_reason=choice.reason)


def _shares_above(scored: ScoreSet, members: Array, limits: Array) -> tuple[int, Array]:
    """Return how many parts the members come from, and the share of them above each limit: (k,)."""
    keys = [key for key, member in zip(scored.part_keys, members, strict=True) if member]
    counts = Counter(keys)
    order = np.argsort(scored.scores[members])
    values = scored.scores[members][order]
    weights = np.array([1.0 / counts[key] for key in keys])[order]
    tails = np.concatenate([np.cumsum(weights[::-1])[::-1], [0.0]])
    above = tails[np.searchsorted(values, limits, side="right")] / len(counts)
    return len(counts), np.clip(above, 0.0, 1.0)


def _intervals(shares: Array, n: int) -> tuple[Array, Array]:
    pairs = np.array([wilson(float(share) * n, n) for share in shares])
    return pairs[:, 0], pairs[:, 1]


def _middle_of_longest_run(chosen: Array) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest] - 1) // 2)


def _words(overkill: Metric, escape: Metric, *, prior: float, given: bool) -> str:
    basis = (
        f"with {percent(prior)} of parts bad"
        if given
        else f"with {percent(prior)} of parts bad, as among those at hand (set bad_share for the line's own)"
    )
    return (
        f"Estimate, no promise: {_rate(overkill, 'good')} called NG, {_rate(escape, 'bad')} let through, "
        f"{basis}. The limit was chosen on these very parts, so new parts will do somewhat worse."
    )


def _rate(metric: Metric, word: str) -> str:
    assert metric.value is not None and metric.low is not None and metric.high is not None
    interval = f"95 % interval {percent(metric.low)} to {percent(metric.high)}, {metric.n} parts"
    return f"{percent(metric.value)} of {word} parts ({interval})"
