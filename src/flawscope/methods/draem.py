"""DRAEM: flaws are simulated on good parts; one network repairs them, another learns where they were.

Zavrtanik et al., DRAEM - A Discriminatively Trained Reconstruction Embedding for Surface Anomaly Detection,
ICCV 2021. Where we depart, and why:

- The blended pictures are drawn textures, not photographs of textures, and some flaws are painted as those
  of the drawn chips are (scratches, cracks, stains and so on): no set of photographs is needed.
- The networks are narrower (the paper's are 128 and 64 channels wide) and look at canvases of half the side,
  so that a processor will do. One width serves both; the map has that side, too.
- The score is the mean of the map's highest places, as with every method here, not the highest of an average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training


@dataclass(frozen=True)
class DraemConfig(MapConfig):
    """Settings of draem."""

    top_share: float = setting(
        0.003,
        unit="of the positions",
        low=0,
        high=1,
        help="The score is the mean of the oddest; 0 takes the oddest alone.",
        search=Span(0.001, 0.1, ratio=True),
    )
    width: int = setting(
        8,
        unit="channels",
        low=4,
        high=128,
        help="Of both networks at their finest. Wider learns more kinds of flaw; time grows with its square.",
    )
    reduction: int = setting(
        2,
        unit="px of the canvas",
        low=1,
        high=4,
        help="So many become one before the networks look; 1 shows the finest flaws at four times the cost.",
    )
    untouched: float = setting(
        0.3,
        unit="of the canvases",
        low=0,
        high=0.9,
        help="Left as they are while learning; more makes it surer of good parts.",
        search=Span(0.1, 0.6),
    )
    painted: float = setting(
        0.8,
        unit="of the flaws",
        low=0,
        high=1,
        help="Scratches, cracks, stains and such; the others are textures blended in.",
        search=Span(0.3, 1),
    )
    largest: float = setting(
        0.03,
        unit="of the picture",
        low=0.01,
        high=0.5,
        help="How large simulated flaws may become.",
        search=Span(0.01, 0.1, ratio=True),
    )
    training: Training = setting(
        Training(steps=800, batch=4, learning_rate=3e-3), help="How both networks are trained."
    )


@register(
    "draem",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="Learns to find flaws simulated on good parts. Sharp maps; needs no backbone on the line.",
    paper="Zavrtanik et al., ICCV 2021",
)
class Draem:
    """A network that repairs and one that finds what was repaired."""

    Config = DraemConfig

    def __init__(self, config: DraemConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train both networks on good parts and simulated flaws; return the graph."""
        from flawscope.methods.deep import draem

        return draem.fit(self._config, data, context)
