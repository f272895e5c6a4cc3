"""Which labels look wrong: each photograph is judged by models that saw neither it nor its part.

Three witnesses, each a probability that the part is defective: a one-class one (how far the oddest places lie
from places of good parts: a nearest-neighbour bank as in PatchCore), a supervised one (logistic regression on
pooled features, where labels suffice), and other photographs of the same part that show the same view. Ranked
is how improbable the given label is (after confident learning, Northcutt, Jiang and Chuang 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.rng import derive
from flawscope.core.types import Array
from flawscope.data.audit.facts import Facts
from flawscope.data.audit.usual import Peers
from flawscope.data.splits import folds

FOLDS = 5
_BANK = 3000  # places of good parts that one fold is compared with
_TOP_SHARE = 0.02  # of the places of a photograph, the oddest, whose mean is its score
_FEW = 12  # photographs of a kind (good, defective) without which no supervised witness speaks
_FEW_PARTS = 6
_KIN_TRUST = 0.9  # how far kin that agree among themselves are believed
_COMPONENTS = 96
_RIDGE = 150.0
_HELD = 0.02  # no witness is surer than this leaves


@dataclass(frozen=True, eq=False)
class Suspicion:
    """For each labelled photograph the probability that its label is wrong, NaN for the others, the one-class
    score (greater is odder) and which witnesses spoke."""

    wrong: Array  # float64 (n,)
    one_class: Array  # float64 (n,)
    witnesses: tuple[str, ...]


def suspicion_of(facts: Facts, peers: Peers, *, progress: Progress) -> Suspicion:
    """Cross-validate the labels of every product that has both good parts and folds enough."""
    count = len(facts.samples)
    defective = np.full(count, np.nan)
    one_class = np.full(count, np.nan)
    told: set[str] = set()
    rows_of: dict[str, list[int]] = {}
    for row in facts.readable:
        if facts.samples[row].label is not None:
            rows_of.setdefault(facts.samples[row].product, []).append(row)
    with progress.stage("Checking labels", FOLDS * len(rows_of)) as stage:
        for rows in rows_of.values():
            index = np.array(rows)
            witnesses = _product(facts, index, one_class)
            stage.advance(FOLDS)
            if witnesses:
                told |= set(witnesses)
                defective[index] = _joined(witnesses, index, facts, peers)
    bad = np.array([sample.is_bad for sample in facts.samples])
    wrong = np.where(bad, 1 - defective, defective)
    return Suspicion(wrong, one_class, tuple(sorted(told)))


def _product(facts: Facts, rows: Array, one_class: Array) -> dict[str, Array]:
    """Return what the witnesses say of one product's photographs, by name; fills their one-class scores."""
    samples = [facts.samples[row] for row in rows]
    bad = np.array([sample.is_bad for sample in samples])
    parts = len({sample.part_key for sample in samples})
    if (~bad).sum() < _FEW or parts < _FEW_PARTS:
        return {}
    dealt = folds(samples, FOLDS, facts.seed)
    enough = bad.sum() >= _FEW and len({s.part_key for s in samples if s.is_bad}) >= _FEW_PARTS
    odd, taught = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for number, held in enumerate(dealt):
        out = np.zeros(len(rows), bool)
        out[list(held)] = True
        if not (~out & ~bad).any():
            continue
        odd[out] = _oddness(facts, rows[~out & ~bad], rows[out], seed=number)
        if enough and bad[~out].any():
            taught[out] = _supervised(facts.vectors[rows[~out]], bad[~out], facts.vectors[rows[out]])
    one_class[rows] = odd
    witnesses = {"one-class": _as_probability(odd, bad)}
    if np.isfinite(taught).any():
        witnesses["supervised"] = taught
    return witnesses


