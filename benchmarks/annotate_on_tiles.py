"""Masks that `annotate` draws on magnetic tiles, against the true ones: by reach, by refinement.

    python benchmarks/annotate_on_tiles.py [--shared ../shared] [--methods patchcore,padim]

The protocol's split by part (../shared/data/protocol.py): 200 good tiles teach patchcore and padim on
ImageNet's ResNet-18, stretched to 224x224. Annotated are the defective tiles, never taught. How far down a
mark reaches, and how it is refined, is chosen on those of the parts that do not test (268 tiles); the chosen
ones and the plain pixel limit are then measured on the 120 defective tiles of the test. The choice is one for
both methods: the best mean of their mean overlaps, and the default is the best without refinement.

Overlap is intersection over union of all marks of a tile with its mask (grey over 127), at the tile's own
pixels, averaged over the tiles that are not called OK; the others get no mark and are counted as missed. The
interval is a bootstrap over parts. The marks are made by the same code as the command's.

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tiles import IMAGENET, SIDE, Cells, machine_line, protocol, protocol_samples, sample_of

import flawscope
import flawscope.methods as _registers  # noqa: F401
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Inspection, Role, Sample, Verdict
from flawscope.data.manifest import write_manifest
from flawscope.imaging.marking import SHARES, Reach, level_of, marks_of
from flawscope.imaging.read import read, read_mask
from flawscope.imaging.refine import Refine

PLAIN = (
    (Reach.PIXEL, 1.0),
    *((Reach.PEAK, share) for share in (0.7, 0.75, 0.8, 0.85, 0.9)),
    *((Reach.RISE, share) for share in (0.3, 0.4, 0.5, 0.6, 0.7)),
)
REFINED = (
    (Reach.PIXEL, 1.0),
    *((Reach.PEAK, share) for share in (0.75, 0.8, 0.85)),
    (Reach.RISE, 0.5),
)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The defective tiles of both sides, judged once by one method."""

    shared: Path
    method: str

    @cached_property
    def judged(self) -> dict[str, list[tuple[Sample, Inspection]]]:
        """Teach the method and judge the tiles to choose by and those to test on."""
        module = protocol(self.shared)
        part = {path: str(i) for i, paths in enumerate(module.parts()) for path in paths}
        sides = {"choose": "fit_bad", "test": "test_bad"}
        samples = {
            side: [sample_of(module.ROOT, path, part=part[path]) for path in module.split()[name]]
            for side, name in sides.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            inspector = taught(self.shared, self.method, Path(folder))
            return {
                side: [(sample, inspector(sample.path)) for sample in members]
                for side, members in samples.items()
            }


def taught(shared: Path, method: str, folder: Path) -> flawscope.Inspector:
    """Teach a method the protocol's good tiles and open its bundle."""
    known = methods[method].method.Config.__dataclass_fields__
    settings = {
        "fit": "stretch",
        "size": [SIDE, SIDE],
        "method": method,
        "backbone": "resnet18",
        "settings": {name: value for name, value in IMAGENET.items() if name in known},
    }
    write_manifest(folder / "tiles.jsonl", [s for s in protocol_samples(shared) if s.role is Role.FIT])
    run = flawscope.train(
        folder / "tiles.jsonl",
        out=folder / "run",
        settings=settings,
        weights_dir=shared / "weights",
        threads=1,
    )
    return flawscope.Inspector.open(run.bundle.path, threads=1)


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--methods", default="patchcore,padim")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/annotate_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/annotate_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells, names = Cells(arguments.cells), arguments.methods.split(",")
    tiles = {name: Tiles(arguments.shared, name) for name in names}

    def cell(name: str, side: str, reach: Reach, share: float, refine: Refine) -> dict[str, Any]:
        recipe = {
            "method": name,
            "tiles": side,
            "reach": reach.value,
            "share": share,
            "refine": refine.value,
            "version": 1,
        }
        return cells.run(recipe, lambda: measured(tiles[name].judged[side], reach, share, refine))

    chosen: dict[Refine, tuple[Reach, float]] = {}
    choice: list[dict[str, Any]] = []
    for refine in Refine:
        grid = PLAIN if refine is Refine.NONE else REFINED
        means = {}
        for reach, share in grid:
            found = [cell(name, "choose", reach, share, refine) for name in names]
            choice += found
            means[reach, share] = float(np.mean([one["iou"] for one in found]))
        chosen[refine] = max(means, key=lambda rule: means[rule])
    rules = {refine: {(Reach.PIXEL, 1.0), chosen[Refine.NONE], chosen[refine]} for refine in Refine}
    tested = [
        cell(name, "test", reach, share, refine)
        for name in names
        for refine in Refine
        for reach, share in sorted(rules[refine])
    ]
    write(arguments, choice, tested, chosen)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(
    judged: Sequence[tuple[Sample, Inspection]], reach: Reach, share: float, refine: Refine
) -> dict[str, Any]:
    """Mark the tiles that are not OK and compare with their masks."""
    overlaps, parts, kinds = [], [], []
    places = redrawn = missed = 0
    for sample, inspection in judged:
        if inspection.verdict is Verdict.OK:
            missed += 1
            continue
        assert inspection.map is not None and inspection.thresholds is not None and sample.mask_path
        level = level_of(inspection.map, pixel_limit=inspection.thresholds.pixel, reach=reach, share=share)
        image = read(sample.path)
        marks = marks_of(
            inspection.map, level=level.value, size_hw=image.size_hw, pixels=image.pixels, refine=refine
        )
        drawn = np.zeros(image.size_hw, bool)
        for mark in marks:
            left, top, right, bottom = mark.box_xyxy
            drawn[top:bottom, left:right] |= mark.mask
        true = read_mask(sample.mask_path, above=127)
        overlaps.append(np.count_nonzero(drawn & true) / max(1, np.count_nonzero(drawn | true)))
        parts.append(sample.part)
        kinds.append(sample.label)
        places += len(marks)
        redrawn += sum(mark.is_refined for mark in marks)
    low, high = interval(overlaps, parts)
    by_kind = {
        str(kind): float(np.mean([value for value, own in zip(overlaps, kinds, strict=True) if own == kind]))
        for kind in sorted(set(map(str, kinds)))
    }
    return {
        "iou": float(np.mean(overlaps)),
        "low": low,
        "high": high,
        "marked": len(overlaps),
        "missed": missed,
        "places": places,
        "redrawn": redrawn,
        "by_defect": by_kind,
    }


def interval(values: Sequence[float], parts: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean, parts drawn as a whole."""
    groups = [
        np.array([value for value, own in zip(values, parts, strict=True) if own == part])
        for part in sorted(set(parts))
    ]
    rng = derive(0, "annotate")
    means = [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean()
        for _ in range(2000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def write(
    arguments: argparse.Namespace,
    choice: Sequence[dict[str, Any]],
    tested: Sequence[dict[str, Any]],
    chosen: dict[Refine, tuple[Reach, float]],
) -> None:
    """Write what was chosen by what, and the test."""
    default = f"{Reach.PEAK.value} {SHARES[Reach.PEAK]:g}"
    lines = [
        "# Masks by annotate on magnetic tiles",
        "",
        f"`python benchmarks/annotate_on_tiles.py --methods {arguments.methods}`, 1 thread, seed 0; "
        f"the script's head says what is measured. The default of the command is {default}.",
        "",
        machine_line(),
        "",
        "## The test",
        "",
        "Mean overlap (intersection over union) with the true masks, of tiles that are not called OK.",
        "",
        "| method | reach | refine | mean IoU (95 % interval) | marked | missed (OK) | places | redrawn |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in tested:
        rule = (Reach(cell["reach"]), cell["share"])
        told = "" if rule != chosen[Refine(cell["refine"])] else " (chosen)"
        lines.append(
            f"| {cell['method']} | {cell['reach']} {cell['share']:g}{told} | {cell['refine']} | "
            f"{cell['iou']:.3f} ({cell['low']:.3f} to {cell['high']:.3f}) | {cell['marked']} | "
            f"{cell['missed']} | {cell['places']} | {cell['redrawn']} |"
        )
    kinds = sorted({kind for cell in tested for kind in cell["by_defect"]})
    lines += ["", "By defect, the chosen reach of each refinement:", ""]
    lines += [f"| method | refine | {' | '.join(kinds)} |", "|---" * (len(kinds) + 2) + "|"]
    for cell in tested:
        if (Reach(cell["reach"]), cell["share"]) == chosen[Refine(cell["refine"])]:
            values = [f"{cell['by_defect'][k]:.3f}" if k in cell["by_defect"] else "" for k in kinds]
            lines.append(f"| {cell['method']} | {cell['refine']} | {' | '.join(values)} |")
    names = arguments.methods.split(",")
    lines += ["", "## The choice", "", "Mean overlap on the tiles of the parts that do not test.", ""]
    lines += [f"| reach | refine | {' | '.join(names)} | mean |", "|---" * (len(names) + 3) + "|"]
    for refine in Refine:
        for reach, share in PLAIN if refine is Refine.NONE else REFINED:
            found = [
                cell["iou"]
                for name in names
                for cell in choice
                if (cell["method"], cell["reach"], cell["share"], cell["refine"])
                == (name, reach, share, refine)
            ]
            told = " (chosen)" if chosen[refine] == (reach, share) else ""
            values = " | ".join(f"{value:.3f}" for value in found)
            lines.append(f"| {reach} {share:g}{told} | {refine} | {values} | {np.mean(found):.3f} |")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
