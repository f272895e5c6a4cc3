"""A classifier joined with a further sign of oddness, by one calibrated rule, in the bundle's graph.

The sign is a value at each position, never below 0: how far it is from what good parts show there. It is one
more channel under the head, so that the joined evidence still adds up to the answer. The log-odds of bad are
the head's, scaled, plus an offset, plus a slope times the sign's mean over the picture; the three numbers
come from samples that neither has seen (`fit_temperature`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.types import Array, Sample
from flawscope.methods.classifier import Temperature, by_photograph, finish_classes, head
from flawscope.methods.contract import FitContext
from flawscope.methods.features import Geometry, by_level, convolved
from flawscope.methods.graph import Ending, GraphBuilder
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession


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
    odd: str  # the further sign (N, h, w), on the head's grid
    content_xyxy: str


def weigh(
    samples: Sequence[Sample],
    graph: GraphBuilder,
    *,
    signs: Signs,
    taught: Linear,
    ending: Ending,
    context: FitContext,
) -> tuple[Array, Array]:
    """Return the head's raw logits (n, K) and the mean of the further sign (n,) of samples, through the graph
    as it will stand in the bundle. Of several tiles they are those of the tile with the highest log-odds, and
    of the tile with the highest sign."""
    evidence = taught.evidence(graph, signs.maps)
    share = ending.share(graph, signs.content_xyxy)
    room = graph.add("ReduceSum", share, graph.ints(1, 2), attributes={"keepdims": 1})
    share = graph.add("Div", share, graph.add("Max", room, graph.floats(1e-6)))
    weighted = graph.add("Mul", evidence, graph.add("Unsqueeze", share, graph.ints(1)))
    flat = {"keepdims": 0}
    logits = graph.add("ReduceSum", weighted, graph.ints(2, 3), attributes=flat)
    mean = graph.add("ReduceSum", graph.add("Mul", signs.odd, share), graph.ints(1, 2), attributes=flat)
    graph.output("logits", logits, TensorProto.FLOAT, ["N", len(taught.names)])
    graph.output("odd", mean, TensorProto.FLOAT, ["N"])
    session = GraphSession(graph.model(halves=taught.halves), threads=context.threads)
    rows, means = [], []
    with context.progress.stage("Weighing both", len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], context.preprocess):
            found = [
                session.run(each.pixels, each.content_xyxy, names=("logits", "odd"))
                for each in loaded.chunks(context.preprocess)
            ]
            tiles = np.concatenate([each["logits"] for each in found])
            rows.append(by_photograph(tiles, np.zeros(len(tiles), int))[0])
            means.append(max(float(each["odd"].max()) for each in found))
            stage.advance()
    return np.stack(rows), np.asarray(means)


def finish_joined(
    graph: GraphBuilder,
    signs: Signs,
    *,
    taught: Linear,
    rule: Temperature,
    ending: Ending,
) -> Any:
    """Turn levels and sign into all outputs of a classifier under the rule; return the model."""
    where, names = taught.where, taught.names
    odd = graph.add("Unsqueeze", signs.odd, graph.ints(1))
    # scaled after they were stored, for it is the stored weights that the bias belongs to
    scale = graph.floats(rule.scale)
    parts = [graph.add("Mul", part, scale) for part in by_level(graph, taught.weights, where)]
    slopes = np.where(np.arange(len(names)) > 0, rule.slope, 0.0).astype(np.float32)
    parts.append(graph.constant(slopes[:, None, None, None], "slope"))
    # the sign is one more channel under the head, at the finest grid
    where = replace(where, level_grids=(*where.level_grids, where.grid_hw), channels=(*where.channels, 1))
    bias = rule.folded(taught.weights, taught.bias)[1]
    evidence = head(graph, [*signs.maps, odd], where, parts=parts, bias=bias)
    return finish_classes(graph, evidence, signs.content_xyxy, ending, names=names, halves=taught.halves)
