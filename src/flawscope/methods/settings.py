"""Settings that several methods share: how distances become a map and a score, and how networks are trained.

A method's own configuration extends `MapConfig`; one that trains a network holds a `Training` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flawscope.core.config import Search, Span, setting
from flawscope.core.errors import ConfigError
from flawscope.core.types import Array, Fit, Preprocess
from flawscope.imaging.preprocess import judged_cells
from flawscope.methods.graph import Ending


def _smoothing(search: Search | None = None) -> Any:
    return setting(
        6.0,
        unit="px of the canvas",
        low=0,
        high=64,
        help="More calms the map and dims flaws smaller than it; a score of its own stays as it is.",
        search=search,
    )


@dataclass(frozen=True)
class SmoothConfig:
    """How values per position become the map, for methods that have a score of their own."""

    smoothing: float = _smoothing()

    def ending(self, preprocess: Preprocess, grid_hw: tuple[int, int]) -> Ending:
        """Return how values over a grid become the outputs under these settings."""
        judged = judged_on_grid(preprocess, grid_hw)
        return Ending(preprocess.size_hw, grid_hw, self.smoothing, 0.0, judged)


@dataclass(frozen=True)
class MapConfig(SmoothConfig):
    """How distances per position become the map and the score."""

    smoothing: float = _smoothing(search=Span(0, 20))
    top_share: float = setting(
        0.01,
        unit="of the positions",
        low=0,
        high=1,
        help="The score is the mean of the oddest; 0 takes the oddest alone.",
        search=Span(0.001, 0.1, ratio=True),
    )

    def ending(self, preprocess: Preprocess, grid_hw: tuple[int, int]) -> Ending:
        """Return how distances over a grid become the outputs under these settings."""
        return replace(super().ending(preprocess, grid_hw), top_share=self.top_share)


@dataclass(frozen=True)
class NeighbourhoodConfig:
    """How far features are averaged, for methods that compare them."""

    neighbourhood: int = setting(
        3,
        unit="positions",
        low=1,
        high=9,
        help="Wider is steadier against noise and shift, and blurs small flaws.",
        search=(1, 3, 5),
    )

    def __post_init__(self) -> None:
        if self.neighbourhood % 2 == 0:
            raise ConfigError(
                "neighbourhood does not fit", expected="an odd number", found=str(self.neighbourhood)
            )


def judged_on_grid(preprocess: Preprocess, grid_hw: tuple[int, int]) -> Array | None:
    """Return which cells of a grid laid over the picture are judged, bool (h, w), or None for all. A tile
    shows no fixed part of the picture: there the merged map leaves out what is not judged."""
    return None if preprocess.fit is Fit.TILES else judged_cells(preprocess.area, grid_hw)


@dataclass(frozen=True)
class Training:
    """How a network is trained; the same for every method, with defaults of its own in each."""

    steps: int = setting(
        1000, low=1, high=1_000_000, help="More learns longer; each step looks at one batch."
    )
    batch: int = setting(
        8, unit="canvases", low=1, high=1024, help="More calms each step and takes memory and time."
    )
    learning_rate: float = setting(
        1e-3,
        low=0,
        high=10,
        help="The length of a step: too long never settles, too short never arrives.",
        search=Span(1e-4, 3e-2, ratio=True),
    )
    weight_decay: float = setting(
        0.0,
        low=0,
        high=1,
        help="Pulls weights towards 0 a little with every step, against learning by heart.",
    )
    schedule: str = setting(
        "cosine", choices=("constant", "cosine"), help="cosine lets the steps shrink to nothing by the end."
    )
    warmup: float = setting(
        0.0, unit="of the steps", low=0, high=0.5, help="Steps grow to their full length over this share."
    )
    accumulate: int = setting(
        1, low=1, high=1024, help="Batches whose gradients one step adds up: a larger batch in less memory."
    )
    clip: float = setting(
        0.0, low=0, high=1000, help="The longest gradient, longer ones are shortened; 0 lets all pass."
    )
