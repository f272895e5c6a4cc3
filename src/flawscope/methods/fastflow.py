"""FastFlow: invertible steps turn what the frozen backbone sees in good parts into normally distributed
noise; where that noise is unlikely is the anomaly.

Yu et al., FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows, 2021. Where we
depart: the levels are those of the backbone (strides 8 and 16, the paper's are 4, 8 and 16). The layer
normalisation has no learned factors, since a factor before the density could shrink everything and be
rewarded for it; in their place each channel is brought to the mean and deviation that good parts show. The
layers within a step have the same width at every level, not a share of the level's channels, so that wide
backbones can be learned on a processor; their last one begins at 0, so that the flow begins as doing nothing.
The factors of a step are limited to e (anomalib's implementation: e squared). As in that implementation,
and not as in the formula of the likelihood, the map is 1 - exp(-|z|^2 / 2C), averaged over the levels: the
volume term serves the loss alone. It needs no shift to stay above 0, and no place outweighs all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training


@dataclass(frozen=True)
class FastflowConfig(MapConfig):
    """Settings of fastflow."""

    couplings: int = setting(
        8,
        unit="steps of the flow",
        low=1,
        high=32,
        help="More tell finer differences, and take time and size in proportion.",
        search=(4, 8, 12),
    )
    width: int = setting(
        64,
        unit="channels within a step",
        low=4,
        high=1024,
        help="Wider steps follow good parts more closely, and take time and size in proportion.",
        search=(32, 64, 128),
    )
    training: Training = setting(
        Training(steps=500, batch=8, learning_rate=2e-3, weight_decay=1e-5),
        help="How the flows are trained.",
    )


@register(
    "fastflow",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="A normalising flow over the backbone's levels tells how likely each place is on a good part.",
    paper="Yu et al., 2021",
)
class Fastflow:
    """A flow for each level of a frozen backbone."""

    Config = FastflowConfig

    def __init__(self, config: FastflowConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train the flows on good parts; return the graph."""
        from flawscope.methods.deep import fastflow

        return fastflow.fit(self._config, data, context)
