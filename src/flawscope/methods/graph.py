"""Building blocks of the graphs that methods write: from uint8 canvases to a score and a map.

Every bundle's graph has the inputs `image` uint8 (N, H, W, 3) and `content_xyxy` float32 (N, 4) and the
outputs `score` float32 (N,) and `map` float32 (N, H, W). A method supplies the middle: a distance per
position. Before it stand normalisation, mirrored padding and the backbone, after it the places' usual
distance, smoothing, masking and the highest value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flawscope import __version__
from flawscope.core.types import Array, Fit, Preprocess
from flawscope.imaging.resample import resize_matrix
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.halves import halve

OPSET = 18
_BANK_BLOCK = 1000  # rows: 784 positions' products with them take 3 MB
IR_VERSION = 9


class GraphBuilder:
    """Collects nodes and constants under names that do not collide, then makes a checked model of them."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[int | str]) -> None:
        """Give `value` out under `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def constant(self, values: Array, name: str = "c") -> str:
        """Enter a constant and return its name."""
        self._count += 1
        label = f"{name}_{self._count}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), label))
        return label

    def floats(self, *values: float) -> str:
        """Enter float32 numbers: one becomes a scalar, several a vector."""
        return self.constant(np.asarray(values[0] if len(values) == 1 else values, np.float32))

    def ints(self, *values: int) -> str:
        """Enter an int64 vector (axes, shapes)."""
        return self.constant(np.asarray(values, np.int64))

    def add(self, operation: str, *inputs: str, attributes: dict[str, Any] | None = None) -> str:
        """Append a node with one output and return the output's name."""
        return self.add_many(operation, *inputs, outputs=1, attributes=attributes)[0]

    def add_many(
        self, operation: str, *inputs: str, outputs: int, attributes: dict[str, Any] | None = None
    ) -> list[str]:
        """Append a node with several outputs and return their names."""
        self._count += 1
        results = [f"{operation}_{self._count}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operation, list(inputs), results, **(attributes or {})))
        return results

    def include(self, model: Any, *, inputs: Sequence[str], prefix: str = "backbone") -> list[str]:
        """Append another model, its inputs fed with `inputs` in order; return the names of its outputs.
        `prefix` keeps its names apart from ours and from those of other models."""
        if len(model.graph.input) != len(inputs):
            raise ValueError(f"{prefix} takes {len(model.graph.input)} inputs, not {len(inputs)}")
        renamed = {value.name: own for value, own in zip(model.graph.input, inputs, strict=True)}

        def name(value: str) -> str:
            return renamed.get(value, f"{prefix}/{value}" if value else value)

        for tensor in model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = name(tensor.name)
            self._constants.append(copy)
        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{prefix}/{node.name}" if node.name else ""
            del copy.metadata_props[:]
            copy.input[:] = [name(value) for value in node.input]
            copy.output[:] = [name(value) for value in node.output]
            self._nodes.append(copy)
        return [name(value.name) for value in model.graph.output]

    def model(self, *, halves: bool = True, metadata: Mapping[str, str] | None = None) -> Any:
        """Return the checked ONNX model, large constants in half precision where `halves`, with `metadata` in
        its metadata_props."""
        graph = helper.make_graph(
            self._nodes, "flawscope", self._inputs, self._outputs, initializer=self._constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="flawscope",
            producer_version=__version__,
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, dict(metadata or {}))
        model = halve(model) if halves else model
        onnx.checker.check_model(model)
        return model


def canvas_input(graph: GraphBuilder, preprocess: Preprocess, backbone: Backbone) -> tuple[str, str]:
    """Declare the two inputs; return the normalised image (N, 3, H, W) and `content_xyxy`.

    Padding is filled with the picture's own reflection, whatever the caller left there: a constant would put
    an edge around every picture, at another place in each shape of picture. With STRETCH there is none.
    """
    pixels, content = mirrored_input(graph, preprocess)
    # (x / 255 - mean) / std as one multiplication and one addition
    scale = 1 / (255 * np.asarray(backbone.card.std, np.float64))
    shift = -np.asarray(backbone.card.mean, np.float64) / np.asarray(backbone.card.std, np.float64)
    pixels = graph.add("Cast", pixels, attributes={"to": TensorProto.FLOAT})
    pixels = graph.add("Transpose", pixels, attributes={"perm": [0, 3, 1, 2]})
    pixels = graph.add("Mul", pixels, graph.constant(scale.astype(np.float32).reshape(1, 3, 1, 1)))
    return graph.add("Add", pixels, graph.constant(shift.astype(np.float32).reshape(1, 3, 1, 1))), content


def mirrored_input(graph: GraphBuilder, preprocess: Preprocess) -> tuple[str, str]:
    """Declare the two inputs; return the canvases with mirrored padding, uint8 (N, H, W, 3), and
    `content_xyxy`."""
    height, width = preprocess.size_hw
    image = graph.input("image", TensorProto.UINT8, ["N", height, width, 3])
    content = graph.input("content_xyxy", TensorProto.FLOAT, ["N", 4])
    if preprocess.fit is Fit.STRETCH:
        return image, content
    return _mirrored(graph, image, content, preprocess.size_hw), content


def _mirrored(graph: GraphBuilder, image: str, content_xyxy: str, size_hw: tuple[int, int]) -> str:
    """Return canvases (N, H, W, 3) whose padding mirrors their pictures."""
    height, width = size_hw
    rows = graph.add(
        "Unsqueeze", _reflected(graph, content_xyxy, size_hw, axis=0), graph.ints(2)
    )  # (N, H, 1)
    columns = graph.add("Unsqueeze", _reflected(graph, content_xyxy, size_hw, axis=1), graph.ints(1))
    places = graph.add("Add", graph.add("Mul", rows, graph.ints(width)), columns)  # (N, H, W)
    flat = graph.add("Reshape", image, graph.ints(0, height * width, 3))
    places = graph.add("Unsqueeze", places, graph.ints(3))
    return graph.add("GatherND", flat, places, attributes={"batch_dims": 1})


def _reflected(graph: GraphBuilder, content_xyxy: str, size_hw: tuple[int, int], *, axis: int) -> str:
    """Return, for each row (axis 0) or column of a canvas, the one inside the picture that shows there: int64
    (N, side). Outside the picture it is mirrored at the picture's border, back and forth where that is
    short."""
    low, high = _sides(graph, content_xyxy, axis)
    places = graph.add("Sub", graph.constant(np.arange(size_hw[axis], dtype=np.float32)), low)  # (N, side)
    last = graph.add(
        "Max", graph.add("Sub", graph.add("Sub", high, low), graph.floats(1.0)), graph.floats(0.0)
    )
    period = graph.add("Max", graph.add("Mul", last, graph.floats(2.0)), graph.floats(1.0))
    away = graph.add("Mod", graph.add("Abs", places), period, attributes={"fmod": 1})
    mirrored = graph.add("Min", away, graph.add("Sub", period, away))
    inside = graph.add("Add", graph.add("Min", mirrored, last), low)
    return graph.add("Cast", graph.add("Round", inside), attributes={"to": TensorProto.INT64})


def _sides(graph: GraphBuilder, content_xyxy: str, axis: int) -> tuple[str, str]:
    """Return where the picture begins and ends along an axis (0: rows, 1: columns), each (N, 1)."""
    first, last = ((1, 3), (0, 2))[axis]
    low = graph.add("Gather", content_xyxy, graph.ints(first), attributes={"axis": 1})
    return low, graph.add("Gather", content_xyxy, graph.ints(last), attributes={"axis": 1})


def cover(
    graph: GraphBuilder, content_xyxy: str, canvas_hw: tuple[int, int], grid_hw: tuple[int, int]
) -> str:
    """Return which share of each cell of a grid over the canvas shows the picture: (N, h, w)."""
    sides = []
    for axis in (0, 1):
        count, cell = grid_hw[axis], canvas_hw[axis] / grid_hw[axis]
        starts = graph.constant((np.arange(count) * cell).astype(np.float32))
        ends = graph.constant(((np.arange(count) + 1) * cell).astype(np.float32))
        low, high = _sides(graph, content_xyxy, axis)
        overlap = graph.add("Sub", graph.add("Min", ends, high), graph.add("Max", starts, low))
        share = graph.add("Div", overlap, graph.floats(cell))
        sides.append(graph.add("Clip", share, graph.floats(0.0), graph.floats(1.0)))  # (N, count)
    rows = graph.add("Unsqueeze", sides[0], graph.ints(2))
    columns = graph.add("Unsqueeze", sides[1], graph.ints(1))
    return graph.add("Mul", rows, columns)


def relative_rows(
    graph: GraphBuilder, content_xyxy: str, size_hw: tuple[int, int], grid_hw: tuple[int, int], *, axis: int
) -> str:
    """Return, for each image, the matrix (N, cells, cells) that reads a grid laid over the picture at the
    canvas's cells along `axis` (0: rows, 1: columns): linear between cell centres, held at the picture's
    border."""
    count, cell = grid_hw[axis], size_hw[axis] / grid_hw[axis]
    low, high = _sides(graph, content_xyxy, axis)
    centres = graph.constant(((np.arange(count) + 0.5) * cell).astype(np.float32))
    share = graph.add(
        "Div", graph.add("Sub", centres, low), graph.add("Sub", high, low)
    )  # (N, cells), 0 to 1
    place = graph.add("Sub", graph.add("Mul", share, graph.floats(count)), graph.floats(0.5))
    place = graph.add("Clip", place, graph.floats(0.0), graph.floats(count - 1))
    place = graph.add("Unsqueeze", place, graph.ints(2))
    cells = graph.constant(np.arange(count, dtype=np.float32))
    gap = graph.add("Abs", graph.add("Sub", place, cells))
    return graph.add("Relu", graph.add("Sub", graph.floats(1.0), gap))


def over_picture(graph: GraphBuilder, values: Array, content_xyxy: str, size_hw: tuple[int, int]) -> str:
    """Return what a grid laid over the picture, float32 (h, w), says at each cell of each canvas: (N, h,
    w)."""
    grid_hw = (values.shape[0], values.shape[1])
    rows = relative_rows(graph, content_xyxy, size_hw, grid_hw, axis=0)
    columns = relative_rows(graph, content_xyxy, size_hw, grid_hw, axis=1)
    columns = graph.add("Transpose", columns, attributes={"perm": [0, 2, 1]})
    return graph.add("MatMul", graph.add("MatMul", rows, graph.constant(values, "grid")), columns)


def nearest(graph: GraphBuilder, query: str, bank: Array, *, positions: int) -> str:
    """Return each query's distance to the nearest row of `bank` float32 (B, k): (N, k, P) to (N, P), P given.

    |q - m|^2 is |q|^2 plus the least |m|^2 - 2 m q. The products come from Gemm with the bank as the right
    factor, which onnxruntime lays out once when it opens the graph; blocks keep the products within the
    processor's cache.
    """
    rows = graph.add("Transpose", query, attributes={"perm": [0, 2, 1]})  # (N, P, k)
    flat = graph.add("Reshape", rows, graph.ints(-1, bank.shape[1]))
    least = []
    for start in range(0, len(bank), _BANK_BLOCK):
        block = bank[start : start + _BANK_BLOCK]
        stored = graph.constant(block.T, "bank")
        # from the stored values, for they may have been rounded; onnxruntime does this sum once, on opening
        squares = graph.add("ReduceSumSquare", stored, graph.ints(0), attributes={"keepdims": 0})
        products = graph.add("Gemm", flat, stored, squares, attributes={"alpha": -2.0})
        least.append(graph.add("ReduceMin", products, graph.ints(1), attributes={"keepdims": 0}))
    best = graph.add("Min", *least) if len(least) > 1 else least[0]
    own = graph.add("ReduceSumSquare", flat, graph.ints(1), attributes={"keepdims": 0})
    distance = graph.add("Sqrt", graph.add("Relu", graph.add("Add", best, own)))
    return graph.add("Reshape", distance, graph.ints(-1, positions))


@dataclass(frozen=True)
class Ending:
    """How distances become the outputs."""

    size_hw: tuple[int, int]
    grid_hw: tuple[int, int]
    smoothing_px: float  # deviation of the Gaussian that calms the map
    top_share: float  # share of the positions whose mean is the score; at least one position
    judged: Array | None = None  # bool (h, w) over the picture; None: all of it

    def share(self, graph: GraphBuilder, content_xyxy: str) -> str:
        """Append which share of each cell shows a judged part of the picture: (N, h, w)."""
        return shown_share(graph, content_xyxy, self.size_hw, grid_hw=self.grid_hw, judged=self.judged)


def shown_share(
    graph: GraphBuilder,
    content_xyxy: str,
    canvas_hw: tuple[int, int],
    *,
    grid_hw: tuple[int, int],
    judged: Array | None,
) -> str:
    """Return which share of each cell of a grid over the canvas shows a judged part of the picture: (N, h,
    w). `judged` is bool (h, w) over the picture; None: all of it."""
    share = cover(graph, content_xyxy, canvas_hw, grid_hw)
    if judged is None:
        return share
    return graph.add("Mul", share, over_picture(graph, judged.astype(np.float32), content_xyxy, canvas_hw))


def finish(
    graph: GraphBuilder,
    heat: str,
    content_xyxy: str,
    ending: Ending,
    *,
    score: str = "",
    share: str = "",
) -> None:
    """Turn values (N, h, w), none below 0, into the outputs `map` (N, H, W) and `score` (N,).

    The map is interpolated and smoothed by two small matrix products, weighted by how much of each cell shows
    the picture, so that heat neither leaks into nor is diluted by padding; padding is 0 and never scores. The
    score is the mean of the highest positions, unless one (N,) is given. `share` is what `shown_share` gave,
    where that is at hand.
    """
    (height, width), (rows, columns) = ending.size_hw, ending.grid_hw
    share = share or ending.share(graph, content_xyxy)
    down = graph.constant(resize_matrix(rows, height, ending.smoothing_px), "down")  # (H, h)
    across = graph.constant(resize_matrix(columns, width, ending.smoothing_px).T, "across")  # (w, W)

    def enlarge(values: str) -> str:
        return graph.add("MatMul", graph.add("MatMul", down, values), across)

    shown = graph.add("Mul", heat, share)
    large = graph.add("Div", enlarge(shown), graph.add("Max", enlarge(share), graph.floats(1e-6)))
    # pixels that show any of the picture
    large = graph.add(
        "Mul", large, graph.add("Ceil", cover(graph, content_xyxy, ending.size_hw, ending.size_hw))
    )
    graph.output("map", large, TensorProto.FLOAT, ["N", height, width])
    if not score:
        # a sliver of a cell counts as a sliver
        flat = graph.add("Reshape", shown, graph.ints(0, rows * columns))
        score = _mean_of_highest(graph, flat, max(1, round(ending.top_share * rows * columns)))
    graph.output("score", score, TensorProto.FLOAT, ["N"])


def _mean_of_highest(graph: GraphBuilder, values: str, count: int) -> str:
    """Return the mean of the `count` highest values of each row: (N, n) to (N,)."""
    if count == 1:
        return graph.add("ReduceMax", values, graph.ints(1), attributes={"keepdims": 0})
    top = graph.add_many("TopK", values, graph.ints(count), outputs=2, attributes={"axis": 1})[0]
    return graph.add("ReduceMean", top, graph.ints(1), attributes={"keepdims": 0})
