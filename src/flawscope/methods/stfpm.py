"""STFPM: a student learns to see good parts as the frozen backbone does; where they differ is the anomaly.

Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021. Where we depart: the
levels are those of the backbone (strides 8 and 16, the paper's are 4, 8 and 16); the student is a ResNet-18
whatever the teacher is, with a 1x1 convolution to the teacher's channels; AdamW with a cosine takes the place
of SGD; the map is the root of the product of the levels' distances, so that it has their scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training


@dataclass(frozen=True)
class StfpmConfig(MapConfig):
    """Settings of stfpm."""

    width: int = setting(
        64,
        unit="channels at stride 4",
        low=8,
        high=256,
        help="A wider student copies more of the teacher, and of flaws too; the graph grows with its square.",
        search=(32, 64, 128),
    )
    training: Training = setting(
        Training(steps=600, batch=8, learning_rate=2e-3, weight_decay=1e-4),
        help="How the student is trained.",
    )


@register(
    "stfpm",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="A student copies the backbone on good parts and fails on flaws. Small maps, quick to train.",
    paper="Wang et al., BMVC 2021",
)
class Stfpm:
    """A student beside a frozen teacher."""

    Config = StfpmConfig

    def __init__(self, config: StfpmConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train the student on good parts; return the graph."""
        from flawscope.methods.deep import stfpm

        return stfpm.fit(self._config, data, context)
