"""Which trunk learns most: three architectures of one CPU time, from random weights, by one course.

    OMP_NUM_THREADS=1 python benchmarks/backbone_trunks.py [--steps 2500] [--rate 1.5e-3] \\
        [--trunks resnet plain mobile] [--shared ../shared] [--out benchmarks/results/backbone_trunks.md]

Widths are those at which the graph takes about as long as ResNet-18's on a CPU; the ratio is measured here
once more, in turn, on graphs as they ship (folded, with the whitening layer). The course is made for random
weights: small pictures (64 and 96 px in turn), a high rate, large and strong defects that become small and
faint, half the light's changes. Each trunk is judged before its first step and after its last, both with the
whitening layer estimated on it, on the held-out generators and on magnetic tiles (`backbone_recipe.judged`).
One seed a trunk. Finished trunks are kept and not run again, and courses that were stopped go on; trunks may
be given to several processes, each with `--cells` and `--out` of its own.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from backbone import ratio, tiles
from backbone_recipe import FIGURES, judged, trained
from tiles import Cells, write_table

from flawscope.flows.pretrain import graph_of
from flawscope.methods.backbones import resolve
from flawscope.pretraining.networks import build
from flawscope.pretraining.settings import Architecture, Course, Curriculum, Workplace
from flawscope.pretraining.whitening import Estimate, whitened
from flawscope.synth.episodes import Layout

TRUNKS = {
    "resnet": Architecture("resnet"),
    "plain": Architecture("plain", 1.2),
    "mobile": Architecture("mobile", 1.5),
}


def course_of(trunk: str, steps: int, rate: float) -> Course:
    """Return the course of a trunk."""
    small = Layout(episodes=6, good=3, defective=2, side=64, unlike=0.5)
    return Course(
        steps=steps,
        architecture=TRUNKS[trunk],
        rate=rate,
        layout=small,
        wide=small.at(96),
        curriculum=Curriculum(first=0.0, last=0.5, until=0.6),
    )


def measured(trunk: str, steps: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a trunk so many steps and judge it."""
    course = course_of(trunk, steps, arguments.rate)
    if steps:
        folder = arguments.courses / f"{trunk}_{steps}_{arguments.rate:g}"
        network, hours = trained(course, Workplace(folder, threads=arguments.threads, workers=1))
    else:
        torch.manual_seed(course.seed)
        network, hours = build(course.architecture), 0.0
    return judged(network, tiles(arguments.shared)) | {"hours": hours}


def timed(trunk: str, shared: Path) -> dict[str, Any]:
    """Return the size of a trunk's graph and its time beside that of ResNet-18's."""
    graph = graph_of(whitened(build(TRUNKS[trunk]), Estimate()), name=trunk)
    _, share = ratio(graph, resolve("resnet18", weights_dir=shared / "weights"))
    return {"megabytes": len(graph.model.SerializeToString()) / 1e6, "share": share}


def main() -> None:
    """Time, train and judge every trunk, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--trunks", nargs="+", choices=[*TRUNKS], default=[*TRUNKS])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--courses", type=Path, default=Path("runs/backbone_trunks"))
    parser.add_argument("--cells", type=Path, default=Path("runs/backbone_trunks.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_trunks.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cells = Cells(arguments.cells)
    rows = []
    for trunk in arguments.trunks:
        costs = cells.run({"trunk": trunk, "what": "costs"}, partial(timed, trunk, arguments.shared))
        told = f"{TRUNKS[trunk].width:g} | {costs['share']:.2f} | {costs['megabytes']:.1f}"
        for steps in (0, arguments.steps):
            recipe = {"trunk": trunk, "steps": steps} | ({"rate": arguments.rate} if steps else {})
            cell = cells.run(recipe, partial(measured, trunk, steps, arguments))
            figures = " | ".join(f"{cell[name]:.4f}" for name in FIGURES)
            rows.append(f"| {trunk} | {told} | {steps} | {figures} | {60 * cell['hours']:.0f} |")
            write_table(
                arguments.out,
                title="Which trunk learns most",
                command=f"backbone_trunks.py --steps {arguments.steps} --rate {arguments.rate:g}`, "
                f"{arguments.threads} thread",
                head=(
                    *("trunk", "width", "time beside ResNet-18's graph", "MB", "steps"),
                    *("held-out, image AUROC", "held-out, pixel AUROC"),
                    *("tiles, image AUROC", "tiles, pixel AUROC", "CPU minutes"),
                ),
                rows=rows,
            )


if __name__ == "__main__":
    main()
