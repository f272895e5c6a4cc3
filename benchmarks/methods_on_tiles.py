"""Every one-class method on real magnetic tiles: quality, time, latency, size.

    python benchmarks/methods_on_tiles.py [--methods a,b] [--backbones resnet18,resnet50]

The protocol's split by part (../shared/data/protocol.py): its 200 good photographs, the parts of the last 20
or so set apart to calibrate with, teach every method alike; 120 good and 120 defective ones test. Stretched
to 224x224. Defaults of each method, but for those that compare features the settings for ImageNet's of
docs/methods.md. Image AUROC with its interval, pixel AUROC and AUPRO (limit 0.3) over maps and masks at
224x224. The fit is all of the teaching, reading and features included. The latency is the median of whole
verdicts, file read included, by the line's inspector.

Finished cells are kept beside the table (--cells) and not measured again: the benchmark can be killed and
started again. A method whose weights are not at hand is a cell that was skipped, with the reason.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tiles import IMAGENET, Cells, pixel_values, protocol_samples, trained, write_table

from flawscope.core.config import as_values, build
from flawscope.core.registry import Kind, methods
from flawscope.metrics import localisation

FEATURES: dict[str, dict[str, Any]] = {
    "patchcore": IMAGENET | {"bank": 4000},
    "padim": {"unit_levels": False},
    "dfm": {"unit_levels": False},
    "supersimplenet": {"unit_levels": False},
}
HEAD = (
    "method", "backbone", "image AUROC (95 % interval)", "pixel AUROC", "AUPRO", "fit, s", "verdict, ms",
    "bundle, MB",
)  # fmt: skip
# what a method needs that others do not: a transformer
BACKBONES = {"dinomaly": "vit_small_patch14_dinov2"}


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    one_class = [entry.name for entry in methods if entry.kind is Kind.ONE_CLASS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--methods", default=",".join(one_class))
    parser.add_argument("--backbones", default="resnet18")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/methods_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/methods_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    found = []
    for backbone in arguments.backbones.split(","):
        for method in arguments.methods.split(","):
            name = BACKBONES.get(method, backbone)
            entry = methods[method]
            settings = as_values(build(entry.method.Config, FEATURES.get(method, {}), where=method))
            recipe = {
                "method": method,
                "backbone": name,
                "seed": arguments.seed,
                "threads": arguments.threads,
                "settings": settings,
            }
            found.append(cells.run(recipe, lambda recipe=recipe: measured(arguments, recipe)))
            write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(arguments: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train and test one method."""
    samples = protocol_samples(arguments.shared, calibrate=20)
    with trained(samples, recipe, shared=arguments.shared) as (taught, report):
        pixels = pixel_values(report)
        auroc = report.metrics["image"]["auroc"]
        return {
            "auroc": auroc.value,
            "auroc_low": auroc.low,
            "auroc_high": auroc.high,
            "ap": report.metrics["image"]["ap"].value,
            "pixel_auroc": localisation.auroc(pixels).value,
            "aupro": localisation.aupro(pixels, 0.3).value,
            "fit_s": taught.seconds["teach"],
            "verdict_ms": report.timings_ms["total"]["p50"],
            "size_mb": taught.bundle.size_bytes / 1e6,
            "taught": taught.bundle.contents.counts["fit"],
        }


def write(arguments: argparse.Namespace, cells: list[dict[str, Any]]) -> None:
    """Write the table of the cells so far."""
    rows = []
    for cell in cells:
        head = f"| {cell['method']} | {cell['backbone']} |"
        if cell["status"] != "ok":
            rows.append(f"{head} skipped: {cell['reason'].split('. ')[0]} | | | | | |")
            continue
        rows.append(
            f"{head} {cell['auroc']:.3f} ({cell['auroc_low']:.3f} to {cell['auroc_high']:.3f}) | "
            f"{cell['pixel_auroc']:.3f} | {cell['aupro']:.3f} | {cell['fit_s']:.0f} | "
            f"{cell['verdict_ms']:.1f} | {cell['size_mb']:.1f} |"
        )
    write_table(
        arguments.out,
        title="Methods on magnetic tiles",
        command=f"methods_on_tiles.py --backbones {arguments.backbones}`, {arguments.threads} threads, "
        f"seed {arguments.seed}",
        head=HEAD,
        rows=rows,
    )


if __name__ == "__main__":
    main()
