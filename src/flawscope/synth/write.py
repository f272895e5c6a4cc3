"""Folders of drawn chips, laid out as MVTec AD is, with a `chips.json` that says what was drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flawscope.core import files
from flawscope.core.errors import DataError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import GOOD, Json
from flawscope.synth.chips import DEFECTS, SHIFTS, Drawn, draw_chip
from flawscope.synth.parts import LOTS, Design, design_of, lot_of

FORMAT, VERSION = "flawscope-chips", 1
PARTS_A_LOT = 5
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
_SHIFT_FOLDERS = {"lighting_shift": "lighting", "layout_shift": "layout"}


@dataclass(frozen=True)
class Order:
    """One photograph to be drawn: where it goes, its number among all and its lot's number."""

    folder: str
    index: int
    lot: int
    label: str


def write_chips(
    folder: Path,
    *,
    good: int,
    bad: int,
    size_wh: tuple[int, int],
    seed: int,
    shifts: int = 0,
    progress: Progress | None = None,
    workers: int = 2,
) -> dict[str, int]:
    """Draw a set of chips into `folder` and return the number of pictures of each sub-folder.

    `good` parts come into `train/good`, `bad` parts, the defects in turn, into `test/<defect>` with their
    masks in `ground_truth`, and as many good ones as bad ones into `test/good`. `shifts` pictures of good
    parts, half of them under another light and half elsewhere, come into `shift`. Lots of five parts; none
    is both in `train` and `test`. The same seed gives the same bytes, with any number of `workers`
    (threads). Raises UsageError for counts or sizes out of range, and where `folder` already holds something.
    """
    if min(good, bad, shifts) < 0 or good + bad + shifts == 0 or workers < 1:
        raise UsageError(
            "the numbers of pictures", expected="at least one picture and one worker, none negative"
        )
    orders = ordered(good, bad, shifts)
    if orders[-1].lot >= LOTS:
        raise UsageError("the numbers of pictures", expected=f"at most {LOTS} lots of {PARTS_A_LOT} parts")
    _refuse_strangers(folder)
    design = design_of(seed)
    listener: Progress = progress or Silent()
    records: dict[int, Json] = {}
    with listener.stage("Drawing chips", len(orders)) as stage, ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[tuple[int, Json]]] = set()
        try:
            for order in orders:
                waiting.add(pool.submit(_draw_and_write, folder, design, order, size_wh, seed))
                if len(waiting) >= 4 * workers:
                    waiting = _collect(waiting, records, stage.advance)
            while waiting:
                waiting = _collect(waiting, records, stage.advance)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    head: Json = {
        "format": FORMAT,
        "version": VERSION,
        "seed": seed,
        "size_wh": list(size_wh),
        "package": design.package,
        "code": design.code,
        "images": [records[order.index] for order in orders],
    }
    files.write_text(folder / "chips.json", json.dumps(head, indent=1) + "\n")
    return dict(Counter(order.folder for order in orders))


def ordered(good: int, bad: int, shifts: int) -> list[Order]:
    """Return what `write_chips` draws, in order: training, test good, test bad, shifts; each with lots of
    its own.

    Good and bad test parts share the test lots, as they would in a factory.
    """
    orders = [Order(f"train/{GOOD}", index, index // PARTS_A_LOT, GOOD) for index in range(good)]
    first_lot = -(-good // PARTS_A_LOT)
    test_lots = max(1, -(-2 * bad // PARTS_A_LOT))
    for place in range(bad):
        orders.append(Order(f"test/{GOOD}", len(orders), first_lot + place % test_lots, GOOD))
    for place in range(bad):
        label = DEFECTS[place % len(DEFECTS)]
        lot = first_lot + (place // len(DEFECTS) + place) % test_lots
        orders.append(Order(f"test/{label}", len(orders), lot, label))
    first_lot += test_lots if bad else 0
    for place in range(shifts):
        label = SHIFTS[place % len(SHIFTS)]
        lot = first_lot + place // PARTS_A_LOT
        orders.append(Order(f"shift/{_SHIFT_FOLDERS[label]}", len(orders), lot, label))
    return orders


def encoded(pixels: np.ndarray) -> bytes:
    """Return RGB (H, W, 3) or grey (H, W) uint8 pixels as a PNG, lightly packed for speed."""
    ordered_bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    worked, packed = cv2.imencode(".png", ordered_bgr, _PNG)
    if not worked:
        raise DataError("a drawn picture", expected="one that can be written as PNG", found=str(pixels.shape))
    return bytes(packed)


def _collect(
    waiting: set[Future[tuple[int, Json]]], records: dict[int, Json], advance: Callable[[int], None]
) -> set[Future[tuple[int, Json]]]:
    """Wait for at least one picture, keep what is known of those that are done, and return the others."""
    done, left = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        index, record = future.result()
        records[index] = record
        advance(1)
    return left


def _refuse_strangers(folder: Path) -> None:
    """Raise where the folder is not empty: old pictures beside new ones would be counted with them."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"the folder {folder.as_posix()}",
            expected="a new or an empty one",
            found="one with something in it" if folder.is_dir() else "a file",
            remedy="choose another folder, or remove this one first",
            code="not_empty",
        )


def _draw_and_write(
    folder: Path, design: Design, order: Order, size_wh: tuple[int, int], seed: int
) -> tuple[int, Json]:
    lot = lot_of(design, seed, number=order.lot)
    defect = None if order.label == GOOD else order.label
    drawn = draw_chip(seed, (size_wh[1], size_wh[0]), lot=lot, index=order.index, defect=defect)
    name = f"lot{lot.name}_{order.index:04d}"
    path = f"{order.folder}/{name}.png"
    files.write_bytes(folder / path, encoded(drawn.pixels))
    mask_path = None
    if drawn.mask is not None:
        mask_path = f"ground_truth/{order.label}/{name}_mask.png"
        files.write_bytes(folder / mask_path, encoded(drawn.mask.astype(np.uint8) * 255))
    return order.index, _record(drawn, path, mask_path)


def _record(drawn: Drawn, path: str, mask_path: str | None) -> Json:
    return {
        "path": path,
        "mask": mask_path,
        "label": drawn.label,
        "lot": drawn.lot,
        "contrast": round(drawn.contrast, 3),
        "area_px": drawn.area_px,
        "area_share": round(drawn.area_px / (drawn.pixels.shape[0] * drawn.pixels.shape[1]), 7),
    }
