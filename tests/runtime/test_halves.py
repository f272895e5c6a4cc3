"""Half precision on disk: which constants change, by how much, and that the arithmetic stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from flawscope.runtime.halves import SUFFIX, halve


def product(**constants: np.ndarray) -> Any:
    """Return a model that adds the sums of its constants to its input."""
    nodes, value = [], "x"
    for name in constants:
        nodes.append(helper.make_node("ReduceSum", [name], [f"{name}_sum"], keepdims=0))
        nodes.append(helper.make_node("Add", [value, f"{name}_sum"], [f"{value}+"]))
        value = f"{value}+"
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1])],
        initializer=[numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: Any) -> float:
    """Return what the model makes of nought."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": np.zeros(1, np.float32)})[0][0])


def kinds(model: Any) -> dict[str, int]:
    """Return each constant's type by its name."""
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_large_constants_shrink_and_others_stay():
    rng = np.random.default_rng(0)
    model = product(
        large=rng.random(1000).astype(np.float32),
        small=rng.random(10).astype(np.float32),
        wide=np.full(1000, 1e6, np.float32),
        kept=rng.random(1000).astype(np.float32),
    )
    before = model.SerializeToString()
    halved = halve(model, keep=frozenset({"kept"}))
    onnx.checker.check_model(halved)
    assert model.SerializeToString() == before
    assert kinds(halved) == {
        "large" + SUFFIX: TensorProto.FLOAT16,
        "small": TensorProto.FLOAT,
        "wide": TensorProto.FLOAT,
        "kept": TensorProto.FLOAT,
    }
    assert halved.ByteSize() < model.ByteSize() - 1900


def test_the_arithmetic_is_that_of_the_rounded_constants():
    values = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    expected = float(values.astype(np.float16).astype(np.float64).sum())
    np.testing.assert_allclose(run(halve(product(large=values))), expected, atol=1e-3)


def test_halving_twice_changes_nothing_more():
    once = halve(product(large=np.random.default_rng(2).random(1000).astype(np.float32)))
    assert halve(once).SerializeToString() == once.SerializeToString()
