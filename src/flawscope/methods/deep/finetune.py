"""The network of finetune: a trunk cut where training begins, attention, and no head yet."""

from __future__ import annotations

from timm.layers import create_attn
from torch import nn

from flawscope.methods.contract import FitContext
from flawscope.methods.deep.classifier import Body
from flawscope.methods.deep.loop import seeded
from flawscope.methods.deep.trunk import cut
from flawscope.methods.finetune import FinetuneConfig

_TRUNK_RATE = 0.1  # of the learning rate, for weights that know something already


def body(config: FinetuneConfig, context: FitContext) -> Body:
    """Return what stands under the head."""
    pieces = cut(context, config.trainable)
    attention: nn.Module = nn.Identity()
    if config.attention == "cbam":
        with seeded(context.seed, "cbam"):
            attention = create_attn("cbam", pieces.channels)
    network = nn.ModuleDict({"trunk": pieces.trained, "attention": attention})
    return Body(
        "finetune",
        pieces.frozen,
        _InTurn(network),
        pieces.input_shape,
        pieces.channels,
        pieces.grid_hw,
        views=config.views,
        rates={"network.trunk": _TRUNK_RATE},
    )


class _InTurn(nn.Module):
    """The trained part of the trunk, then attention."""

    def __init__(self, network: nn.ModuleDict) -> None:
        super().__init__()
        self.network = network

    def forward(self, values):  # type: ignore[no-untyped-def]  # torch is not looked into
        """Return the last map (N, C, h, w)."""
        return self.network["attention"](self.network["trunk"](values))
