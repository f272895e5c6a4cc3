"""The backbone's card and file: what ships, what is refused."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from flawscope.core import digest
from flawscope.core.errors import ConfigError
from flawscope.runtime.backbone import (
    BUNDLED,
    METADATA_KEY,
    BackboneCard,
    Level,
    bundled,
    read,
    read_bytes,
    with_card,
)

CARD = BackboneCard("tiny", (Level("level", 3, 1),), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "made here", "none")


def tiny() -> onnx.ModelProto:
    """Return a model that gives its input back, without a card."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, "H", "W"])
        for name in ("image", "level")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["level"])], "tiny", ports[:1], ports[1:]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_the_bundled_backbone_gives_what_its_card_says():
    backbone = bundled()
    card = backbone.card
    assert card.source and card.licence and min(card.std) > 0
    strides = [level.stride for level in card.levels]
    assert len(strides) >= 2 and strides == sorted(strides)
    session = onnxruntime.InferenceSession(
        backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 96)).astype(np.float32)
    outputs = session.run(None, {"image": pixels})
    for level, values in zip(card.levels, outputs, strict=True):
        assert values.shape == (2, level.channels, 64 // level.stride, 96 // level.stride)
        assert values.dtype == np.float32 and np.isfinite(values).all() and values.std() > 0


def test_the_bundled_file_is_small_and_named_by_its_content():
    content = (resources.files("flawscope.weights") / f"{BUNDLED}.onnx").read_bytes()
    assert len(content) < 20_000_000
    assert bundled().card.digest == digest.of_bytes(content)


def test_a_card_survives_json_and_the_file(tmp_path):
    assert BackboneCard.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD
    original = tiny()
    before = original.SerializeToString()
    carded = with_card(with_card(original, BackboneCard("old", (), CARD.mean, CARD.std, "", "")), CARD)
    assert original.SerializeToString() == before
    path = tmp_path / "tiny.onnx"
    path.write_bytes(carded.SerializeToString())
    card = read(path).card
    assert card.digest == digest.of_file(path)
    assert BackboneCard.from_json(card.to_json() | {"digest": ""}) == CARD


def test_what_is_no_backbone_is_refused_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.onnx cannot be read"):
        read(tmp_path / "absent.onnx")
    with pytest.raises(ConfigError, match="noise is no ONNX model"):
        read_bytes(b"\xff\xff\xff nothing of the kind", name="noise")
    with pytest.raises(ConfigError, match=METADATA_KEY) as caught:
        read_bytes(tiny().SerializeToString(), name="plain.onnx")
    assert "plain.onnx" in str(caught.value) and "flawscope[train]" in caught.value.remedy
