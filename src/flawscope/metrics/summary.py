"""The metrics of a report by the names they have in its JSON and in docs/reference/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flawscope.core.scores import ScoreSet
from flawscope.core.types import GOOD, Array, Metric, Role, Verdict
from flawscope.metrics import classification, localisation, ranking

confusion = classification.confusion
class_confusion = classification.class_confusion


def image_metrics(scores: Sequence[float] | Array, is_bad: Sequence[bool] | Array) -> dict[str, Metric]:
    """Return how well scores rank bad above good: auroc, ap, recall_at_1pct, recall_at_5pct."""
    values, bad = np.asarray(scores, np.float64), np.asarray(is_bad, np.bool_)
    return {
        "auroc": ranking.auroc(values, bad),
        "ap": ranking.average_precision(values, bad),
        "recall_at_1pct": ranking.recall_at_false_alarms(values, bad, 0.01),
        "recall_at_5pct": ranking.recall_at_false_alarms(values, bad, 0.05),
    }


def report_image_metrics(scored: ScoreSet) -> dict[str, Metric]:
    """Return `image_metrics` for a report; raises LeakError for scores of another role than TEST.

    Samples without a label are left out.
    """
    scored.require(Role.TEST, use="A report")
    known = scored.is_good | scored.is_bad
    return image_metrics(scored.scores[known], scored.is_bad[known])


def verdict_metrics(verdicts: Sequence[Verdict | None], is_bad: Sequence[bool] | Array) -> dict[str, Metric]:
    """Return the rates of right and wrong verdicts at fixed limits; None is a part that was not judged."""
    counts = classification.VerdictCounts.of(verdicts, is_bad)
    return {
        "accuracy": classification.accuracy(counts),
        "precision": classification.precision(counts),
        "recall": classification.recall(counts),
        "specificity": classification.specificity(counts),
        "f1": classification.f1(counts),
        "overkill": classification.overkill(counts),
        "escape": classification.escape(counts),
        "review_share": classification.review_share(counts),
        "not_judged_share": classification.not_judged_share(counts),
    }


def probability_metrics(
    probabilities: Sequence[float] | Array, is_bad: Sequence[bool] | Array
) -> dict[str, Metric]:
    """Return how far the probability of being bad can be believed: ece, brier."""
    return {
        "ece": classification.expected_calibration_error(probabilities, is_bad),
        "brier": classification.brier_score(probabilities, is_bad),
    }


def class_metrics(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, Metric]:
    """Return how well the most likely of several classes names what a part is: accuracy, macro_f1."""
    return {
        "accuracy": classification.class_accuracy(labels, predicted),
        "macro_f1": classification.macro_f1(labels, predicted),
    }


def product_metrics(
    scores: Sequence[float | None], verdicts: Sequence[Verdict | None], is_bad: Sequence[bool]
) -> dict[str, Metric]:
    """Return what counts for one of several products: auroc, overkill, escape, recall, review_share."""
    judged = [i for i, score in enumerate(scores) if score is not None]
    counts = classification.VerdictCounts.of(verdicts, is_bad)
    return {
        "auroc": ranking.auroc(
            np.array([scores[i] for i in judged], np.float64), np.array([is_bad[i] for i in judged], np.bool_)
        ),
        "overkill": classification.overkill(counts),
        "escape": classification.escape(counts),
        "recall": classification.recall(counts),
        "review_share": classification.review_share(counts),
    }


def worst_product(per_product: Mapping[str, Mapping[str, Metric]]) -> str:
    """Return the product with the lowest auroc (the lowest name among equals), or an empty text where none
    has one."""
    known = [
        (metrics["auroc"].value, product)
        for product, metrics in per_product.items()
        if metrics["auroc"].value is not None
    ]
    return min(known)[1] if known else ""


def pixel_metrics(
    maps: Sequence[Array],
    masks: Sequence[Array | None],
    pixel_threshold: float,
    *,
    is_bad: Sequence[bool] | Array | None = None,
) -> dict[str, Metric]:
    """Return how well maps mark flaws: auroc, ap, aupro_30, aupro_05, aupimo, seg_f1.

    Maps are float32 (h, w) of any sizes, masks bool of the same shapes. The mask None is a good image; with
    `is_bad`, bad images whose flaw is not marked are left out instead.
    """
    pixels = localisation.collect(maps, masks, pixel_threshold=pixel_threshold, is_bad=is_bad)
    return {
        "auroc": localisation.auroc(pixels),
        "ap": localisation.average_precision(pixels),
        "aupro_30": localisation.aupro(pixels, 0.3),
        "aupro_05": localisation.aupro(pixels, 0.05),
        "aupimo": localisation.aupimo(pixels),
        "seg_f1": localisation.seg_f1(pixels),
    }


def per_defect(
    labels: Sequence[str], verdicts: Sequence[Verdict | None], scores: Sequence[float | None]
) -> dict[str, dict[str, Metric]]:
    """Return, for each defect's name, auroc against all good parts, recall, escape and review_share.

    A part that was not judged has neither verdict nor score (None).
    """
    if not len(labels) == len(verdicts) == len(scores):
        raise ValueError("labels, verdicts and scores differ in number")
    judged = [i for i, verdict in enumerate(verdicts) if verdict is not None and scores[i] is not None]
    groups: dict[str, dict[str, Metric]] = {}
    for defect in sorted(set(labels) - {GOOD}):
        ranked = [i for i in judged if labels[i] in (GOOD, defect)]
        counts = classification.VerdictCounts.of(
            [verdicts[i] for i in judged if labels[i] == defect],
            [True for i in judged if labels[i] == defect],
        )
        groups[defect] = {
            "auroc": ranking.auroc(
                np.array([scores[i] for i in ranked], np.float64),
                np.array([labels[i] == defect for i in ranked], np.bool_),
            ),
            "recall": classification.recall(counts),
            "escape": classification.escape(counts),
            "review_share": classification.review_share(counts),
        }
    return groups
