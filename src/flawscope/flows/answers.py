"""What a test says of class probabilities, and of each of several products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flawscope.core.types import GOOD, Judged, Metric
from flawscope.metrics import summary


@dataclass(frozen=True)
class Answers:
    """Metrics of probabilities by group, and the table of classes."""

    metrics: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def answers_of(judged: Sequence[Judged], classes: Sequence[str]) -> Answers:
    """Measure the probabilities of labelled, judged samples; nothing where the bundle has no classes or there
    is no sample. A bundle of more than two classes is also measured on what it calls most likely."""
    if not classes or not judged:
        return Answers()
    probabilities = [entry.inspection.probabilities or {} for entry in judged]
    bad = [min(1.0, max(0.0, 1.0 - row[GOOD])) for row in probabilities]
    metrics = {"probability": summary.probability_metrics(bad, [one.sample.is_bad for one in judged])}
    if len(classes) == 2:
        return Answers(metrics)
    labels = [str(entry.sample.label) for entry in judged]
    likeliest = [str(entry.inspection.likeliest) for entry in judged]
    metrics["class"] = summary.class_metrics(labels, likeliest)
    return Answers(metrics, summary.class_confusion(labels, likeliest, classes))


def by_product(judged: Sequence[Judged]) -> dict[str, dict[str, Metric]]:
    """Measure the labelled samples of each product by itself, at the limits by which they were judged."""
    found: dict[str, dict[str, Metric]] = {}
    for product in sorted({entry.sample.product for entry in judged}):
        members = [entry for entry in judged if entry.sample.product == product]
        found[product] = summary.product_metrics(
            [entry.inspection.score for entry in members],
            [entry.inspection.verdict for entry in members],
            [entry.sample.is_bad for entry in members],
        )
    return found
