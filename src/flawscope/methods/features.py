"""Features of canvases: one embedding per position, made by the same graph pieces that the bundle uses.

Each level of the backbone is scaled to unit length (so that none outweighs the other), averaged over a
neighbourhood (PatchCore, Roth et al. 2022, section 3.1), brought to the finest level's grid and laid side by
side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.config import setting
from flawscope.core.errors import ConfigError, DataError
from flawscope.core.progress import Progress
from flawscope.core.types import Array, Preprocess, Sample
from flawscope.imaging.resample import resize_matrix
from flawscope.methods.graph import GraphBuilder, canvas_input, shown_share
from flawscope.methods.settings import MapConfig, NeighbourhoodConfig, judged_on_grid
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.explain.contract import FEATURES
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

CACHE_BYTES = 1 << 30  # features kept between folds; beyond it they are computed again
PLACE_IMAGES = 100  # images that tell what is usual at each place


@dataclass(frozen=True)
class Embedding:
    """How a backbone's levels become one vector per position."""

    unit_levels: bool = True
    neighbourhood: int = 3  # positions of the finest level averaged along each side, odd


@dataclass(frozen=True)
class FeatureConfig(NeighbourhoodConfig, MapConfig):
    """Settings that every method on a frozen backbone shares; a method's own configuration extends it."""

    unit_levels: bool = setting(
        True,
        help="Compares the kind of a feature, not its strength: better with the bundled backbone, worse with "
        "ImageNet's.",
        search=(True, False),
    )

    @property
    def embedding(self) -> Embedding:
        """How features are made under these settings."""
        return Embedding(self.unit_levels, self.neighbourhood)


@dataclass(frozen=True)
class Geometry:
    """The grid of positions over a canvas, and which channels come from which level."""

    size_hw: tuple[int, int]
    grid_hw: tuple[int, int]
    level_grids: tuple[tuple[int, int], ...]
    channels: tuple[int, ...]  # per level, in the order of the vector

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, rows and columns of each level."""
        return tuple((count, *grid) for count, grid in zip(self.channels, self.level_grids, strict=True))

    @property
    def positions(self) -> int:
        """How many vectors a canvas has."""
        return self.grid_hw[0] * self.grid_hw[1]


def geometry(backbone: Backbone, size_hw: tuple[int, int]) -> Geometry:
    """Return the grids of a canvas of this size. Raises ConfigError for a side no multiple of the coarsest
    stride."""
    coarsest = max(level.stride for level in backbone.card.levels)
    if size_hw[0] % coarsest or size_hw[1] % coarsest:
        raise ConfigError(
            f"A canvas of {size_hw[1]}x{size_hw[0]} does not suit {backbone.card.name}",
            expected=f"sides that are multiples of {coarsest}",
        )
    grids = tuple((size_hw[0] // level.stride, size_hw[1] // level.stride) for level in backbone.card.levels)
    return Geometry(size_hw, grids[0], grids, tuple(level.channels for level in backbone.card.levels))


def span(neighbourhood: int, finest: int, stride: int) -> int:
    """Return how many positions of a level are averaged along each side, odd: those that show as much of the
    picture as `neighbourhood` positions of the finest level do, but no fewer than three where that has
    three."""
    return max(min(neighbourhood, 3), 2 * (neighbourhood * finest // stride // 2) + 1)


def level_maps(graph: GraphBuilder, image: str, backbone: Backbone, embedding: Embedding) -> list[str]:
    """Append the backbone and return each level (N, C, h, w), scaled and averaged, on its own grid."""
    maps = []
    strides = [level.stride for level in backbone.card.levels]
    for level, stride in zip(graph.include(backbone.model, inputs=[image]), strides, strict=True):
        value, side = level, span(embedding.neighbourhood, strides[0], stride)
        if embedding.unit_levels:
            value = graph.add("LpNormalization", value, attributes={"axis": 1, "p": 2})
        if side > 1:
            around = {"kernel_shape": [side, side], "pads": [side // 2] * 4, "count_include_pad": 0}
            value = graph.add("AveragePool", value, attributes=around)
        maps.append(value)
    return maps


def to_grid(graph: GraphBuilder, value: str, *, source_hw: tuple[int, int], grid_hw: tuple[int, int]) -> str:
    """Interpolate a map (N, C, h, w) linearly onto a finer grid, as two small matrix products."""
    if source_hw == grid_hw:
        return value
    value = graph.add("MatMul", value, graph.constant(resize_matrix(source_hw[1], grid_hw[1]).T, "across"))
    return graph.add("MatMul", graph.constant(resize_matrix(source_hw[0], grid_hw[0]), "down"), value)


def projected(
    graph: GraphBuilder, maps: Sequence[str], where: Geometry, *, matrix: Array, offset: Array
) -> str:
    """Append `features @ matrix + offset` per position and return it as (N, k, positions).

    Averaging and interpolation are linear, so each level is projected on its own grid first, where it is
    cheap. `matrix` is float32 (C, k) over all levels' channels, `offset` float32 (k,).
    """
    weights = by_level(graph, matrix, where)
    total = convolved(
        graph, maps, where, weights=weights, offset=graph.constant(offset.astype(np.float32), "offset")
    )
    return graph.add("Reshape", total, graph.ints(0, matrix.shape[1], where.positions))


def by_level(graph: GraphBuilder, matrix: Array, where: Geometry) -> list[str]:
    """Enter a matrix (C, k) over all levels' channels as one constant (k, C of the level, 1, 1) a level."""
    ends = np.cumsum(where.channels)
    parts = [matrix[end - own : end] for end, own in zip(ends, where.channels, strict=True)]
    return [graph.constant(part.T[:, :, None, None].astype(np.float32), "projection") for part in parts]


