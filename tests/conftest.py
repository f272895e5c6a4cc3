"""What tests share: the real photographs and weights, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FLAWSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def magnetic_tiles() -> Path:
    """The folder of real magnetic tiles; skips where it is absent (it is not part of the project)."""
    folder = SHARED / "data" / "magnetic_tile"
    if not folder.is_dir():
        pytest.skip(f"real photographs are absent: {folder}")
    return folder


@pytest.fixture(scope="session")
def cookies() -> Path:
    """The folder of real cookies; skips where it is absent."""
    folder = SHARED / "data" / "cookies"
    if not folder.is_dir():
        pytest.skip(f"real photographs are absent: {folder}")
    return folder


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder of ImageNet weights; skips where it is absent."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip(f"real weights are absent: {folder}")
    return folder
