"""Folders of chips: MVTec AD's layout, the same bytes from the same seed, lots that do not straddle."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from flawscope.core.digest import of_file
from flawscope.core.errors import UsageError
from flawscope.synth.chips import DEFECTS
from flawscope.synth.write import encoded, ordered, write_chips


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): of_file(path) for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("three", 3)):
        write_chips(tmp_path / name, good=6, bad=8, size_wh=(80, 64), seed=9, shifts=2, workers=workers)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "three")
    write_chips(tmp_path / "other", good=6, bad=8, size_wh=(80, 64), seed=10, shifts=2)
    one, other = _digests(tmp_path / "one"), _digests(tmp_path / "other")
    assert not set(one.values()) & {digest for path, digest in other.items() if "train" in path}


def test_folders_names_masks_and_record_agree(tmp_path: Path) -> None:
    counts = write_chips(tmp_path, good=12, bad=16, size_wh=(72, 50), seed=1, shifts=3)
    assert counts["train/good"] == 12 and counts["test/good"] == 16
    assert {name: counts[f"test/{name}"] for name in DEFECTS} == dict.fromkeys(DEFECTS, 2)
    assert (counts["shift/lighting"], counts["shift/layout"]) == (2, 1)
    record = json.loads((tmp_path / "chips.json").read_text(encoding="utf-8"))
    assert record["seed"] == 1 and record["size_wh"] == [72, 50] and record["version"] == 1
    listed = {image["path"] for image in record["images"]} | {
        image["mask"] for image in record["images"] if image["mask"]
    }
    assert listed | {"chips.json"} == set(_digests(tmp_path))
    for image in record["images"]:
        pixels = cv2.imread(str(tmp_path / image["path"]))
        assert pixels.shape == (50, 72, 3)
        assert Path(image["path"]).name.startswith(f"lot{image['lot']}_")
        if image["label"] in DEFECTS:
            stem = Path(image["path"]).stem
            assert image["mask"] == f"ground_truth/{image['label']}/{stem}_mask.png"
            mask = cv2.imread(str(tmp_path / image["mask"]), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (50, 72) and set(np.unique(mask)) <= {0, 255}
            assert (mask > 0).sum() == image["area_px"] > 0
        else:
            assert image["mask"] is None


def test_no_lot_is_both_taught_and_tested() -> None:
    orders = ordered(40, 24, 12)
    lots = {head: {o.lot for o in orders if o.folder.startswith(head)} for head in ("train", "test", "shift")}
    assert not lots["train"] & lots["test"] and not lots["test"] & lots["shift"] and len(lots["train"]) == 8
    good = {order.lot for order in orders if order.folder == "test/good"}
    assert good == lots["test"]  # a lot alone never gives a bad part away
    assert [order.index for order in orders] == list(range(len(orders)))


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="empty"):
        write_chips(tmp_path, good=1, bad=0, size_wh=(64, 64), seed=0)
    with pytest.raises(UsageError, match="one picture"):
        write_chips(tmp_path / "new", good=0, bad=0, size_wh=(64, 64), seed=0)
    with pytest.raises(UsageError, match="8x8"):
        write_chips(tmp_path / "new", good=1, bad=0, size_wh=(8, 8), seed=0)


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    from flawscope.core.progress import Silent

    class Counting(Silent):
        steps = 0

        def advance(self, steps: int = 1) -> None:
            self.steps += steps

    counting = Counting()
    counts = write_chips(tmp_path, good=3, bad=2, size_wh=(64, 48), seed=0, progress=counting)
    assert counting.steps == sum(counts.values()) == 7


def test_png_gives_the_pixels_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    back = cv2.imdecode(np.frombuffer(encoded(pixels), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(back[..., ::-1], pixels)


def test_drawing_is_not_slow(tmp_path: Path) -> None:
    start = time.process_time()
    write_chips(tmp_path, good=30, bad=0, size_wh=(256, 256), seed=0, workers=1)
    assert (time.process_time() - start) / 30 < 0.1  # seconds; about a hundredth here
