"""Measure contrast and area of each drawn defect, and draw the contact sheet of the documentation.

python benchmarks/synth_table.py [--count 60] [--seed 0] [--size 256x192] [--sheet docs/images/chips.jpg]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from flawscope.core import files
from flawscope.synth.chips import DEFECTS, SHIFTS, Drawn, draw_chip
from flawscope.synth.parts import PACKAGES, design_of, lot_of


def main() -> None:
    """Print a table (10 %, median, 90 % of contrast and area) and write the sheet where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="pictures a defect, over lots and packages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", default="256x192")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    print("| defect | contrast, grey levels | area, % of the picture |\n|---|---|---|")
    for defect in DEFECTS:
        drawn = [_draw(options.seed, (height, width), defect, number) for number in range(options.count)]
        contrast = np.percentile([one.contrast for one in drawn], [10, 50, 90])
        share = np.percentile([100 * one.area_px / (width * height) for one in drawn], [10, 50, 90])
        print(f"| {defect} | {_spread(contrast, 0)} | {_spread(share, 2)} |")
    if options.sheet is not None:
        rows = [
            np.hstack(
                [_framed(_draw(options.seed, (144, 192), label, 3 * column + row)) for column in range(3)]
            )
            for row, label in enumerate((None, *DEFECTS, *SHIFTS))
        ]
        rows.append(np.hstack([_framed(_draw(options.seed, (144, 192), None, k)) for k in (20, 31, 42)]))
        sheet = np.vstack([np.hstack(pair) for pair in zip(rows[::2], rows[1::2], strict=True)])
        packed = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        files.write_bytes(options.sheet, bytes(packed))


def _draw(seed: int, size_hw: tuple[int, int], defect: str | None, number: int) -> Drawn:
    design = design_of(seed, package=PACKAGES[number % len(PACKAGES)])
    lot = lot_of(design, seed, number=number // 3)
    return draw_chip(seed, size_hw, lot=lot, index=number, defect=defect)


def _framed(drawn: Drawn) -> np.ndarray:
    """Return the picture with the mask's outline and its label."""
    picture = drawn.pixels.copy()
    if drawn.mask is not None:
        outer = cv2.dilate(drawn.mask.astype(np.uint8), np.ones((5, 5), np.uint8))
        contours = cv2.findContours(outer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, contours, -1, (255, 190, 0), 1)
    cv2.putText(
        picture, drawn.label, (5, 140), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
    )
    return picture


def _spread(values: np.ndarray, digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
