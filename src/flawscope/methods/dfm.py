"""Deep feature modelling: what principal components of good features cannot rebuild is the anomaly.

Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial Detection, 2019,
and its feature-reconstruction error (Ndiour et al. 2020). Where we depart: one subspace for all positions of
the grid, so that the error is a map; each place's error is divided by what good parts usually show there.
What is usual follows from sums that do not depend on the subspace, so that they can grow when it changes: how
far a place's mean lies outside it, and how each channel varies there, by the share of that channel's variance
that lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.config import Span, setting
from flawscope.core.errors import DataError
from flawscope.core.registry import Kind, register
from flawscope.core.types import Array, Sample
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import (
    FeatureConfig,
    Geometry,
    Moments,
    give_projected,
    level_maps,
    principal,
    projected,
)
from flawscope.methods.graph import GraphBuilder, canvas_input, finish, over_picture
from flawscope.methods.places import drawn, over_picture_grid
from flawscope.methods.teaching import (
    Learnt,
    Lost,
    State,
    honest_losses,
    losses,
    moments_from,
    moments_state,
    photographs,
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
        """Find the subspace and what is usual at each place; return the graph."""
        return self._of(self._measured(data.fit, context), context)

    def learn(self, data: FitData, context: FitContext) -> Learnt:
        """Do as `fit` does, and keep the sums to go on from."""
        store, kept = context.features(self._config.embedding), self._config.kept
        sums = self._measured(data.fit, context)
        lost = honest_losses(data.fit, store, lambda some: _rebuilt(complement(some, kept=kept)))
        return Learnt(self._of(sums, context), sums.state(lost, photographs=len(data.fit)))

    def grow(self, state: State, data: FitData, context: FitContext) -> Learnt:
        """Add new good parts to the sums and find the subspace anew; what comes out is what a refit gives."""
        store = context.features(self._config.embedding)
        sums = Sums.of_state(state, store.geometry.grid_hw)
        before = complement(sums.moments, kept=self._config.kept)
        refuse_strangers(state["lost"], losses(data.fit, store, _rebuilt(before)), data.fit)
        grown = self._measured(data.fit, context, into=sums)
        count = photographs(state) + len(data.fit)
        return Learnt(self._of(grown, context), grown.state(state["lost"], photographs=count))

    def _measured(
        self, samples: tuple[Sample, ...], context: FitContext, *, into: Sums | None = None
    ) -> Sums:
        store = context.features(self._config.embedding)
        sums = into or Sums(Moments(store.channels), PlaceSums(store.geometry.grid_hw, store.channels))
        with context.progress.stage("Teaching", len(samples)) as stage:
            last = -1
            for index, vectors, shown in store.stream(samples):
                sums.moments.add(vectors[shown])
                sums.places.add(vectors, shown)
                stage.advance(int(index != last))
                last = index
        if not sums.moments.count:
            raise DataError("No position of a good part was seen", remedy="Check the region of interest")
        return sums

    def _of(self, sums: Sums, context: FitContext) -> Any:
        where = context.features(self._config.embedding).geometry
        taught = complement(sums.moments, kept=self._config.kept)
        energy = sums.places.energy(sums.moments, taught[0])
        return self._graph(
            context, where, taught, usual_error(energy, sums.places.count, strength=self._config.by_place)
        )

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


@dataclass(frozen=True, eq=False)
class Sums:
    """What is kept of good parts: sums that further parts are added to, whatever the subspace will be."""

    moments: Moments
    places: PlaceSums

    def state(self, lost: Array, *, photographs: int) -> State:
        """Return what is needed to go on from here."""
        return {
            **moments_state(self.moments),
            **self.places.state(),
            "lost": lost,
            "photographs": np.array([photographs], np.int64),
        }

    @classmethod
    def of_state(cls, state: State, grid_hw: tuple[int, int]) -> Sums:
        """Return the sums that a state holds. Raises DataError where it is older, or of another grid."""
        if "place_total" not in state:
            raise DataError(
                "The teaching state is of an older flawscope, whose dfm could not learn on exactly",
                remedy="Train anew; the bundle goes on inspecting as before",
                code="old_teaching_state",
            )
        moments = moments_from(state)
        places = PlaceSums(grid_hw, len(moments.sum))
        if state["place_total"].shape != places.total.shape:
            raise DataError(
                "The teaching state does not fit",
                expected=str(places.total.shape),
                found=str(state["place_total"].shape),
            )
        places.count = state["place_count"].astype(np.float64)
        places.total = state["place_total"].astype(np.float64)
        places.squares = state["place_squares"].astype(np.float64)
        return cls(moments, places)


class PlaceSums:
    """Running count, sum and squares of each channel at each place of the picture, in double precision."""

    def __init__(self, grid_hw: tuple[int, int], channels: int) -> None:
        self.count = np.zeros(grid_hw)
        self.total = np.zeros((*grid_hw, channels))
        self.squares = np.zeros((*grid_hw, channels))

    def add(self, vectors: Array, shown: Array) -> None:
        """Add one canvas: vectors (positions, C) and which positions show the picture, bool (positions,)."""
        values = vectors.astype(np.float32)
        laid = over_picture_grid(values, shown, self.count.shape)
        squares = over_picture_grid(values**2, shown, self.count.shape)
        if laid is not None and squares is not None:
            self.count += 1
            self.total += laid
            self.squares += squares

    def state(self) -> dict[str, Array]:
        """Return the sums to be kept, in single precision."""
        return {
            "place_count": self.count,
            "place_total": self.total.astype(np.float32),
            "place_squares": self.squares.astype(np.float32),
        }

    def energy(self, moments: Moments, outside: Array) -> Array:
        """Return the mean squared error that is usual at each place, float64 (h, w): the square of how far
        its mean lies outside the subspace, and its variance in each channel times the share of that channel's
        variance within places that lies outside, one at most. `outside` (C, k) has the orthonormal directions
        outside."""
        channels = len(moments.sum)
        directions = outside.astype(np.float64)
        count = self.count.reshape(-1, 1)
        mean = self.total.reshape(-1, channels) / np.maximum(count, 1)
        variance = np.maximum(self.squares.reshape(-1, channels) / np.maximum(count, 1) - mean**2, 0)
        off = np.where(count > 0, mean - moments.mean, 0)
        between = off.T @ (off * count) / max(float(count.sum()), 1)
        within = moments.covariance - between
        rest = directions @ (directions.T @ within @ directions)
        of_channel = np.einsum("ck,ck->c", rest, directions) / np.maximum(np.diag(within), 1e-12)
        spread = variance @ np.clip(of_channel, 0, 1)
        return np.asarray(((off @ directions) ** 2).sum(1) + spread).reshape(self.count.shape)


def usual_error(energy: Array, count: Array, *, strength: float) -> Array:
    """Return the error that is usual at each place, float32 (h, w), of squared errors of `count` images each,
    drawn towards neighbours and towards the whole canvas; `strength` 0 gives the whole canvas's figure
    everywhere. Never below a hundredth of that."""
    weight = count.sum()
    overall = float((energy * count).sum() / max(weight, 1))
    if overall <= 0:
        return np.ones(count.shape, np.float32)
    here = np.sqrt(drawn(np.where(count > 0, energy, overall), count, overall))
    everywhere = np.sqrt(overall)
    mixed = strength * here + (1 - strength) * everywhere
    return np.asarray(np.maximum(mixed, 0.01 * everywhere), np.float32)


def complement(moments: Moments, *, kept: float) -> tuple[Array, Array]:
    """Return matrix (C, k) and offset (k,) of the directions outside the subspace that holds the share `kept`
    of the variance, at least one. The length of `x @ matrix + offset` is the reconstruction error of x: the
    directions are orthonormal."""
    matrix, offset, variances = principal(moments, 0)
    shares = np.cumsum(variances) / variances.sum()
    first = min(int(np.searchsorted(shares, kept)) + 1, len(variances) - 1)
    return matrix[:, first:], offset[first:]


def _rebuilt(taught: tuple[Array, Array]) -> Lost:
    """Return the squared reconstruction error of vectors."""
    matrix, offset = taught

    def lost(vectors: Array) -> Array:
        rest = vectors @ matrix + offset
        return np.asarray(np.einsum("ij,ij->i", rest, rest))

    return lost
