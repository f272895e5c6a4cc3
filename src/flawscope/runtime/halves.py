"""Weights in half precision on disk, full precision in use.

Large float32 constants are stored as float16 behind a Cast. onnxruntime folds the Cast when it opens the
graph, so that speed and arithmetic are those of float32, and the file is half as large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SUFFIX = "__half"


def halve(model: Any, *, least_values: int = 256, keep: frozenset[str] = frozenset()) -> Any:
    """Return a copy of an ONNX model whose float32 initializers of `least_values` values or more are float16.

    Values beyond float16's range, and initializers named in `keep`, stay as they are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts = []
    for tensor in copy.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in keep:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < least_values or np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + SUFFIX))
        casts.append(helper.make_node("Cast", [name + SUFFIX], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    copy.graph.node.extend(casts + nodes)
    return copy
