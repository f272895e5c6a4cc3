"""patchcore on real magnetic tiles, split by part, beside the strongest open peer's figures.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/magnetic_tiles.py \\
        [--shared ../shared] [--backbone resnet18] [--seeds 3] [--out benchmarks/results/magnetic_tiles.md]

The split is that of `data/protocol.py` beside the photographs: 200 good tiles teach, 120 good and 120
defective ones test, no part in both. Each row is a whole training run by a manifest with these roles,
calibrated by five folds, and judged by the line's inspector. Pixel AUROC is taken over all pixels of maps and
masks at 224x224, as for the peer. The peer's figures (image AUROC 0.870, pixel AUROC 0.809, fit 359 s of
which 335 s coreset, one thread) are those of anomalib 2.7.0 with the same weights, split, size and a bank of
3,920, measured on another day on such a machine. The ImageNet weights need flawscope[train] once, to be
turned into a graph; they are not part of the project.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tiles import IMAGENET, SIDE, Stopwatch, machine_line, pixel_auroc, write_protocol

import flawscope

ROWS: dict[str, dict[str, Any]] = {
    "stretched to 224x224": {"fit": "stretch", "size": [SIDE, SIDE]},
    "aspect kept, same area a picture": {"fit": "letterbox"},
}


def main() -> None:
    """Run every row and seed, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--bank", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/magnetic_tiles.md"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Magnetic tiles",
        "",
        f"`python benchmarks/magnetic_tiles.py --backbone {arguments.backbone} --seeds {arguments.seeds}`, "
        f"bank {arguments.bank}, {arguments.threads} thread; the script's head says what is measured.",
        "",
        machine_line(),
        "",
        "| backbone | pictures | seed | image AUROC (95 % interval) | pixel AUROC | features, s | "
        "coreset, s | places, s | calibration by folds, s | verdict p50, ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for backbone in dict.fromkeys((arguments.backbone, "bundled")):
        for row, values in ROWS.items():
            found = []
            for seed in range(arguments.seeds if backbone != "bundled" else 1):
                found.append(one(arguments, lines, backbone=backbone, row=row, values=values, seed=seed))
            if len(found) > 1:
                image, pixel = np.array(found).T
                lines.append(
                    f"| {backbone} | {row} | mean, deviation | {image.mean():.4f}, {image.std(ddof=1):.4f} | "
                    f"{pixel.mean():.4f}, {pixel.std(ddof=1):.4f} | | | | | |"
                )
            arguments.out.write_text("\n".join(lines) + "\n")
    lines.append("| peer, resnet18 | stretched to 224x224 | - | 0.870 | 0.809 | 24 | 335 | - | - | 51 |")
    arguments.out.write_text("\n".join(lines) + "\n")
    print(arguments.out.read_text())


def one(
    arguments: argparse.Namespace,
    lines: list[str],
    *,
    backbone: str,
    row: str,
    values: dict[str, Any],
    seed: int,
) -> tuple[float, float]:
    """Train, judge and measure once; append the row, return image and pixel AUROC."""
    method: dict[str, Any] = {"bank": arguments.bank}
    if backbone != "bundled":
        method |= IMAGENET
    settings = values | {"backbone": backbone, "calibrate": "folds", "seed": seed, "settings": method}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "tiles.jsonl"
        write_protocol(arguments.shared, manifest)
        watch = Stopwatch()
        trained = flawscope.train(
            manifest,
            out=Path(folder) / "run",
            settings=settings,
            weights_dir=arguments.shared / "weights",
            threads=arguments.threads,
            progress=watch,
        )
        inspector = flawscope.Inspector.open(trained.bundle.path, threads=arguments.threads)
        report = flawscope.evaluate(inspector, manifest, settings={"pixels": False})
        auroc = report.metrics["image"]["auroc"]
        pixel = pixel_auroc(report)
        took = [watch.seconds[name] for name in ("Teaching", "Choosing patches", "Measuring places")]
        width, height = trained.bundle.contents.preprocess.size_hw[::-1]
        lines.append(
            f"| {backbone} | {row} ({width}x{height}) | {seed} | {auroc.value:.4f} ({auroc.low:.3f} to "
            f"{auroc.high:.3f}) | {pixel:.4f} | "
            + " | ".join(f"{value:.1f}" for value in took)
            + f" | {trained.seconds['calibrate']:.1f} | {report.timings_ms['total']['p50']:.1f} |"
        )
        print(lines[-1], flush=True)
        assert auroc.value is not None
        return auroc.value, pixel


if __name__ == "__main__":
    main()
