"""Photographs that show something else: far from all others of their product in a backbone's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Array
from flawscope.data.audit.facts import Facts
from flawscope.data.audit.usual import mad

_NEAREST_SHARE = 0.1  # of the others: strangers that are fewer cannot vouch for one another
_BLOCK = 1024
_LEAST_SPREAD = 0.12  # of the log of the distance: a product of one look must not call its flaws strangers
FEWEST = 20  # photographs of a product that tell what belongs to it


@dataclass(frozen=True, eq=False)
class Strangeness:
    """How far each photograph lies from its product, in spreads above what is usual there, and the product
    to which it is much nearer (empty: none). NaN where a product has too few photographs."""

    deviations: Array  # float64 (n,)
    nearer: tuple[str, ...]


def strangeness_of(facts: Facts) -> Strangeness:
    """Measure every readable photograph against its own product and the others."""
    count = len(facts.samples)
    deviations = np.full(count, np.nan)
    nearer = [""] * count
    products: dict[str, list[int]] = {}
    for row in facts.readable:
        products.setdefault(facts.samples[row].product, []).append(row)
    features = facts.vectors[:, : facts.vectors.shape[1] // 2]  # the means: maxima tell flaws as well
    centres = {
        product: np.median(features[rows], axis=0)
        for product, rows in products.items()
        if len(rows) >= FEWEST
    }
    for product, rows in products.items():
        if product not in centres:
            continue
        vectors = _reduced(features[rows], centres[product])
        distance = np.log(np.maximum(_to_others(vectors), 1e-9))
        spread = max(mad(distance), _LEAST_SPREAD)
        deviations[rows] = (distance - np.median(distance)) / spread
        for row in rows:
            others = {name: float(np.linalg.norm(features[row] - centre)) for name, centre in centres.items()}
            best = min(others, key=lambda name: others[name])
            if best != product and others[best] < 0.6 * others[product]:
                nearer[row] = best
    return Strangeness(deviations, tuple(nearer))


def _reduced(vectors: Array, centre: Array) -> Array:
    """Return the vectors in units of the usual spread of each of their numbers, float32."""
    rest = vectors - centre
    spread = np.maximum(1.4826 * np.median(np.abs(rest), axis=0), 1e-6 + 0.1 * float(np.abs(rest).mean()))
    return np.asarray(rest / spread, np.float32)


def _to_others(vectors: Array) -> Array:
    """Return how far each vector must reach to meet a tenth of the others, float64 (n,)."""
    lengths = (vectors * vectors).sum(1)
    place = min(max(5, round(_NEAREST_SHARE * len(vectors))), len(vectors) - 1)  # the first is itself
    found = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        squares = lengths[start : start + _BLOCK, None] + lengths[None] - 2 * block @ vectors.T
        found[start : start + _BLOCK] = np.sqrt(np.maximum(np.partition(squares, place, axis=1)[:, place], 0))
    return found
