"""Conformal calibration: from scores of good parts to ranks, limits, verdicts, and what they promise.

A new part is ranked among good parts that were not taught (Vovk, Gammerman and Shafer 2005; by folds: Vovk
2015, Barber et al. 2021). A part photographed k times gives each photograph the weight 1/k (hierarchical
conformal prediction, Lee, Barber and Willett 2023). Ranks and verdicts need numpy only; scipy is imported
where a quantile of the beta distribution is asked for.
"""

from __future__ import annotations

import math

import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import (
    Array,
    Calibration,
    CalibrationMode,
    Promise,
    Role,
    Thresholds,
    Verdict,
)
from flawscope.metrics.intervals import wilson

# Ranks are sums of weights: what differs from a wished rate by less than this share of it is rounding.
_ROUNDING = 1e-9


def calibrate(
    good: ScoreSet, *, alpha: float = 0.05, review_alpha: float = 0.15, split_digest: str = ""
) -> Calibration:
    """Make the calibration of a bundle from good parts that were not taught.

    Mode FOLDS where the scores are out of fold, SPLIT otherwise. `alpha` is the wished share of good parts
    called NG, `review_alpha` of those not called OK (both 0 to 1, the second not smaller). Raises LeakError
    for samples of another role than CALIBRATE, DataError for none at all or one that is not labelled good.
    """
    good.require(Role.CALIBRATE, use="Calibration")
    if len(good) == 0:
        raise DataError("No good part is left to calibrate with", expected="at least one held-out good part")
    if not good.is_good.all():
        odd = int(np.flatnonzero(~good.is_good)[0])
        raise DataError(
            f"Sample {good.sample_ids[odd]} cannot calibrate",
            expected="parts labelled good",
            found=f"label {good.labels[odd]!r}",
            remedy="Leave it out, or label it good if it is",
        )
    order = np.argsort(good.scores, kind="stable")
    return Calibration(
        scores=good.scores[order],
        maxima=good.maxima[order],
        weights=good.weights[order],
        parts=len(set(good.part_keys)),
        mode=CalibrationMode.FOLDS if good.out_of_fold else CalibrationMode.SPLIT,
        alpha=alpha,
        review_alpha=review_alpha,
        split_digest=split_digest,
    )


def p_value(calibration: Calibration, score: float) -> float:
    """Return (1 + weight of calibration scores >= `score`) / (parts + 1), above 0 and up to 1.

    Raises ValueError for a score that is not finite: a failure must not get a rank.
    """
    return float(p_values(calibration, np.array([score], np.float64))[0])


def p_values(calibration: Calibration, scores: Array) -> Array:
    """Return the p-value of every score: float64, in the shape of `scores`. Raises ValueError as p_value."""
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("a score that is not finite has no rank")
    ranks = _ranks(calibration, calibration.weights)
    places: Array = np.searchsorted(calibration.scores, scores, side="left")
    ranked: Array = ranks[places]
    return ranked


def peak_p_value(calibration: Calibration, peak: float) -> float:
    """Return the p-value of a map's peak among the maxima of the calibration's maps, as `p_value` does of
    scores. Raises ValueError for a peak that is not finite."""
    if not math.isfinite(peak):
        raise ValueError("a peak that is not finite has no rank")
    order = np.argsort(calibration.maxima, kind="stable")
    ranks = _ranks(calibration, calibration.weights[order])
    return float(ranks[np.searchsorted(calibration.maxima[order], peak, side="left")])


def thresholds(calibration: Calibration) -> Thresholds:
    """Return the limits: a score is NG if and only if it is above `ng`, which is p <= alpha.

    `ng` is None where the parts are too few for any rank to say NG. `review` is the same for `review_alpha`
    and never above `ng`; where the parts are too few even for that, it is the largest calibration score.
    `pixel` is the quantile at alpha of the good images' map maxima; with too few parts it is the largest
    maximum, which promises nothing. Limits moved by cost or by hand take the place of the ranks.
    """
    scores = calibration.scores
    score_ranks = _ranks(calibration, calibration.weights)
    ng = _limit(scores, score_ranks, calibration.alpha)
    review = _limit(scores, score_ranks, calibration.review_alpha)
    by_maximum = np.argsort(calibration.maxima, kind="stable")
    maxima = calibration.maxima[by_maximum]
    pixel = _limit(maxima, _ranks(calibration, calibration.weights[by_maximum]), calibration.alpha)
    if calibration.limit_ng is not None:
        ng = calibration.limit_ng
    if review is None:
        review = float(scores[-1])
    if calibration.limit_review is not None:
        review = calibration.limit_review
    return Thresholds(
        ng=ng,
        review=review if ng is None else min(review, ng),
        pixel=float(maxima[-1]) if pixel is None else pixel,
    )


