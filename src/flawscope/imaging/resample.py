"""Resampling as small matrices, so that graphs and numpy bring maps to other grids by the same numbers."""

from __future__ import annotations

import numpy as np


def resize_matrix(source: int, target: int, sigma: float = 0.0) -> np.ndarray:
    """Return the float32 (target, source) matrix that interpolates linearly between cell centres and then
    smooths with a Gaussian of `sigma` target cells. Rows add up to one."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(places).astype(int)
    share = places - lower
    matrix = np.zeros((target, source))
    matrix[np.arange(target), lower] += 1 - share
    matrix[np.arange(target), np.minimum(lower + 1, source - 1)] += share
    if sigma > 0:
        distance = np.arange(target)[:, None] - np.arange(target)[None]
        kernel = np.exp(-0.5 * (distance / sigma) ** 2)
        matrix = kernel / kernel.sum(1, keepdims=True) @ matrix
    return matrix.astype(np.float32)


def to_grid(values: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Interpolate maps float32 (..., h, w) linearly between cell centres onto another grid."""
    if values.shape[-2:] == grid_hw:
        return values
    down, across = resize_matrix(values.shape[-2], grid_hw[0]), resize_matrix(values.shape[-1], grid_hw[1])
    return np.asarray(down @ (values @ across.T))