def convolved(
    graph: GraphBuilder, maps: Sequence[str], where: Geometry, *, weights: Sequence[str], offset: str
) -> str:
    """Append the sum over levels of 1x1 convolutions with `weights`, `offset` (k,) added once, on the finest
    grid: (N, k, h, w)."""
    total = ""
    for value, grid_hw, weight in zip(maps, where.level_grids, weights, strict=True):
        inputs = [value, weight] if total else [value, weight, offset]
        part = to_grid(graph, graph.add("Conv", *inputs), source_hw=grid_hw, grid_hw=where.grid_hw)
        total = graph.add("Add", total, part) if total else part
    return total


def give_levels(graph: GraphBuilder, maps: Sequence[str], shapes: Sequence[tuple[int, int, int]]) -> None:
    """Give levels (N, C, h, w) out as `features`, `features_1` and so on, finest first, each on its own grid:
    they stand in the graph anyway, so that they cost nothing until they are asked for."""
    for number, (value, shape) in enumerate(zip(maps, shapes, strict=True)):
        name = f"{FEATURES}_{number}" if number else FEATURES
        graph.output(name, value, TensorProto.FLOAT, ["N", *shape])


def give_projected(graph: GraphBuilder, flat: str, channels: int, where: Geometry) -> None:
    """Give what a method compares, (N, k, positions), out as `features`."""
    laid = graph.add("Reshape", flat, graph.ints(0, channels, *where.grid_hw))
    give_levels(graph, [laid], [(channels, *where.grid_hw)])


class FeatureStore:
    """Features of samples, computed once where memory allows, in float16 so that every pass sees the same
    values."""

    def __init__(
        self, backbone: Backbone, preprocess: Preprocess, embedding: Embedding, *, threads: int = 0
    ) -> None:
        self.geometry = geometry(backbone, preprocess.size_hw)
        self._preprocess = preprocess
        self._session = GraphSession(_feature_graph(backbone, preprocess, embedding), threads=threads)
        self._kept: dict[str, tuple[Array, Array]] = {}
        self._bytes = 0

    @property
    def channels(self) -> int:
        """The length of a vector."""
        return sum(self.geometry.channels)

    def stream(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Array, Array]]:
        """Yield, for each canvas of each sample in order, the sample's index, its vectors float16
        (positions, C) and which positions show a judged part of the picture, bool (positions,). Raises
        ImageError for an image that cannot be read."""
        absent = [i for i, sample in enumerate(samples) if sample.path not in self._kept]
        fresh = read_ahead([samples[i].path for i in absent], self._preprocess)
        for index, sample in enumerate(samples):
            if sample.path in self._kept:
                vectors, shown = self._kept[sample.path]
            else:
                loaded = next(fresh)
                vectors, shown = self._compute(loaded.chunks(self._preprocess))
                if self._bytes + vectors.nbytes <= CACHE_BYTES:
                    self._kept[sample.path] = (vectors, shown)
                    self._bytes += vectors.nbytes
            for canvas in range(len(vectors)):
                yield index, vectors[canvas], shown[canvas]

    def _compute(self, chunks: Iterator[Any]) -> tuple[Array, Array]:
        vectors, shown = [], []
        for canvases in chunks:
            for i in range(len(canvases)):
                outputs = self._session.run(canvases.pixels[i : i + 1], canvases.content_xyxy[i : i + 1])
                vectors.append(outputs["features"][0].astype(np.float16))
                shown.append(outputs["share"][0].reshape(-1) >= 0.5)
        return np.stack(vectors), np.stack(shown)


