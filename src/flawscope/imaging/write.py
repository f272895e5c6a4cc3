"""Images into files: encoded by the name's ending, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from flawscope.core import files
from flawscope.core.errors import UsageError

_OPTIONS: dict[str, tuple[int, ...]] = {
    ".png": (cv2.IMWRITE_PNG_COMPRESSION, 3),
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 92),
    ".jpeg": (cv2.IMWRITE_JPEG_QUALITY, 92),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 92),
    ".bmp": (),
    ".tif": (),
    ".tiff": (),
    ".pgm": (),
    ".ppm": (),
}


def write_image(path: Path, pixels_rgb: np.ndarray) -> None:
    """Write an image, missing folders included. Raises UsageError as `encode` does, OSError where the place
    cannot be written."""
    files.write_bytes(path, encode(pixels_rgb, path.suffix))


def encode(pixels: np.ndarray, suffix: str) -> bytes:
    """Return a file's content for grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), uint8, or uint16 for PNG,
    TIFF and PGM. Raises UsageError for an ending or pixels that cannot be written."""
    suffix = suffix.lower()
    if suffix not in _OPTIONS:
        raise UsageError(
            f"Images are not written as {suffix!r}", expected="one of " + ", ".join(sorted(_OPTIONS))
        )
    turned = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    channels = 2 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or channels not in turned:
        raise UsageError(
            "These pixels cannot be written",
            expected="uint8 or uint16, grey, RGB or RGBA",
            found=f"{pixels.dtype} {pixels.shape}",
        )
    conversion = turned[channels]
    ordered = np.ascontiguousarray(pixels)
    if conversion is not None:
        ordered = cv2.cvtColor(ordered, conversion)
    try:
        done, content = cv2.imencode(suffix, ordered, _OPTIONS[suffix])
    except cv2.error:
        done = False
    if not done:
        raise UsageError(f"{pixels.dtype} {pixels.shape} cannot be written as {suffix}")
    return bytes(content)


def thumbnail(pixels: np.ndarray, max_side: int) -> np.ndarray:
    """Return the pixels shrunk, averaging, so that no side is longer than `max_side`; never enlarged."""
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels.copy()
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA))
