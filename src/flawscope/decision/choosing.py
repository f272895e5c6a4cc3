"""Which model for this product: conclusions in words from stated rules, and one recommendation.

The rules are few and fixed, and `RULES` puts them into words, so that nobody has to guess why a row is called
what it is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flawscope.core.types import Metric
from flawscope.decision.calibration import percent
from flawscope.decision.compared import RANKED, Conclusion, Row
from flawscope.metrics import paired
from flawscope.metrics.paired import Difference

BEST, GOOD, BEHIND, UNFIT = "best", "good", "behind", "not for this product"
SLIGHT = 0.01  # of AUROC: a difference that nobody should choose by
FASTER = 1.5  # times: less is no reason to prefer a model
LEAST_RECALL = 0.2  # of defective parts, found at the promised false-alarm rate
RULES = (
    f"{UNFIT}: the interval of its AUROC reaches down to 0.5 (guessing), or at its fixed limit it finds less "
    f"than {percent(LEAST_RECALL)} of the defective parts of some product, or it calls more good parts NG "
    "than promised and chance does not explain that, or it breaks a wish (time, size, recall).",
    f"{BEST}: of the others, the one with the highest mean AUROC.",
    f"{GOOD}: of the others, those whose difference to the best is not real with this many photographs "
    f"(paired bootstrap over parts and seeds, Holm, 5 %), or is at most {SLIGHT:g}.",
    f"{BEHIND}: the rest.",
)


@dataclass(frozen=True)
class Wishes:
    """What a model must keep to be taken; None asks nothing."""

    most_ms: float | None = None  # p50 of one verdict
    most_mb: float | None = None  # of the bundle
    least_recall: float | None = None  # at the promised false-alarm rate, on the worst product
    alpha: float = 0.05  # the promised rate


def concluded(rows: Sequence[Row], wishes: Wishes, *, timed: bool = True) -> tuple[Row, ...]:
    """Return the rows with their conclusions, best first: best, good, behind, not for this product, and those
    that could not be measured. Where times by the clock are in doubt (not `timed`) nobody is called fast."""
    against = {row.model: _against(row, wishes) for row in rows if row.metrics}
    fit = [row for row in rows if row.metrics and not against[row.model]]
    best = max(fit, key=lambda row: (_quality(row), -(_value(row, "latency_p50_ms") or 0.0)), default=None)
    behind = {} if best is None else _differences(fit, best)
    praised = _praise(fit, timed=timed)
    found = [
        _one(
            replace(row, behind=behind.get(row.model)),
            against.get(row.model, ()),
            best,
            praised.get(row.model, ()),
        )
        for row in rows
    ]
    order = {BEST: 0, GOOD: 1, BEHIND: 2, UNFIT: 3}
    return tuple(sorted(found, key=lambda row: (order.get(row.conclusion.word, 4), -_quality(row))))


def recommendation(rows: Sequence[Row], *, photographs: int, timed: bool = True) -> tuple[str, ...]:
    """Say in one or two sentences which model to take; `rows` are concluded, `timed` as there."""
    best = next((row for row in rows if row.conclusion.word == BEST), None)
    if best is None:
        if any(row.metrics for row in rows):
            return ("None of these models serves this product; each row says why.",)
        return ("Nothing could be measured; each row says why.",)
    lead = f"{best.model} is best: AUROC {_number(best.metrics[RANKED])}"
    alike = [row for row in rows if row.conclusion.word == GOOD]
    if not alike:
        if any(row.conclusion.word == BEHIND for row in rows):
            return (f"{lead}; no other comes near it on these {photographs} photographs.",)
        return (f"{lead}; it is the only one that nothing rules out.",)
    names = ", ".join(row.model for row in alike)
    told = [f"{lead}. With {photographs} photographs it cannot be told from {names}."]
    quick = min([best, *alike], key=lambda row: _value(row, "latency_p50_ms") or float("inf"))
    slow, fast = _value(best, "latency_p50_ms"), _value(quick, "latency_p50_ms")
    if timed and quick is not best and slow and fast and slow / fast >= FASTER:
        told.append(f"Where time counts take {quick.model}: {slow / fast:.1f} times as fast.")
    return tuple(told)


def _one(row: Row, against: Sequence[str], best: Row | None, praise: Sequence[str]) -> Row:
    if not row.metrics:
        word = row.status.value
        sentences = row.missing[:2] or ("no cell of it was carried out",)
        return replace(row, conclusion=Conclusion(word, tuple(sentences)))
    partly = (f"{row.cells - row.done} of {row.cells} cells failed: {row.missing[0]}",) if row.missing else ()
    if against:
        return replace(row, conclusion=Conclusion(UNFIT, (*against, *partly)))
    if best is None or row.model == best.model:
        lead = praise or ("the highest AUROC",)
        return replace(row, conclusion=Conclusion(BEST, (*lead, *partly)))
    words, real = _behind(row, best)
    return replace(row, conclusion=Conclusion(BEHIND if real else GOOD, (words, *praise, *partly)))


def _behind(row: Row, best: Row) -> tuple[str, bool]:
    """Say how far a row is from the best, and whether that is real."""
    if row.behind is None:  # seeds of one of the two are missing: nothing could be paired
        gap = _quality(best) - _quality(row)
        return f"{gap:.3f} of AUROC behind {best.model}", gap > SLIGHT
    one = row.behind
    low = max(one.low, 0.0) if round(one.low, 3) == 0 else one.low  # no -0.000
    between = f"{one.value:.3f} ({low:.3f} to {one.high:.3f}) of AUROC behind {best.model}"
    if one.value <= SLIGHT:
        return f"{between}: too little to choose by", False
    if one.real:
        return f"{between}: a real difference", True
    return f"{between}: not real with this many photographs", False


def _differences(rows: Sequence[Row], best: Row) -> dict[str, Difference]:
    """Compare rows with the best one on the same resamples; together they may err in one of twenty cases."""
    others = [row for row in rows if row.model != best.model and row.ranked is not None]
    if best.ranked is None or not others:
        return {}
    found = [paired.difference(best.ranked, row.ranked) for row in others if row.ranked is not None]
    real = paired.holm([one.p for one in found])
    return {row.model: replace(one, real=kept) for row, one, kept in zip(others, found, real, strict=True)}


def _against(row: Row, wishes: Wishes) -> tuple[str, ...]:
    """Say what rules a model out; nothing where nothing does."""
    found = []
    for product, metrics in row.by_product.items():
        place = f" of {product}" if len(row.by_product) > 1 else ""
        quality = metrics.get(RANKED)
        if quality is not None and quality.low is not None and quality.low <= 0.5:
            found.append(
                f"with {quality.n} photographs{place} it cannot be told from guessing: "
                f"AUROC {_number(quality)}"
            )
        recall = metrics.get("recall")
        least = max(LEAST_RECALL, wishes.least_recall or 0.0)
        if recall is not None and recall.value is not None and recall.value < least:
            found.append(
                f"at the promised false-alarm rate it finds {percent(recall.value)} of the defective "
                f"parts{place}"
            )
        overkill = metrics.get("overkill")
        if overkill is not None and overkill.low is not None and overkill.low > wishes.alpha:
            found.append(
                f"it calls {percent(overkill.value or 0.0)} of the good parts{place} NG, and "
                f"{percent(wishes.alpha)} is promised"
            )
    time, size = _value(row, "latency_p50_ms"), _value(row, "size_mb")
    if wishes.most_ms is not None and time is not None and time > wishes.most_ms:
        found.append(f"a verdict takes {time:.0f} ms, and {wishes.most_ms:g} ms is asked for")
    if wishes.most_mb is not None and size is not None and size > wishes.most_mb:
        found.append(f"it has {size:.0f} MB, and {wishes.most_mb:g} MB is asked for")
    return tuple(found)


def _praise(rows: Sequence[Row], *, timed: bool) -> Mapping[str, tuple[str, ...]]:
    """Say who is first in what, among the rows that nothing rules out."""
    if len(rows) < 2:
        return {row.model: ("the only one that nothing rules out",) for row in rows}
    found: dict[str, list[str]] = {row.model: [] for row in rows}
    by_clock = (("latency_p50_ms", min, "fastest"), ("fit_s", min, "quickest to teach"))
    titles = (
        *(by_clock if timed else ()),
        ("size_mb", min, "smallest"),
        ("recall", max, "finds most at the promised rate"),
        ("pixel_aupro_05", max, "the sharpest maps (AUPRO to 5 %)"),
    )
    for name, choose, words in titles:
        known = {row.model: value for row in rows if (value := _value(row, name)) is not None}
        if len(known) == len(rows):
            found[choose(known, key=lambda model: known[model])].append(words)
    for row in rows:
        if row.frontier and timed:
            found[row.model].append("nothing here is both more accurate and faster")
    return {model: tuple(words) for model, words in found.items()}


def _quality(row: Row) -> float:
    return _value(row, RANKED) or 0.0


def _value(row: Row, name: str) -> float | None:
    metric = row.metrics.get(name)
    return None if metric is None else metric.value


def _number(metric: Metric) -> str:
    if metric.value is None:
        return "not known"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
