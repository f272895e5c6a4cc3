"""Small drawn images for the stand-ins of data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write small images of differing content, `value` for one grey all over; return the folder of all."""
    count = 0

    def one(*names: str, value: int | None = None) -> Path:
        nonlocal count
        for name in names:
            count += 1
            rng = np.random.default_rng(count)
            pixels = rng.integers(0, 256, (24, 32), np.uint8)
            if value is not None:
                pixels[:] = value
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            done, content = cv2.imencode(place.suffix.lower(), pixels)
            assert done
            place.write_bytes(content.tobytes())
        return tmp_path

    return one
