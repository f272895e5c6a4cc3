"""A bank of good patches and a linear head, joined: any flaw is seen, and known ones are seen better.

The bank is patchcore's (Roth et al., CVPR 2022), taught from good parts; the head is linear's, taught from
good and bad ones. Each looks at the same features, once. The join is a calibrated rule with four numbers:
the log-odds of bad are the head's, scaled, plus an offset, plus a slope times the excess, the mean over the
picture of how far each position's distance to the bank exceeds what 98 % of good positions stay below. All
come from samples that neither has seen: SELECT, or folds of FIT where SELECT is too small. How much the two
signs count against each other is what ranks best there. The excess is a mean over positions, as the
evidence is: so the joined evidence still adds up to the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.config import setting
from flawscope.core.progress import Silent
from flawscope.core.registry import Kind, register
from flawscope.core.types import Array, Sample
from flawscope.data.splits import folds
from flawscope.methods.classifier import (
    Temperature,
    by_photograph,
    class_indices,
    enough_to_calibrate,
    finish_classes,
    fit_temperature,
    head,
)
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Embedding, level_maps
from flawscope.methods.frozen import FrozenConfig, TaughtHead, learn_head
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.methods.linear import logistic
from flawscope.methods.patchcore import Memory, PatchcoreConfig, distances, remember
from flawscope.methods.settings import NeighbourhoodConfig
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

_FOLDS = 5
_USUAL_SHARE = 0.98  # of the positions of good parts that neither saw: their distance exceeds nothing


@dataclass(frozen=True)
class JoinedConfig(NeighbourhoodConfig, FrozenConfig):
    """Settings of joined."""

    bank: int = setting(
        2000,
        unit="patches",
        low=16,
        high=50_000,
        help="More remembers rarer good patches and takes longer a verdict.",
    )
    components: int = setting(
        128,
        unit="numbers a patch",
        low=0,
        high=2048,
        help="Of the bank: fewer is faster and forgets detail; 0 keeps all.",
    )

    @property
    def memory(self) -> PatchcoreConfig:
        """The settings of the bank."""
        return PatchcoreConfig(
            unit_levels=self.unit_levels,
            neighbourhood=self.neighbourhood,
            bank=self.bank,
            components=self.components,
        )


@register(
    "joined",
    kind=Kind.SUPERVISED,
    summary="patchcore and linear in one: many good parts, a few labelled flaws. Sees new flaws too.",
    paper="Roth et al., CVPR 2022; Platt, 1999",
)
class Joined:
    """A bank and a head, and the rule that joins them."""

    Config = JoinedConfig

    def __init__(self, config: JoinedConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Teach both, find the rule; return the graph."""
        config = self._config
        both = _teach(data, context, config)
        select = tuple(sample for sample in data.select if sample.label is not None)
        if enough_to_calibrate(class_indices(select, both.head.names)):
            rule = _rule(select, _judge(select, both, context, config), names=both.head.names)
        else:
            rule = _by_folds(data, context, config, names=both.head.names)
        graph = GraphBuilder()
        evidence, distance, content = _signs(graph, both, context)
        excess = graph.add("Relu", graph.add("Sub", distance, graph.floats(rule.usual)))
        names, temperature = both.head.names, rule.temperature
        scale = graph.constant(np.full((1, len(names), 1, 1), temperature.scale, np.float32))
        bad = (np.arange(len(names)) > 0).astype(np.float32)[None, :, None, None]
        evidence = graph.add("Mul", evidence, scale)
        evidence = graph.add("Add", evidence, graph.constant(bad * np.float32(temperature.offset)))
        odd = graph.add("Unsqueeze", excess, graph.ints(1))
        odd = graph.add("Mul", odd, graph.constant(bad * np.float32(temperature.slope)))
        evidence = graph.add("Add", evidence, odd)
        ending = config.ending(context.preprocess, both.head.where.grid_hw)
        return finish_classes(graph, evidence, content, ending, names=names)


@dataclass(frozen=True, eq=False)
class _Both:
    """A bank and a head on the same features."""

    memory: Memory
    head: TaughtHead


def _teach(data: FitData, context: FitContext, config: JoinedConfig) -> _Both:
    taught = learn_head(data, context, config, logistic, embedding=_embedding(config))
    good = tuple(sample for sample in data.fit if sample.is_good)
    return _Both(remember(good, config.memory, context), taught)


def _signs(graph: GraphBuilder, both: _Both, context: FitContext) -> tuple[str, str, str]:
    """Append both; return the head's raw evidence (N, K, h, w), the distance at each position (N, h, w), and
    `content_xyxy`."""
    taught, where = both.head, both.head.where
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    maps = level_maps(graph, image, context.backbone, taught.embedding)
    weights, bias = taught.head
    evidence = head(graph, maps, where, weights=weights, bias=bias)
    distance = distances(graph, maps, content, memory=both.memory, where=where)
    return evidence, distance, content


