"""Risks on disk: one page, the same as CSV and JSON, and the spreadsheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.types import Image, Levels, Verdict
from flawscope.flows.reporting import PICTURE_SIDE, outline_truth, truth_mask
from flawscope.flows.risk import Pictured, RiskResult
from flawscope.imaging.overlay import overlay
from flawscope.imaging.read import read
from flawscope.imaging.write import encode, thumbnail
from flawscope.report.risk_page import Photo, render_risk
from flawscope.report.risk_table import risk_csv
from flawscope.report.sheets import RiskBook

PAGE = "risk.html"


def write_risk(result: RiskResult, out: Path, *, book: RiskBook, levels: Levels | None = None) -> Path:
    """Write `risk.html`, `risk.json`, `risk.csv` and `risk.xlsx` (the book that was filled) into a folder;
    return the page's path."""
    report = result.report
    book.write(report, out / "risk.xlsx")
    write_text(out / "risk.json", json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
    # names of files may hold bytes that are no text
    write_bytes(out / "risk.csv", risk_csv(report).encode(errors="replace"))
    page = out / PAGE
    photos = _photos(result.pictured, levels)
    write_bytes(page, render_risk(report, photos=photos).encode(errors="replace"))
    return page


def _photos(pictured: Sequence[Pictured], levels: Levels | None) -> list[Photo]:
    """Return small pictures of parts; those whose file has become unreadable are left out."""
    made = []
    for one in pictured:
        try:
            image = read(one.rated.sample.path, levels=levels)
        except ImageError:
            continue
        made.append(_photo(one, image))
    return made


def _photo(one: Pictured, image: Image) -> Photo:
    small = Image(thumbnail(image.pixels, PICTURE_SIDE))
    height, width = small.size_hw
    plain, heated = small.pixels.copy(), None
    if one.rated.rated.inspection.verdict is not Verdict.OK:  # of a part called OK no flaw is shown
        heat = cv2.resize(one.heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        heated = overlay(small, np.asarray(heat), limit=1.0, review=1.0, regions=())
    mask = truth_mask(one.rated.sample, image.size_hw, above=None)
    if mask is not None:
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for pixels in (plain, heated):
            if pixels is not None:
                outline_truth(pixels, np.asarray(share) > 0)
    shown = b"" if heated is None else encode(heated, ".jpg")
    return Photo(one.rated, encode(plain, ".jpg"), shown, mask is not None)
