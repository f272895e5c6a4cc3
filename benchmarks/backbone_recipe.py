"""What each part of the pretraining recipe brings: small, equal budgets.

    OMP_NUM_THREADS=1 python benchmarks/backbone_recipe.py --steps 200 \\
        [--from ../shared/research/r18_drawn.safetensors] [--rows whole "surfaces alone"] \\
        [--out benchmarks/results/backbone_recipe.md]

Each row is a course of so many batches that lacks one part of the recipe or has a further one. All are judged
with the whitening layer that is estimated at the end, on the held-out generators
(`flawscope.pretraining.heldout`) and on magnetic tiles in the protocol of `benchmarks/backbone.py`. The
budgets are tiny and the judgement has its own noise: the order tells something, a hundredth tells nothing.
Finished rows are kept and not run again, and courses that were stopped go on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from backbone import tiles
from backbone_foretelling import Foreteller, Foretelling
from tiles import Cells, write_table
from torch import Tensor, nn

from flawscope.methods.deep.weights_file import read_state
from flawscope.pretraining import heldout
from flawscope.pretraining.course import run
from flawscope.pretraining.networks import build
from flawscope.pretraining.probe import Pictures, Protocol, probe
from flawscope.pretraining.settings import Course, Curriculum, Workplace
from flawscope.pretraining.whitening import Estimate, whitened

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
FIGURES = ("image", "pixel", "tiles_image", "tiles_pixel")  # of a judgement
FURTHER = {"hidden blocks": Foretelling(), "self-distillation": Foretelling(hidden=0.0)}


def course_of(row: str, steps: int) -> Course:
    """Return the course of a row."""
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


def trained(
    course: Course,
    place: Workplace,
    *,
    start_from: dict[str, Tensor] | None = None,
    further: Callable[[nn.Module], nn.Module] | None = None,
) -> tuple[nn.Module, float]:
    """Return the network of a course and the hours of one core that the whole course takes, by the pace of
    this run: one that goes on with an earlier run must not look like a short one, and of one that was at its
    end before (not a number) nothing is known."""
    paces: list[tuple[int, float]] = []
    network, _ = run(
        course,
        place,
        start_from=start_from,
        further=further,
        report=lambda at: paces.append((at.step, time.process_time())),
    )
    if not paces:
        return network, math.nan
    (first, begun), (last, ended) = paces[0], paces[-1]
    return network, (ended - begun) / max(1, last - first) * course.steps / 3600


def judged(network: nn.Module, pictures: Pictures) -> dict[str, Any]:
    """Judge a network, with the layer that is estimated at the end, on held-out generators and tiles."""
    levels = heldout.levels_of(whitened(network, Estimate()))
    drawn, real = heldout.judge(levels, heldout.Drawn()), probe(levels, pictures, Protocol())
    return dict(zip(FIGURES, (drawn.image, drawn.pixel, real.image, real.pixel), strict=True))


def measured(row: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one row."""
    weights = read_state(arguments.start_from)
    course = course_of(row, arguments.steps)
    if row == "untrained":
        network = build(course.architecture)
        network.load_state_dict(weights, strict=False)
        hours = 0.0
    else:
        folder = arguments.courses / f"{arguments.start_from.stem}_{row}_{arguments.steps}".replace(" ", "_")
        place = Workplace(folder, threads=arguments.threads, workers=1)
        further = partial(Foreteller, settings=FURTHER[row]) if row in FURTHER else None
        network, hours = trained(course, place, start_from=weights, further=further)
    return judged(network, tiles(arguments.shared)) | {"hours": hours}


def main() -> None:
    """Run every row, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    start = Path("../shared/research/r18_drawn.safetensors")
    parser.add_argument("--from", dest="start_from", type=Path, default=start)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--rows", nargs="+", default=[*PARTS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=Path, default=Path("runs/backbone_recipe.jsonl"))
    parser.add_argument(
        "--courses", type=Path, default=Path("runs/backbone_recipe"), help="kept, gone on with"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_recipe.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for row in arguments.rows:
        recipe = {"row": row, "steps": arguments.steps, "from": arguments.start_from.name, "version": 2}
        cell = Cells(arguments.cells).run(recipe, partial(measured, row, arguments))
        figures = [f"{cell[name]:.4f}" for name in FIGURES]
        rows.append("| " + " | ".join([row, PARTS[row], *figures, f"{60 * cell['hours']:.1f}"]) + " |")
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