@dataclass(frozen=True, eq=False)
class _Found:
    """What both say of one photograph, by canvas."""

    logits: Array  # float32 (K,), the head's raw ones; of several tiles those of the tile with the highest
    distances: Array  # float16 (tiles, h, w), to the bank, in units of what good parts show at each place
    shares: Array  # float32 (tiles, h, w), of each position in its canvas's mean; they add up to one

    def excess(self, usual: float) -> float:
        """Return the mean over the picture of what exceeds `usual`; of several tiles the highest."""
        over = np.maximum(self.distances.astype(np.float32) - usual, 0)
        return float((over * self.shares).sum((1, 2)).max())


@dataclass(frozen=True)
class _Rule:
    """How both are joined: the head's logits, and what exceeds the usual distance."""

    temperature: Temperature
    usual: float


def _judge(
    samples: tuple[Sample, ...], both: _Both, context: FitContext, config: JoinedConfig
) -> list[_Found]:
    """Return what both say of samples that neither has seen."""
    graph = GraphBuilder()
    evidence, distance, content = _signs(graph, both, context)
    grid_hw = both.head.where.grid_hw
    share = config.ending(context.preprocess, grid_hw).share(graph, content)
    room = graph.add("ReduceSum", share, graph.ints(1, 2), attributes={"keepdims": 1})
    share = graph.add("Div", share, graph.add("Max", room, graph.floats(1e-6)))
    weighted = graph.add("Mul", evidence, graph.add("Unsqueeze", share, graph.ints(1)))
    logits = graph.add("ReduceSum", weighted, graph.ints(2, 3), attributes={"keepdims": 0})
    graph.output("logits", logits, TensorProto.FLOAT, ["N", len(both.head.names)])
    graph.output("distance", distance, TensorProto.FLOAT, ["N", *grid_hw])
    graph.output("share", share, TensorProto.FLOAT, ["N", *grid_hw])
    session = GraphSession(graph.model(), threads=context.threads)
    found = []
    with context.progress.stage("Weighing both", len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], context.preprocess):
            tiles = [
                session.run(each.pixels, each.content_xyxy, names=("logits", "distance", "share"))
                for each in loaded.chunks(context.preprocess)
            ]
            rows, distances, shares = (
                np.concatenate([tile[name] for tile in tiles]) for name in ("logits", "distance", "share")
            )
            oddest = by_photograph(rows, np.zeros(len(rows), int))[0]
            found.append(_Found(oddest, distances.astype(np.float16), shares))
            stage.advance()
    return found


def _rule(samples: Sequence[Sample], found: Sequence[_Found], *, names: tuple[str, ...]) -> _Rule:
    """Find the rule by what both said of samples that neither had seen."""
    good = [
        one.distances[one.shares > 0] for sample, one in zip(samples, found, strict=True) if sample.is_good
    ]
    usual = float(np.quantile(np.concatenate(good).astype(np.float32), _USUAL_SHARE))
    temperature, _ = fit_temperature(
        np.stack([one.logits for one in found]),
        class_indices(samples, names),
        oddness=np.array([one.excess(usual) for one in found]),
    )
    return _Rule(temperature, usual)


def _by_folds(data: FitData, context: FitContext, config: JoinedConfig, *, names: tuple[str, ...]) -> _Rule:
    """Find the rule by samples of FIT, each judged by a bank and a head that had not seen it. Where some fold
    would leave no good or no bad sample to teach with, the head's own temperature stands and the bank, whose
    share nothing tells, is left out."""
    quiet = replace(context, progress=Silent())
    samples: list[Sample] = []
    found: list[_Found] = []
    rounds = folds(data.fit, _FOLDS, context.seed)
    with context.progress.stage(f"Weighing both by {len(rounds)} folds", len(rounds)) as stage:
        for members in rounds:
            left_out = set(members)
            rest = tuple(sample for i, sample in enumerate(data.fit) if i not in left_out)
            held_out = tuple(data.fit[i] for i in members)
            known = {names[i] for i in class_indices(rest, names)}
            if known != set(names):
                alone = learn_head(data, quiet, config, logistic, embedding=_embedding(config))
                return _Rule(alone.temperature, 0.0)
            both = _teach(FitData(rest), quiet, config)
            samples.extend(held_out)
            found.extend(_judge(held_out, both, quiet, config))
            stage.advance()
    return _rule(samples, found, names=names)


def _embedding(config: JoinedConfig) -> Embedding:
    return Embedding(config.unit_levels, config.neighbourhood)
