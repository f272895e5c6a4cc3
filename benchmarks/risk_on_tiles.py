"""The quality risk score as published against the risk, on the same classifier, on real magnetic tiles.

    python benchmarks/risk_on_tiles.py [--shared ../shared] [--seeds 3] [--backbones resnet18,resnet50]

All tiles are dealt by part: 70 % teach, 20 % choose, 10 % test, anew with every seed; of the parts that would
teach, flawless ones of 80 photographs calibrate. The classifier is finetune on ImageNet weights, stretched to
224x224, near the published recipe: batch 64, patience 10, the best loss kept. Where it departs: the published
network was trained as a whole for 100 epochs at a learning rate of 1e-4; here only the head learns, over two
views of each tile that are looked at once, and a head alone takes a rate of 1e-3 (--rate).

Both scores come from one run of `flawscope risk` on one bundle: `qrs` is the share of the picture whose
Grad-CAM++ (eps 1e-6, scaled in each image) is above 0.9; `risk` rests on the absolute map and the calibrated
probability. The tiles fill their picture, so the product is the whole picture. `sure` alone is the
probability without the map: what the factors of the risk add to it or take away. Values are per seed, and the
mean and standard deviation over seeds. Photographs of one tile resemble each other, which makes p-values
smaller than they should be, those of both scores alike. So the difference of the two AUROCs has an interval
of its own: a bootstrap that draws tiles as a whole.

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tiles import Cells, labelled_samples, machine_line, spread, trained

import flawscope
from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import GOOD, Role
from flawscope.data.manifest import write_manifest
from flawscope.metrics.ranking import auroc

SCORES = ("risk", "qrs")
DRAWS = 1000


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", default="resnet18")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/risk_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/risk_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    training = {"steps": arguments.steps, "batch": 64, "learning_rate": arguments.rate}
    settings = {"flips": "both", "views": 2, "trainable": "head", "patience": 10, "training": training}
    found: list[dict[str, Any]] = []
    for backbone in arguments.backbones.split(","):
        for seed in range(arguments.seeds):
            recipe = {
                "method": "finetune",
                "backbone": backbone,
                "seed": seed,
                "threads": arguments.threads,
                "settings": as_values(build(methods["finetune"].method.Config, settings, where="finetune")),
                "risk": 2,  # of what is kept of the score; a new one is a new cell
            }
            found.append(cells.run(recipe, lambda recipe=recipe: measured(arguments.shared, recipe)))
            write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(shared: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train one classifier and rate the test part with it."""
    samples = labelled_samples(shared, seed=recipe["seed"])
    with trained(samples, recipe, shared=shared) as (taught, _):
        manifest = taught.bundle.path.parent / "test.jsonl"
        write_manifest(manifest, [sample for sample in samples if sample.role is Role.TEST])
        inspector = flawscope.Inspector.open(taught.bundle.path, threads=recipe["threads"])
        report = flawscope.risk(inspector, manifest)
    rated = [one for one in report.rated if one.rated.rating is not None]
    sure = np.array([one.rated.rating.factors[0].measured for one in rated], float)
    analysis = report.analysis.to_json()
    return {
        "analysis": {"risk": {k: analysis[k] for k in analysis["qrs"]}, "qrs": analysis["qrs"]},
        "sure_auroc": auroc(sure, np.array([one.sample.is_bad for one in rated])).value,
        "limits": report.limits.to_json(),
        "bands": {
            label: {
                band: sum(one.rated.band == band for one in rated if one.sample.is_bad is (label == "bad"))
                for band in ("critical", "high", "medium", "low")
            }
            for label in ("good", "bad")
        },
        "photographs": [
            {
                "part": one.sample.part_key,
                "label": one.sample.label,
                "risk": one.rated.rating.risk,
                "qrs": one.rated.qrs,
                "factors": [factor.measured for factor in one.rated.rating.factors[:4]],
            }
            for one in rated
            if one.rated.rating is not None
        ],
        "fit_s": taught.seconds["teach"],
    }


