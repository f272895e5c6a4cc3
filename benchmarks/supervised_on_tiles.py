"""The supervised ablation on real magnetic tiles: backbones with and without attention, and the baselines.

    python benchmarks/supervised_on_tiles.py [--shared ../shared] [--seeds 3] [--stages head]

All tiles are dealt by part: 70 % teach, 20 % choose, 10 % test, anew with every seed. Of the parts that would
teach, flawless ones of 80 photographs calibrate the verdicts instead. Stretched to 224x224, ImageNet weights
from ../shared/weights. The rows are those of the published ablation (MobileNetV2 and ResNet-50, each with and
without CBAM), a two-layer CNN, an SVM and a logistic regression on frozen features, and the latter joined
with patchcore. finetune looks at two views of each tile, the others at four; `--stages` adds rows whose last
stage is trained too. Accuracy, recall, precision and F1 call a part bad from a probability of one half; AUROC
and the calibration error need no such limit. Mean and standard deviation over the seeds.

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tiles import Cells, labelled_samples, spread, trained, write_table

from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.methods.contract import CURVES
from flawscope.metrics.ranking import auroc as auroc_of

Row = tuple[str, str, dict[str, Any]]  # method, backbone, settings
# symmetrical surfaces: either way up is as good
FLIPS = {"flips": "both"}
BASELINES: list[Row] = [
    ("cnn", "resnet18", FLIPS | {"width": 16, "training": {"steps": 400}}),
    ("svm", "resnet18", FLIPS | {"unit_levels": False}),
    ("linear", "resnet18", FLIPS | {"unit_levels": False}),
    ("joined", "resnet18", FLIPS | {"unit_levels": False, "components": 192}),
]
HEAD = (
    "method", "backbone", "trained", "attention", "accuracy", "recall", "precision", "F1", "AUROC",
    "calibration error", "fit, s", "verdict p50, ms", "bundle, MB",
)  # fmt: skip
COLUMNS = ("accuracy", "recall", "precision", "f1", "auroc", "ece")


def rows(stages: list[str]) -> list[Row]:
    """Return the rows of the table."""
    grid: list[Row] = [
        ("finetune", backbone, FLIPS | {"views": 2, "trainable": stage, "attention": attention})
        for stage in stages
        for backbone in ("mobilenetv2_100", "resnet50")
        for attention in ("none", "cbam")
    ]
    return BASELINES + grid


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stages", default="head")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/supervised_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/supervised_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    found: list[list[dict[str, Any]]] = []
    for method, backbone, settings in rows(arguments.stages.split(",")):
        found.append([])
        for seed in range(arguments.seeds):
            config = methods[method].method.Config
            recipe = {
                "method": method,
                "backbone": backbone,
                "seed": seed,
                "threads": arguments.threads,
                "settings": as_values(build(config, settings, where=method)),
            }
            found[-1].append(cells.run(recipe, lambda recipe=recipe: measured(arguments, recipe)))
            write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(arguments: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train and test one classifier."""
    samples = labelled_samples(arguments.shared, seed=recipe["seed"])
    with trained(samples, recipe, shared=arguments.shared) as (taught, report):
        bad = np.array([judged.sample.is_bad for judged in report.judged])
        scores = np.array([judged.inspection.score for judged in report.judged], float)
        called = scores > 0  # the log-odds of bad: a probability above one half
        hits = int((called & bad).sum())
        pace = [
            json.loads(path.read_text())
            for path in sorted((taught.bundle.path.parent / CURVES).glob("*.json"))
        ]
        return {
            "accuracy": float((called == bad).mean()),
            "recall": hits / max(int(bad.sum()), 1),
            "precision": hits / max(int(called.sum()), 1),
            "f1": 2 * hits / max(int(called.sum() + bad.sum()), 1),
            "auroc": auroc_of(scores, bad).value,
            "ece": report.metrics["probability"]["ece"].value,
            "tested": len(bad),
            "bad": int(bad.sum()),
            "fit_s": taught.seconds["teach"],
            "verdict_ms": report.timings_ms["total"]["p50"],
            "size_mb": taught.bundle.size_bytes / 1e6,
            "pace": pace,
        }


def attention_notes(found: list[list[dict[str, Any]]]) -> list[str]:
    """Say what CBAM adds to each network: the mean difference over the seeds, split by split."""
    by_row = {
        (cells[0]["backbone"], cells[0]["settings"]["trainable"], cells[0]["settings"]["attention"]): cells
        for cells in found
        if cells[0]["method"] == "finetune" and all(cell["status"] == "ok" for cell in cells)
    }
    notes = []
    for (backbone, stage, attention), cells in by_row.items():
        plain = by_row.get((backbone, stage, "none"))
        if attention == "none" or plain is None or len(plain) != len(cells):
            continue
        told = [
            f"{name} {spread([a[name] - b[name] for a, b in zip(cells, plain, strict=True)])}"
            for name in ("auroc", "accuracy", "recall", "precision")
        ]
        notes.append(
            f"CBAM on {backbone} ({stage} trained), with less without, same split: {', '.join(told)}."
        )
    return notes


def write(arguments: argparse.Namespace, found: list[list[dict[str, Any]]]) -> None:
    """Write the table of the cells so far."""
    rows = []
    for cells in found:
        good = [cell for cell in cells if cell["status"] == "ok"]
        first = cells[0]
        head = (
            f"| {first['method']} | {first['backbone'] if first['method'] != 'cnn' else '-'} | "
            f"{first['settings'].get('trainable', '-')} | {first['settings'].get('attention', '-')} |"
        )
        if not good:
            rows.append(f"{head} skipped: {first['reason'].split('. ')[0]} | | | | | | | | |")
            continue
        rows.append(
            f"{head} "
            + " | ".join(spread([cell[name] for cell in good]) for name in COLUMNS)
            + f" | {np.mean([cell['fit_s'] for cell in good]):.0f}"
            + f" | {np.mean([cell['verdict_ms'] for cell in good]):.1f} | {good[0]['size_mb']:.1f} |"
        )
    write_table(
        arguments.out,
        title="Classifiers on magnetic tiles",
        command=f"supervised_on_tiles.py --seeds {arguments.seeds} --stages {arguments.stages}`, "
        f"{arguments.threads} threads",
        notes=attention_notes(found),
        head=HEAD,
        rows=rows,
    )


if __name__ == "__main__":
    main()
