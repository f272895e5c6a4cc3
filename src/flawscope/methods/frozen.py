"""Classifiers on frozen features: rows of pooled features, a penalty chosen, a head calibrated, the graph.

`linear` and `svm` differ in their loss alone; all else is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.config import Span, setting
from flawscope.core.types import Array, Fit, Sample
from flawscope.data.splits import folds
from flawscope.methods.classifier import (
    ClassifierConfig,
    Temperature,
    by_photograph,
    canvas_classes,
    class_indices,
    class_names,
    enough_to_calibrate,
    finish_classes,
    fit_temperature,
    head,
)
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Embedding, Geometry, by_level, level_maps
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.methods.pooled import PooledStore, Views

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # strongest first: it wins among equals
_UNCHOSEN = 0.1  # where there are too few samples to choose by
_FOLDS = 5
_log = logging.getLogger(__name__)

Head = tuple[Array, Array]  # weights float64 (C, K), bias float64 (K,)


@dataclass(frozen=True)
class FrozenConfig(ClassifierConfig):
    """Settings of classifiers on frozen features."""

    unit_levels: bool = setting(
        True,
        help="Compares the kind of a feature at each position, not its strength, before the mean.",
        search=(True, False),
    )
    views: int = setting(
        4,
        unit="views a photograph",
        low=1,
        high=64,
        help="The photograph and variations of it: more forgives changes of light and place, and takes "
        "longer to teach.",
    )
    penalty: float = setting(
        0.0,
        low=0,
        high=1000,
        help="Of large weights (L2): more holds on to what is common, less follows each photograph; "
        "0 chooses by what was not taught.",
    )
    balance: float = setting(
        1.0, low=0, high=1, help="1 gives every class the same weight, 0 every photograph.", search=Span(0, 1)
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """Standardised features to be taught or judged: one row for each canvas of each view."""

    vectors: Array  # float64 (n, C)
    indices: Array  # int64 (n,), the class; -1 where it is none of them
    owners: Array  # int64 (n,), which sample
    own_view: Array  # bool (n,), whether it shows the photograph itself

    def of(self, chosen: Array) -> Rows:
        """Return the rows that `chosen`, bool (n,), names."""
        return Rows(self.vectors[chosen], self.indices[chosen], self.owners[chosen], self.own_view[chosen])


@dataclass(frozen=True)
class Problem:
    """What a solver is given beside the rows."""

    classes: int
    penalty: float
    weights: Array  # float64 (n,), of the rows, adding up to one


Solver = Callable[[Array, Array, Problem, Head | None], Head]


def fit_frozen(data: FitData, context: FitContext, config: FrozenConfig, solve: Solver) -> Any:
    """Teach a linear head on pooled features by `solve(vectors, indices, problem, start)`; return the graph.

    The penalty and the temperature come from SELECT where it holds enough good and bad samples, otherwise
    from samples of FIT judged by heads that had not seen them. Raises DataError where FIT lacks good or bad
    samples.
    """
    taught = learn_head(data, context, config, solve, embedding=Embedding(config.unit_levels, 1))
    weights, bias = taught.temperature.folded(*taught.head)
    graph = GraphBuilder()
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    maps = level_maps(graph, image, context.backbone, taught.embedding)
    where = taught.where
    evidence = head(graph, maps, where, parts=by_level(graph, weights, where), bias=bias)
    ending = config.ending(context.preprocess, where.grid_hw)
    return finish_classes(graph, evidence, content, ending, names=taught.names)


@dataclass(frozen=True, eq=False)
class TaughtHead:
    """A linear head on pooled features, and how its logits become calibrated ones."""

    head: Head  # on the features as they come; the weights can be stored in half precision as they are
    temperature: Temperature
    names: tuple[str, ...]
    embedding: Embedding
    where: Geometry


def learn_head(
    data: FitData, context: FitContext, config: FrozenConfig, solve: Solver, *, embedding: Embedding
) -> TaughtHead:
    """Teach a linear head on pooled features, as `fit_frozen` says."""
    names = class_names(data.fit, config.classes)
    store = context.pooled(embedding, Views(config.views, config.augmentation, context.seed))
    taught = gather(data.fit, store, context, names)
    middle, spread = taught.vectors.mean(0), taught.vectors.std(0)
    spread = np.maximum(spread, max(0.01 * float(np.median(spread)), 1e-12))  # dead channels stay quiet
    taught = _standardised(taught, middle, spread)
    select = tuple(sample for sample in data.select if sample.label is not None)
    if enough_to_calibrate(class_indices(select, names)):
        judged = gather(select, store, context, names, varied=False)
        rounds = [(taught, _standardised(judged, middle, spread))]
        truth = class_indices(select, names)
    else:
        truth = class_indices(data.fit, names)
        rounds = _rounds(data.fit, taught, truth, context.seed)
    teach = _Teacher(config, len(names), solve)
    penalty, temperature = _choose(rounds, truth, teach, config.penalty)
    weights, bias = teach(taught, penalty, None)
    # what the bundle stores in half precision is what the bias belongs to: folded before it is rounded
    scale = temperature.scale
    matrix = (weights * scale / spread[:, None]).astype(np.float16).astype(np.float64) / scale
    return TaughtHead((matrix, bias - middle @ matrix), temperature, names, embedding, store.geometry)


def gather(
    samples: Sequence[Sample],
    store: PooledStore,
    context: FitContext,
    names: Sequence[str],
    *,
    varied: bool = True,
) -> Rows:
    """Return the features of samples as rows: of all views or (`varied` False) of the photographs alone."""
    vectors, owners, windows, own = [], [], [], []
    with context.progress.stage("Looking at views", len(samples)) as stage:
        for number, pooled in enumerate(store.stream(samples, varied=varied)):
            views, canvases, channels = pooled.vectors.shape
            vectors.append(pooled.vectors.reshape(-1, channels).astype(np.float64))
            owners.append(np.full(views * canvases, number))
            windows.append(np.tile(pooled.windows_xyxy, (views, 1)))
            own.append(np.repeat(np.arange(views) == 0, canvases))
            stage.advance()
    of_sample, shown = np.concatenate(owners), np.concatenate(own)
    classes = class_indices(samples, names)[of_sample]
    if context.preprocess.fit is Fit.TILES:
        classes = canvas_classes(samples, of_sample, np.concatenate(windows), names=names)
    return Rows(np.concatenate(vectors), classes, of_sample, shown)


def row_weights(rows: Rows, classes: int, *, balance: float) -> Array:
    """Return each row's weight, adding up to one: photographs of a class share theirs alike, their views and
    tiles share the photograph's; with `balance` 1 classes weigh alike, with 0 as they are many."""
    pairs = np.stack([rows.owners, rows.indices], 1)
    _, inverse, each = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    weights = 1.0 / each[inverse.reshape(-1)]
    counts = np.bincount(rows.indices, weights, minlength=classes)
    weights *= np.maximum(counts, 1e-12)[rows.indices] ** -balance
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class _Teacher:
    """A solver with the settings that its problems share."""

    config: FrozenConfig
    classes: int
    solve: Solver

    def __call__(self, rows: Rows, penalty: float, start: Head | None) -> Head:
        weights = row_weights(rows, self.classes, balance=self.config.balance)
        return self.solve(rows.vectors, rows.indices, Problem(self.classes, penalty, weights), start)


