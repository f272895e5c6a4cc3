"""Building blocks of the graphs that methods write: from uint8 canvases to a score and a map.

Every bundle's graph has the inputs `image` uint8 (N, H, W, 3) and `content_xyxy` float32 (N, 4) and the
outputs
`score` float32 (N,) and `map` float32 (N, H, W). A method supplies the middle: a distance per position.
Before it
stand normalisation, blanked padding and the backbone, after it the places' usual distance, smoothing,
masking and
the highest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flawscope import __version__
from flawscope.core.types import Array
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.halves import halve

OPSET = 18
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
        self._count += 1
        result = f"{operation}_{self._count}"
        self._nodes.append(helper.make_node(operation, list(inputs), [result], **(attributes or {})))
        return result

    def include(self, model: Any, *, image: str) -> list[str]:
        """Append another model whose only input is fed with `image`; return the names of its outputs."""
        prefix = "backbone/"
        source = model.graph.input[0].name
        renamed = {source: image}

        def name(value: str) -> str:
            return renamed.get(value, prefix + value if value else value)

        for tensor in model.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = name(tensor.name)
            self._constants.append(copy)
        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = prefix + node.name
            del copy.metadata_props[:]
            copy.input[:] = [name(value) for value in node.input]
            copy.output[:] = [name(value) for value in node.output]
            self._nodes.append(copy)
        return [name(value.name) for value in model.graph.output]

    def model(self, *, halves: bool = True) -> Any:
        """Return the checked ONNX model, large constants in half precision where `halves`."""
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
        model = halve(model) if halves else model
        onnx.checker.check_model(model)
        return model


def canvas_input(graph: GraphBuilder, size_hw: tuple[int, int], backbone: Backbone) -> tuple[str, str]:
    """Declare the two inputs; return the normalised image (N, 3, H, W), its padding blanked, and
    `content_xyxy`."""
    height, width = size_hw
    image = graph.input("image", TensorProto.UINT8, ["N", height, width, 3])
    content = graph.input("content_xyxy", TensorProto.FLOAT, ["N", 4])
    # (x / 255 - mean) / std as one multiplication and one addition
    scale = 1 / (255 * np.asarray(backbone.card.std, np.float64))
    shift = -np.asarray(backbone.card.mean, np.float64) / np.asarray(backbone.card.std, np.float64)
    pixels = graph.add("Cast", image, attributes={"to": TensorProto.FLOAT})
    pixels = graph.add("Transpose", pixels, attributes={"perm": [0, 3, 1, 2]})
    pixels = graph.add("Mul", pixels, graph.constant(scale.astype(np.float32).reshape(1, 3, 1, 1)))
    pixels = graph.add("Add", pixels, graph.constant(shift.astype(np.float32).reshape(1, 3, 1, 1)))
    return graph.add("Mul", pixels, cover(graph, content, size_hw, size_hw, channels=True)), content


def cover(
    graph: GraphBuilder,
    content_xyxy: str,
    canvas_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    *,
    channels: bool = False,
) -> str:
    """Return which share of each cell of a grid over the canvas shows the picture: (N, h, w), or (N, 1, h,
    w)."""
    sides = []
    for axis, (first, last) in enumerate(((1, 3), (0, 2))):
        count, cell = grid_hw[axis], canvas_hw[axis] / grid_hw[axis]
        starts = graph.constant((np.arange(count) * cell).astype(np.float32))
        ends = graph.constant(((np.arange(count) + 1) * cell).astype(np.float32))
        low = graph.add("Gather", content_xyxy, graph.ints(first), attributes={"axis": 1})  # (N, 1)
        high = graph.add("Gather", content_xyxy, graph.ints(last), attributes={"axis": 1})
        overlap = graph.add("Sub", graph.add("Min", ends, high), graph.add("Max", starts, low))
        share = graph.add("Div", overlap, graph.floats(cell))
        sides.append(graph.add("Clip", share, graph.floats(0.0), graph.floats(1.0)))  # (N, count)
    rows = graph.add("Unsqueeze", sides[0], graph.ints(1, 3) if channels else graph.ints(2))
    columns = graph.add("Unsqueeze", sides[1], graph.ints(1, 2) if channels else graph.ints(1))
    return graph.add("Mul", rows, columns)


def resize_matrix(source: int, target: int, sigma: float = 0.0) -> Array:
    """Return the float32 (target, source) matrix that interpolates linearly between cell centres and then
    smooths
    with a Gaussian of `sigma` target cells. Rows add up to one."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(places).astype(int)
    share = places - lower
    matrix = np.zeros((target, source))
    matrix[np.arange(target), lower] += 1 - share
    matrix[np.arange(target), np.minimum(lower + 1, source - 1)] += share
    if sigma > 0:
        distance = np.arange(target)[:, None] - np.arange(target)[None]
        kernel = np.exp(-0.5 * (distance / sigma) ** 2)
        matrix = kernel / kernel.sum(1, keepdims=True) @ matrix
    return matrix.astype(np.float32)


def finish(
    graph: GraphBuilder,
    distance: str,
    content_xyxy: str,
    *,
    size_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    smoothing_px: float,
) -> None:
    """Turn distances (N, h, w) into the outputs `map` (N, H, W) and `score` (N,).

    The map is interpolated and smoothed by two small matrix products, weighted by how much of each cell
    shows the
    picture, so that heat neither leaks into nor is diluted by padding; padding is 0 and never scores.
    """
    (height, width), (rows, columns) = size_hw, grid_hw
    share = cover(graph, content_xyxy, size_hw, grid_hw)  # (N, h, w)
    down = graph.constant(resize_matrix(rows, height, smoothing_px), "down")  # (H, h)
    across = graph.constant(resize_matrix(columns, width, smoothing_px).T, "across")  # (w, W)

    def enlarge(values: str) -> str:
        return graph.add("MatMul", graph.add("MatMul", down, values), across)

    heat = enlarge(graph.add("Mul", distance, share))
    weight = graph.add("Max", enlarge(share), graph.floats(1e-6))
    heat = graph.add("Div", heat, weight)
    inside = graph.add(
        "Ceil", cover(graph, content_xyxy, size_hw, size_hw)
    )  # pixels that show any of the picture
    heat = graph.add("Mul", heat, inside)
    score = graph.add("ReduceMax", heat, graph.ints(1, 2), attributes={"keepdims": 0})
    graph.output("score", score, TensorProto.FLOAT, ["N"])
    graph.output("map", heat, TensorProto.FLOAT, ["N", height, width])
