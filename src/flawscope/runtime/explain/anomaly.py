"""The graph's own map, on its own limit: what every bundle can show."""

from __future__ import annotations

from flawscope.core.types import Array
from flawscope.runtime.explain.contract import Shown, explainer

NAME = "anomaly"


@explainer(
    NAME, summary="The map that the verdict's regions come from; 1.0 is the pixel limit.", outputs=("map",)
)
def anomaly(shown: Shown) -> Array:
    """Return the map of the graph, float32 (N, H, W)."""
    return shown.outputs["map"]
