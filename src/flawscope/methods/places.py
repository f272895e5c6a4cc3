"""What distance is usual at each place of the canvas, so that an irregular place need not hide a flaw
elsewhere.

Borders (where convolution sees beyond the picture), printed marks and reflections are less regular than plain
surface. Dividing by the mean plus some deviations of good parts' distances there makes places comparable;
about 1 is the upper end of what is usual. Few images tell little about one place, so each is drawn towards
its neighbours and towards all.
"""

from __future__ import annotations

import numpy as np

from flawscope.core.types import Array

_OWN_WEIGHT = 8.0  # images after which a place's own figures weigh as much as the whole canvas's
_NEIGHBOUR_SIGMA = 0.7  # grid cells


class Places:
    """Running mean and deviation of distances at each position of a grid."""

    def __init__(self, grid_hw: tuple[int, int]) -> None:
        self.grid_hw = grid_hw
        self.count = np.zeros(grid_hw)
        self.sum = np.zeros(grid_hw)
        self.squares = np.zeros(grid_hw)

    def add(self, distance: Array, shown: Array) -> None:
        """Add one canvas: distances (positions,) and which positions show the picture, bool (positions,)."""
        values = over_picture_grid(distance, shown, self.grid_hw)
        if values is not None:
            self.count += 1
            self.sum += values
            self.squares += values**2

    def figures(self) -> tuple[Array, Array, Array]:
        """Return count, mean and variance per position, float64 (h, w) each; all-canvas figures where none
        was added."""
        total = max(self.count.sum(), 1.0)
        mean_all = self.sum.sum() / total
        variance_all = max(self.squares.sum() / total - mean_all**2, 0.0)
        count = np.maximum(self.count, 1e-9)
        mean = np.where(self.count > 0, self.sum / count, mean_all)
        variance = np.where(self.count > 1, np.maximum(self.squares / count - mean**2, 0), variance_all)
        return self.count, mean, variance


def usual(places: Places, *, strength: float, deviations: float = 2.0) -> Array:
    """Return mean plus so many deviations at each place of the picture, float32 (h, w), drawn towards
    neighbours and towards the whole canvas; `strength` 0 gives the whole canvas's figure everywhere. Never
    below a hundredth of that."""
    count, mean, variance = places.figures()
    weight = count.sum()
    if weight == 0 or mean.max() <= 0:
        return np.ones(count.shape, np.float32)
    mean_all = float((mean * count).sum() / weight)
    variance_all = float((variance * count).sum() / weight)
    mean = drawn(mean, count, mean_all)
    variance = drawn(variance, count, variance_all)
    everywhere = mean_all + deviations * np.sqrt(variance_all)
    here = mean + deviations * np.sqrt(variance)
    mixed = strength * here + (1 - strength) * everywhere
    return np.asarray(np.maximum(mixed, 0.01 * everywhere), np.float32)


def drawn(values: Array, count: Array, overall: float) -> Array:
    """Return values of places (h, w), each known of `count` images, drawn towards neighbours and towards what
    holds for all: float64 (h, w)."""
    trust = count / (count + _OWN_WEIGHT)
    return np.asarray(trust * _smooth(values, count) + (1 - trust) * overall)


def over_picture_grid(values: Array, shown: Array, grid_hw: tuple[int, int]) -> Array | None:
    """Lay one canvas's values (positions, ...) out over the picture that `shown` bool (positions,) bounds:
    places are counted from the picture's corner, in the grid's own number of cells. Float64 (h, w, ...), None
    where nothing is shown."""
    inside = shown.reshape(grid_hw)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    picture = values.reshape(*grid_hw, *values.shape[1:])[np.ix_(rows, columns)].astype(np.float64)
    if picture.shape[:2] == grid_hw:
        return picture
    down, across = (_stretch(n, m) for n, m in zip(picture.shape, grid_hw, strict=False))
    return np.asarray(np.einsum("ai,bj,ij...->ab...", down, across, picture, optimize=True))


def _smooth(values: Array, weights: Array) -> Array:
    """Smooth over neighbouring positions, each weighted by how much is known of it."""
    kernels = []
    for length in values.shape:
        distance = np.arange(length)[:, None] - np.arange(length)[None]
        kernels.append(np.exp(-0.5 * (distance / _NEIGHBOUR_SIGMA) ** 2))
    weighted = kernels[0] @ (values * weights) @ kernels[1].T
    total = kernels[0] @ weights @ kernels[1].T
    return np.asarray(np.where(total > 0, weighted / np.maximum(total, 1e-12), values))


def _stretch(source: int, target: int) -> Array:
    """Return the float64 (target, source) matrix that interpolates linearly between cell centres."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    gap = np.abs(places[:, None] - np.arange(source)[None])
    return np.asarray(np.maximum(1 - gap, 0))
