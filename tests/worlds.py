"""What a training run on drawn chips leaves, as the tests see it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flawscope.flows.train import Trained

# real photographs and weights, which are not part of the project
SHARED = Path(os.environ.get("FLAWSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
# a run of two seconds
SMALL: dict[str, Any] = {"budget": 96, "settings": {"bank": 100, "candidates": 2000}}


@dataclass(frozen=True)
class World:
    """Drawn chips, and a training run on them."""

    data: Path
    run: Path
    trained: Trained

    @property
    def model(self) -> Path:
        """The bundle's file."""
        return self.run / "model.flaw"

    def pictures(self, pattern: str = "test/*/*.png") -> list[Path]:
        """The photographs that a pattern matches, sorted."""
        return sorted(self.data.glob(pattern))
