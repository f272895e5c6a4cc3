"""What tests share: a small world of drawn chips; real photographs and weights, where they are at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings
from worlds import SHARED, SMALL, World, with_roles

import flawscope
from flawscope.core.extras import missing_modules
from flawscope.data.manifest import write_manifest
from flawscope.synth.write import write_chips

TRAINABLE = not missing_modules("train")
# how long an example takes says how busy the machine is, and nothing about the code
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the [train] extra where that is not installed."""
    if TRAINABLE:
        return
    for item in items:
        if item.get_closest_marker("deep"):
            item.add_marker(pytest.mark.skip(reason="needs flawscope[train]"))


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


@pytest.fixture(scope="session")
def chips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good chips to teach from; 8 good and 8 bad ones, each of another kind, under test/. 128x96."""
    folder = tmp_path_factory.mktemp("world") / "chips"
    write_chips(folder, good=24, bad=8, size_wh=(128, 96), seed=0)
    return folder


@pytest.fixture(scope="session")
def world(chips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run on the chips with the bundled backbone, calibrated by folds."""
    run = tmp_path_factory.mktemp("by_folds") / "run"
    return World(chips_folder, run, flawscope.train(chips_folder, out=run, settings=SMALL, threads=1))


@pytest.fixture(scope="session")
def split_world(chips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, calibrated by twelve parts held out."""
    run = tmp_path_factory.mktemp("by_split") / "run"
    held_out = {"calibrate": "split", "calibrate_share": 0.5, "alpha": 0.15, "review_alpha": 0.3}
    trained = flawscope.train(chips_folder, out=run, settings=SMALL | held_out, threads=1)
    return World(chips_folder, run, trained)


@pytest.fixture(scope="session")
def classified(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A classifier on frozen features, taught from drawn chips with roles; `data` is their manifest."""
    folder = tmp_path_factory.mktemp("classified")
    write_chips(folder / "chips", good=30, bad=24, size_wh=(128, 96), seed=5)
    write_manifest(folder / "chips" / "roles.jsonl", with_roles(folder / "chips"))
    data, run = folder / "chips" / "roles.jsonl", folder / "run"
    settings = {"method": "linear", "budget": 96, "alpha": 0.1, "settings": {"views": 2}}
    return World(data, run, flawscope.train(data, out=run, settings=settings, threads=1))


@pytest.fixture(scope="session")
def golden_maker() -> ModuleType:
    """tests/golden/make.py: a tiny backbone, and parts of 64x48 that are drawn in no time."""
    path = Path(__file__).resolve().parent / "golden" / "make.py"
    specification = importlib.util.spec_from_file_location("golden_maker", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_settings(golden_maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings with which a run on tiny parts takes a tenth of a second."""
    backbone = golden_maker.tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.onnx")
    return golden_maker.SETTINGS | {"backbone": str(backbone)}
