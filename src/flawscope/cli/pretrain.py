"""`flawscope pretrain`: a backbone of one's own, from drawn pictures alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson

if TYPE_CHECKING:
    from flawscope.flows.pretrain import Pretrained
    from flawscope.pretraining.settings import Progress


def pretrain(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where backbone, weights, card and log go.")
    ] = Path("runs/backbone"),
    steps: Annotated[
        int, typer.Option("--steps", help="Batches to learn from; raise it to go on longer.")
    ] = 20_000,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn and of the first weights.")] = 0,
    architecture: Annotated[
        str, typer.Option("--architecture", help="The trunk: resnet, plain or mobile.")
    ] = "resnet",
    width: Annotated[float, typer.Option("--width", help="Of the channels of plain and mobile.")] = 1.0,
    start_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="Weights to begin with (safetensors, pth), the mean of several; else random ones."
        ),
    ] = None,
    hold_norms: Annotated[
        bool, typer.Option("--hold-norms", help="Keep the statistics of batch norm that --from brings.")
    ] = False,
    hold_early: Annotated[
        bool,
        typer.Option(
            "--hold-early",
            help="Leave the stages before the two levels as --from brings them; half the time.",
        ),
    ] = False,
    whitening: Annotated[
        float,
        typer.Option(
            "--whitening",
            min=0,
            max=1,
            help="Train through a whitening layer, begun with this power (0.7); 0: it comes at the end only. "
            "Wants --from.",
        ),
    ] = 0.0,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate between rise and fall.")] = 6e-4,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Products in a batch.")] = 3,
    side: Annotated[int, typer.Option("--side", help="Side of the drawn pictures, px.")] = 128,
    wide: Annotated[
        int, typer.Option("--wide", help="Side of the pictures in every second batch, px; 0: as --side.")
    ] = 0,
    difficulty: Annotated[
        float,
        typer.Option("--difficulty", min=0, max=1, help="How small and faint defects are at the start."),
    ] = 0.4,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=0, help="Of torch; 0: all.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that draw.")] = 1,
    whiten: Annotated[
        bool,
        typer.Option("--whiten/--no-whiten", help="Add a layer that turns down what good parts differ in."),
    ] = True,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Judge on generators that were held out, at the end.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on drawn pictures; stopped, it goes on where it was."""
    from flawscope.flows.pretrain import pretrain as run
    from flawscope.pretraining.settings import Architecture, Course, Curriculum, Workplace
    from flawscope.synth.episodes import Layout

    layout = Layout(episodes=episodes, side=side)
    course = Course(
        steps=steps,
        seed=seed,
        architecture=Architecture(architecture, width),
        layout=layout,
        wide=layout.at(wide) if wide else None,
        whitening=whitening,
        curriculum=Curriculum(first=difficulty),
        rate=rate,
        hold_early=hold_early,
        hold_norms=hold_norms,
    )
    result = run(
        course,
        Workplace(out, device=device, threads=threads, workers=workers),
        start_from=start_from or (),
        whiten=whiten,
        judge=judge,
        command=_command(start_from or ()),
        report=_tell,
    )
    if as_json:
        words.say_json(as_values(result))
        return
    reached = result.reached
    words.say(f"{result.backbone}  {result.size_bytes / 1e6:.1f} MB   {result.card}")
    words.sentence(
        f"{reached.step} steps, {reached.images} drawn pictures, {reached.hours:.2f} hours; pairs in the "
        f"right order {reached.ranked:.3f}, defective photographs above good ones {reached.separated:.3f}."
    )
    if result.judged is not None:
        words.say(
            f"On held-out generators: image AUROC {result.judged.image:.4f}, pixel {result.judged.pixel:.4f}."
        )
    words.say(f"Next: flawscope train --data YOUR_PHOTOGRAPHS --backbone {words.quoted(result.backbone)}")


def as_values(result: Pretrained) -> dict[str, Any]:
    """Return the outcome as JSON."""
    reached, judged = result.reached, result.judged
    return {
        "backbone": str(result.backbone),
        "weights": str(result.weights),
        "card": str(result.card),
        "sha256": result.digest,
        "size_bytes": result.size_bytes,
        "steps": reached.step,
        "images": reached.images,
        "hours": round(reached.hours, 4),
        "ranked": round(reached.ranked, 4),
        "separated": round(reached.separated, 4),
        "held_out": None if judged is None else {"image": judged.image, "pixel": judged.pixel},
    }


def _command(start_from: Sequence[Path]) -> str:
    """Return the command as it was given, its program by name and the weights without their folder."""
    given = sys.argv[1:]
    for path in start_from:
        given = [text.replace(str(path), path.name) for text in given]
    return shlex.join(["flawscope", *given])


def _tell(at: Progress) -> None:
    words.remark(
        f"step {at.step}  {at.hours:.2f} h  {at.images} pictures  loss {at.loss:.3f}  "
        f"ranked {at.ranked:.3f}  separated {at.separated:.3f}"
    )
