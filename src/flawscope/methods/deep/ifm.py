"""Inverse feature matching with networks: the body, the bank of normal features, the sign in the graph."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flawscope.core.errors import DataError
from flawscope.core.rng import derive
from flawscope.core.types import Array
from flawscope.methods.classifier import Temperature, log_odds_maps
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.coreset import farthest_first
from flawscope.methods.deep.classifier import Body, Learned, exported, head_of, learn, look, noted
from flawscope.methods.deep.trunk import cut_levels
from flawscope.methods.features import PLACE_IMAGES, Geometry, Moments, balance, evenly, geometry, quota
from flawscope.methods.graph import GraphBuilder, nearest, over_picture
from flawscope.methods.ifm import IfmConfig
from flawscope.methods.joining import Linear, Rule, Signs, finish_joined, rule_of, weigh
from flawscope.methods.places import Places, usual

_TRUNK_RATE = 0.1  # of the learning rate, for weights that know something already
_CANDIDATES = 60_000  # normal positions that the bank is chosen from
_SEARCH_DIMENSIONS = 64  # of the random projection in which it is chosen
_DEVIATIONS = 3.0  # above the mean of good parts' inverse matches at a place: the upper end of what is usual
_BATCH = 16
_log = logging.getLogger(__name__)


def fit(config: IfmConfig, data: FitData, context: FitContext) -> Any:
    """Train, remember normal features, find the rule; return the bundle's graph. Raises DataError where FIT
    lacks good or bad parts, ConfigError for a backbone that cannot be cut as asked."""
    built = body(config, context)
    learned = learn(built, config, data, context)
    memory = _remember(learned, built, context, size=config.bank)
    trained = exported(built, learned.classifier)
    weights, bias = head_of(learned.classifier)
    where = Geometry(context.preprocess.size_hw, built.grid_hw, (built.grid_hw,), (built.channels,))
    taught = Linear(weights / memory.scale[:, None], bias, learned.names, where, halves=False)
    ending = config.ending(context.preprocess, built.grid_hw)
    scale = memory.scale[:, None, None].astype(np.float32)

    def signs(graph: GraphBuilder) -> Signs:
        value, content = look(graph, built, trained, context)
        features = graph.add("Mul", value, graph.constant(scale, "balance"))
        inverse = _inverse(graph, features, content, memory=memory, where=where)
        evidence = taught.evidence(graph, [features])
        loud = graph.add("Softplus", log_odds_maps(graph, evidence, len(taught.names)))
        return Signs((features,), inverse, content, loud)

    rule = Rule(Temperature(), 1.0)
    if learned.judged is not None:
        graph = GraphBuilder()
        samples = learned.judged_samples
        found = weigh(samples, graph, signs=signs(graph), taught=taught, ending=ending, context=context)
        rule = rule_of(samples, found, names=learned.names)
    else:
        _log.warning("SELECT tells nothing of what an odd feature weighs: the inverse match is left out.")
    graph = GraphBuilder()
    model = finish_joined(graph, signs(graph), taught=taught, rule=rule, ending=ending)
    return noted(model, learned.notes)


def body(config: IfmConfig, context: FitContext) -> Body:
    """Return what stands under the head: two levels of the network side by side."""
    pieces = cut_levels(context, config.trainable)
    return Body(
        "ifm",
        pieces.frozen,
        pieces.trained,
        pieces.input_shape,
        pieces.channels,
        pieces.grid_hw,
        views=config.views,
        rates={"": _TRUNK_RATE},
        norm=True,
    )


@dataclass(frozen=True, eq=False)
class _Memory:
    """Features that good parts have."""

    scale: Array  # float64 (C,), by which the taught network's channels are multiplied, so that no level
    # outweighs the other
    bank: Array  # float32 (B, C), of unit length
    places: Array  # float32 (h, w), the inverse match that is usual at each place


def _inverse(
    graph: GraphBuilder, features: str, content_xyxy: str, *, memory: _Memory, where: Geometry
) -> str:
    """Append each position's inverse match in units of what is usual at its place: (N, h, w)."""
    unit = graph.add("LpNormalization", features, attributes={"axis": 1, "p": 2})
    flat = graph.add("Reshape", unit, graph.ints(0, where.channels[0], where.positions))
    distance = nearest(graph, flat, memory.bank, positions=where.positions)
    # of vectors of unit length: 1 - cosine is half the squared distance
    inverse = graph.add("Mul", graph.add("Mul", distance, distance), graph.floats(0.5))
    inverse = graph.add("Reshape", inverse, graph.ints(0, *where.grid_hw))
    return graph.add("Div", inverse, over_picture(graph, memory.places, content_xyxy, where.size_hw))


