"""PaDiM: a Gaussian at each position of the canvas; the Mahalanobis distance to it is the anomaly.

Defard et al., PaDiM, ICPR 2021. Where we depart: vectors are reduced to principal components instead of
channels drawn by lot (on our tiles and chips no worse than a random orthogonal projection, and better with
few images); means and covariances come from running sums, so that memory does not grow with the number of
images; each position also learns from its neighbours and is drawn towards a multiple of the identity, so
that a dozen images suffice; the distance is per component, so that about 1 is usual whatever their number.
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
    FeatureStore,
    Geometry,
    Moments,
    give_projected,
    level_maps,
    overall_moments,
    principal,
    projected,
)
from flawscope.methods.graph import GraphBuilder, canvas_input, finish
from flawscope.methods.teaching import (
    Learnt,
    Lost,
    State,
    honest_losses,
    losses,
    outside,
    photographs,
    refuse_strangers,
    upper,
    whole,
)

_BLOCK = 16  # canvases whose outer products are taken by one matrix product
_RIDGE = 1e-3  # of the usual variance, added to each: what half precision can tell apart


@dataclass(frozen=True)
class PadimConfig(FeatureConfig):
    """Settings of padim."""

    components: int = setting(
        64,
        unit="numbers a position",
        low=1,
        high=256,
        help="More sees finer differences, needs more good parts, and memory and size grow with its square.",
        search=Span(16, 128, ratio=True),
    )
    neighbours: float = setting(
        0.5,
        unit="positions",
        low=0,
        high=4,
        help="Deviation of the Gaussian weight with which positions learn from those around: wider forgives "
        "parts that lie a little elsewhere, 0 leaves each position to itself.",
        search=Span(0, 2),
    )
    shrinkage: float = setting(
        10.0,
        unit="images",
        low=0.1,
        high=1000,
        help="As many images' worth of trust in 'all directions vary alike': more is safer with few parts.",
        search=Span(1, 100, ratio=True),
    )


@register(
    "padim",
    kind=Kind.ONE_CLASS,
    summary="Learns what each place looks like and how it varies. For parts that always lie alike.",
    paper="Defard et al., ICPR 2021",
)
class Padim:
    """A Gaussian at each position."""

    Config = PadimConfig

    def __init__(self, config: PadimConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Estimate a Gaussian at each position; return the graph."""
        _, projection, sums = self._measured(data, context)
        return self._of_sums(projection, sums, context)

    def learn(self, data: FitData, context: FitContext) -> Learnt:
        """Do as `fit` does, and keep the sums to go on from."""
        store = context.features(self._config.embedding)
        moments, projection, sums = self._measured(data, context)
        mean = moments.mean.astype(np.float32)

        def lost_by(some: Moments) -> Lost:
            matrix, _, _ = principal(some, self._config.components)
            return _outside(matrix, some.mean.astype(np.float32))

        lost = honest_losses(data.fit, store, lost_by)
        known = {"matrix": projection[0], "offset": projection[1], "mean": mean, "lost": lost}
        state = known | sums.state() | {"photographs": np.array([len(data.fit)], np.int64)}
        return Learnt(self._of_sums(projection, sums, context), state)

    def grow(self, state: State, data: FitData, context: FitContext) -> Learnt:
        """Add new good parts to the sums; the projection stays."""
        store = context.features(self._config.embedding)
        projection = (state["matrix"], state["offset"])
        found = losses(data.fit, store, _outside(state["matrix"], state["mean"]))
        refuse_strangers(state["lost"], found, data.fit)
        sums = PositionSums.of_state(state, store.geometry.grid_hw)
        sums.join(_by_position(data.fit, store, context, projection))
        count = np.array([photographs(state) + len(data.fit)], np.int64)
        later = {**state, **sums.state(), "photographs": count}
        return Learnt(self._of_sums(projection, sums, context), later)

    def _measured(
        self, data: FitData, context: FitContext
    ) -> tuple[Moments, tuple[Array, Array], PositionSums]:
        store = context.features(self._config.embedding)
        moments = overall_moments(data.fit, store, context.progress)
        matrix, offset, _ = principal(moments, self._config.components)
        return moments, (matrix, offset), _by_position(data.fit, store, context, (matrix, offset))

    def _of_sums(self, projection: tuple[Array, Array], sums: PositionSums, context: FitContext) -> Any:
        config, where = self._config, context.features(self._config.embedding).geometry
        mean, whitening = gaussians(sums.spread(config.neighbours), shrinkage=config.shrinkage)
        # per component, so that the usual distance is about 1 whatever their number
        whitening = (whitening / np.sqrt(projection[0].shape[1])).astype(np.float16).astype(np.float32)
        return self._graph(context, where, projection, (mean, whitening))

    def _graph(
        self,
        context: FitContext,
        where: Geometry,
        projection: tuple[Array, Array],
        taught: tuple[Array, Array],
    ) -> Any:
        (matrix, offset), (mean, whitening) = projection, taught
        graph = GraphBuilder()
        image, content = canvas_input(graph, context.preprocess, context.backbone)
        maps = level_maps(graph, image, context.backbone, self._config.embedding)
        query = projected(graph, maps, where, matrix=matrix, offset=offset)  # (N, k, P)
        give_projected(graph, query, matrix.shape[1], where)
        distance = mahalanobis(graph, query, mean=mean, whitening=whitening)  # (N, P)
        distance = graph.add("Reshape", distance, graph.ints(0, *where.grid_hw))
        finish(graph, distance, content, self._config.ending(context.preprocess, where.grid_hw))
        return graph.model()


