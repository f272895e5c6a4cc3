"""Outcomes side by side: rows, pairs, conclusions by the stated rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from flawscope.core.cells import Cell, Outcome, Scored, Status
from flawscope.core.types import Metric
from flawscope.decision.choosing import BEHIND, BEST, GOOD, UNFIT, Wishes, concluded
from flawscope.decision.compared import Row, rows_of
from flawscope.decision.comparison import compared

N = 60


def outcome(
    model: str,
    *,
    signal: float = 2.0,
    seed: int = 0,
    product: str = "p",
    ms: float = 10.0,
    shift: float = 0.0,
    status: Status = Status.OK,
) -> Outcome:
    """Return a cell whose scores stand `signal` apart; photographs are equally hard for every model."""
    cell = Cell(f"{model}{product}{seed}", model, model, product, seed, "m.jsonl", settings={})
    if status is not Status.OK:
        return Outcome(cell, status, "the lamp was off")
    hard = np.random.default_rng(7).normal(0, 1, N)
    own = np.random.default_rng([len(model), seed]).normal(0, 0.05, N)
    samples = []
    for i in range(N):
        score = float(hard[i] + own[i] + (signal if i % 2 else 0.0) + shift)
        verdict = "NG" if score > 1.9 else "REVIEW" if score > 1.5 else "OK"
        samples.append(Scored(f"{i}.png", "scratch" if i % 2 else "good", f"{i}", score, verdict))
    metrics = {
        "auroc": Metric(0.5, 0.4, 0.6, N),
        "latency_p50_ms": Metric(ms, n=30),
        "size_mb": Metric(ms / 10, n=1),
        "fit_s": Metric(1.0, n=1),
        "pixel_aupro_05": Metric(None, reason="no mask"),
    }
    return Outcome(cell, Status.OK, metrics=metrics, samples=tuple(samples), facts={"aspect": "native"})


def concluded_rows(outcomes: Sequence[Outcome], wishes: Wishes | None = None) -> dict[str, Row]:
    return {row.model: row for row in concluded(rows_of(outcomes), wishes or Wishes(alpha=0.2))}


def test_an_outcome_survives_json() -> None:
    one = outcome("a")
    back = Outcome.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False)))
    assert back.to_json() == one.to_json() and back.cell == one.cell
    with pytest.raises(ValueError, match="version"):
        Outcome.from_json(one.to_json() | {"version": 99})
    with pytest.raises(ValueError, match="reason"):
        Outcome(one.cell, Status.FAILED)
    with pytest.raises(ValueError, match="no numbers"):
        Outcome(one.cell, Status.FAILED, "why", metrics=one.metrics)


def test_the_best_the_good_the_behind_and_the_unfit() -> None:
    rows = concluded_rows(
        [outcome("a", signal=2.5), outcome("bb", signal=2.3, ms=2), outcome("ccc", signal=1.5, ms=20),
         outcome("dddd", signal=0.0)]
    )  # fmt: skip
    assert [rows[name].conclusion.word for name in ("a", "bb", "ccc", "dddd")] == [BEST, GOOD, BEHIND, UNFIT]
    alike = rows["bb"].conclusion.sentences[0]
    assert "not real" in alike or "too little" in alike
    assert "a real difference" in rows["ccc"].conclusion.sentences[0]
    assert "cannot be told from guessing" in rows["dddd"].conclusion.sentences[0]
    assert rows["ccc"].behind is not None and rows["ccc"].behind.real
    assert rows["a"].frontier and rows["bb"].frontier and not rows["ccc"].frontier
    assert list(rows) == ["a", "bb", "ccc", "dddd"]  # best first


def test_intervals_rest_on_photographs_and_seeds() -> None:
    (row,) = rows_of([outcome("a", seed=seed) for seed in range(3)])
    metric = row.metrics["auroc"]
    assert metric.value is not None and metric.low is not None and metric.high is not None
    assert metric.low < metric.value < metric.high and metric.n == N
    assert row.metrics["recall"].low is not None and row.metrics["latency_p50_ms"].value == 10
    assert row.metrics["pixel_aupro_05"].value is None and row.metrics["pixel_aupro_05"].reason == "no mask"


def test_wishes_and_broken_promises_rule_out() -> None:
    slow = concluded_rows([outcome("a", ms=50), outcome("bb", ms=5)], Wishes(most_ms=20, alpha=0.2))
    assert slow["a"].conclusion.word == UNFIT and "50 ms" in slow["a"].conclusion.sentences[0]
    assert slow["bb"].conclusion.word == BEST
    large = concluded_rows([outcome("a", ms=50)], Wishes(most_mb=2, alpha=0.2))
    assert large["a"].conclusion.word == UNFIT and "5 MB" in large["a"].conclusion.sentences[0]
    weak = concluded_rows([outcome("a")], Wishes(least_recall=0.95, alpha=0.2))
    assert weak["a"].conclusion.word == UNFIT and "it finds" in weak["a"].conclusion.sentences[0]
    noisy = concluded_rows([outcome("a", shift=2.0)], Wishes(alpha=0.05))
    assert noisy["a"].conclusion.word == UNFIT and "is promised" in noisy["a"].conclusion.sentences[0]


def test_the_best_is_compared_even_where_a_better_one_is_ruled_out() -> None:
    outcomes = [outcome("a", signal=3.0, ms=90), outcome("bb", signal=2.4), outcome("ccc", signal=1.5)]
    rows = concluded_rows(outcomes, Wishes(most_ms=20, alpha=0.2))
    assert [rows[name].conclusion.word for name in ("a", "bb", "ccc")] == [UNFIT, BEST, BEHIND]
    assert rows["a"].behind is None and rows["bb"].behind is None
    assert (
        rows["ccc"].behind is not None
        and "behind bb: a real difference" in rows["ccc"].conclusion.sentences[0]
    )


def test_what_failed_has_no_number_and_the_worst_product_is_named() -> None:
    outcomes = [
        outcome("a", product="p"),
        outcome("a", product="q", signal=1.2),
        outcome("bb", product="p"),
        outcome("bb", product="q", status=Status.FAILED),
        outcome("c", product="p", status=Status.SKIPPED),
        outcome("c", product="q", status=Status.SKIPPED),
    ]
    rows = concluded_rows(outcomes)
    assert rows["a"].worst_product == "q" and set(rows["a"].by_product) == {"p", "q"}
    assert not rows["bb"].metrics and rows["bb"].conclusion.word == "failed"
    assert rows["bb"].conclusion.sentences == ("the lamp was off",)
    assert rows["c"].conclusion.word == "skipped" and rows["c"].done == 0


def test_a_failed_seed_is_told_and_the_others_count() -> None:
    outcomes = [outcome("a", seed=s) for s in range(2)]
    outcomes += [outcome("bb", seed=0), outcome("bb", seed=1, status=Status.FAILED)]
    rows = concluded_rows(outcomes)
    assert rows["bb"].metrics and rows["bb"].done == 1
    assert "1 of 2 cells failed: the lamp was off" in rows["bb"].conclusion.sentences


def test_a_comparison_recommends_and_warns_of_several_machines() -> None:
    one = outcome("a", signal=2.5, ms=50)
    two = outcome("bb", signal=2.3, ms=5)
    made = compared(
        [one, two], counts={"p": {"test": N}}, wishes=Wishes(alpha=0.2), protocol={}, created="2026-01-01"
    )
    assert made.recommendation[0].startswith("a is best") and "take bb" in made.recommendation[1]
    values = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert {"method", "product", "seed", "status", "reason", "metrics"} <= values["cells"][0].keys()
    assert not made.notes
    there = replace(two, facts={"machine": {"processor": "other", "cores": "4"}})
    apart = compared([one, there], counts={}, wishes=Wishes(), protocol={})
    assert any("times cannot be compared" in note for note in apart.notes)
    busy = replace(one, facts={"load": 3.2})
    hurried = compared([busy, two], counts={}, wishes=Wishes(alpha=0.2), protocol={})
    assert "3.2 processes wanted each core" in hurried.notes[-1]
    assert len(hurried.recommendation) == 1  # by a clock that cannot be believed nothing is called fast
    assert not any("fast" in words for row in hurried.rows for words in row.conclusion.sentences)
    nothing = compared([outcome("a", status=Status.FAILED)], counts={}, wishes=Wishes(), protocol={})
    assert nothing.recommendation == ("Nothing could be measured; each row says why.",)
