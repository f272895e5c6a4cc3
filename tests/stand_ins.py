"""Backbones that stand in for networks whose weights are not at hand."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import helper

from flawscope.runtime.backbone import Backbone, Level, bundled, read_bytes, with_card

BLOCKS = 4


def drawn_blocks() -> Backbone:
    """Return the bundled backbone's finest level as blocks of a transformer would be: all of one stride, each
    seeing a little more of the picture than the one before."""
    backbone = bundled()
    level = backbone.card.levels[0]
    graph = backbone.model.graph
    first = onnx.ValueInfoProto()
    first.CopyFrom(graph.output[0])
    del graph.output[:]
    source, levels = first.name, []
    wider = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 0}
    for index in range(BLOCKS):
        name = f"block{index}"
        graph.node.append(helper.make_node("AveragePool", [source], [name], **wider))
        first.name = source = name
        graph.output.append(first)
        levels.append(Level(name, level.channels, level.stride))
    card = replace(backbone.card, name="drawn_blocks", levels=tuple(levels))
    return read_bytes(with_card(backbone.model, card).SerializeToString(deterministic=True), name=card.name)
