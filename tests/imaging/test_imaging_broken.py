"""Three hundred broken files: none crashes, none is unaccounted for, none takes memory to speak of."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CODES = {"empty", "not_an_image", "truncated", "corrupt", "too_large", "unsupported"}
ALLOWED = {  # what reading may say of each fault
    "truncated": {"truncated"},
    "bit_flipped": {"judged", *CODES} - {"empty"},
    "wrong_extension": {"judged"},
    "no_bytes": {"empty", "not_an_image"},
    "zeroed": {"judged", "truncated", "corrupt"},
    "foreign": {"not_an_image", "truncated", "corrupt"},
    "bomb": {"too_large", "truncated", "corrupt"},
}


@pytest.fixture
def broken_images(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("broken_images")


@pytest.mark.parametrize("seed", [0, 1])
def test_every_broken_file_is_judged_or_named(broken_images: ModuleType, tmp_path: Path, seed: int) -> None:
    before = broken_images.peak_memory_mb()
    files = broken_images.write_broken(tmp_path, count=300, seed=seed)
    seen: Counter[str] = Counter()
    for file in files:
        result = broken_images.outcome(file.path)
        assert result in ALLOWED[file.fault], (file, result)
        seen[file.fault] += 1
    assert seen.total() == 300 and set(seen) == set(ALLOWED)
    after = broken_images.peak_memory_mb()
    assert before is None or after - before < 300


def test_the_same_seed_breaks_the_same_way(broken_images: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = broken_images.write_broken(tmp_path / "a", count=60, seed=3)
    second = broken_images.write_broken(tmp_path / "b", count=60, seed=3)
    assert [file.path.read_bytes() for file in first] == [file.path.read_bytes() for file in second]