def _standardised(rows: Rows, middle: Array, spread: Array) -> Rows:
    return Rows((rows.vectors - middle) / spread, rows.indices, rows.owners, rows.own_view)


def _rounds(samples: Sequence[Sample], taught: Rows, truth: Array, seed: int) -> list[tuple[Rows, Rows]]:
    """Return pairs of rows to teach and rows to judge, by part and group; no photograph is judged whose class
    no other has. None where some would teach without good or bad ones, or too few would be judged."""
    rounds = []
    judged_truth: list[Array] = []
    for fold in folds(samples, _FOLDS, seed):
        left_out = np.isin(taught.owners, fold)
        known = np.unique(np.delete(truth, fold))
        if known[0] != 0 or len(known) < 2:
            return []
        judged = left_out & taught.own_view & np.isin(truth[taught.owners], known)
        rounds.append((taught.of(~left_out), taught.of(judged)))
        judged_truth.append(truth[np.unique(taught.owners[judged])])
    enough = len(rounds) > 1 and enough_to_calibrate(np.concatenate(judged_truth))
    return [pair for pair in rounds if len(pair[1].owners)] if enough else []


def _choose(
    rounds: list[tuple[Rows, Rows]], truth: Array, teach: _Teacher, penalty: float
) -> tuple[float, Temperature]:
    """Return the penalty (the one given, unless it is 0) and the temperature that explain the judged samples
    best."""
    if not rounds:
        _log.warning(
            "Too few separate good and bad parts to calibrate probabilities by: they are taken as they come."
        )
        return penalty or _UNCHOSEN, Temperature()
    candidates = (penalty,) if penalty else PENALTIES
    starts: list[Head | None] = [None] * len(rounds)
    best: tuple[float, float, Temperature] | None = None
    for candidate in candidates:
        logits: dict[int, Array] = {}
        for i, (rest, judged) in enumerate(rounds):
            starts[i] = weights, bias = teach(rest, candidate, starts[i])
            logits |= by_photograph(judged.vectors @ weights + bias, judged.owners)
        owners = sorted(logits)
        temperature, loss = fit_temperature(np.stack([logits[i] for i in owners]), truth[owners])
        if best is None or loss < best[0] - 1e-6:
            best = (loss, candidate, temperature)
    assert best is not None
    return best[1], best[2]
