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
import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import flawscope
from flawscope.core.progress import Silent, Stage
from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.manifest import write_manifest
from flawscope.flows.environment import machine, versions
from flawscope.imaging.read import read_mask
from flawscope.metrics import localisation

SIDE = 224
# ImageNet's features differ in strength from channel to channel, and that tells; see docs/methods.md
IMAGENET: dict[str, Any] = {"unit_levels": False, "components": 192, "smoothing": 14.0}
ROWS: dict[str, dict[str, Any]] = {
    "stretched to 224x224": {"fit": "stretch", "size": [SIDE, SIDE]},
    "aspect kept, same area a picture": {"fit": "letterbox"},
}


@dataclass
class Stopwatch(Silent):
    """A progress that keeps each stage's seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Time a stage."""
        start = time.perf_counter()
        yield self
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def write_protocol(shared: Path, out: Path) -> None:
    """Write the protocol's split as a manifest."""
    place = shared / "data" / "protocol.py"
    spec = importlib.util.spec_from_file_location("protocol", place)
    assert spec is not None and spec.loader is not None
    protocol = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protocol)
    part = {path: str(i) for i, paths in enumerate(protocol.parts()) for path in paths}
    samples = []
    for name, role in (("fit", Role.FIT), ("test_good", Role.TEST), ("test_bad", Role.TEST)):
        for path in protocol.split()[name]:
            label = GOOD if name != "test_bad" else path.split("/")[0].removeprefix("MT_").lower()
            photograph = protocol.ROOT / path
            mask = str(photograph.with_suffix(".png")) if name == "test_bad" else None
            samples.append(Sample(path, str(photograph), label, mask_path=mask, part=part[path], role=role))
    write_manifest(out, samples)


def pixel_auroc(report: Any) -> float:
    """Return the AUROC over all pixels at 224x224."""
    maps, masks, bad = [], [], []
    for judged in report.judged:
        heat = judged.inspection.map.astype(np.float32)
        maps.append(cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
        mask = None
        if judged.sample.mask_path:
            full = read_mask(judged.sample.mask_path, above=127).astype(np.uint8)
            mask = cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        masks.append(mask)
        bad.append(judged.sample.is_bad)
    pixels = localisation.collect(maps, masks, pixel_threshold=1.0, is_bad=bad)
    return float(localisation.auroc(pixels).value or 0.0)


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
        f"Machine: {machine()['processor']}, {machine()['cores']} cores; "
        + ", ".join(f"{key} {value}" for key, value in versions().items()),
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