def _oddness(facts: Facts, good: Array, asked: Array, *, seed: int) -> Array:
    """Return how odd the oddest places of photographs are among places of good ones, float64."""
    positions, width = facts.patches.shape[1:]
    each = max(1, _BANK // len(good))
    rng = derive(facts.seed, "bank", seed)
    chosen = good if len(good) <= _BANK else rng.choice(good, _BANK, replace=False)
    places = rng.integers(0, positions, (len(chosen), each))
    bank = facts.patches[chosen[:, None], places].reshape(-1, width).astype(np.float32)
    lengths = (bank * bank).sum(1)
    top = max(1, round(_TOP_SHARE * positions))
    scores = np.zeros(len(asked))
    for place, row in enumerate(asked):
        vectors = np.asarray(facts.patches[row], np.float32)
        nearest = (lengths[None] - 2 * vectors @ bank.T).min(1) + (vectors * vectors).sum(1)
        scores[place] = np.sqrt(np.maximum(np.partition(nearest, -top)[-top:], 0)).mean()
    return scores


def _supervised(known: Array, bad: Array, asked: Array) -> Array:
    """Return the probability of a defect by logistic regression on standardised features, reduced to their
    main directions."""
    centre, spread = known.mean(0), np.maximum(known.std(0), 1e-6)
    rows = ((known - centre) / spread).astype(np.float64)
    count = min(_COMPONENTS, len(rows) - 1, rows.shape[1])
    variances, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    main = vectors[:, np.argsort(variances)[::-1][:count]]
    weights = _logistic(rows @ main, bad, ridge=_RIDGE)
    return _chance(((asked - centre) / spread) @ main, weights)


def _logistic(rows: Array, bad: Array, *, ridge: float) -> Array:
    """Return weights and bias, float64 (k + 1,), of a ridge logistic regression to which good and bad weigh
    the same."""
    from scipy.optimize import minimize  # not needed where labels are not checked

    sign = np.where(bad, 1.0, -1.0)
    share = np.where(bad, 0.5 / max(int(bad.sum()), 1), 0.5 / max(int((~bad).sum()), 1)) * len(bad)

    def loss(weights: Array) -> tuple[float, Array]:
        margin = sign * (rows @ weights[:-1] + weights[-1])
        slope = -share * sign / (1 + np.exp(np.clip(margin, -50, 50)))
        value = float((share * np.logaddexp(0, -margin)).sum() + ridge / 2 * weights[:-1] @ weights[:-1])
        return value, np.append(rows.T @ slope + ridge * weights[:-1], slope.sum())

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x)


def _chance(rows: Array, weights: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(rows @ weights[:-1] + weights[-1], -50, 50))))


def _as_probability(scores: Array, bad: Array) -> Array:
    """Return the probability of a defect that one-class scores speak for, by the ranks among good parts where
    no defects are known, by a logistic curve where some are."""
    if bad.sum() >= _FEW:
        logs = np.log(np.maximum(scores, 1e-9))[:, None]
        logs = (logs - np.median(logs)) / max(float(logs.std()), 1e-9)
        return _chance(logs, _logistic(logs, bad, ridge=1.0))
    middle = np.median(scores)
    spread = max(1.4826 * float(np.median(np.abs(scores - middle))), 1e-9)
    return np.asarray(1 / (1 + np.exp(-((scores - middle) / spread - 6.0))))


def _joined(witnesses: dict[str, Array], rows: Array, facts: Facts, peers: Peers) -> Array:
    """Join the witnesses as odds (the mean of their logarithms), and let kin that agree have their say."""
    odds = np.mean([_odds(found) for found in witnesses.values()], axis=0)
    for place, row in enumerate(rows):
        kin = [facts.samples[other] for other in peers.kin[row] if facts.samples[other].label is not None]
        if len(kin) >= 2:
            share = sum(sample.is_bad for sample in kin) / len(kin)
            odds[place] += _odds(np.array(0.5 + (share - 0.5) * 2 * (_KIN_TRUST - 0.5) * _grown(len(kin))))
    return np.asarray(1 / (1 + np.exp(-odds)))


def _grown(kin: int) -> float:
    """Return how much a number of kin is believed, 0 to 1."""
    return kin / (kin + 1)


def _odds(chance: Array) -> Array:
    held = np.clip(chance, _HELD, 1 - _HELD)
    return np.asarray(np.log(held / (1 - held)))
