"""What networks are trained on: the line's own canvases, and the frozen backbone's levels of them.

Both come through the same graph pieces as the bundle's, padding mirrored, so that a network never sees in
training what it would not see on the line. They are made once and kept: in memory up to a limit, beyond it in
a file that the system pages in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from flawscope.core.errors import ConfigError, DataError
from flawscope.core.rng import derive
from flawscope.core.types import Array, Sample
from flawscope.methods.contract import FitContext
from flawscope.methods.features import geometry
from flawscope.methods.graph import GraphBuilder, canvas_input, mirrored_input, shown_share
from flawscope.methods.settings import judged_on_grid
from flawscope.runtime.backbone import BackboneCard
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.session import GraphSession

MEMORY_BYTES = 2 << 30  # what one store holds in memory
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Canvases:
    """All canvases of some samples."""

    pixels: Array  # uint8 (n, H, W, 3), padding mirrored
    content_xyxy: Array  # float32 (n, 4)
    owners: Array  # int64 (n,): the index of the sample that each shows
    windows_xyxy: Array  # int32 (n, 4): the part of the photograph that each shows

    def __len__(self) -> int:
        return len(self.pixels)


def normalised(pixels: Array, card: BackboneCard) -> torch.Tensor:
    """Return canvases uint8 (n, H, W, 3) as the backbone wants them: float32 (n, 3, H, W)."""
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (card.mean, card.std))
    return (values - mean) / std


def load_canvases(samples: Sequence[Sample], context: FitContext, *, name: str = "Reading") -> Canvases:
    """Read samples into canvases. Raises ImageError for one that cannot be read, DataError for none."""
    if not samples:
        raise DataError("There is no photograph to learn from")
    session = GraphSession(_mirror_graph(context), threads=context.threads)
    # an RGB canvas a sample; tiles make more of them, then the array grows
    kept = Growing((*context.preprocess.size_hw, 3), np.dtype(np.uint8), expected=len(samples))
    content: list[Array] = []
    owners: list[int] = []
    windows: list[Array] = []
    with context.progress.stage(name, len(samples)) as stage:
        for loaded in read_ahead([sample.path for sample in samples], context.preprocess):
            for chunk in loaded.chunks(context.preprocess):
                kept.add(session.run(chunk.pixels, chunk.content_xyxy)["pixels"])
                content.append(chunk.content_xyxy)
                owners.extend([loaded.index] * len(chunk))
                windows.append(chunk.windows_xyxy)
            stage.advance()
    return Canvases(
        kept.array(), np.concatenate(content), np.asarray(owners, np.int64), np.concatenate(windows)
    )


@dataclass(frozen=True, eq=False)
class Levels:
    """The frozen backbone's levels of some canvases."""

    values: tuple[Array, ...]  # float16 (n, C, h, w) each, finest first
    shares: Array  # float32 (n, h, w): how much of each position of the finest level shows judged picture

    def __len__(self) -> int:
        return len(self.shares)

    def tensors(self, indices: Array) -> list[torch.Tensor]:
        """Return the levels of some canvases, float32."""
        return [torch.from_numpy(np.ascontiguousarray(level[indices])).float() for level in self.values]