def peak_limit(maxima: Array, weights: Array, *, alpha: float) -> float:
    """Return the quantile at `alpha` of good parts' map maxima (n,), as `pixel` of `thresholds` is; `weights`
    (n,) are those of a ScoreSet, so that photographs of one part share its weight of one."""
    order = np.argsort(maxima, kind="stable")
    ranked = np.asarray(maxima, np.float64)[order]
    return thresholds(
        Calibration(
            scores=ranked,
            maxima=ranked,
            weights=np.asarray(weights, np.float64)[order],
            parts=round(float(np.sum(weights))),
            mode=CalibrationMode.SPLIT,
            alpha=alpha,
            review_alpha=alpha,
        )
    ).pixel


def verdict(limits: Calibration | Thresholds, score: float) -> Verdict:
    """Return NG above the NG limit, REVIEW above the review limit, OK otherwise.

    With too few parts to say NG, what is odder than every calibration part is REVIEW. Raises ValueError for
    a score that is not finite.
    """
    if not math.isfinite(score):
        raise ValueError("a score that is not finite has no verdict")
    if isinstance(limits, Calibration):
        limits = thresholds(limits)
    if limits.ng is not None and score > limits.ng:
        return Verdict.NG
    if limits.review is not None and score > limits.review:
        return Verdict.REVIEW
    return Verdict.OK


def promise(calibration: Calibration, *, confidence: float = 0.95) -> Promise:
    """Say what the calibration promises about false alarms, what it estimates, and what it cannot give.

    `bound` is the rate of NG among good parts under which this one bundle stays with `confidence`: the
    quantile of Beta(k, n + 1 - k) with k = floor(alpha (n + 1)) and n parts. It is None by folds, with
    limits moved by cost or by hand, and where no rank can say NG.
    """
    alpha, n = calibration.alpha, calibration.parts
    moved = calibration.limit_ng is not None
    can_say_ng = moved or _usable_ranks(n, alpha) >= 1
    bound = None
    if (
        calibration.mode is CalibrationMode.SPLIT
        and not moved
        and can_say_ng
        and not calibration.taught_since
    ):
        bound = false_alarm_bound(n, alpha, confidence=confidence)
    return Promise(
        mode=calibration.mode,
        alpha=alpha,
        review_alpha=calibration.review_alpha,
        parts=n,
        can_say_ng=can_say_ng,
        bound=bound,
        confidence=confidence,
        parts_needed=parts_needed(alpha),
        sentences=(
            *_ng_sentences(calibration, can_say_ng=can_say_ng, bound=bound, confidence=confidence),
            *_review_sentences(calibration, can_say_ng=can_say_ng, confidence=confidence),
            *_closing_sentences(calibration),
        ),
    )


def parts_needed(alpha: float) -> int:
    """Return the least number of good parts with which some rank can say NG at the rate `alpha` (0 to 1)."""
    return math.ceil(1.0 / alpha * (1.0 - _ROUNDING)) - 1


def false_alarm_bound(n: int, alpha: float, *, confidence: float = 0.95) -> float:
    """Return the false-alarm rate that a calibration by `n` held-out parts keeps with `confidence`.

    It is the quantile of Beta(k, n + 1 - k), k = floor(alpha (n + 1)) (Vovk 2012), and 0 where k is 0.
    """
    k = _usable_ranks(n, alpha)
    if k == 0:
        return 0.0
    from scipy.special import betaincinv  # not needed to inspect, and slow to load

    return float(betaincinv(k, n + 1 - k, confidence))


def beta_binomial_interval(n: int, alpha: float, m: int, *, confidence: float = 0.95) -> tuple[int, int]:
    """Return the central interval for the number of false alarms among `m` unseen good parts.

    The number follows BetaBinomial(m, k, n + 1 - k) with k = floor(alpha (n + 1)) where `n` held-out parts
    calibrate; it is always 0 where k is 0.
    """
    k = _usable_ranks(n, alpha)
    if k == 0:
        return 0, 0
    from scipy.stats import betabinom  # not needed to inspect, and slow to load

    low, high = betabinom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], m, k, n + 1 - k)
    return int(low), int(high)


def _usable_ranks(n: int, alpha: float) -> int:
    """Return k = floor(alpha (n + 1)): how many of the n + 1 ranks are NG."""
    return math.floor(alpha * (n + 1) * (1.0 + _ROUNDING))


def _ranks(calibration: Calibration, weights: Array) -> Array:
    """Return the p-value by place among the sorted values: entry i is for i values below: float64 (n + 1,).

    A p-value that differs from a wished rate by rounding only becomes that rate, so that `p <= alpha` can be
    compared as it stands (.05 with 19 parts is a usable rank).
    """
    tails = np.concatenate([np.cumsum(weights[::-1])[::-1], [0.0]])
    ranks = (1.0 + tails) / (calibration.parts + 1.0)
    for wished in (calibration.alpha, calibration.review_alpha):
        ranks[np.abs(ranks - wished) <= _ROUNDING * wished] = wished
    return np.minimum(ranks, 1.0)


