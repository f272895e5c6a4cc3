"""Does a bundle's graph say what the trained module says? For modules that take the backbone's levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from flawscope.core.types import Array
from flawscope.methods.contract import FitContext
from flawscope.methods.features import geometry
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.runtime.halves import halve
from flawscope.runtime.session import GraphSession

if TYPE_CHECKING:
    from flawscope.methods.deep.canvases import Canvases


def scores_of_module(module: Any, canvases: Canvases, context: FitContext) -> Array:
    """Return each canvas's highest distance by torch, float32 (n,)."""
    import torch

    levels = [torch.from_numpy(level) for level in exact_levels(canvases, context)]
    with torch.no_grad():
        return np.asarray(module.eval()(*levels).amax((1, 2)))


def exact_levels(canvases: Canvases, context: FitContext) -> list[Array]:
    """Return the frozen backbone's levels in full precision, float32 (n, C, h, w) each."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    graph = GraphBuilder()
    image, _ = canvas_input(graph, context.preprocess, context.backbone)
    for i, level in enumerate(graph.include(context.backbone.model, inputs=[image])):
        shape = ["N", where.channels[i], *where.level_grids[i]]
        graph.output(f"level_{i}", level, TensorProto.FLOAT, shape)
    outputs = GraphSession(graph.model(), threads=1).run(canvases.pixels, canvases.content_xyxy)
    return [outputs[f"level_{i}"] for i in range(len(where.channels))]


def scores_of_graph(model: Any, canvases: Canvases, *, batch: int) -> Array:
    """Return each canvas's score by the bundle's graph, so many at a time, float32 (n,)."""
    session = GraphSession(model, threads=1)
    parts = [slice(start, start + batch) for start in range(0, len(canvases), batch)]
    return np.concatenate(
        [session.run(canvases.pixels[part], canvases.content_xyxy[part])["score"] for part in parts]
    )


def assert_agreement(module: Any, model: Any, canvases: Canvases, context: FitContext) -> None:
    """Raise unless torch and the graph agree within a thousandth of the scores' interquartile range, one
    canvas at a time and eight together, and within a hundredth once large weights are stored in half
    precision, as bundles store them. The graph comes unhalved; it neither smooths its map nor averages."""
    wanted = scores_of_module(module, canvases, context)
    spread = float(np.subtract(*np.percentile(wanted, [75, 25])))
    for graph, batch, tolerance in ((model, 1, 1e-3), (model, 8, 1e-3), (halve(model), 8, 1e-2)):
        gap = np.abs(scores_of_graph(graph, canvases, batch=batch) - wanted).max() / spread
        assert gap < tolerance, (batch, tolerance, gap, wanted)
