"""The demo: draw chips, teach, calibrate, test and write the page, by the calls that the commands make."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flawscope.core.errors import UsageError
from flawscope.core.files import write_text
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import GOOD, Report
from flawscope.flows import api
from flawscope.flows.train import Trained
from flawscope.synth.write import write_chips

GOOD_PARTS, BAD_PARTS = 200, 60
SIZE_WH = (256, 192)
LOT = r"(?P<group>lot[A-Z]\d+)"  # calibration holds whole lots out, as the test does
CHIPS, RUN, EVALUATION = "chips", "run", "evaluation"
_MARK = "demo.json"  # says that a folder is a demo's, so that the next one may take its place


@dataclass(frozen=True)
class DrawnKind:
    """How visible the drawn defects of one kind are: median, least and greatest."""

    contrast: tuple[float, float, float]  # grey levels, mean absolute change over the mask
    area_share: tuple[float, float, float]  # of the picture


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo leaves."""

    folder: Path
    trained: Trained
    report: Report
    page: Path
    drawn: Mapping[str, DrawnKind]  # by defect
    seconds: Mapping[str, float]  # draw, teach, calibrate, evaluate, total


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    threads: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Demo:
    """Draw, teach, test and report into `out`. Raises UsageError where that holds something else than a demo
    (`force` writes beside it)."""
    progress = progress or Silent()
    start = time.perf_counter()
    _make_room(out, force=force)
    write_chips(out / CHIPS, good=GOOD_PARTS, bad=BAD_PARTS, size_wh=SIZE_WH, seed=seed, progress=progress)
    drawn = time.perf_counter()
    trained = api.train(
        out / CHIPS,
        out=out / RUN,
        settings={"seed": seed, "group_by": LOT},
        threads=threads,
        progress=progress,
    )
    taught = time.perf_counter()
    place = out / RUN / EVALUATION
    report = api.evaluate(
        trained.bundle.path,
        out / CHIPS,
        out=place,
        settings={"group_by": LOT},
        threads=threads,
        progress=progress,
    )
    end = time.perf_counter()
    seconds = {
        "draw": drawn - start,
        "teach": taught - drawn - trained.seconds["calibrate"],
        "calibrate": trained.seconds["calibrate"],
        "evaluate": end - taught,
        "total": end - start,
    }
    return Demo(out, trained, report, place / "report.html", _drawn_kinds(out / CHIPS), seconds)


def _make_room(out: Path, *, force: bool) -> None:
    """Take away what an earlier demo left, and nothing else."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", expected="a folder for the demo", code="not_empty")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file() and not force:
        raise UsageError(
            f"The folder {out} holds something that is no demo",
            expected="a new or an empty folder, or an earlier demo's",
            remedy="Choose another with --out, or write beside what is there with --force",
            code="not_empty",
        )
    if (out / CHIPS / "chips.json").is_file() or (out / _MARK).is_file():
        shutil.rmtree(out / CHIPS, ignore_errors=True)
    write_text(out / _MARK, json.dumps({"format": "flawscope-demo", "version": 1}) + "\n")


def _drawn_kinds(chips: Path) -> dict[str, DrawnKind]:
    """Return what was drawn, by defect."""
    images = json.loads((chips / "chips.json").read_text(encoding="utf-8"))["images"]
    labels = dict.fromkeys(image["label"] for image in images if image["label"] != GOOD)
    return {
        label: DrawnKind(
            contrast=_spread([image["contrast"] for image in images if image["label"] == label]),
            area_share=_spread([image["area_share"] for image in images if image["label"] == label]),
        )
        for label in labels
    }


def _spread(values: list[float]) -> tuple[float, float, float]:
    return float(np.median(values)), min(values), max(values)
