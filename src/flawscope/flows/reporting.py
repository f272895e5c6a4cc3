"""Reports on disk: the pictures worth showing, one self-contained page, and the same as JSON and CSV."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.types import Array, Image, Judged, Levels, Report, Sample
from flawscope.imaging.overlay import overlay
from flawscope.imaging.read import read, read_mask
from flawscope.imaging.write import encode, thumbnail
from flawscope.report.page import render
from flawscope.report.picture import Picture, choose
from flawscope.report.table import metrics_csv, samples_csv

PICTURE_SIDE = 480  # px, the longer one


def write_report(
    report: Report, out: Path, *, levels: Levels | None = None, mask_above: int | None = None
) -> Path:
    """Write `report.html`, `report.json`, `metrics.csv` and `samples.csv` into a folder; return the page's
    path."""
    pictures = []
    for judged in choose(report):
        made = picture(judged, report, levels=levels, mask_above=mask_above)
        if made is not None:
            pictures.append(made)
    write_text(out / "report.json", json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
    if report.judged:
        write_text(out / "metrics.csv", metrics_csv(report))
        write_bytes(out / "samples.csv", samples_csv(report).encode(errors="replace"))
    page = out / "report.html"
    # names of files may hold bytes that are no text
    write_bytes(page, render(report, pictures=pictures).encode(errors="replace"))
    return page


def picture(
    judged: Judged, report: Report, *, levels: Levels | None, mask_above: int | None
) -> Picture | None:
    """Return the photograph and its overlay as small JPEGs, the true defect's outline drawn into both; None
    for an image that cannot be read."""
    try:
        made = drawn(judged, report, side=PICTURE_SIDE, levels=levels, mask_above=mask_above)
    except ImageError:
        return None
    if made is None:
        return None
    plain, shown, outlined = made
    return Picture(judged, encode(plain, ".jpg"), encode(shown, ".jpg"), outlined)


def drawn(
    judged: Judged, report: Report, *, side: int, levels: Levels | None, mask_above: int | None
) -> tuple[Array, Array, bool] | None:
    """Return the photograph and its overlay, uint8 (h, w, 3), no side longer than `side` px, and whether the
    true defect's outline is drawn into both; None for one that was not judged. Raises ImageError where it
    cannot be read."""
    inspection = judged.inspection
    if inspection.map is None:
        return None
    image = read(judged.sample.path, levels=levels)
    small = Image(thumbnail(image.pixels, side))
    height, width = small.size_hw
    heat = np.asarray(
        cv2.resize(inspection.map.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    )
    # a classifier's score is log-odds and no value of its map: half the pixel threshold is the floor
    review = None if inspection.probabilities else report.thresholds.review
    shown = overlay(small, heat, limit=report.thresholds.pixel, review=review, regions=())
    plain = small.pixels.copy()
    mask = truth_mask(judged.sample, inspection.size_hw, above=mask_above)
    if mask is not None:
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for pixels in (plain, shown):
            outline_truth(pixels, np.asarray(share) > 0)
    return plain, shown, mask is not None


def truth_mask(sample: Sample, size_hw: tuple[int, int] | None, *, above: int | None) -> Array | None:
    """Return the true defect's mask; None where there is none that fits the photograph (measuring pixels
    says so, and may be left out on purpose)."""
    if sample.mask_path is None:
        return None
    try:
        mask = read_mask(sample.mask_path, above=above)
    except ImageError:
        return None
    return mask if mask.shape == size_hw else None


def outline_truth(pixels: Array, mask: Array) -> None:
    """Draw the outline of a mask into an image in place: black and white dashes are seen on any ground."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        for i, (x, y) in enumerate(contour[:, 0].tolist()):
            pixels[y, x] = 255 if (i // 4) % 2 else 0