def _limit(values: Array, ranks: Array, alpha: float) -> float | None:
    """Return the smallest of the sorted `values` above which the p-value is at most alpha, or None."""
    places = np.searchsorted(values, values, side="right")  # of what lies just above each value
    low_enough = np.flatnonzero(ranks[places] <= alpha)
    return float(values[low_enough[0]]) if low_enough.size else None


def _ng_sentences(
    calibration: Calibration, *, can_say_ng: bool, bound: float | None, confidence: float
) -> list[str]:
    alpha, n = calibration.alpha, calibration.parts
    if calibration.limit_ng is not None:
        return [_moved_sentence(calibration, calibration.limit_ng, what="called NG", confidence=confidence)]
    if not can_say_ng:
        needed = parts_needed(alpha)
        more = needed - n
        return [
            f"{_parts(n)} cannot say NG at {percent(alpha)}: {more} more would allow it ({needed} needed). "
            "Until then parts odder than all of them go to REVIEW.",
            f"{_parts(n)} cannot promise below {percent(1 / (n + 1))}.",
        ]
    if bound is None:
        return [
            f"Estimate: {percent(alpha)} of good parts are called NG ({n} parts by folds, each ranked by "
            "models that had not seen it).",
            "By folds this is no promise: it is near the wish in practice, and the worst case is about "
            f"{percent(min(1.0, 2 * alpha))}.",
        ]
    return [
        f"Promise: at most {percent(alpha)} of good parts are called NG, on average over calibrations; this "
        f"bundle stays below {percent(bound)} with {percent(confidence)} confidence ({n} parts held out)."
    ]


def _review_sentences(calibration: Calibration, *, can_say_ng: bool, confidence: float) -> list[str]:
    review, n = calibration.review_alpha, calibration.parts
    if calibration.limit_review is not None:
        limit = thresholds(calibration).review
        assert limit is not None  # a moved limit is always there
        return [_moved_sentence(calibration, limit, what="not OK (NG or REVIEW)", confidence=confidence)]
    if _usable_ranks(n, review) < 1:
        return [
            f"They cannot keep {percent(review)} for REVIEW either: about {percent(1 / (n + 1))} of good "
            f"parts will go there ({parts_needed(review)} parts needed)."
        ]
    what = "not OK (NG or REVIEW)" if can_say_ng else "sent to REVIEW"
    if calibration.limit_ng is not None:
        limit = thresholds(calibration).review
        by_rank = _limit(calibration.scores, _ranks(calibration, calibration.weights), review)
        if limit is not None and by_rank is not None and limit < by_rank:
            return [_moved_sentence(calibration, limit, what="not OK", confidence=confidence)]
    if calibration.mode is CalibrationMode.FOLDS:
        return [f"Estimate: {percent(review)} of good parts are {what}."]
    bound = false_alarm_bound(n, review, confidence=confidence)
    return [
        f"Promise: at most {percent(review)} of good parts are {what}, on average over calibrations; this "
        f"bundle stays below {percent(bound)} with {percent(confidence)} confidence."
    ]


def _closing_sentences(calibration: Calibration) -> list[str]:
    images, n = len(calibration.scores), calibration.parts
    sentences = []
    if images != n:
        sentences.append(
            f"{images} photographs of {n} parts count as {n}: photographs of one part share its weight, and "
            "the rates are per photograph of a new part. Confidences treat the parts as independent and are "
            "approximate here."
        )
    if since := calibration.taught_since:
        sentences.append(
            f"{since} {'photograph was' if since == 1 else 'photographs were'} taught after these ranks were "
            "measured; good parts held out from now on would measure them anew."
        )
    sentences.append("Ranks assume that tomorrow's parts are like those of the calibration.")
    return sentences


def _moved_sentence(calibration: Calibration, limit: float, *, what: str, confidence: float) -> str:
    """Estimate, with an interval, how many good parts lie above a limit that no rank has set."""
    n = calibration.parts
    share = float(calibration.weights[calibration.scores > limit].sum()) / n
    low, high = wilson(share * n, n, confidence=confidence)
    reason = f" ({calibration.limit_reason})" if calibration.limit_reason else ""
    return (
        f"Estimate: {percent(share)} of good parts are {what} ({percent(confidence)} interval {percent(low)} "
        f"to {percent(high)}, {n} parts). The limit was moved{reason}, so nothing is promised."
    )


def percent(rate: float) -> str:
    """Write a rate for people: two significant digits, at least one place below 10 % where it matters."""
    value = 100.0 * rate
    if value == 0:
        return "0 %"
    places = 1 if value >= 1 else 1 - math.floor(math.log10(value))
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} %"


def _parts(n: int) -> str:
    return "1 good part" if n == 1 else f"{n} good parts"
