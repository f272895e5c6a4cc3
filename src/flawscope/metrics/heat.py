"""How heat lies on a photograph of which nobody marked the flaw: drawn together or spread, on the product or
beside it. Weaker than a mask's word: heat can be drawn together in the wrong place."""

from __future__ import annotations

import math

import numpy as np

from flawscope.core.types import Array

HOTTEST = 0.05  # share of the pixels whose share of the heat is the concentration


def concentration(heat: Array) -> float | None:
    """Return the share of a map's heat that its hottest twentieth of the pixels holds: about 0.05 where heat
    is even, 1 where it is all in one place; None for a flat map.

    Heat is what lies above the map's own median, so that a level common to all places counts for nothing.
    """
    above = np.clip(heat.astype(np.float64).ravel() - float(np.median(heat)), 0, None)
    total = float(above.sum())
    if not total > 0:
        return None
    count = max(1, math.ceil(HOTTEST * above.size))
    hottest = np.partition(above, above.size - count)[above.size - count :]
    return float(hottest.sum()) / total


def outside(heat: Array, product: Array) -> float | None:
    """Return the share of a map's heat that lies beside the product, bool (h, w): 0 is best; None for a flat
    map and where everything is product. Heat is counted as in `concentration`."""
    if product.shape != heat.shape:
        raise ValueError(f"map {heat.shape} and product {product.shape} differ in size")
    above = np.clip(heat.astype(np.float64) - float(np.median(heat)), 0, None)
    total = float(above.sum())
    if product.all() or not total > 0:
        return None
    return float(above[~product].sum()) / total
