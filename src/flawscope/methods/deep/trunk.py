"""A network cut in two: what stays frozen becomes a graph that runs once over all canvases, the rest
is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from onnx import TensorProto
from torch import nn

from flawscope.core.errors import ConfigError
from flawscope.core.registry import did_you_mean
from flawscope.methods.contract import FitContext
from flawscope.methods.deep import blocks
from flawscope.methods.deep.backbone_export import network
from flawscope.methods.deep.export import to_onnx
from flawscope.methods.features import geometry, to_grid
from flawscope.methods.graph import GraphBuilder
from flawscope.runtime.halves import halve

HEAD, LAST_STAGE, ALL = "head", "last_stage", "all"


@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two pieces."""

    frozen: Any  # onnx.ModelProto from normalised images to a map; None: nothing is frozen
    trained: nn.Module  # from that map, or from normalised images
    input_shape: tuple[int, int, int]  # what the trained piece takes: (C, h, w)
    channels: int  # of the last map
    grid_hw: tuple[int, int]  # of the last map


def cut(context: FitContext, trainable: str) -> Cut:
    """Cut the context's network where `trainable` says: `head` freezes all of it, `last_stage` all up to the
    last change of scale, `all` nothing, a stage's name what comes before that stage.

    Raises ConfigError for a stage that is not there, and where the backbone is a graph alone and more than
    the head is to be trained.
    """
    size_hw = context.preprocess.size_hw
    if context.source is None:
        _check_graph(context, trainable)
        return _coarsest(context)
    trunk = network(context.source)
    pieces = _pieces(trunk)
    place = _place(trunk, list(pieces), trainable)
    modules = list(pieces.values())
    first, rest = nn.Sequential(*modules[:place]).eval(), nn.Sequential(*modules[place:]).eval()
    example = torch.randn((2, 3, *size_hw), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        between = first(example)
        _, channels, rows, columns = rest(between).shape
    frozen = None
    if place:  # stored in half precision from here on: what is taught sees what the line will see
        frozen = halve(to_onnx(first, [example], outputs=["map"], name=context.backbone.card.name))
    return Cut(frozen, rest, tuple(between.shape[1:]), channels, (rows, columns))


def cut_levels(context: FitContext, trainable: str) -> Cut:
    """Cut the context's network as `cut` does, but up to the coarsest of the backbone's levels, the last map
    being all its levels side by side on the finest one's grid.

    `trainable` is `head`, `last_stage` (what lies between the two levels) or `all`. Raises ConfigError as
    `cut` does, and for a network without two levels that follow one another.
    """
    where = geometry(context.backbone, context.preprocess.size_hw)
    channels = sum(where.channels)
    if trainable == HEAD or context.source is None:
        _check_graph(context, trainable)
        graph = GraphBuilder()
        image = graph.input("image", TensorProto.FLOAT, ["N", 3, *where.size_hw])
        levels = graph.include(context.backbone.model, inputs=[image])
        laid = [
            to_grid(graph, level, source_hw=grid_hw, grid_hw=where.grid_hw)
            for level, grid_hw in zip(levels, where.level_grids, strict=True)
        ]
        joined = graph.add("Concat", *laid, attributes={"axis": 1}) if len(laid) > 1 else laid[0]
        graph.output("map", joined, TensorProto.FLOAT, ["N", channels, *where.grid_hw])
        shape = (channels, *where.grid_hw)
        return Cut(graph.model(halves=False), nn.Sequential(), shape, channels, where.grid_hw)
    fine, coarse = _between(context)
    example = torch.randn((2, 3, *where.size_hw), generator=torch.Generator().manual_seed(0))
    if trainable == ALL:
        return Cut(None, _SideBySide(fine, coarse), (3, *where.size_hw), channels, where.grid_hw)
    frozen = halve(to_onnx(fine.eval(), [example], outputs=["map"], name=context.backbone.card.name))
    shape = (where.channels[0], *where.grid_hw)
    return Cut(frozen, _SideBySide(nn.Sequential(), coarse), shape, channels, where.grid_hw)


def _between(context: FitContext) -> tuple[nn.Sequential, nn.Sequential]:
    """Return what leads from the image to the finest of two levels, and from there to the coarsest."""
    assert context.source is not None
    trunk = network(context.source)
    pieces = _pieces(trunk)
    strides = [level.stride for level in context.backbone.card.levels]
    flat = [name.replace(".", "_") for name in pieces]
    ends = {entry["reduction"]: entry["module"].replace(".", "_") for entry in _levels_of(trunk)}
    if len(strides) != 2 or not all(ends.get(stride) in flat for stride in strides):
        raise ConfigError(
            f"{context.backbone.card.name} has no two levels that follow one another",
            expected="a convolutional network with levels at strides 8 and 16",
            found=", ".join(map(str, strides)),
            remedy=f"Take mobilenetv2_100 or resnet18, or set trainable = {HEAD}",
        )
    first, last = (flat.index(ends[stride]) + 1 for stride in strides)
    modules = list(pieces.values())
    return nn.Sequential(*modules[:first]), nn.Sequential(*modules[first:last])


def _levels_of(trunk: nn.Module) -> list[dict[str, Any]]:
    """Return timm's notes on a network's levels; none where it has none."""
    info = getattr(trunk, "feature_info", None)
    return [] if info is None else list(info.get_dicts())


class _SideBySide(nn.Module):
    """Two levels on the finer one's grid."""

    def __init__(self, fine: nn.Module, coarse: nn.Module) -> None:
        super().__init__()
        self.fine, self.coarse = fine, coarse

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return both, (N, C, h, w)."""
        finer = self.fine(values)
        coarser = self.coarse(finer)
        return torch.cat([finer, blocks.to_grid(coarser, (finer.shape[2], finer.shape[3]))], 1)


def _check_graph(context: FitContext, trainable: str) -> None:
    """Raise ConfigError where more than the head of a backbone is to be trained that is a graph alone."""
    if context.source is None and trainable != HEAD:
        raise ConfigError(
            f"The backbone {context.backbone.card.name} is a graph, which cannot be trained further",
            expected=f"trainable = {HEAD}",
            found=trainable,
            remedy="Take a backbone with weights, such as resnet50 or mobilenetv2_100",
        )


def _coarsest(context: FitContext) -> Cut:
    """Return a backbone's graph up to its coarsest level."""
    card = context.backbone.card
    model = type(context.backbone.model)()
    model.CopyFrom(context.backbone.model)
    coarsest = max(range(len(card.levels)), key=lambda i: card.levels[i].stride)
    kept = model.graph.output[coarsest]
    del model.graph.output[:]
    model.graph.output.append(kept)
    level = card.levels[coarsest]
    height, width = context.preprocess.size_hw
    grid_hw = (height // level.stride, width // level.stride)
    return Cut(model, nn.Sequential(), (level.channels, *grid_hw), level.channels, grid_hw)


class _Last(nn.Module):
    """A network that gives several maps, of which the last is wanted."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last map."""
        return self.trunk(images)[-1]


def _pieces(trunk: nn.Module) -> dict[str, nn.Module]:
    """Return the pieces that follow one another in a network of timm, by name; one piece where they do not
    simply follow."""
    if isinstance(trunk, nn.ModuleDict):
        return dict(trunk.items())
    if hasattr(trunk, "conv_stem") and hasattr(trunk, "blocks") and not getattr(trunk, "feature_hooks", None):
        pieces = {"conv_stem": trunk.conv_stem, "bn1": trunk.bn1}
        return pieces | {f"blocks.{i}": block for i, block in enumerate(trunk.blocks)}
    return {"network": _Last(trunk)}


def _place(trunk: nn.Module, names: list[str], trainable: str) -> int:
    """Return the index of the first piece that is trained."""
    if trainable == HEAD:
        return len(names)
    if trainable == ALL:
        return 0
    flat = [name.replace(".", "_") for name in names]
    if trainable == LAST_STAGE and len(names) > 1:
        levels = trunk.feature_info.get_dicts()
        before = next(entry for entry in reversed(levels) if entry["reduction"] < levels[-1]["reduction"])
        return flat.index(before["module"].replace(".", "_")) + 1
    wanted = trainable.replace(".", "_")
    if wanted in flat and len(names) > 1:
        return flat.index(wanted)
    known = [HEAD, LAST_STAGE, ALL, *names] if len(names) > 1 else [HEAD, ALL]
    raise ConfigError(
        "trainable names no stage of this network",
        expected="one of " + ", ".join(known),
        found=trainable,
        remedy=did_you_mean(trainable, known),
    )
