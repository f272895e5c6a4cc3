"""What each part of the pretraining recipe brings, and which trunk learns fastest: small, equal budgets.

    OMP_NUM_THREADS=1 python benchmarks/backbone_recipe.py --steps 200 \\
        [--from ../shared/research/r18_drawn.safetensors] [--rows whole "surfaces alone"] \\
        [--out benchmarks/results/backbone_recipe.md]

Each row is a course of so many batches that lacks one part of the recipe, that has a further one, or that
trains another architecture from random weights, 96 px a picture, at about ResNet-18's time on a CPU. All are
judged with the whitening layer that is estimated at the end, on the held-out generators
(`flawscope.pretraining.heldout`) and on magnetic tiles in the protocol of `benchmarks/backbone.py`. The
budgets are tiny and the judgement has its own noise: the order tells something, a hundredth tells nothing.
Finished rows are kept and not run again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from backbone import tiles
from backbone_foretelling import Foreteller, Foretelling
from tiles import Cells, write_table

from flawscope.methods.deep.weights_file import read_state
from flawscope.pretraining import heldout
from flawscope.pretraining.course import run
from flawscope.pretraining.networks import build
from flawscope.pretraining.probe import Protocol, probe
from flawscope.pretraining.settings import Architecture, Course, Curriculum, Workplace
from flawscope.pretraining.whitening import Estimate, whitened
from flawscope.synth.episodes import Layout

WHOLE = "whole"
PARTS = {
    WHOLE: "everything, from weights",
    "untrained": "the weights to begin with, no step",
    "no layer in the loop": "the whitening layer comes at the end only",
    "surfaces alone": "no products with parts, no edges",
    "steady light": "no change of light between photographs of a product",
    "no photograph term": "patches are ranked, photographs are not",
    "no material term": "a good patch need not know its product",
    "no curriculum": "faint and small defects from the first step on",
    "hidden blocks": "also: of photographs with hidden blocks, the features of the moving average are told",
    "self-distillation": "also: of photographs under another light, those features are told",
}
FURTHER = {"hidden blocks": Foretelling(), "self-distillation": Foretelling(hidden=0.0)}
ARCHITECTURES = {
    "resnet, random": Architecture("resnet"),
    "plain, random": Architecture("plain", 1.2),
    "mobile, random": Architecture("mobile", 1.5),
}


def course_of(row: str, steps: int) -> Course:
    """Return the course of a row."""
    if row in ARCHITECTURES:
        return Course(steps=steps, architecture=ARCHITECTURES[row], rate=1.5e-3, layout=Layout(side=96))
    whole = Course(
        steps=steps, hold_norms=True, hold_early=True, whitening=0.7, curriculum=Curriculum(first=0.75)
    )
    changes: dict[str, Any] = {
        "no layer in the loop": {"whitening": 0.0},
        "surfaces alone": {"layout": replace(whole.layout, objects=0.0)},
        "steady light": {"layout": replace(whole.layout, unlike=0.0)},
        "no photograph term": {"terms": replace(whole.terms, photograph=0.0)},
        "no material term": {"terms": replace(whole.terms, material=0.0)},
        "no curriculum": {"curriculum": Curriculum(1.0, 1.0)},
    }
    return replace(whole, **changes.get(row, {}))


def measured(row: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one row."""
    weights = None if row in ARCHITECTURES else read_state(arguments.start_from)
    course = course_of(row, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        if row == "untrained":
            network = build(course.architecture)
            network.load_state_dict(weights, strict=False)
            hours = 0.0
        else:
            place = Workplace(Path(folder), threads=arguments.threads, workers=1)
            begun = time.process_time()
            further = partial(Foreteller, settings=FURTHER[row]) if row in FURTHER else None
            network, _ = run(course, place, start_from=weights, further=further)
            hours = (time.process_time() - begun) / 3600
    levels = heldout.levels_of(whitened(network, Estimate()))
    drawn = heldout.judge(levels, heldout.Drawn())
    real = probe(levels, tiles(arguments.shared), Protocol())
    return {
        "image": drawn.image,
        "pixel": drawn.pixel,
        "tiles_image": real.image,
        "tiles_pixel": real.pixel,
        "hours": hours,
    }


def main() -> None:
    """Run every row, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    start = Path("../shared/research/r18_drawn.safetensors")
    parser.add_argument("--from", dest="start_from", type=Path, default=start)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rows", nargs="+", default=[*PARTS, *ARCHITECTURES])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=Path, default=Path("runs/backbone_recipe.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_recipe.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for row in arguments.rows:
        recipe = {"row": row, "steps": arguments.steps, "from": arguments.start_from.name, "version": 2}
        cell = Cells(arguments.cells).run(recipe, lambda row=row: measured(row, arguments))  # type: ignore[misc]
        what = PARTS.get(row, f"width {ARCHITECTURES[row].width:g}" if row in ARCHITECTURES else "")
        figures = [f"{cell[name]:.4f}" for name in ("image", "pixel", "tiles_image", "tiles_pixel")]
        rows.append("| " + " | ".join([row, what, *figures, f"{60 * cell['hours']:.1f}"]) + " |")
        write_table(
            arguments.out,
            title="What each part of the pretraining recipe brings",
            command=f"backbone_recipe.py --steps {arguments.steps}`, {arguments.threads} thread",
            head=(
                *("row", "what", "held-out, image AUROC", "held-out, pixel AUROC"),
                *("tiles, image AUROC", "tiles, pixel AUROC", "CPU minutes"),
            ),
            rows=rows,
        )


if __name__ == "__main__":
    main()
