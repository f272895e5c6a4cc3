"""Deep feature modelling: what principal components of good features cannot rebuild is the anomaly.

Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial Detection, 2019,
and its feature-reconstruction error (Ndiour et al. 2020). Where we depart: one subspace for all positions of
the grid, so that the error is a map; each place's error is divided by what good parts usually show there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.core.types import Array, Sample
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import (
    PLACE_IMAGES,
    FeatureConfig,
    Geometry,
    Moments,
    evenly,
    give_projected,
    level_maps,
    overall_moments,
    principal,
    projected,
)
from flawscope.methods.graph import GraphBuilder, canvas_input, finish, over_picture
from flawscope.methods.places import Places, usual


@dataclass(frozen=True)
class DfmConfig(FeatureConfig):
    """Settings of dfm."""

    kept: float = setting(
        0.98,
        unit="of the variance",
        low=0.1,
        high=0.9999,
        help="More explains more of what good parts show; too much explains flaws too.",
        search=(0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
    )
    by_place: float = setting(
        1.0,
        low=0,
        high=1,
        help="1 judges each place by what is usual there, 0 judges all places alike.",
        search=Span(0, 1),
    )


@register(
    "dfm",
    kind=Kind.ONE_CLASS,
    summary="Rebuilds features from a few directions; sees what they cannot explain. Smallest and fastest.",
    paper="Ahuja et al., 2019",
)
class Dfm:
    """A subspace of good features."""

    Config = DfmConfig

    def __init__(self, config: DfmConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Find the subspace and measure what is usual at each place; return the graph."""
        config = self._config
        store = context.features(config.embedding)
        moments = overall_moments(data.fit, store, context.progress)
        matrix, offset = complement(moments, kept=config.kept)
        places = Places(store.geometry.grid_hw)
        few: tuple[Sample, ...] = tuple(data.fit[i] for i in evenly(len(data.fit), most=PLACE_IMAGES))
        with context.progress.stage("Measuring places", len(few)) as stage:
            last = -1
            for index, vectors, shown in store.stream(few):
                rest = vectors.astype(np.float32) @ matrix + offset
                places.add(np.linalg.norm(rest, axis=1), shown)
                stage.advance(int(index != last))
                last = index
        usually = usual(places, strength=config.by_place)
        return self._graph(context, store.geometry, (matrix, offset), usually)

    def _graph(
        self, context: FitContext, where: Geometry, taught: tuple[Array, Array], usually: Array
    ) -> Any:
        matrix, offset = taught
        graph = GraphBuilder()
        image, content = canvas_input(graph, context.preprocess, context.backbone)
        maps = level_maps(graph, image, context.backbone, self._config.embedding)
        rest = projected(graph, maps, where, matrix=matrix, offset=offset)  # (N, k, P)
        give_projected(graph, rest, matrix.shape[1], where)
        distance = graph.add("ReduceL2", rest, graph.ints(1), attributes={"keepdims": 0})
        distance = graph.add("Reshape", distance, graph.ints(0, *where.grid_hw))
        distance = graph.add("Div", distance, over_picture(graph, usually, content, where.size_hw))
        finish(graph, distance, content, self._config.ending(context.preprocess, where.grid_hw))
        return graph.model()


def complement(moments: Moments, *, kept: float) -> tuple[Array, Array]:
    """Return matrix (C, k) and offset (k,) of the directions outside the subspace that holds the share `kept`
    of the variance, at least one. The length of `x @ matrix + offset` is the reconstruction error of x: the
    directions are orthonormal."""
    matrix, offset, variances = principal(moments, 0)
    shares = np.cumsum(variances) / variances.sum()
    first = min(int(np.searchsorted(shares, kept)) + 1, len(variances) - 1)
    return matrix[:, first:], offset[first:]
