"""Make a backbone from drawn pictures alone: train, export, judge on held-out generators, write its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flawscope import __version__
from flawscope.core import digest, extras, files
from flawscope.core.errors import UsageError
from flawscope.flows.environment import machine
from flawscope.pretraining.settings import ARCHITECTURES, MEAN, STD, Course, Progress, Workplace
from flawscope.runtime.backbone import Backbone, BackboneCard

if TYPE_CHECKING:
    from flawscope.pretraining.heldout import Judgement

BACKBONE = "backbone.onnx"
WEIGHTS = "weights.safetensors"
CARD = "card.md"
LICENCE = "Apache-2.0"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a course of pretraining leaves."""

    backbone: Path
    weights: Path
    card: Path
    digest: str
    size_bytes: int
    reached: Progress
    judged: Judgement | None


def pretrain(
    course: Course,
    workplace: Workplace,
    *,
    start_from: Sequence[Path] = (),
    whiten: bool = True,
    judge: bool = True,
    command: str = "",
    report: Callable[[Progress], None] = lambda _: None,
) -> Pretrained:
    """Train a backbone and write it with its card into the workplace's folder; a course that was stopped
    there goes on. `start_from` are weights files to begin with, their mean where there are several. `whiten`
    adds the layer that turns down what good parts differ in. `command` is what the card says made it. Raises
    UsageError for a course that cannot be, MissingExtraError without flawscope[train]."""
    _check(course, begun=bool(start_from))
    extras.require_all("train", purpose="Pretraining a backbone")
    from flawscope.methods.deep.weights_file import read_state
    from flawscope.pretraining import course as courses
    from flawscope.pretraining import heldout, whitening

    begun = courses.mean([read_state(path) for path in start_from]) if start_from else None
    network, reached = courses.run(course, workplace, start_from=begun, report=report)
    network = network.to("cpu")
    places = {name: workplace.folder / name for name in (WEIGHTS, BACKBONE, CARD)}
    courses.save(network, places[WEIGHTS])
    if whiten:
        network = whitening.whitened(network, whitening.Estimate())
    judged = heldout.judge(heldout.levels_of(network), heldout.Drawn()) if judge else None
    backbone = graph_of(network, name=f"drawn_{course.architecture.name}")
    content = backbone.model.SerializeToString(deterministic=True)
    files.write_bytes(places[BACKBONE], content)
    origin = "; ".join(f"{path.name}, sha256 {digest.of_file(path)}" for path in start_from)
    files.write_text(
        places[CARD],
        card_text(
            backbone,
            course,
            reached,
            size=len(content),
            origin=origin,
            command=command,
            whiten=whiten,
            judged=judged,
        ),
    )
    return Pretrained(
        places[BACKBONE],
        places[WEIGHTS],
        places[CARD],
        digest.of_bytes(content),
        len(content),
        reached,
        judged,
    )


def graph_of(network: Any, *, name: str) -> Backbone:
    """Return a network that was pretrained (a torch module, which is folded in place) as a backbone."""
    from flawscope.methods.deep.backbone_export import graphed
    from flawscope.pretraining.networks import folded

    source = "flawscope, trained on drawn images only"
    card = BackboneCard(name=name, levels=(), mean=MEAN, std=STD, source=source, licence=LICENCE)
    return graphed(folded(network), card)


def card_text(
    backbone: Backbone,
    course: Course,
    reached: Progress,
    *,
    size: int,
    origin: str,
    command: str,
    whiten: bool,
    judged: Judgement | None,
) -> str:
    """Return the card of a pretrained backbone in Markdown."""
    card, here = backbone.card, machine()
    levels = ", ".join(f"`{x.name}` {x.channels} channels at stride {x.stride}" for x in card.levels)
    sides = " and ".join(str(layout.side) for layout in (course.layout, course.wide) if layout is not None)
    rows = {
        "file": f"{size / 1e6:.1f} MB, sha256 `{card.digest}`",
        "architecture": f"{course.architecture.name}, width {course.architecture.width:g}",
        "levels": levels,
        "last layer": "whitens what good patches differ in" if whiten else "none",
        "input": f"RGB float32 (N, 3, H, W), pixels from 0 to 1 normalised by mean {card.mean}, "
        f"deviation {card.std}",
        "data": "none but what `flawscope.synth` draws",
        "begun from": origin or "random weights",
        "course": f"{reached.step} steps, {reached.images} pictures of {sides} px, {reached.hours:.2f} hours",
        "seed": str(course.seed),
        "hardware": f"{here['processor']}, {here['cores']} cores",
        "made by": f"flawscope {__version__}" + (f", `{command}`" if command else ""),
        "licence": card.licence,
    }
    if judged is not None:
        rows["held-out generators"] = f"image AUROC {judged.image:.4f}, pixel AUROC {judged.pixel:.4f}"
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return f"# {card.name}\n\n| | |\n|---|---|\n{table}\n"


def _check(course: Course, *, begun: bool) -> None:
    if course.architecture.name not in ARCHITECTURES:
        raise UsageError(
            "the architecture", expected=", ".join(ARCHITECTURES), found=repr(course.architecture.name)
        )
    if course.architecture.name == "resnet" and course.architecture.width != 1:
        raise UsageError("the width of a resnet", expected="1", found=f"{course.architecture.width:g}")
    if course.whitening and not begun:
        raise UsageError(
            "a whitening layer to train through",
            expected="weights to begin with, from which it is estimated",
            found="random weights",
        )
    if course.steps < 1:
        raise UsageError("the steps of pretraining", expected="1 or more", found=str(course.steps))
    for layout in filter(None, (course.layout, course.wide)):
        if layout.side % 16 or layout.side < 64:
            raise UsageError(
                "the side of drawn pictures",
                expected="a multiple of 16, 64 px or more",
                found=str(layout.side),
            )
