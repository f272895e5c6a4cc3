"""Outcomes of cells put side by side: a row a model, averaged over seeds and products, compared in pairs.

What rests on scores and verdicts (AUROC, recall, overkill, escape) has an interval over parts and seeds
together, by a paired bootstrap. The other figures are means over seeds and products; their interval is the
mean of the cells' own, which is never too narrow for the mean of measurements on one test part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flawscope.core.cells import Outcome, Scored, Status
from flawscope.core.types import Array, Json, Metric, Verdict
from flawscope.metrics import paired
from flawscope.metrics.paired import Difference, Draws, Estimate

RANKED = "auroc"  # what decides who is best


@dataclass(frozen=True)
class Conclusion:
    """What a row comes to: a word, and sentences that say why."""

    word: str  # best, good, behind, not for this product, failed, skipped
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One model over all products and seeds. Numbers are there only where every product has a cell that went
    well; `missing` says what is not."""

    model: str
    method: str
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    by_product: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    per_defect: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    worst_product: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    cells: int = 0
    done: int = 0
    missing: tuple[str, ...] = ()  # reasons of the cells that failed or were skipped
    status: Status = Status.OK
    ranked: Estimate | None = None  # its AUROC on the resamples that all models share
    behind: Difference | None = None  # the best model less this one, in AUROC
    frontier: bool = False  # no other row is both more accurate and faster
    conclusion: Conclusion = field(default_factory=lambda: Conclusion(""))

    def to_json(self) -> Json:
        """Return the row as JSON."""
        return {
            "model": self.model,
            "method": self.method,
            "status": self.status.value,
            "cells": self.cells,
            "done": self.done,
            "missing": list(self.missing),
            "metrics": _json(self.metrics),
            "by_product": {product: _json(metrics) for product, metrics in self.by_product.items()},
            "per_defect": {defect: _json(metrics) for defect, metrics in self.per_defect.items()},
            "worst_product": self.worst_product,
            "behind": None if self.behind is None else self.behind.to_json(),
            "frontier": self.frontier,
            "conclusion": {"word": self.conclusion.word, "sentences": list(self.conclusion.sentences)},
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, eq=False)
class _Trial:
    """One product's test photographs that all models judged, and the resamples that they share."""

    ids: tuple[str, ...]
    is_bad: Array  # bool (n,)
    draws: Draws


