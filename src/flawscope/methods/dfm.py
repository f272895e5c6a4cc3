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
    FeatureStore,
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
from flawscope.methods.teaching import (
    Learnt,
    Lost,
    State,
    honest_losses,
    losses,
    moments_from,
    moments_state,
    photographs,
    place_share,
    places_from,
    places_state,
    refuse_strangers,
)


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
    keeps_features = False  # with the subspace, what a bundle's `features` are changes as well

    def __init__(self, config: DfmConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Find the subspace and measure what is usual at each place; return the graph."""
        _, taught, places = self._measured(data.fit, context)
        return self._of(taught, places, context)

    def learn(self, data: FitData, context: FitContext) -> Learnt:
        """Do as `fit` does, and keep the sums to go on from."""
        moments, taught, places = self._measured(data.fit, context)
        store, kept = context.features(self._config.embedding), self._config.kept
        lost = honest_losses(data.fit, store, lambda some: _rebuilt(complement(some, kept=kept)))
        count = {"photographs": np.array([len(data.fit)], np.int64), "lost": lost}
        state = moments_state(moments) | places_state(places) | count
        return Learnt(self._of(taught, places, context), state)

    def grow(self, state: State, data: FitData, context: FitContext) -> Learnt:
        """Add new good parts to the moments and find the subspace anew, as a refit would. What was usual at
        each place was measured outside the old subspace: it is scaled by what the old parts' moments say of
        the new one."""
        store = context.features(self._config.embedding)
        moments = moments_from(state)
        before = complement(moments, kept=self._config.kept)
        old_error = error_of(moments, before)
        found = losses(data.fit, store, _rebuilt(before))
        refuse_strangers(state["lost"], found, data.fit)
        grown = moments_from(state)
        overall_moments(data.fit, store, context.progress, into=grown)
        taught = complement(grown, kept=self._config.kept)
        known = photographs(state)
        new = place_share(known, len(data.fit))
        scale = float(np.sqrt(error_of(moments, taught) / max(old_error, 1e-24)))
        room = max(PLACE_IMAGES - new, 1)
        places = places_from(state, grid_hw=store.geometry.grid_hw, room=room, scale=scale)
        few = tuple(data.fit[i] for i in evenly(len(data.fit), most=new))
        _measure(places, few, taught, store, context)
        count = {"photographs": np.array([known + len(data.fit)], np.int64), "lost": state["lost"]}
        later = moments_state(grown) | places_state(places) | count
        return Learnt(self._of(taught, places, context), later)

    def _measured(
        self, samples: tuple[Sample, ...], context: FitContext
    ) -> tuple[Moments, tuple[Array, Array], Places]:
        store = context.features(self._config.embedding)
        moments = overall_moments(samples, store, context.progress)
        taught = complement(moments, kept=self._config.kept)
        places = Places(store.geometry.grid_hw)
        few = tuple(samples[i] for i in evenly(len(samples), most=PLACE_IMAGES))
        _measure(places, few, taught, store, context)
        return moments, taught, places

    def _of(self, taught: tuple[Array, Array], places: Places, context: FitContext) -> Any:
        where = context.features(self._config.embedding).geometry
        return self._graph(context, where, taught, usual(places, strength=self._config.by_place))

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


def error_of(moments: Moments, taught: tuple[Array, Array]) -> float:
    """Return the mean squared reconstruction error of the vectors that moments are of."""
    matrix, offset = (array.astype(np.float64) for array in taught)
    centre = moments.mean @ matrix + offset
    return float(np.einsum("ij,ik,kj->", matrix, moments.covariance, matrix, optimize=True) + centre @ centre)


def _rebuilt(taught: tuple[Array, Array]) -> Lost:
    """Return the squared reconstruction error of vectors."""
    matrix, offset = taught

    def lost(vectors: Array) -> Array:
        rest = vectors @ matrix + offset
        return np.asarray(np.einsum("ij,ij->i", rest, rest))

    return lost


def _measure(
    places: Places,
    samples: tuple[Sample, ...],
    taught: tuple[Array, Array],
    store: FeatureStore,
    context: FitContext,
) -> None:
    """Add each sample's reconstruction errors."""
    matrix, offset = taught
    with context.progress.stage("Measuring places", len(samples)) as stage:
        last = -1
        for index, vectors, shown in store.stream(samples):
            rest = vectors.astype(np.float32) @ matrix + offset
            places.add(np.linalg.norm(rest, axis=1), shown)
            stage.advance(int(index != last))
            last = index