class PositionSums:
    """Running count, sum and outer products of vectors at each position, in double precision."""

    def __init__(self, grid_hw: tuple[int, int], components: int) -> None:
        positions = grid_hw[0] * grid_hw[1]
        self.grid_hw = grid_hw
        self.count = np.zeros(positions)
        self.total = np.zeros((positions, components))
        self.products = np.zeros((positions, components, components))

    def add(self, vectors: Array, shown: Array) -> None:
        """Add canvases: vectors (n, positions, k), of which those count where `shown` bool (n, positions)."""
        values = np.where(shown[:, :, None], vectors, 0).astype(np.float64)
        self.count += shown.sum(0)
        self.total += values.sum(0)
        self.products += values.transpose(1, 2, 0) @ values.transpose(1, 0, 2)

    def join(self, other: PositionSums) -> None:
        """Add another's sums."""
        self.count += other.count
        self.total += other.total
        self.products += other.products

    def state(self) -> dict[str, Array]:
        """Return the sums to be kept: of the products the upper half, in single precision."""
        return {
            "count": self.count,
            "total": self.total,
            "products": upper(self.products).astype(np.float32),
        }

    @classmethod
    def of_state(cls, state: State, grid_hw: tuple[int, int]) -> PositionSums:
        """Return the sums that a state holds. Raises DataError where they are of another grid."""
        positions, components = state["total"].shape
        if positions != grid_hw[0] * grid_hw[1]:
            raise DataError(
                "The teaching state does not fit",
                expected=f"{grid_hw[0] * grid_hw[1]} positions",
                found=str(positions),
            )
        sums = cls(grid_hw, 0)
        sums.count, sums.total = state["count"].copy(), state["total"].copy()
        sums.products = whole(state["products"], components)
        return sums

    def spread(self, sigma: float) -> PositionSums:
        """Return sums in which each position also has its neighbours', weighted by a Gaussian of `sigma`
        positions that is 1 in the middle; sums add up, so this is what adding those vectors would give."""
        if sigma == 0:
            return self
        result = PositionSums(self.grid_hw, 0)
        result.count = self._weighted(self.count, sigma)
        result.total = self._weighted(self.total, sigma)
        result.products = self._weighted(self.products, sigma)
        return result

    def _weighted(self, values: Array, sigma: float) -> Array:
        rows, columns = self.grid_hw
        down, across = _neighbourhood(rows, sigma), _neighbourhood(columns, sigma)
        laid = (down @ values.reshape(rows, -1)).reshape(rows, columns, -1)
        return np.asarray((across @ laid).reshape(values.shape))


