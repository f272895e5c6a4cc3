"""A bank of good patches and a linear head, joined: any flaw is seen, and known ones are seen better.

The bank is patchcore's (Roth et al., CVPR 2022), taught from good parts; the head is linear's, taught from
good and bad ones. Each looks at the same features, once. The join is a calibrated rule with three numbers:
the log-odds of bad are the head's, scaled, plus an offset, plus a slope times the excess, the mean over the
picture of how far each position's distance to the bank exceeds what good parts usually show at its place. The
three come from samples that neither has seen: SELECT, or folds of FIT where SELECT is too small. Scale and
slope are never below 0, so a sign that says nothing is left out. The excess is a mean over positions, as the
evidence is: so the joined evidence still adds up to the answer.
"""

from __future__ import annotations

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
from flawscope.methods.features import Embedding, by_level, level_maps, projected
from flawscope.methods.frozen import FrozenConfig, TaughtHead, learn_head
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.methods.linear import logistic
from flawscope.methods.patchcore import Memory, PatchcoreConfig, distances, remember
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

_FOLDS = 5
_USUAL = 1.0  # a distance, in units of what good parts show at a place, up to which nothing is in excess


@dataclass(frozen=True)
class JoinedConfig(FrozenConfig):
    """Settings of joined."""

    neighbourhood: int = setting(
        3,
        unit="positions",
        low=1,
        high=9,
        help="Wider is steadier against noise and shift, and blurs small flaws.",
    )
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
        rule = Temperature()
        if enough_to_calibrate(class_indices(select, both.head.names)):
            rule = _rule(select, *_judge(select, both, context, config), names=both.head.names)
        else:
            rule = _by_folds(data, context, config, names=both.head.names)
        graph = GraphBuilder()
        maps, excess, content = _looks(graph, both, context, config)
        where, names = both.head.where, both.head.names
        # the excess is one more channel under the head, at the finest grid
        where = replace(where, level_grids=(*where.level_grids, where.grid_hw), channels=(*where.channels, 1))
        odd = graph.add("Unsqueeze", excess, graph.ints(1))
        weights, bias = both.head.head
        # scaled after they were stored, for it is the stored weights that the bias belongs to
        scale = graph.floats(rule.scale)
        parts = [graph.add("Mul", part, scale) for part in by_level(graph, weights, both.head.where)]
        slopes = np.where(np.arange(len(names)) > 0, rule.slope, 0.0).astype(np.float32)
        parts.append(graph.constant(slopes[:, None, None, None], "slope"))
        bias = rule.folded(weights, bias)[1]
        evidence = head(graph, [*maps, odd], where, parts=parts, bias=bias)
        ending = config.ending(context.preprocess, where.grid_hw)
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


def _looks(
    graph: GraphBuilder, both: _Both, context: FitContext, config: JoinedConfig
) -> tuple[list[str], str, str]:
    """Append what both look at; return the levels, the excess at each position (N, h, w), and
    `content_xyxy`."""
    where, memory = both.head.where, both.memory
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    maps = level_maps(graph, image, context.backbone, both.head.embedding)
    query = projected(graph, maps, where, matrix=memory.matrix, offset=memory.offset)
    distance = distances(graph, query, content, memory=memory, where=where)
    return maps, graph.add("Relu", graph.add("Sub", distance, graph.floats(_USUAL))), content


def _judge(
    samples: tuple[Sample, ...], both: _Both, context: FitContext, config: JoinedConfig
) -> tuple[Array, Array]:
    """Return the head's raw logits (n, K) and the excess (n,) of samples: of several tiles, those of the tile
    with the highest log-odds and of the tile with the highest excess."""
    graph = GraphBuilder()
    maps, excess, content = _looks(graph, both, context, config)
    weights, bias = both.head.head
    parts = by_level(graph, weights, both.head.where)
    evidence = head(graph, maps, both.head.where, parts=parts, bias=bias)
    share = config.ending(context.preprocess, both.head.where.grid_hw).share(graph, content)
    room = graph.add("ReduceSum", share, graph.ints(1, 2), attributes={"keepdims": 1})
    share = graph.add("Div", share, graph.add("Max", room, graph.floats(1e-6)))
    weighted = graph.add("Mul", evidence, graph.add("Unsqueeze", share, graph.ints(1)))
    flat = {"keepdims": 0}
    logits = graph.add("ReduceSum", weighted, graph.ints(2, 3), attributes=flat)
    mean = graph.add("ReduceSum", graph.add("Mul", excess, share), graph.ints(1, 2), attributes=flat)
    graph.output("logits", logits, TensorProto.FLOAT, ["N", len(both.head.names)])
    graph.output("excess", mean, TensorProto.FLOAT, ["N"])
    session = GraphSession(graph.model(), threads=context.threads)
    rows, signs = [], []
    with context.progress.stage("Weighing both", len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], context.preprocess):
            found = [
                session.run(each.pixels, each.content_xyxy, names=("logits", "excess"))
                for each in loaded.chunks(context.preprocess)
            ]
            tiles = np.concatenate([each["logits"] for each in found])
            rows.append(by_photograph(tiles, np.zeros(len(tiles), int))[0])
            signs.append(max(float(each["excess"].max()) for each in found))
            stage.advance()
    return np.stack(rows), np.asarray(signs)


def _rule(
    samples: tuple[Sample, ...], logits: Array, excess: Array, *, names: tuple[str, ...]
) -> Temperature:
    return fit_temperature(logits, class_indices(samples, names), oddness=excess)[0]


def _by_folds(
    data: FitData, context: FitContext, config: JoinedConfig, *, names: tuple[str, ...]
) -> Temperature:
    """Find the rule by samples of FIT, each judged by a bank and a head that had not seen it. Where some fold
    would leave no good or no bad sample to teach with, the head's own temperature stands and the bank, whose
    share nothing tells, is left out."""
    quiet = replace(context, progress=Silent())
    samples: list[Sample] = []
    logits: list[Array] = []
    excess: list[Array] = []
    rounds = folds(data.fit, _FOLDS, context.seed)
    with context.progress.stage(f"Weighing both by {len(rounds)} folds", len(rounds)) as stage:
        for members in rounds:
            left_out = set(members)
            rest = tuple(sample for i, sample in enumerate(data.fit) if i not in left_out)
            held_out = tuple(data.fit[i] for i in members)
            known = {names[i] for i in class_indices(rest, names)}
            if known != set(names):
                return learn_head(data, quiet, config, logistic, embedding=_embedding(config)).temperature
            both = _teach(FitData(rest), quiet, config)
            found = _judge(held_out, both, quiet, config)
            samples.extend(held_out)
            logits.append(found[0])
            excess.append(found[1])
            stage.advance()
    return _rule(tuple(samples), np.concatenate(logits), np.concatenate(excess), names=names)


def _embedding(config: JoinedConfig) -> Embedding:
    return Embedding(config.unit_levels, config.neighbourhood)
