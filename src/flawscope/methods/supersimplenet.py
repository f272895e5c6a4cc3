"""SuperSimpleNet: two small heads on frozen features learn to tell them from features with noise in places.

Rolih, Fučka and Skočaj, SuperSimpleNet: Unifying Unsupervised and Supervised Learning for Fast and Reliable
Surface Defect Detection, ICPR 2024; for good parts beside some labelled defects, with masks or without: No
Label Left Behind, Journal of Intelligent Manufacturing 2025. Where we depart: each level is first brought to
a mean square of one, at each position (`unit_levels`) or on good parts together, so that the noise means the
same for every backbone; the grid is that of the finest level (`enlarge` 2 doubles it as the paper does, at
four times the time), with a 3x3 convolution in the classification head where the paper has 5x5 on the doubled
grid, which reaches as far; cells that hold a little of a true defect teach neither way; padding is left out
of losses and pools; the classification head is told the mean of the map's highest twentieth instead of its
single highest value, and begins as the sum of that and the map's mean instead of at random: in hundreds of
steps, where the paper takes thousands, it otherwise learns little; a cosine takes the place of the two steps
of the learning rate.

Score and map: the score is -ln(1 - p), p being the classification head's probability of a defect (its logit
through softplus: 0.69 at one half). The map is the segmentation head's probability, 0 to 1, smoothed. The
classification head sees that map, but neither bounds the other: a part may score high with a faint map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.imaging.augment import FLIPS
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import NeighbourhoodConfig, SmoothConfig, Training


@dataclass(frozen=True)
class SuperSimpleNetConfig(NeighbourhoodConfig, SmoothConfig):
    """Settings of supersimplenet."""

    unit_levels: bool = setting(
        True,
        help="Compares the kind of a feature, not its strength: better with the bundled backbone, worse with "
        "ImageNet's.",
        search=(True, False),
    )
    enlarge: int = setting(
        1,
        unit="of the finest level's grid",
        low=1,
        high=4,
        help="A finer grid marks small flaws better; time grows with its square.",
    )
    channels: int = setting(
        384,
        low=16,
        high=4096,
        help="The adaptor leads the levels' channels to at most so many: more keeps detail and takes time.",
    )
    width: int = setting(
        256,
        unit="channels",
        low=16,
        high=4096,
        help="Of the segmentation head's hidden layer: more tells finer differences and takes time.",
        search=(128, 256, 512),
    )
    noise: float = setting(
        0.4,
        unit="of the features' own size",
        low=0.001,
        high=10,
        help="How far made-up anomalies lie from good features: less asks for finer distinctions.",
        search=Span(0.1, 1, ratio=True),
    )
    flips: str = setting(
        "none",
        choices=FLIPS,
        help="Mirrored photographs teach as well. Only where orientation carries no meaning.",
    )
    defect_share: float = setting(
        0.5,
        unit="of each batch",
        low=0,
        high=0.9,
        help="How often labelled defects are drawn, where there are any; 0 leaves them out.",
    )
    training: Training = setting(
        Training(steps=300, batch=8, learning_rate=5e-4, weight_decay=1e-5, clip=1.0),
        help="How the adaptor and the heads are trained.",
    )


@register(
    "supersimplenet",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="Learns features from features with noise; a few labelled defects, where given, teach it too.",
    paper="Rolih et al., ICPR 2024",
)
class SuperSimpleNet:
    """A segmentation head and a classification head on frozen features."""

    Config = SuperSimpleNetConfig

    def __init__(self, config: SuperSimpleNetConfig) -> None:
        self._config = config

    @property
    def uses_defects(self) -> bool:
        """Whether labelled defects in FIT teach it beside good parts."""
        return self._config.defect_share > 0

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train the heads on good parts, and on labelled defects where FIT has any; return the graph."""
        from flawscope.methods.deep import supersimplenet

        return supersimplenet.fit(self._config, data, context)