def gaussians(sums: PositionSums, *, shrinkage: float) -> tuple[Array, Array]:
    """Return each position's mean float32 (positions, k) and whitening matrix float32 (positions, k, k).

    The length of `whitening @ (x - mean)` is the Mahalanobis distance. A position's covariance from n images
    weighs n, the identity times the mean variance within positions weighs `shrinkage`; where nothing was
    seen, mean and variance are those of all positions.
    """
    components = sums.total.shape[1]
    all_count = max(float(sums.count.sum()), 1e-12)
    all_mean = sums.total.sum(0) / all_count
    count = sums.count[:, None]
    seen = count > 1e-6
    mean = np.where(seen, sums.total / np.maximum(count, 1e-6), all_mean)
    scatter = sums.products - count[:, :, None] * mean[:, :, None] * mean[:, None, :]
    variance = max(float(np.trace(scatter, axis1=1, axis2=2).sum()) / (all_count * components), 1e-12)
    identity = np.eye(components) * variance
    weight = np.where(seen, count, 0)[:, :, None]
    covariance = (weight / (weight + shrinkage)) * (scatter / np.maximum(weight, 1e-6))
    covariance += (shrinkage / (weight + shrinkage) + _RIDGE) * identity
    lower = np.linalg.cholesky(covariance)
    whitening = np.linalg.solve(lower, np.broadcast_to(np.eye(components), lower.shape))
    return mean.astype(np.float32), np.tril(whitening).astype(np.float32)


def mahalanobis(graph: GraphBuilder, query: str, *, mean: Array, whitening: Array) -> str:
    """Append the length of `whitening @ (query - mean)` at each position: (N, k, P) to (N, P)."""
    vectors = graph.add("Transpose", query, attributes={"perm": [2, 0, 1]})  # (P, N, k)
    vectors = graph.add("Sub", vectors, graph.constant(mean[:, None, :], "mean"))
    across = graph.constant(whitening.transpose(0, 2, 1), "whitening")
    white = graph.add("MatMul", vectors, across)  # one product for each position
    lengths = graph.add("ReduceL2", white, graph.ints(2), attributes={"keepdims": 0})  # (P, N)
    return graph.add("Transpose", lengths, attributes={"perm": [1, 0]})


def _by_position(
    samples: tuple[Sample, ...], store: FeatureStore, context: FitContext, projection: tuple[Array, Array]
) -> PositionSums:
    """Return the sums of the projected vectors at each position, a block of canvases at a time."""
    matrix, offset = projection
    sums = PositionSums(store.geometry.grid_hw, matrix.shape[1])
    block: list[tuple[Array, Array]] = []
    with context.progress.stage("Measuring positions", len(samples)) as stage:
        last = -1
        for index, vectors, shown in store.stream(samples):
            block.append((vectors.astype(np.float32) @ matrix + offset, shown))
            if len(block) == _BLOCK:
                sums.add(np.stack([v for v, _ in block]), np.stack([s for _, s in block]))
                block.clear()
            stage.advance(int(index != last))
            last = index
    if block:
        sums.add(np.stack([v for v, _ in block]), np.stack([s for _, s in block]))
    return sums


def _outside(matrix: Array, mean: Array) -> Lost:
    return outside(mean, np.linalg.qr(matrix)[0], np.ones(len(mean), np.float32))


def _neighbourhood(length: int, sigma: float) -> Array:
    gaps = np.arange(length)[:, None] - np.arange(length)[None]
    return np.asarray(np.exp(-0.5 * (gaps / sigma) ** 2))