def rows_of(outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
    """Return a row for each model, in the order of the cells."""
    names = list(dict.fromkeys(outcome.cell.model for outcome in outcomes))
    products = list(dict.fromkeys(outcome.cell.product for outcome in outcomes))
    good = {name: _complete(outcomes, name, products) for name in names}
    whole = [name for name in names if good[name] is not None]
    trials = {product: _trial([good[name] or {} for name in whole], product) for product in products}
    rows = []
    for name in names:
        row = _bare(name, [outcome for outcome in outcomes if outcome.cell.model == name])
        cells = good[name]
        rows.append(row if cells is None else _measured(row, cells, trials))
    return _marked_frontier(rows)


def _complete(
    outcomes: Sequence[Outcome], name: str, products: Sequence[str]
) -> dict[str, list[Outcome]] | None:
    """Return a model's good outcomes by product, or None where a product has none."""
    found = {
        product: [
            one
            for one in outcomes
            if one.cell.model == name and one.cell.product == product and one.status is Status.OK
        ]
        for product in products
    }
    return found if all(found.values()) else None


def _bare(name: str, own: Sequence[Outcome]) -> Row:
    done = [one for one in own if one.status is Status.OK]
    missing = tuple(dict.fromkeys(one.reason for one in own if one.status is not Status.OK))
    status = Status.OK
    if not done or {one.cell.product for one in done} != {one.cell.product for one in own}:
        skipped = all(one.status is Status.SKIPPED for one in own if one.status is not Status.OK)
        status = Status.SKIPPED if skipped else Status.FAILED
    facts = {} if not done else _common_facts(done)
    return Row(
        name, own[0].cell.method, cells=len(own), done=len(done), missing=missing, status=status, facts=facts
    )


def _common_facts(done: Sequence[Outcome]) -> dict[str, Any]:
    """Return what is worth saying of a model beside its numbers."""
    first = done[0].facts
    aspects = list(dict.fromkeys(str(one.facts.get("aspect", "")) for one in done))
    stages: dict[str, float] = {}
    for name in dict(first.get("stages_ms", {})):
        known = [
            one.facts["stages_ms"][name]["p50"] for one in done if name in one.facts.get("stages_ms", {})
        ]
        stages[name] = float(np.mean(known))
    return {
        "backbone": first.get("backbone", ""),
        "aspect": ", ".join(aspects),
        "canvas_hw": first.get("canvas_hw"),
        "stages_ms": stages,
    }


def _trial(models: Sequence[Mapping[str, Sequence[Outcome]]], product: str) -> _Trial | None:
    """Return the photographs of a product that every model judged under every seed."""
    cells = [one for by_product in models for one in by_product.get(product, ())]
    if not cells:
        return None
    judged = [{s.id for s in one.samples if s.score is not None and s.label is not None} for one in cells]
    shared = set.intersection(*judged)
    known: list[Scored] = [sample for sample in cells[0].samples if sample.id in shared]
    is_bad = np.array([sample.is_bad for sample in known], np.bool_)
    if not (is_bad.any() and not is_bad.all()):
        return None
    seeds = max(len(by_product.get(product, ())) for by_product in models)
    draws = paired.draw([sample.part for sample in known], is_bad, seeds)
    return _Trial(tuple(sample.id for sample in known), is_bad, draws)


def _measured(row: Row, cells: Mapping[str, Sequence[Outcome]], trials: Mapping[str, _Trial | None]) -> Row:
    by_product = {product: _means(done) for product, done in cells.items()}
    by_name: dict[str, list[Estimate]] = {}
    for product, done in cells.items():
        trial = trials[product]
        if trial is None or trial.draws.seeds.shape[1] != len(done):
            continue  # a seed that failed: nothing to pair with
        for name, estimate in _estimates(done, trial).items():
            by_product[product][name] = estimate.metric()
            by_name.setdefault(name, []).append(estimate)
    metrics = _over_products(by_product)
    ranked = None
    for name, estimates in by_name.items():
        if len(estimates) == len(cells):
            average = paired.average(estimates)
            metrics[name] = average.metric()
            ranked = average if name == RANKED else ranked
    known = {p: m[RANKED].value for p, m in by_product.items() if m[RANKED].value is not None}
    worst = min(known, key=lambda product: known[product] or 0.0) if known else ""
    return replace(
        row,
        metrics=metrics,
        by_product=by_product,
        per_defect=_per_defect(cells),
        worst_product=worst,
        ranked=ranked,
    )


def _estimates(done: Sequence[Outcome], trial: _Trial) -> dict[str, Estimate]:
    """Measure what rests on scores and verdicts, on the shared resamples."""
    by_id = [{sample.id: sample for sample in outcome.samples} for outcome in done]
    scores = np.array([[one[name].score for name in trial.ids] for one in by_id], np.float64)

    def called(verdict: Verdict) -> Array:
        return np.array([[one[name].verdict == verdict.value for name in trial.ids] for one in by_id])

    bad, good = trial.is_bad, ~trial.is_bad
    return {
        RANKED: paired.auroc(scores, bad, trial.draws),
        "recall": paired.share(called(Verdict.NG), bad, trial.draws),
        "escape": paired.share(called(Verdict.OK), bad, trial.draws),
        "overkill": paired.share(called(Verdict.NG), good, trial.draws),
    }


def _means(done: Sequence[Outcome]) -> dict[str, Metric]:
    names = dict.fromkeys(name for outcome in done for name in outcome.metrics)
    return {name: _mean([o.metrics[name] for o in done if name in o.metrics]) for name in names}


def _over_products(by_product: Mapping[str, Mapping[str, Metric]]) -> dict[str, Metric]:
    names = dict.fromkeys(name for metrics in by_product.values() for name in metrics)
    return {name: _mean([m[name] for m in by_product.values() if name in m]) for name in names}


def _per_defect(cells: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, Metric]]:
    """Return each defect's means over seeds; with several products a defect is named with its product."""
    found: dict[str, dict[str, Metric]] = {}
    for product, done in cells.items():
        for defect in dict.fromkeys(name for outcome in done for name in outcome.per_defect):
            name = defect if len(cells) == 1 else f"{product}: {defect}"
            rows = [outcome.per_defect[defect] for outcome in done if defect in outcome.per_defect]
            found[name] = {key: _mean([row[key] for row in rows if key in row]) for key in rows[0]}
    return found


def _mean(metrics: Sequence[Metric]) -> Metric:
    """Return the mean of a metric over cells; None where a cell does not know it, with its reason."""
    unknown = next((metric for metric in metrics if metric.value is None), None)
    if unknown is not None:
        return unknown
    value = float(np.mean([metric.value for metric in metrics]))
    n = max(metric.n for metric in metrics)
    if any(metric.low is None or metric.high is None for metric in metrics):
        return Metric(value, n=n)
    return Metric(
        value,
        float(np.mean([metric.low for metric in metrics])),
        float(np.mean([metric.high for metric in metrics])),
        n,
    )


def _marked_frontier(rows: Sequence[Row]) -> tuple[Row, ...]:
    def at(row: Row) -> tuple[float, float] | None:
        quality, time = row.metrics.get(RANKED), row.metrics.get("latency_p50_ms")
        if quality is None or time is None or quality.value is None or time.value is None:
            return None
        return quality.value, time.value

    places = [place for row in rows if (place := at(row)) is not None]

    def beaten(one: tuple[float, float]) -> bool:
        return any(other[0] >= one[0] and other[1] <= one[1] and other != one for other in places)

    return tuple(replace(row, frontier=(place := at(row)) is not None and not beaten(place)) for row in rows)


def _json(metrics: Mapping[str, Metric]) -> Json:
    return {name: metric.to_json() for name, metric in metrics.items()}
