"""The network of cnn: two convolutions, each with a pooling."""

from __future__ import annotations

from torch import nn

from flawscope.methods.cnn import CnnConfig
from flawscope.methods.contract import FitContext
from flawscope.methods.deep.classifier import Body
from flawscope.methods.deep.loop import seeded

STRIDE = 8


def body(config: CnnConfig, context: FitContext) -> Body:
    """Return what stands under the head."""
    height, width = context.preprocess.size_hw
    with seeded(context.seed, "cnn"):
        network = nn.Sequential(
            nn.Conv2d(3, config.width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(config.width, 2 * config.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * config.width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
    grid_hw = (height // STRIDE, width // STRIDE)
    return Body("cnn", None, network, (3, height, width), 2 * config.width, grid_hw)
