"""A few labelled defects beside many good tiles: does mixed supervision beat either alone?

    python benchmarks/mixed_supervision.py [--shared ../shared] [--seeds 3] [--counts 4,8,16,32] [--rows a,b]

The protocol's split by part (../shared/data/protocol.py): 200 good tiles teach, 120 good and 120 defective
ones test. The labelled defects come from the defective tiles of the parts that do not test, drawn anew for
each seed; more of one seed contain fewer. Stretched to 224x224, ImageNet's ResNet-18, the settings for
ImageNet features. patchcore is taught the good tiles alone, linear and joined the good tiles and the defects,
and supersimplenet either, its heads narrower and taught for fewer steps than by default. AUROC over the test
tiles, and over all pixels at 224x224. The time is of teaching, the features that rows share counted for the
first one only.

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tiles import (
    IMAGENET,
    SIDE,
    Cells,
    judged,
    pixels_of,
    protocol,
    protocol_samples,
    sample_of,
    spread,
    write_table,
)

import flawscope.methods as _registers  # noqa: F401
from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Fit, Preprocess, Role, Sample
from flawscope.imaging.read import read_mask
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.metrics import localisation
from flawscope.metrics.ranking import auroc

SETTINGS: dict[str, dict[str, Any]] = {
    "patchcore": IMAGENET,
    "linear": {"unit_levels": False, "flips": "both"},
    "joined": {"unit_levels": False, "flips": "both", "components": 192, "smoothing": 14.0},
    # narrow heads and fewer steps than its defaults: minutes a cell on a busy processor
    "supersimplenet": {"unit_levels": False, "channels": 96, "width": 64, "training": {"steps": 200}},
}
ALONE = ("patchcore", "supersimplenet")  # need no defects
MIXED = ("linear", "joined", "supersimplenet")


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--counts", default="4,8,16,32")
    parser.add_argument("--rows", default="patchcore,linear,joined,supersimplenet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mixed_supervision.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/mixed_supervision.jsonl"))
    arguments = parser.parse_args()
    cells, rows = Cells(arguments.cells), arguments.rows.split(",")
    backbone = resolve("resnet18", weights_dir=arguments.shared / "weights")
    preprocess = Preprocess(
        size_hw=(SIDE, SIDE), fit=Fit.STRETCH, mean=backbone.card.mean, std=backbone.card.std
    )
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        samples = cleared(protocol_samples(arguments.shared), Path(folder))
        defects = cleared(defects_that_teach(arguments.shared), Path(folder))
        for seed in range(arguments.seeds):
            context = FitContext(backbone, preprocess, seed=seed, threads=arguments.threads)
            for count in (0, *map(int, arguments.counts.split(","))):
                for row in MIXED if count else ALONE:
                    if row not in rows:
                        continue
                    config = build(methods[row].method.Config, SETTINGS[row], where=row)
                    recipe = {"method": row, "defects": count, "seed": seed, "settings": as_values(config)}
                    order = derive(seed, "defects").permutation(len(defects))[:count]
                    few = tuple(defects[i] for i in order)
                    method = methods[row].method(config)
                    found.append(
                        cells.run(
                            recipe,
                            lambda method=method, few=few, context=context: measured(
                                method, samples, few, context
                            ),
                        )
                    )
                    write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def defects_that_teach(shared: Path) -> list[Sample]:
    """Return the defective tiles of the parts that do not test."""
    module = protocol(shared)
    part = {path: str(i) for i, paths in enumerate(module.parts()) for path in paths}
    return [
        sample_of(module.ROOT, path, part=part[path], role=Role.FIT) for path in module.split()["fit_bad"]
    ]


def cleared(samples: list[Sample], folder: Path) -> list[Sample]:
    """Return samples whose masks hold what is marked and no smear: grey over 127, as the protocol says."""
    kept = []
    for sample in samples:
        if sample.mask_path is not None:
            place = folder / f"{Path(sample.mask_path).stem}.png"
            marked = read_mask(sample.mask_path, above=127).astype(np.uint8) * 255
            cv2.imwrite(str(place), marked)
            sample = replace(sample, mask_path=place.as_posix())
        kept.append(sample)
    return kept


def measured(
    method: Any, samples: list[Sample], few: tuple[Sample, ...], context: FitContext
) -> dict[str, Any]:
    """Teach a method the good tiles and a few defects, and test it."""
    start = time.perf_counter()
    good = tuple(sample for sample in samples if sample.role is Role.FIT)
    graph = method.fit(FitData((*good, *few)), context)
    seconds = time.perf_counter() - start
    test = [sample for sample in samples if sample.role is Role.TEST]
    found = judged(graph, test, context)
    bad = np.array([sample.is_bad for sample in test])
    pixels = pixels_of(test, [raw.map for raw in found])
    return {
        "auroc": auroc(np.array([raw.score for raw in found]), bad).value,
        "pixel_auroc": float(localisation.auroc(pixels).value or 0.0),
        "fit_s": seconds,
    }


def write(arguments: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Write the table of the cells so far: mean and deviation over the seeds."""
    rows = []
    for count, row in sorted({(cell["defects"], cell["method"]) for cell in found}):
        own = [cell for cell in found if (cell["defects"], cell["method"]) == (count, row)]
        good = [cell for cell in own if cell["status"] == "ok"]
        if not good:
            rows.append(f"| {count} | {row} | 0 | skipped: {own[0]['reason']} | | |")
            continue
        rows.append(
            f"| {count} | {row} | {len(good)} | {spread([cell['auroc'] for cell in good])} | "
            f"{spread([cell['pixel_auroc'] for cell in good])} | "
            f"{np.median([cell['fit_s'] for cell in good]):.0f} |"
        )
    write_table(
        arguments.out,
        title="A few labelled defects beside many good tiles",
        command=f"mixed_supervision.py --seeds {arguments.seeds} --counts {arguments.counts}`, "
        f"{arguments.threads} threads",
        head=("defects", "method", "seeds", "image AUROC", "pixel AUROC", "fit, s"),
        rows=rows,
    )


if __name__ == "__main__":
    main()