def ahead(photographs: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return by how much the AUROC of the risk lies above that of qrs, with its 95 % interval over draws of
    tiles."""
    bad = np.array([one["label"] != GOOD for one in photographs])
    values = {score: np.array([one[score] for one in photographs], float) for score in SCORES}
    parts = np.unique([one["part"] for one in photographs], return_inverse=True)[1]
    members = [np.flatnonzero(parts == number) for number in range(parts.max() + 1)]
    rng = derive(0, "risk against qrs")

    def gap(rows: np.ndarray) -> float:
        risk, qrs = (auroc(values[score][rows], bad[rows]).value for score in SCORES)
        return float("nan") if risk is None or qrs is None else risk - qrs

    draws = [
        gap(np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]))
        for _ in range(DRAWS)
    ]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return gap(np.arange(len(bad))), float(low), float(high)


def write(arguments: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Write the table of the cells so far."""
    lines = [
        "# The quality risk score as published, and the risk, on magnetic tiles",
        "",
        f"`python benchmarks/risk_on_tiles.py --seeds {arguments.seeds} --backbones {arguments.backbones} "
        f"--rate {arguments.rate:g}`, {arguments.threads} thread; the script's head says what is measured.",
        "",
        machine_line(),
        "",
        "| backbone | seed | score | AUROC | 95 % interval | p (Welch) | p (Mann-Whitney) | Hedges' g | "
        "good, defective (of tiles) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    good = [cell for cell in found if cell["status"] == "ok"]
    for cell in good:
        sound, flawed = (
            len({one["part"] for one in cell["photographs"] if _bad(one) is bad}) for bad in (False, True)
        )
        for score in SCORES:
            one = cell["analysis"][score]
            area, g = one["auroc"], one["effect"]["hedges_g"]["value"]
            lines.append(
                f"| {cell['backbone']} | {cell['seed']} | {score} | {area['value']:.3f} | "
                f"{area['low']:.3f} to {area['high']:.3f} | {one['welch']['p']:.2g} | "
                f"{one['mann_whitney']['p']:.2g} | {g:.2f} | {one['good']} ({sound}), "
                f"{one['bad']} ({flawed}) |"
            )
    lines += ["", "| backbone | score | AUROC | Hedges' g | seeds |", "|---|---|---|---|---|"]
    for backbone in dict.fromkeys(cell["backbone"] for cell in good):
        own = [cell for cell in good if cell["backbone"] == backbone]
        for score in SCORES:
            areas = [cell["analysis"][score]["auroc"]["value"] for cell in own]
            sizes = [cell["analysis"][score]["effect"]["hedges_g"]["value"] for cell in own]
            lines.append(
                f"| {backbone} | {score} | {spread(areas)} | {spread(sizes, places=2)} | {len(own)} |"
            )
        areas = [cell["sure_auroc"] for cell in own]
        lines.append(f"| {backbone} | probability alone | {spread(areas)} | | {len(own)} |")
    lines += ["", "Photographs by band, all seeds together:", ""]
    lines += ["| backbone | | critical | high | medium | low |", "|---|---|---|---|---|---|"]
    for backbone in dict.fromkeys(cell["backbone"] for cell in good):
        own = [cell for cell in good if cell["backbone"] == backbone]
        for label in ("good", "bad"):
            counts = [
                str(sum(cell["bands"][label][band] for cell in own))
                for band in ("critical", "high", "medium", "low")
            ]
            lines.append(f"| {backbone} | {label} | {' | '.join(counts)} |")
    lines += ["", *remarks(good), ""]
    skipped = [cell for cell in found if cell["status"] != "ok"]
    lines += [f"Skipped: {cell['backbone']}, seed {cell['seed']}: {cell['reason']}" for cell in skipped]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _bad(one: dict[str, Any]) -> bool:
    return bool(one["label"] != GOOD)


def remarks(good: list[dict[str, Any]]) -> list[str]:
    """Say in how many cells the risk separates better, by how much, and what each kind of defect scores."""
    sizes = [[cell["analysis"][score]["effect"]["hedges_g"]["value"] for score in SCORES] for cell in good]
    gaps = [ahead(cell["photographs"]) for cell in good]
    lines = [
        f"The risk ranks better than qrs in {sum(gap > 0 for gap, *_ in gaps)} of {len(good)} cells, and has "
        f"the larger effect in {sum(ours > theirs for ours, theirs in sizes)}.",
        "",
        "AUROC of the risk less that of qrs, with the interval over draws of tiles:",
        "",
        "| backbone | seed | difference | 95 % interval |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {cell['backbone']} | {cell['seed']} | {gap:+.3f} | {low:+.3f} to {high:+.3f} |"
        for cell, (gap, low, high) in zip(good, gaps, strict=True)
    ]
    lines += [
        "",
        "The defects of each cell, medians: the calibrated probability (how sure), the share of good",
        "photographs with a lower risk, and with a lower qrs.",
        "",
        "| backbone | seed | defect | photographs (tiles) | how sure | above, by risk | above, by qrs |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in good:
        sound = [one for one in cell["photographs"] if not _bad(one)]
        for label in sorted({one["label"] for one in cell["photographs"] if _bad(one)}):
            own = [one for one in cell["photographs"] if one["label"] == label]
            above = [
                np.median([np.mean([good_one[score] < one[score] for good_one in sound]) for one in own])
                for score in SCORES
            ]
            sure = np.median([one["factors"][0] for one in own])
            lines.append(
                f"| {cell['backbone']} | {cell['seed']} | {label} | {len(own)} "
                f"({len({one['part'] for one in own})}) | {sure:.2f} | {above[0]:.2f} | {above[1]:.2f} |"
            )
    return lines


if __name__ == "__main__":
    main()
