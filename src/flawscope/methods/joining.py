"""A classifier joined with a further sign of oddness, by one calibrated rule, in the bundle's graph.

The sign is how odd each position is, never below 0; what counts is by how much it exceeds what 98 % of good
positions stay below, and, where a method says so, how loud the evidence is there. Its mean over the picture
joins the head's logits: the log-odds of bad are the head's, scaled, plus an offset, plus a slope times that
mean. The numbers come from samples that neither has seen (`fit_temperature`). In the graph the sign is one
more channel under the head, so that the joined evidence still adds up to the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.types import Array, Sample
from flawscope.methods.classifier import (
    Temperature,
    by_photograph,
    class_indices,
    finish_classes,
    fit_temperature,
    head,
)
from flawscope.methods.contract import FitContext
from flawscope.methods.features import Geometry, by_level, convolved
from flawscope.methods.graph import Ending, GraphBuilder
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

_USUAL_SHARE = 0.98  # of the positions of good parts that neither saw: they exceed nothing


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear head that was taught, and the classes it tells apart."""

    weights: Array  # float (C, K) over all levels' channels
    bias: Array  # float (K,)
    names: tuple[str, ...]
    where: Geometry
    halves: bool = True  # whether the graph's large constants are stored in half precision

    def evidence(self, graph: GraphBuilder, maps: Sequence[str]) -> str:
        """Append its raw evidence (N, K, h, w) over the levels `maps`."""
        parts = by_level(graph, self.weights, self.where)
        offset = graph.constant(self.bias.astype(np.float32), "head_bias")
        return convolved(graph, maps, self.where, weights=parts, offset=offset)


@dataclass(frozen=True, eq=False)
class Signs:
    """What stands in a graph before the rule."""

    maps: tuple[str, ...]  # the levels under the head, (N, C, h, w) each
    odd: str  # how odd each position is, (N, h, w), on the head's grid
    content_xyxy: str
    loud: str = ""  # by which what exceeds the usual is multiplied, (N, h, w), none below 0; empty: by one


@dataclass(frozen=True, eq=False)
class Found:
    """What both say of one photograph, by canvas."""

    logits: Array  # float32 (K,), the head's raw ones; of several tiles those of the tile with the highest
    odd: Array  # float16 (tiles, h, w)
    loud: Array  # float16 (tiles, h, w)
    shares: Array  # float32 (tiles, h, w), of each position in its canvas's mean; they add up to one

    def excess(self, usual: float) -> float:
        """Return the mean over the picture of what exceeds `usual`, as loud as it is; of several tiles the
        highest."""
        over = np.maximum(self.odd.astype(np.float32) - usual, 0) * self.loud
        return float((over * self.shares).sum((1, 2)).max())


@dataclass(frozen=True)
class Rule:
    """How both are joined: the head's logits, and what exceeds the usual."""

    temperature: Temperature
    usual: float


def weigh(
    samples: Sequence[Sample],
    graph: GraphBuilder,
    *,
    signs: Signs,
    taught: Linear,
    ending: Ending,
    context: FitContext,
) -> list[Found]:
    """Return what both say of samples, through the graph as it will stand in the bundle."""
    evidence = taught.evidence(graph, signs.maps)
    share = ending.share(graph, signs.content_xyxy)
    room = graph.add("ReduceSum", share, graph.ints(1, 2), attributes={"keepdims": 1})
    share = graph.add("Div", share, graph.add("Max", room, graph.floats(1e-6)))
    weighted = graph.add("Mul", evidence, graph.add("Unsqueeze", share, graph.ints(1)))
    logits = graph.add("ReduceSum", weighted, graph.ints(2, 3), attributes={"keepdims": 0})
    graph.output("logits", logits, TensorProto.FLOAT, ["N", len(taught.names)])
    grids = {"odd": signs.odd, "share": share} | ({"loud": signs.loud} if signs.loud else {})
    for name, value in grids.items():
        graph.output(name, value, TensorProto.FLOAT, ["N", *taught.where.grid_hw])
    session = GraphSession(graph.model(halves=taught.halves), threads=context.threads)
    found = []
    with context.progress.stage("Weighing both", len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], context.preprocess):
            tiles = [
                session.run(each.pixels, each.content_xyxy, names=("logits", *grids))
                for each in loaded.chunks(context.preprocess)
            ]
            values = {name: np.concatenate([tile[name] for tile in tiles]) for name in tiles[0]}
            oddest = by_photograph(values["logits"], np.zeros(len(values["logits"]), int))[0]
            loud = values.get("loud", np.ones_like(values["odd"]))
            found.append(
                Found(oddest, values["odd"].astype(np.float16), loud.astype(np.float16), values["share"])
            )
            stage.advance()
    return found


def rule_of(samples: Sequence[Sample], found: Sequence[Found], *, names: tuple[str, ...]) -> Rule:
    """Find the rule by what both said of samples that neither had seen."""
    good = [one.odd[one.shares > 0] for sample, one in zip(samples, found, strict=True) if sample.is_good]
    usual = float(np.quantile(np.concatenate(good).astype(np.float32), _USUAL_SHARE))
    temperature, _ = fit_temperature(
        np.stack([one.logits for one in found]),
        class_indices(samples, names),
        oddness=np.array([one.excess(usual) for one in found]),
    )
    return Rule(temperature, usual)


def finish_joined(
    graph: GraphBuilder,
    signs: Signs,
    *,
    taught: Linear,
    rule: Rule,
    ending: Ending,
) -> Any:
    """Turn levels and sign into all outputs of a classifier under the rule; return the model."""
    where, names = taught.where, taught.names
    odd = graph.add("Relu", graph.add("Sub", signs.odd, graph.floats(rule.usual)))
    if signs.loud:
        odd = graph.add("Mul", odd, signs.loud)
    odd = graph.add("Unsqueeze", odd, graph.ints(1))
    # scaled after they were stored, for it is the stored weights that the bias belongs to
    scale = graph.floats(rule.temperature.scale)
    parts = [graph.add("Mul", part, scale) for part in by_level(graph, taught.weights, where)]
    slopes = np.where(np.arange(len(names)) > 0, rule.temperature.slope, 0.0).astype(np.float32)
    parts.append(graph.constant(slopes[:, None, None, None], "slope"))
    # the sign is one more channel under the head, at the finest grid
    where = replace(where, level_grids=(*where.level_grids, where.grid_hw), channels=(*where.channels, 1))
    bias = rule.temperature.folded(taught.weights, taught.bias)[1]
    evidence = head(graph, [*signs.maps, odd], where, parts=parts, bias=bias)
    return finish_classes(graph, evidence, signs.content_xyxy, ending, names=names, halves=taught.halves)