def _remember(learned: Learned, built: Body, context: FitContext, *, size: int) -> _Memory:
    """Choose the bank from the good canvases that were taught, and measure what is usual at each place."""
    good = np.flatnonzero(learned.taught.classes == 0)
    take = quota(len(good), wanted=_CANDIDATES)
    vectors, owners = [], []
    parts = _parts(learned)
    with context.progress.stage("Remembering", len(good)) as stage:
        for row, features, shown in _features(learned, good, context):
            rng = derive(context.seed, "ifm", row)
            chosen = np.sort(rng.permutation(np.flatnonzero(shown))[:take])
            vectors.append(features[chosen].astype(np.float16))
            owners.append(np.full(len(chosen), parts[row]))
            stage.advance()
    cloud, givers = np.concatenate(vectors).astype(np.float32), np.concatenate(owners)
    if not len(cloud):
        raise DataError("No position of a good part was seen", remedy="Check the region of interest")
    moments = Moments(cloud.shape[1])
    moments.add(cloud)
    scale = balance(moments, geometry(context.backbone, context.preprocess.size_hw).channels)
    cloud = _unit(cloud, scale)
    search = cloud
    if cloud.shape[1] > _SEARCH_DIMENSIONS:
        rng = derive(context.seed, "ifm", "projection")
        search = cloud @ rng.standard_normal((cloud.shape[1], _SEARCH_DIMENSIONS)).astype(np.float32)
    picked = farthest_first(search, size)
    bank, givers = cloud[picked], givers[picked]
    places = Places(built.grid_hw)
    measured = good[evenly(len(good), most=PLACE_IMAGES)]
    with context.progress.stage("Measuring places", len(measured)) as stage:
        for row, features, shown in _features(learned, measured, context):
            others = bank[givers != parts[row]]
            if len(others):
                places.add(1 - (_unit(features, scale) @ others.T).max(1), shown)
            stage.advance()
    return _Memory(scale, bank, usual(places, strength=1.0, deviations=_DEVIATIONS))


def _unit(vectors: Array, scale: Array) -> Array:
    """Return vectors (n, C), their channels scaled, at unit length, float32."""
    scaled = vectors * scale.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return np.asarray(scaled / np.maximum(lengths, 1e-12)[:, None])


def _parts(learned: Learned) -> Array:
    """Return which part each taught canvas shows, int64 (n,): a part is not compared with itself."""
    keys = np.unique([sample.part_key for sample in learned.taught_samples], return_inverse=True)[1]
    return np.asarray(keys[learned.taught.owners])


def _features(learned: Learned, rows: Array, context: FitContext) -> Iterator[tuple[int, Array, Array]]:
    """Yield, of some taught canvases, the row, the features float32 (positions, C), and which positions show
    a judged part of the picture, bool (positions,)."""
    classifier, seen = learned.classifier, learned.taught
    device = classifier.head.weight.device
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        with torch.no_grad():
            values = seen.tensors(some, np.zeros_like(some), context.backbone.card).to(device)
            maps = classifier.body(values).cpu().numpy()
        for row, features in zip(some.tolist(), maps, strict=True):
            flat = np.ascontiguousarray(features.reshape(len(features), -1).T)
            yield row, flat, seen.shares[row].ravel() >= 0.5
