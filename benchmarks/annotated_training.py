"""Supervised models taught on the labels that `annotate` gave, against the same taught on true labels.

    python benchmarks/annotated_training.py [--shared ../shared] [--seeds 2] [--rows finetune,supersimplenet]

The protocol's split by part (../shared/data/protocol.py). Its 200 good tiles teach patchcore on ImageNet's
ResNet-18, stretched to 224x224. That bundle annotates a pool it was not taught on: the 268 defective tiles of
the parts that do not test, and the 39 good ones of such parts whose tiles are not among the 200. Then
finetune (ResNet-18, frozen trunk) and supersimplenet are taught on the 200 good tiles and on the pool:

- `true`: the whole pool with its own labels and masks, all kinds called `defect`;
- `annotate`: what annotate writes as COCO, read back from the file. What it calls OK is left out, as a
  missed defect among good parts does more harm than one example less; what it calls REVIEW or NG is a defect
  with the marked pixels, false alarms among them;
- `annotate, not refined`: with --refine none; `annotate, peak`: with --reach peak as well;
- `padim`: padim's bundle annotates in patchcore's place;
- `true, as found`: true labels and masks of just those tiles that patchcore does not call OK: what a person
  gets who corrects its labels.

The true masks hold grey over 127, as the protocol says. Of all these tiles a fifth of the parts selects, and
of the 200 some without any defect in their part, 40 photographs or a few more, calibrate; the same parts in
every row of one seed. Tested on the protocol's 120 good and 120 defective tiles with their true labels: AUROC
over tiles, average precision and AUROC over pixels at 224x224.

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from annotate_on_tiles import taught
from mixed_supervision import cleared, defects_that_teach
from tiles import (
    Cells,
    pixel_values,
    protocol,
    protocol_samples,
    sample_of,
    spread,
    trained,
    write_table,
)

import flawscope
from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Role, Sample
from flawscope.data.layouts import read_dataset
from flawscope.data.manifest import write_manifest
from flawscope.flows.annotate import annotate
from flawscope.flows.marking import DEFECT, AnnotateSettings
from flawscope.imaging.marking import Reach
from flawscope.imaging.refine import Refine
from flawscope.metrics import localisation
from flawscope.metrics.ranking import auroc

SETTINGS: dict[str, dict[str, Any]] = {
    "finetune": {"flips": "both", "views": 2, "trainable": "head"},
    "supersimplenet": {"unit_levels": False},
}
USUAL = AnnotateSettings(formats=("coco",))
MARKED: dict[str, tuple[str, AnnotateSettings]] = {  # which bundle annotates, and how
    "annotate": ("patchcore", USUAL),
    "annotate, not refined": ("patchcore", replace(USUAL, refine=Refine.NONE)),
    "annotate, peak": ("patchcore", replace(USUAL, reach=Reach.PEAK, refine=Refine.NONE)),
    "padim": ("padim", USUAL),
}
ARMS = ("true", "true, as found", *MARKED)
CALIBRATE = 40  # photographs
SELECT_SHARE = 0.2  # of the parts
COLUMNS = {"auroc": "AUROC", "pixel_ap": "pixel AP", "pixel_auroc": "pixel AUROC"}


@dataclass(frozen=True, eq=False)
class Labels:
    """The tiles with every kind of labels, made once."""

    shared: Path
    folder: Path
    inspectors: dict[str, flawscope.Inspector] = field(default_factory=dict)
    made: dict[str, list[Sample]] = field(default_factory=dict)

    @cached_property
    def good(self) -> list[Sample]:
        """The 200 good tiles."""
        return [sample for sample in protocol_samples(self.shared) if sample.role is Role.FIT]

    @cached_property
    def pool(self) -> list[Sample]:
        """What is annotated, with its true labels, all kinds called a defect."""
        module = protocol(self.shared)
        part = {path: str(i) for i, paths in enumerate(module.parts()) for path in paths}
        seen = {sample.part for sample in self.good}
        more = [path for path in module.split(fit=10**6)["fit"] if part[path] not in seen]
        free = [sample_of(module.ROOT, path, part=part[path], role=Role.FIT) for path in more]
        bad = cleared(defects_that_teach(self.shared), self.folder)
        return [*(replace(sample, label=DEFECT) for sample in bad), *free]

    def annotated(self, arm: str) -> list[Sample]:
        """Return what annotate makes of the pool, read back from its COCO file."""
        if arm not in self.made:
            method, settings = MARKED[arm]
            if method not in self.inspectors:
                folder = self.folder / f"bundle-{method}"
                folder.mkdir()
                self.inspectors[method] = taught(self.shared, method, folder)
            listed = self.folder / "pool.jsonl"
            write_manifest(listed, [replace(s, label=None, mask_path=None) for s in self.pool])
            out = self.folder / arm
            summary = annotate(self.inspectors[method], listed, out, settings)
            known = {Path(sample.path).resolve(): sample for sample in self.pool}
            self.made[arm] = [
                replace(known[Path(read.path).resolve()], label=read.label, mask_path=read.mask_path)
                for read in read_dataset(summary.written["coco"]).samples
            ]
        return self.made[arm]

    def of(self, arm: str, *, seed: int) -> list[Sample]:
        """Return the samples of one row, with roles."""
        if arm == "true":
            own = self.pool
        elif arm == "true, as found":
            marked = {sample.id for sample in self.annotated("annotate")}
            own = [sample for sample in self.pool if sample.id in marked]
        else:
            own = self.annotated(arm)
        roles = self._roles(seed)
        test = [
            sample if sample.is_good else replace(sample, label=DEFECT)
            for sample in protocol_samples(self.shared)
            if sample.role is Role.TEST
        ]
        return [*(replace(sample, role=roles[sample.part]) for sample in (*self.good, *own)), *test]

    def _roles(self, seed: int) -> dict[str, Role]:
        """Deal the parts, the same for every row: by part, whatever the labels say."""
        parts = sorted({sample.part for sample in (*self.good, *self.pool)})
        in_pool = {sample.part for sample in self.pool}
        sizes = {part: sum(sample.part == part for sample in self.good) for part in parts}
        order = [parts[i] for i in derive(seed, "annotated").permutation(len(parts))]
        roles = dict.fromkeys(parts, Role.FIT)
        held = 0
        for part in order:
            if part not in in_pool and held < CALIBRATE:
                roles[part] = Role.CALIBRATE
                held += sizes[part]
        left = [part for part in order if roles[part] is Role.FIT]
        for part in left[: round(SELECT_SHARE * len(left))]:
            roles[part] = Role.SELECT
        return roles


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", default="finetune,supersimplenet")
    parser.add_argument("--arms", default=";".join(ARMS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/annotated_training.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/annotated_training.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        labels = Labels(arguments.shared, Path(folder))
        for seed in range(arguments.seeds):
            for method in arguments.rows.split(","):
                for arm in arguments.arms.split(";"):
                    recipe = {
                        "method": method,
                        "backbone": "resnet18",
                        "labels": arm,
                        "seed": seed,
                        "threads": arguments.threads,
                        "settings": as_values(
                            build(methods[method].method.Config, SETTINGS[method], where=method)
                        ),
                        "version": 1,
                    }
                    if arm in MARKED:
                        annotator, how = MARKED[arm]
                        recipe |= {
                            "by": annotator,
                            "reach": how.reach.value,
                            "share": how.reach_share,
                            "refine": how.refine.value,
                        }
                    found.append(cells.run(recipe, lambda recipe=recipe: measured(arguments, labels, recipe)))
                    write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(arguments: argparse.Namespace, labels: Labels, recipe: dict[str, Any]) -> dict[str, Any]:
    """Teach one model on one kind of labels, and test it."""
    samples = labels.of(recipe["labels"], seed=recipe["seed"])
    pool = {sample.id: sample for sample in labels.pool}
    own = [sample for sample in samples if sample.id in pool]
    with trained(samples, recipe, shared=arguments.shared) as (taught_model, report):
        bad = np.array([judged.sample.is_bad for judged in report.judged])
        scores = np.array([judged.inspection.score for judged in report.judged], float)
        pixels = pixel_values(report)
        return {
            "auroc": auroc(scores, bad).value,
            "pixel_ap": localisation.average_precision(pixels).value,
            "pixel_auroc": localisation.auroc(pixels).value,
            "defects": sum(sample.is_bad for sample in own),
            "false_alarms": sum(sample.is_bad and pool[sample.id].is_good for sample in own),
            "selecting": sum(sample.role is Role.SELECT for sample in own),
            "fit_s": taught_model.seconds["teach"],
        }


def write(arguments: argparse.Namespace, found: Sequence[dict[str, Any]]) -> None:
    """Write the table of the cells so far: mean and deviation over the seeds and, in points, how far that is
    from true labels, seed by seed."""
    rows = []
    for method in dict.fromkeys(cell["method"] for cell in found):
        own = [cell for cell in found if cell["method"] == method]
        true = {cell["seed"]: cell for cell in own if cell["labels"] == "true" and cell["status"] == "ok"}
        for arm in ARMS:
            cells = [cell for cell in own if cell["labels"] == arm]
            good = [cell for cell in cells if cell["status"] == "ok"]
            if not good:
                rows += [f"| {method} | {arm} | skipped: {cells[0]['reason']} | | | | | |"] if cells else []
                continue
            values = " | ".join(f"{spread([c[n] for c in good])}{apart(good, true, n)}" for n in COLUMNS)
            rows.append(
                f"| {method} | {arm} | {good[0]['defects']} ({good[0]['false_alarms']}) | {len(good)} | "
                f"{values} | {np.median([cell['fit_s'] for cell in good]):.0f} |"
            )
    write_table(
        arguments.out,
        title="Supervised models on labels by annotate",
        command=f"annotated_training.py --seeds {arguments.seeds}`, {arguments.threads} threads",
        notes=["In brackets: points from true labels. The machine was busy; times are upper bounds."],
        head=["method", "labels", "defects (false)", "seeds", *COLUMNS.values(), "fit, s"],
        rows=rows,
    )


def apart(cells: Sequence[dict[str, Any]], true: dict[int, dict[str, Any]], name: str) -> str:
    """Say how many points cells lie from those of true labels; nothing of these themselves."""
    steps = [
        100 * (cell[name] - true[cell["seed"]][name])
        for cell in cells
        if cell["labels"] != "true" and cell["seed"] in true
    ]
    return f" ({np.mean(steps):+.1f})" if steps else ""


if __name__ == "__main__":
    main()
