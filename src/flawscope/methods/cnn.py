"""The small baseline: two convolutions from scratch, as the published comparisons have it.

It is here to be beaten: what a network learns from the photographs at hand alone. Where it departs from the
usual one: the head is a 1x1 convolution before the average instead of a dense layer behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.finetune import NetworkConfig
from flawscope.methods.settings import Training


@dataclass(frozen=True)
class CnnConfig(NetworkConfig):
    """Settings of cnn."""

    width: int = setting(
        32,
        unit="channels",
        low=4,
        high=512,
        help="Of the first convolution; the second has twice as many.",
        search=(16, 32, 64),
    )
    training: Training = setting(
        Training(steps=1000, batch=32, learning_rate=1e-2, weight_decay=1e-3),
        help="How the network is trained.",
    )


@register(
    "cnn",
    kind=Kind.SUPERVISED,
    extra="train",
    summary="Two convolutions from scratch: the baseline that every other classifier should beat.",
    paper="LeCun et al., 1998",
)
class Cnn:
    """A small network without any pretraining."""

    Config = CnnConfig

    def __init__(self, config: CnnConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train on labelled photographs; return the graph."""
        from flawscope.methods.deep import classifier, cnn

        return classifier.fit(cnn.body(self._config, context), self._config, data, context)
