"""The network of finetune: a trunk cut where training begins, attention, and no head yet."""

from __future__ import annotations

from collections import OrderedDict

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
    return Body(
        "finetune",
        pieces.frozen,
        nn.Sequential(OrderedDict(trunk=pieces.trained, attention=attention)),
        pieces.input_shape,
        pieces.channels,
        pieces.grid_hw,
        views=config.views,
        rates={"trunk": _TRUNK_RATE},
    )