def load_levels(canvases: Canvases, context: FitContext, *, name: str = "Looking") -> Levels:
    """Run the frozen backbone over canvases, once."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    session = GraphSession(_level_graph(context), threads=context.threads)
    kept = [
        Growing((channels, *grid), np.dtype(np.float16), expected=len(canvases), stores=len(where.channels))
        for channels, grid in zip(where.channels, where.level_grids, strict=True)
    ]
    shares = []
    with context.progress.stage(name, len(canvases)) as stage:
        for start in range(0, len(canvases), _BATCH):
            part = slice(start, start + _BATCH)
            outputs = session.run(canvases.pixels[part], canvases.content_xyxy[part])
            for i, level in enumerate(kept):
                level.add(outputs[f"level_{i}"])
            shares.append(outputs["share"])
            stage.advance(len(outputs["share"]))
    return Levels(tuple(level.array() for level in kept), np.concatenate(shares))


def load_shares(canvases: Canvases, context: FitContext, grid_hw: tuple[int, int]) -> Array:
    """Return how much of each cell of a grid over each canvas shows judged picture, float32 (n, h, w)."""
    graph = GraphBuilder()
    _, content = mirrored_input(graph, context.preprocess)
    _give_share(graph, content, context, grid_hw)
    session = GraphSession(graph.model(halves=False), threads=context.threads)
    parts = [slice(start, start + _BATCH) for start in range(0, len(canvases), _BATCH)]
    return np.concatenate(
        [session.run(canvases.pixels[part], canvases.content_xyxy[part])["share"] for part in parts]
    )


def drawn(count: int, size: int, *, step: int, seed: int) -> Array:
    """Return the indices below `count` of one batch: pass after pass over all, each in a new order, the same
    for the same step whatever came before (so that work taken up again goes on as it would have)."""
    return in_turn(count, np.arange(step * size, (step + 1) * size), seed=seed)


def in_turn(count: int, places: Array, *, seed: int) -> Array:
    """Return which of `count` indices stand at these places, int64 (n,), of an endless row of passes over all
    of them, each pass in a new order."""
    orders = {
        round_: derive(seed, "order", round_).permutation(count)
        for round_ in dict.fromkeys((places // count).tolist())
    }
    return np.array([orders[place // count][place % count] for place in places.tolist()], np.int64)


@dataclass(frozen=True, eq=False)
class LevelBatches:
    """Draws what the frozen backbone sees in good parts, for networks that never look at pixels."""

    levels: Levels
    size: int
    seed: int

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return the shares (N, h, w) and the levels (N, C, h, w) of one batch."""
        chosen = drawn(len(self.levels), self.size, step=step, seed=self.seed)
        return torch.from_numpy(self.levels.shares[chosen]), *self.levels.tensors(chosen)


def strides(card: BackboneCard, *, by: str) -> tuple[int, ...]:
    """Return the strides of the levels. Raises ConfigError unless each is twice or more the one before and a
    power of two from 8 on."""
    found = tuple(level.stride for level in card.levels)
    if any(stride < 8 or stride & (stride - 1) for stride in found) or len(set(found)) != len(found):
        raise ConfigError(
            f"{by} does not suit the backbone {card.name}",
            expected="levels of strides 8, 16, ...",
            found="strides " + ", ".join(map(str, found)),
            remedy="Take a convolutional backbone, such as the bundled one or resnet18",
        )
    return found


def _mirror_graph(context: FitContext) -> Any:
    graph = GraphBuilder()
    pixels, _ = mirrored_input(graph, context.preprocess)
    graph.output("pixels", pixels, TensorProto.UINT8, ["N", *context.preprocess.size_hw, 3])
    return graph.model(halves=False)


def _level_graph(context: FitContext) -> Any:
    """Return a graph with the outputs `level_0`, `level_1`, ... and `share` (N, h, w)."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    graph = GraphBuilder()
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    for i, level in enumerate(graph.include(context.backbone.model, inputs=[image])):
        rows, columns = where.level_grids[i]
        graph.output(f"level_{i}", level, TensorProto.FLOAT, ["N", where.channels[i], rows, columns])
    _give_share(graph, content, context, where.grid_hw)
    return graph.model(halves=False)


def _give_share(graph: GraphBuilder, content: str, context: FitContext, grid_hw: tuple[int, int]) -> None:
    judged = judged_on_grid(context.preprocess, grid_hw)
    share = shown_share(graph, content, context.preprocess.size_hw, grid_hw=grid_hw, judged=judged)
    graph.output("share", share, TensorProto.FLOAT, ["N", *grid_hw])


class Growing:
    """An array that rows are added to: in memory, or in a file that is gone with the process where it would
    take more than its share of the limit."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, *, expected: int, stores: int = 1) -> None:
        self._shape, self._dtype = shape, dtype
        self._row = int(np.prod(shape)) * dtype.itemsize
        self._on_disk = self._row * expected * stores > MEMORY_BYTES
        self._parts: list[Array] = []
        self._file = tempfile.TemporaryFile() if self._on_disk else None
        self._count = 0

    def add(self, rows: Array) -> None:
        """Append rows (n, ...)."""
        values = np.ascontiguousarray(rows.astype(self._dtype))
        self._count += len(values)
        if self._file is None:
            self._parts.append(values)
        else:
            self._file.write(values.tobytes())

    def array(self) -> Array:
        """Return all rows as one array."""
        if self._file is None:
            whole = np.concatenate(self._parts)
            self._parts = [whole]
            return whole
        self._file.flush()
        mapped = np.memmap(self._file, self._dtype, "r", shape=(self._count, *self._shape))
        self._file.close()  # the mapping holds it until it goes
        return mapped
