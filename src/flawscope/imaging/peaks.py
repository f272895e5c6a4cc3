"""Peaks of a map: where it is highest around."""

from __future__ import annotations

import cv2
import numpy as np

_APART = 10 / 224  # of the longer side, at least, between two peaks


def find_peaks(heat: np.ndarray, *, least: float, most: int = 5) -> list[tuple[int, int, float]]:
    """Return the peaks of a map float32 (h, w) as (row, column, value), highest first, at most `most`: cells
    above `least` that no cell within a twentieth of the longer side exceeds. Of a plateau, the first cell."""
    reach = max(1, round(_APART * max(heat.shape)))
    around = cv2.dilate(heat, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    rows, columns = np.nonzero((heat >= around) & (heat > least))
    order = np.argsort(-heat[rows, columns], kind="stable")
    found: list[tuple[int, int, float]] = []
    for i in order.tolist():
        row, column = int(rows[i]), int(columns[i])
        if all(max(abs(row - other[0]), abs(column - other[1])) > reach for other in found):
            found.append((row, column, float(heat[row, column])))
            if len(found) == most:
                break
    return found
