"""Folders of tiny parts, and runs on them that take a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

import flawscope
from flawscope.flows.train import Trained

Train = Callable[..., Trained]


@pytest.fixture
def train_tiny(tiny_settings: dict[str, Any], tmp_path: Path) -> Train:
    """A function that trains on a folder: train_tiny(data, out=..., **settings)."""

    def train(data: Path, *, out: Path | None = None, **settings: Any) -> Trained:
        return flawscope.train(
            data, out=out or tmp_path / "run", settings=tiny_settings | settings, threads=1
        )

    return train


@pytest.fixture
def parts(golden_maker: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes good parts into a folder: parts(count, folder=..., start=...)."""

    def write(count: int, *, folder: Path | None = None, start: int = 0) -> Path:
        return Path(golden_maker.write_parts(folder or tmp_path / "parts", count, start=start))

    return write


@pytest.fixture
def mixed(golden_maker: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes good/, scratch/ and blob/ with masks: mixed(good, bad_of_each, folder=...)."""

    def write(good: int, bad: int, *, folder: Path | None = None, start: int = 0) -> Path:
        folder = folder or tmp_path / "mixed"
        golden_maker.write_parts(folder / "good", good, start=start)
        for kind, flaw in enumerate(("scratch", "blob")):
            for i in range(bad):
                number = start + 500 + 100 * kind + i
                name = f"part_{number:03d}"
                flawed, sound = golden_maker.part(number, flaw), golden_maker.part(number)
                golden_maker.write_png(folder / flaw / f"{name}.png", flawed)
                changed = np.abs(flawed.astype(int) - sound).max(2) > 30
                mask = np.dstack([changed.astype(np.uint8) * 255] * 3)
                golden_maker.write_png(folder / "ground_truth" / flaw / f"{name}_mask.png", mask)
        return folder

    return write


@pytest.fixture(scope="session")
def write_deep() -> Callable[[Path, np.ndarray], Path]:
    """A function that writes uint16 grey (H, W) as a PNG of 16 bits."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        assert pixels.dtype == np.uint16
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        return path

    return write
