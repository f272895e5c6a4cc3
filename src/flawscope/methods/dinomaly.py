"""Dinomaly: a decoder rebuilds a vision transformer's own tokens through a noisy bottleneck; what it cannot
rebuild is the anomaly.

Guo et al., Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised Anomaly Detection, CVPR 2025.
Where we depart: class and register tokens stay out of the decoder; padding and what is not judged have no
part in the loss; AdamW with shortened gradients and a cosine to zero takes the place of StableAdamW; the
hard points are mined over the first tenth of the course, whatever its length, as there over 1000 steps of
10 000; a transformer of another depth than twelve gives its blocks at the same shares of the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.methods.backbones import Tokens
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training


@dataclass(frozen=True)
class DinomalyConfig(MapConfig):
    """Settings of dinomaly."""

    noise: float = setting(
        0.2,
        unit="of the values",
        low=0,
        high=0.9,
        help="Dropped in the bottleneck while it learns: more keeps the decoder from copying flaws, too much "
        "blurs what is good.",
        search=Span(0.05, 0.5),
    )
    depth: int = setting(
        8,
        unit="blocks",
        low=2,
        high=16,
        help="A deeper decoder rebuilds more and takes longer a verdict.",
        search=(4, 6, 8),
    )
    hard_share: float = setting(
        0.9,
        unit="of the positions",
        low=0,
        high=0.99,
        help="The share of positions, the best rebuilt ones, that hardly teach any more.",
        search=Span(0.5, 0.99),
    )
    training: Training = setting(
        Training(steps=1000, batch=8, learning_rate=2e-3, weight_decay=1e-4, warmup=0.01, clip=0.1),
        help="How the decoder is trained.",
    )


@register(
    "dinomaly",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="Rebuilds a vision transformer's tokens; fails on flaws. Several products in one model.",
    paper="Guo et al., CVPR 2025",
)
class Dinomaly:
    """A noisy bottleneck and a decoder behind a frozen transformer."""

    Config = DinomalyConfig
    tokens = Tokens.MIDDLE

    def __init__(self, config: DinomalyConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train bottleneck and decoder on good parts; return the graph. Raises ConfigError for a backbone
        that is no transformer."""
        from flawscope.methods.deep import dinomaly

        return dinomaly.fit(self._config, data, context)
