"""Greedy choice of the vectors that cover a cloud best (farthest point first; PatchCore, Roth et al. 2022).

The plain algorithm updates all distances after each choice. This one takes the farthest points as a block and
picks among them for as long as the best updated distance is at least that of the nearest point left outside:
no outside point can have been farther, since distances only fall. Then it updates all of them by one matrix
product. The centres are those of the plain algorithm.
"""

from __future__ import annotations

import numpy as np

from flawscope.core.types import Array

_FIRST_BLOCK = 96
_LARGEST_BLOCK = 4096


def farthest_first(points: Array, count: int) -> Array:
    """Return the indices int64 (count,) of a greedy cover of `points` float32 (n, d), in the order of choice.

    The first is the point farthest from the mean; ties go to the lower index. With `count` >= n all are
    returned.
    """
    points = np.ascontiguousarray(points, np.float32)
    total = len(points)
    count = min(count, total)
    squares = np.einsum("ij,ij->i", points, points)
    first = int(np.square(points - points.mean(0)).sum(1).argmax())
    chosen = [first]
    distance = _squared(points, squares, [first])
    distance[first] = -1.0
    block = _FIRST_BLOCK
    while len(chosen) < count:
        size = min(block, total - 1)
        farthest = np.argpartition(-distance, size)
        outside = distance[farthest[size]]  # the farthest that is no candidate
        # by index, with the first of the farthest among them, so that ties go to the lower one
        candidates = np.union1d(farthest[:size], [distance.argmax()])
        picked = _pick(points[candidates], distance[candidates], outside, count - len(chosen))
        new = candidates[picked].tolist()
        distance = np.minimum(distance, _squared(points, squares, new))
        distance[new] = -1.0
        chosen.extend(new)
        if len(new) * 4 > size:
            block = min(block * 2, _LARGEST_BLOCK)
    return np.array(chosen, np.int64)


def _pick(points: Array, distance: Array, outside: float, most: int) -> list[int]:
    """Pick greedily among candidates, in order, while none outside can be farther; at least one is picked."""
    squares = np.einsum("ij,ij->i", points, points)
    left = distance.copy()
    picked: list[int] = []
    while len(picked) < most:
        best = int(left.argmax())
        if picked and left[best] <= outside:
            break
        if left[best] < 0:
            break
        picked.append(best)
        nearer = squares + squares[best] - 2 * (points @ points[best])
        left = np.minimum(left, np.maximum(nearer, 0))
        left[best] = -1.0
    return picked


def _squared(points: Array, squares: Array, centres: list[int]) -> Array:
    """Return each point's squared distance to its nearest centre, float32 (n,)."""
    products = points @ points[centres].T
    products *= -2
    products += squares[centres]
    return np.asarray(np.maximum(products.min(1) + squares, 0))