def _feature_graph(backbone: Backbone, preprocess: Preprocess, embedding: Embedding) -> Any:
    """Return a graph with the outputs `features` (N, positions, C) and `share` (N, h, w)."""
    where = geometry(backbone, preprocess.size_hw)
    judged = judged_on_grid(preprocess, where.grid_hw)
    graph = GraphBuilder()
    image, content = canvas_input(graph, preprocess, backbone)
    maps = level_maps(graph, image, backbone, embedding)
    laid = [
        to_grid(graph, value, source_hw=grid_hw, grid_hw=where.grid_hw)
        for value, grid_hw in zip(maps, where.level_grids, strict=True)
    ]
    joined = graph.add("Concat", *laid, attributes={"axis": 1})
    flat = graph.add("Reshape", joined, graph.ints(0, sum(where.channels), where.positions))
    vectors = graph.add("Transpose", flat, attributes={"perm": [0, 2, 1]})
    graph.output("features", vectors, TensorProto.FLOAT, ["N", where.positions, sum(where.channels)])
    share = shown_share(graph, content, where.size_hw, grid_hw=where.grid_hw, judged=judged)
    graph.output("share", share, TensorProto.FLOAT, ["N", *where.grid_hw])
    return graph.model(halves=False)


class Moments:
    """Running count, mean and covariance of vectors, in double precision."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sum = np.zeros(channels)
        self.products = np.zeros((channels, channels))

    def add(self, vectors: Array) -> None:
        """Add vectors (n, C)."""
        values = vectors.astype(np.float32)
        self.count += len(values)
        self.sum += values.sum(0, dtype=np.float64)
        self.products += values.T @ values

    @property
    def mean(self) -> Array:
        """Mean float64 (C,)."""
        return self.sum / self.count

    @property
    def covariance(self) -> Array:
        """Covariance float64 (C, C)."""
        mean = self.mean
        return self.products / self.count - np.outer(mean, mean)


def overall_moments(
    samples: Sequence[Sample], store: FeatureStore, progress: Progress, *, into: Moments | None = None
) -> Moments:
    """Return the moments of all judged vectors of these samples, added to those of `into` where there are
    some. Raises DataError where there is none."""
    moments = Moments(store.channels) if into is None else into
    with progress.stage("Teaching", len(samples)) as stage:
        last = -1
        for index, vectors, shown in store.stream(samples):
            moments.add(vectors[shown])
            stage.advance(int(index != last))
            last = index
    if not moments.count:
        raise DataError("No position of a good part was seen", remedy="Check the region of interest")
    return moments


def balance(moments: Moments, levels: Sequence[int]) -> Array:
    """Return a weight for each channel, float64 (C,), that gives every level a mean square length of one;
    `levels` says how many channels each has. Within a level, channels keep their proportions."""
    energy = np.maximum(np.diag(moments.covariance), 0) + moments.mean**2
    starts = np.concatenate([[0], np.cumsum(levels)[:-1]])
    lengths = np.maximum(np.add.reduceat(energy, starts), 1e-24)
    return np.asarray(np.repeat(1 / np.sqrt(lengths), levels))


def principal(
    moments: Moments, count: int, *, power: float = 0.0, weights: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return matrix (C, k), offset (k,) and variances (k,) of the first principal components.

    `features @ matrix + offset` are the centred components, each divided by its deviation to `power` (0: as
    they are, 1: whitened). Channels are multiplied by `weights` (C,) beforehand, where given. Signs are
    fixed, so that the same data give the same matrix.
    """
    scale = np.ones(len(moments.mean)) if weights is None else weights
    variances, vectors = np.linalg.eigh(moments.covariance * np.outer(scale, scale))
    count = min(count or len(variances), len(variances))
    order = np.argsort(-variances, kind="stable")[:count]
    variances = np.maximum(variances[order], 1e-12)
    vectors = vectors[:, order]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), np.arange(count)] < 0, -1.0, 1.0)
    matrix = scale[:, None] * vectors / variances ** (power / 2)
    return matrix.astype(np.float32), -(moments.mean @ matrix).astype(np.float32), variances


def evenly(total: int, *, most: int) -> list[int]:
    """Return at most `most` of the indices below `total`, evenly spread over them, ascending."""
    return list(range(total)) if total <= most else [int(i * total / most) for i in range(most)]


def quota(total: int, *, wanted: int) -> int:
    """Return how many of each of `total` canvases to take so that together they give `wanted`."""
    return max(1, math.ceil(wanted / max(total, 1)))
