"""The two looks at pixels that this floor takes itself: a small grey picture, and whether a mask is empty.

Both ask little (grey, 8 bits, any quality of decoder), so OpenCV is called directly; whatever is taught or
judged comes through `imaging.read`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def read_grey(path: Path, *, at_least: int | None = None) -> np.ndarray | None:
    """Read an image as uint8 grey (H, W), or None where it cannot be decoded.

    `at_least` allows a JPEG to come at a quarter of its size, which decodes much faster, where both sides
    keep so many pixels. Bytes are read first: OpenCV cannot open names outside the code page on Windows.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    if at_least is not None and content[:2].tobytes() == b"\xff\xd8":
        reduced = _decode(content, cv2.IMREAD_REDUCED_GRAYSCALE_4)
        if reduced is not None and min(reduced.shape) >= at_least:
            return reduced
    return _decode(content, cv2.IMREAD_GRAYSCALE)


def _decode(content: np.ndarray, mode: int) -> np.ndarray | None:
    if not content.size:
        return None
    try:
        grey = cv2.imdecode(content, mode)
    except cv2.error:  # a size beyond OpenCV's limit
        return None
    return None if grey is None or grey.size == 0 else np.asarray(grey)


def is_empty_mask(path: Path) -> bool | None:
    """Say whether every pixel of a mask is zero; None where it cannot be read."""
    grey = read_grey(path)
    return None if grey is None else not grey.any()
