"""Masks that `annotate` draws on magnetic tiles, against the true ones: by reach, by refinement.

    python benchmarks/annotate_on_tiles.py [--shared ../shared] [--methods patchcore,padim]

The protocol's split by part (../shared/data/protocol.py): 200 good tiles teach patchcore and padim on
ImageNet's ResNet-18, stretched to 224x224. Annotated are the defective tiles, never taught. How far down a
mark reaches, and how it is refined, is chosen on those of the parts that do not test (268 tiles); what was
chosen and the plain pixel limit are then measured on the 120 defective tiles of the test.

Overlap is intersection over union of all marks of a tile with its mask (grey over 127), at the tile's own
pixels: averaged over the tiles that are not called OK, and of all their pixels together (tiles weighing
alike). The others get no mark and are counted as missed. The choice is one for both methods: the highest mean
of the two overlaps. The first alone would take marks that flood half of many pictures as long as those of
large flaws fit; the second alone looks at large flaws only. The interval is a bootstrap over parts. Marks are
made by the same code as the command's.

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
from flawscope.flows.marking import AnnotateSettings
from flawscope.imaging.marking import Reach, level_of, marks_of
from flawscope.imaging.read import read, read_mask
from flawscope.imaging.refine import Refine

PLAIN = (
    (Reach.PIXEL, 1.0),
    *((Reach.PEAK, share) for share in (0.7, 0.75, 0.8, 0.85, 0.9)),
    *((Reach.RISE, share) for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
)
REFINED = (
    (Reach.PIXEL, 1.0),
    (Reach.PEAK, 0.8),
    *((Reach.RISE, share) for share in (0.1, 0.2, 0.3, 0.4, 0.5)),
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
            "version": 2,
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
            means[reach, share] = float(np.mean([(one["iou"] + one["pooled"]) / 2 for one in found]))
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
    shares = np.zeros(3)  # of the pictures: marked and true, marked or true, marked
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
        shares += (drawn & true).mean(), (drawn | true).mean(), drawn.mean()
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
        "pooled": float(shares[0] / shares[1]),
        "area": float(shares[2] / len(overlaps)),
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
    ours = AnnotateSettings()
    lines = [
        "# Masks by annotate on magnetic tiles",
        "",
        f"`python benchmarks/annotate_on_tiles.py --methods {arguments.methods}`, 1 thread, seed 0; "
        "the script's head says what is measured. "
        f"The command's default is --reach {ours.reach} --share {ours.reach_share:g} --refine {ours.refine}.",
        "",
        machine_line(),
        "",
        "## The test",
        "",
    ]
    head = ("method", "reach", "refine", "mean IoU (95 % interval)", "pooled IoU", "of the picture")
    rows: list[tuple[Any, ...]] = []
    for cell in tested:
        interval_of = f"{cell['iou']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"
        shares = (interval_of, f"{cell['pooled']:.3f}", f"{cell['area']:.0%}")
        counts = (cell[name] for name in ("marked", "missed", "places", "redrawn"))
        rows.append((cell["method"], _reach(cell, chosen), cell["refine"], *shares, *counts))
    lines += table((*head, "marked", "missed (OK)", "places", "redrawn"), rows)
    kinds = sorted({kind for cell in tested for kind in cell["by_defect"]})
    lines += ["", "Mean IoU by defect, the chosen reach of each refinement:", ""]
    lines += table(
        ("method", "refine", *kinds),
        [
            (cell["method"], cell["refine"], *(f"{cell['by_defect'].get(kind, 0):.3f}" for kind in kinds))
            for cell in tested
            if _rule(cell) == chosen[Refine(cell["refine"])]
        ],
    )
    lines += ["", "## The choice", "", "On the parts that do not test: mean IoU, pooled IoU.", ""]
    rules = list(dict.fromkeys((cell["refine"], *_rule(cell)) for cell in choice))
    rows = []
    for refine, reach, share in rules:
        own = [cell for cell in choice if (cell["refine"], *_rule(cell)) == (refine, reach, share)]
        mean = np.mean([(cell["iou"] + cell["pooled"]) / 2 for cell in own])
        values = [f"{cell['iou']:.3f}, {cell['pooled']:.3f}" for cell in own]
        rows.append((_reach(own[0], chosen), refine, *values, f"{mean:.3f}"))
    lines += table(("reach", "refine", *arguments.methods.split(","), "mean of all"), rows)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a table."""
    written = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
    return [written[0], "|" + "---|" * len(head), *written[1:]]


def _rule(cell: dict[str, Any]) -> tuple[Reach, float]:
    return Reach(cell["reach"]), cell["share"]


def _reach(cell: dict[str, Any], chosen: dict[Refine, tuple[Reach, float]]) -> str:
    told = " (chosen)" if _rule(cell) == chosen[Refine(cell["refine"])] else ""
    return f"{cell['reach']} {cell['share']:g}{told}"


if __name__ == "__main__":
    main()
