"""Pooled features of photographs: the mean over the judged positions, over several views, computed once.

The mean is weighted by the share of each position's cell that shows a judged part of the picture. A linear
head on pooled features therefore gives exactly the mean of what it gives position by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.errors import ConfigError
from flawscope.core.rng import derive
from flawscope.core.types import Array, Preprocess, Sample
from flawscope.imaging.augment import Augmentation, vary
from flawscope.imaging.preprocess import iter_canvases
from flawscope.imaging.resample import resize_matrix
from flawscope.methods.features import Embedding, geometry, level_maps
from flawscope.methods.graph import GraphBuilder, canvas_input, shown_share
from flawscope.methods.settings import judged_on_grid
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.reading import TILE_BATCH, Loaded, read_ahead
from flawscope.runtime.session import GraphSession


@dataclass(frozen=True)
class Views:
    """How many views of each photograph there are (itself and variations), and how they are made."""

    count: int
    augmentation: Augmentation
    seed: int


@dataclass(frozen=True, eq=False)
class Pooled:
    """One photograph's pooled features."""

    vectors: Array  # float32 (views, canvases, C); the first view is the photograph itself
    windows_xyxy: Array  # int32 (canvases, 4), the part of the photograph that each canvas shows


class PooledStore:
    """Pooled features of samples; what was computed once is kept, a few kB a photograph."""

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        embedding: Embedding,
        *,
        views: Views,
        threads: int = 0,
    ) -> None:
        if preprocess.area is not None and views.count > 1 and views.augmentation.flips != "none":
            raise ConfigError(
                "Flipped views do not fit a region of interest, which stays where it is",
                expected="flips none, or neither --roi nor --ignore",
                found=f"flips {views.augmentation.flips}",
            )
        self.geometry = geometry(backbone, preprocess.size_hw)
        self._preprocess = preprocess
        self._views = views
        self._session = GraphSession(_pooling_graph(backbone, preprocess, embedding), threads=threads)
        self._kept: dict[tuple[str, int], Pooled] = {}

    def stream(self, samples: Sequence[Sample], *, varied: bool = True) -> Iterator[Pooled]:
        """Yield each sample's features in order, of all views or (`varied` False) of the photograph alone.
        Raises ImageError for an image that cannot be read."""
        views = self._views.count if varied else 1
        absent = [sample for sample in samples if (sample.path, views) not in self._kept]
        fresh = read_ahead([sample.path for sample in absent], self._preprocess)
        for sample in samples:
            if (sample.path, views) not in self._kept:
                self._kept[sample.path, views] = self._compute(sample, next(fresh), views)
            yield self._kept[sample.path, views]

    def _compute(self, sample: Sample, loaded: Loaded, views: int) -> Pooled:
        image = loaded.required()
        vectors, windows = [], []
        for number in range(views):
            shown = image
            if number:
                rng = derive(self._views.seed, "view", sample.id, number)
                shown = replace(image, pixels=vary(image.pixels, self._views.augmentation, rng))
            row = []
            for canvases in iter_canvases(shown, self._preprocess, batch=TILE_BATCH):
                for i in range(len(canvases)):
                    pixels, content = canvases.pixels[i : i + 1], canvases.content_xyxy[i : i + 1]
                    row.append(self._session.run(pixels, content)["pooled"][0])
                if not number:
                    windows.append(canvases.windows_xyxy)
            vectors.append(np.stack(row))
        return Pooled(np.stack(vectors), np.concatenate(windows))


def _pooling_graph(backbone: Backbone, preprocess: Preprocess, embedding: Embedding) -> Any:
    """Return a graph with the output `pooled` (N, C).

    Bringing a level to the finest grid is a product with two matrices, so the mean there is the level's own
    mean under weights that went through the same matrices the other way: nothing large is made.
    """
    where = geometry(backbone, preprocess.size_hw)
    judged = judged_on_grid(preprocess, where.grid_hw)
    graph = GraphBuilder()
    image, content = canvas_input(graph, preprocess, backbone)
    maps = level_maps(graph, image, backbone, embedding)
    share = shown_share(graph, content, where.size_hw, grid_hw=where.grid_hw, judged=judged)
    total = graph.add("ReduceSum", share, graph.ints(1, 2), attributes={"keepdims": 1})
    share = graph.add("Div", share, graph.add("Max", total, graph.floats(1e-6)))  # adds up to one
    means = []
    for value, grid_hw in zip(maps, where.level_grids, strict=True):
        weights = share
        if grid_hw != where.grid_hw:
            down = graph.constant(resize_matrix(grid_hw[0], where.grid_hw[0]).T, "down")
            across = graph.constant(resize_matrix(grid_hw[1], where.grid_hw[1]), "across")
            weights = graph.add("MatMul", graph.add("MatMul", down, share), across)
        weighted = graph.add("Mul", value, graph.add("Unsqueeze", weights, graph.ints(1)))
        means.append(graph.add("ReduceSum", weighted, graph.ints(2, 3), attributes={"keepdims": 0}))
    pooled = graph.add("Concat", *means, attributes={"axis": 1})
    graph.output("pooled", pooled, TensorProto.FLOAT, ["N", sum(where.channels)])
    return graph.model(halves=False)
