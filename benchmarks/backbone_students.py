"""Which trunk carries the bundled features best at one CPU latency: students of the bundled backbone.

    OMP_NUM_THREADS=1 python benchmarks/backbone_students.py [--steps 500] [--rows resnet plain mobile] \\
        [--out benchmarks/results/backbone_students.md]

From random weights every architecture learns to say, by a 1x1 convolution behind each of its two levels, what
the bundled backbone says of the same drawn pictures, 24 of 96 px a step. The loss is the share of the
variance of what is said that is not told, of both levels alike. The ResNet-18 among the students is the
control: it could say all of it. Widths are those that take ResNet-18's time on a CPU. Students and teacher
are judged on the held-out generators (`flawscope.pretraining.heldout`) and on magnetic tiles in the protocol
of `benchmarks/backbone.py`. `lost` is the loss on pictures that nobody was taught. Finished rows are kept and
not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from backbone import tiles
from tiles import Cells, write_table
from torch import Tensor, nn

from flawscope.methods.deep.weights_file import read_state
from flawscope.pretraining import heldout
from flawscope.pretraining.networks import build, normalised
from flawscope.pretraining.probe import Protocol, probe
from flawscope.pretraining.settings import Architecture, Course
from flawscope.pretraining.supply import supply
from flawscope.pretraining.whitening import Estimate, whitened
from flawscope.synth.episodes import Layout

ARCHITECTURES = {
    "resnet": Architecture("resnet"),
    "plain": Architecture("plain", 1.2),
    "mobile": Architecture("mobile", 1.5),
}
TEACHER = "teacher"
TRIED = 20  # batches of the check at the end
LAYOUT = Layout(side=96)


class Student(nn.Module):
    """A trunk with a 1x1 convolution behind each level."""

    def __init__(self, trunk: nn.Module, shown: Tensor, aims: list[Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        with torch.no_grad():
            levels = trunk.eval()(shown)
        self.heads = nn.ModuleList()
        for level, aim in zip(levels, aims, strict=True):
            head = nn.Conv2d(level.shape[1], aim.shape[1], 1)
            nn.init.zeros_(head.weight)  # it begins with the mean
            head.bias = nn.Parameter(aim.mean((0, 2, 3)))
            self.heads.append(head)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the levels of normalised pixels (N, 3, H, W), as the teacher gives them."""
        return [head(level) for head, level in zip(self.heads, self.trunk(pixels), strict=True)]


def teacher_of(path: Path) -> nn.Module:
    """Return the bundled backbone, in use."""
    network = build(Architecture())
    network.load_state_dict(read_state(path), strict=False)
    return whitened(network, Estimate()).eval()


def lost(said: list[Tensor], aims: list[Tensor]) -> Tensor:
    """Return the share of the aims' variance that is not told, over both levels alike."""
    shares = []
    for one, aim in zip(said, aims, strict=True):
        spread = (aim - aim.mean((0, 2, 3), keepdim=True)).square().sum(1).mean()
        shares.append((one - aim).square().sum(1).mean() / spread)
    return torch.stack(shares).mean()


def taught(row: str, arguments: argparse.Namespace, teacher: nn.Module) -> nn.Module:
    """Train one student."""
    torch.manual_seed(0)
    pixels, _ = next(supply(Course(steps=1, seed=2, layout=LAYOUT), start=0, workers=0))
    with torch.no_grad():
        aims = teacher(normalised(pixels))
    student = Student(build(ARCHITECTURES[row]), normalised(pixels), aims)
    student = student.to(memory_format=torch.channels_last)
    course = Course(steps=arguments.steps, layout=LAYOUT, rate=2e-3, warm_up=40, fall=0.5)
    optimiser = torch.optim.AdamW(student.parameters(), lr=course.rate, weight_decay=course.decay)
    student.train()
    for step, (pixels, _) in enumerate(supply(course, start=0, workers=1)):
        shown = normalised(pixels)
        with torch.no_grad():
            aims = teacher(shown)
        loss = lost(student(shown), aims)
        for group in optimiser.param_groups:
            group["lr"] = course.rate_at(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 49:
            print(f"{row}: step {step + 1}, lost {float(loss.detach()):.4f}", flush=True)
    return student.eval()


def measured(row: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one row."""
    teacher = teacher_of(arguments.teacher)
    begun = time.process_time()
    network = teacher if row == TEACHER else taught(row, arguments, teacher)
    minutes = (time.process_time() - begun) / 60
    left = []
    for pixels, _ in supply(Course(steps=TRIED, seed=1, layout=LAYOUT), start=0, workers=0):
        with torch.no_grad():
            left.append(float(lost(network(normalised(pixels)), teacher(normalised(pixels)))))
    levels = heldout.levels_of(network)
    drawn = heldout.judge(levels, heldout.Drawn())
    real = probe(levels, tiles(arguments.shared), Protocol())
    return {
        "lost": sum(left) / len(left),
        "image": drawn.image,
        "pixel": drawn.pixel,
        "tiles_image": real.image,
        "tiles_pixel": real.pixel,
        "minutes": minutes,
    }


def main() -> None:
    """Run every row, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--teacher", type=Path, default=Path("scripts/drawn_r18.safetensors"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", nargs="+", default=[TEACHER, *ARCHITECTURES])
    parser.add_argument("--cells", type=Path, default=Path("runs/backbone_students.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_students.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for row in arguments.rows:
        recipe = {"row": row, "steps": arguments.steps, "version": 2}
        cell = Cells(arguments.cells).run(recipe, lambda row=row: measured(row, arguments))  # type: ignore[misc]
        what = "" if row == TEACHER else f"width {ARCHITECTURES[row].width:g}"
        names = ("lost", "image", "pixel", "tiles_image", "tiles_pixel")
        figures = [f"{cell[name]:.4f}" for name in names]
        rows.append("| " + " | ".join([row, what, *figures, f"{cell['minutes']:.1f}"]) + " |")
        write_table(
            arguments.out,
            title="Students of the bundled backbone, at one CPU latency",
            command=f"backbone_students.py --steps {arguments.steps}`, 1 thread",
            head=(
                *("row", "what", "lost", "held-out, image AUROC", "held-out, pixel AUROC"),
                *("tiles, image AUROC", "tiles, pixel AUROC", "CPU minutes"),
            ),
            rows=rows,
        )


if __name__ == "__main__":
    main()
