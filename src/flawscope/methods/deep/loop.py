"""The one training loop: steps over batches, on any device, resumable, deterministic.

A method brings a `Course`: a module whose forward gives the loss of a batch, and a way to draw the batch of a
given step. Lightning Fabric sees to device, precision and several devices. Everything random depends on the
seed and the step alone, so that work killed in mid-course and taken up again ends where an unbroken one ends.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric

from flawscope.core import digest, extras, files
from flawscope.core.config import as_values
from flawscope.core.errors import ConfigError
from flawscope.core.progress import Progress, Silent
from flawscope.core.rng import derive
from flawscope.core.types import Json
from flawscope.methods.contract import CHECKPOINTS, CURVES, FitContext, FitData, Workshop
from flawscope.methods.settings import Training

_ROWS = 200  # of a learning curve
_log = logging.getLogger(__name__)

Batch = tuple[torch.Tensor, ...]


class Draw(Protocol):
    """Gives the batch of a step. With several devices it is sent to other processes, so it must pickle."""

    def __call__(self, step: int) -> Batch:
        """Return the batch: tensors that the objective takes in this order."""


@dataclass(frozen=True, eq=False)
class Watch:
    """Looks at the objective now and then, keeps the best weights, and stops when nothing gets better."""

    look: Callable[[torch.nn.Module], Mapping[str, float]]  # gives at least `loss` and `accuracy`
    every: int  # steps
    patience: int = 0  # looks without a lower loss or a higher accuracy; 0: never stop early


@dataclass(frozen=True, eq=False)
class Course:
    """All that one training is made of."""

    name: str  # shown to people, and the learning curve's file name
    objective: torch.nn.Module  # forward(*batch) is the loss; the share of the course done is in `progress`
    draw: Draw
    settings: Training
    key: Json  # whatever decides the outcome beside the settings: a checkpoint of another key is not taken up
    watch: Watch | None = None
    rates: Mapping[str, float] = field(default_factory=dict)  # by the start of a weight's name: its share
    # of the learning rate


@dataclass
class Learnt:
    """What a course leaves beside the trained objective."""

    steps: int
    rows: list[dict[str, float]] = field(default_factory=list)  # the learning curve
    best: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)  # weights by what they are best in
    looks: list[dict[str, float]] = field(default_factory=list)  # what the watch saw
    seconds: float = 0.0  # of this process, work taken up again not counted
    images_per_second: float = 0.0
    device: str = ""
    precision: str = ""


def identity(method: str, config: Any, data: FitData, context: FitContext) -> Json:
    """Return what decides a course: two fits with the same identity are the same work."""
    return {
        "method": method,
        "config": as_values(config),
        "fit": [[sample.path, sample.sha256, sample.label] for sample in data.fit],
        "select": [[sample.path, sample.sha256, sample.label] for sample in data.select],
        "preprocess": context.preprocess.to_json(),
        "backbone": context.backbone.card.to_json(),
        "seed": context.seed,
    }


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Let torch draw from a stream of its own: what is outside neither steers it nor is steered by it."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(derive(seed, *names).integers(2**62)))
        yield


def run(course: Course, context: FitContext) -> Learnt:
    """Train the course's objective in place and return how it went.

    A checkpoint of the same course in the workshop's folder is taken up where it stopped. Raises ConfigError
    where the device is not there, or where the loss is no number any more.
    """
    workshop = context.workshop
    saved = _place(course, workshop)
    with _quiet(), _threads(context.threads):
        fabric = _fabric(workshop)
        if workshop.devices == 1:
            learnt = _train(fabric, course, context.seed, workshop, context.progress, saved)
        else:
            # the other processes get copies; the first one's weights come back
            context.progress.note(f"{course.name} on {workshop.devices} devices")
            sent = fabric.launch(_Sent(course, context.seed, workshop, saved))
            back = torch.load(io.BytesIO(sent), weights_only=True)
            learnt, state = Learnt(**back["learnt"]), back["weights"]
            course.objective.load_state_dict(state)
    course.objective.to("cpu").eval()
    if workshop.folder is not None:
        place = workshop.folder / CURVES / f"{_file_name(course.name)}.csv"
        _write_curve(place, learnt)
        pace = {
            "steps": learnt.steps,
            "seconds": round(learnt.seconds, 2),
            "images_per_second": round(learnt.images_per_second, 1),
            "device": learnt.device,
            "devices": workshop.devices,
            "precision": learnt.precision,
        }
        files.write_text(place.with_suffix(".json"), json.dumps(pace, indent=1) + "\n")
    return learnt


class _Sent:
    """A course on its way to another process (Fabric would look into frozen dataclasses and fail)."""

    def __init__(self, course: Course, seed: int, workshop: Workshop, place: Path | None) -> None:
        self._work = (course, seed, workshop, place)

    def __call__(self, fabric: Any) -> bytes:
        """Train there; return as a file's content what is learnt: tensors would lie in the memory of a
        process that has ended."""
        course, seed, workshop, place = self._work
        # what was sent lies in memory that the processes share: each needs weights of its own
        own = replace(course, objective=copy.deepcopy(course.objective))
        with _quiet():
            learnt = _train(fabric, own, seed, workshop, Silent(), place)
        weights = {name: value.detach().cpu() for name, value in own.objective.state_dict().items()}
        stream = io.BytesIO()
        torch.save({"learnt": vars(learnt), "weights": weights}, stream)
        return stream.getvalue()


def _train(
    fabric: Any, course: Course, seed: int, workshop: Workshop, progress: Progress, place: Path | None
) -> Learnt:
    """Train in one process, of which there may be several."""
    if workshop.devices == 1:
        fabric.launch()
    settings = course.settings
    optimiser = _optimiser(course)
    state, learnt = _taken_up(place, course, optimiser)
    objective, optimiser = fabric.setup(course.objective, optimiser)
    writer = _tensorboard(course, workshop) if fabric.is_global_zero else None
    start = saved = time.perf_counter()
    first = learnt.steps
    last = first if state.get("done") else settings.steps
    with ExitStack() as stack:
        stage = stack.enter_context(progress.stage(course.name, settings.steps))
        stage.advance(first)
        if writer is not None:
            stack.callback(writer.close)
        for step in range(first, last):
            course.objective.progress = step / settings.steps
            loss = _step(fabric, objective, optimiser, course, step, seed)
            learnt.steps = step + 1
            _record(learnt, step, loss, settings.steps, writer)
            stage.advance()
            done = state["done"] = _looked(course, learnt, state, writer)
            if place is not None and fabric.is_global_zero:
                if done or step + 1 == settings.steps or time.perf_counter() - saved > workshop.save_seconds:
                    _save(place, course, optimiser, state, learnt)
                    saved = time.perf_counter()
            if done:
                stage.advance(settings.steps - learnt.steps)
                break
    learnt.seconds = time.perf_counter() - start
    seen = (learnt.steps - first) * settings.batch * settings.accumulate * workshop.devices
    learnt.images_per_second = seen / max(learnt.seconds, 1e-9)
    learnt.device = str(fabric.device)
    if fabric.device.type == "cuda":
        learnt.device = torch.cuda.get_device_name(fabric.device)
    learnt.precision = fabric._precision.precision
    return learnt


def _step(fabric: Any, objective: Any, optimiser: Any, course: Course, step: int, seed: int) -> float:
    """Take one step; return the mean loss of its batches."""
    settings = course.settings
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * _rate(settings, step)
    objective.train()
    total = 0.0
    for part in range(settings.accumulate):
        number = (step * settings.accumulate + part) * fabric.world_size + fabric.global_rank
        batch = tuple(fabric.to_device(tensor) for tensor in course.draw(number))
        last = part + 1 == settings.accumulate
        alone = fabric.world_size == 1
        with seeded(seed, "step", number), fabric.no_backward_sync(objective, enabled=not (last or alone)):
            loss = objective(*batch)
            fabric.backward(loss / settings.accumulate)
        total += float(loss.detach())
    if not math.isfinite(total):
        raise ConfigError(
            f"{course.name}: the loss is no number any more at step {step}",
            found=str(total),
            remedy="Lower settings.training.learning_rate, or set settings.training.clip",
        )
    if settings.clip:
        fabric.clip_gradients(objective, optimiser, max_norm=settings.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return total / settings.accumulate


def _rate(settings: Training, step: int) -> float:
    """Return the share of the full learning rate at a step."""
    warm = round(settings.warmup * settings.steps)
    if step < warm:
        return (step + 1) / warm
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, settings.steps - warm)))


def _optimiser(course: Course) -> torch.optim.Optimizer:
    settings = course.settings
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, value in course.objective.named_parameters():
        if value.requires_grad:
            share = next((rate for start, rate in course.rates.items() if name.startswith(start)), 1.0)
            groups.setdefault(share, []).append(value)
    rate, decay = settings.learning_rate, settings.weight_decay
    listed = [
        {"params": values, "lr": rate * share, "full_rate": rate * share} for share, values in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=rate, weight_decay=decay)


def _record(learnt: Learnt, step: int, loss: float, steps: int, writer: Any) -> None:
    """Add to the learning curve: each row is the mean loss since the one before."""
    every = max(1, steps // _ROWS)
    index = step // every
    if len(learnt.rows) <= index:
        learnt.rows.append({"step": step + 1, "loss": loss, "count": 1})
        return
    row = learnt.rows[index]
    row["loss"] += (loss - row["loss"]) / (row["count"] + 1)
    row["count"] += 1
    row["step"] = step + 1
    if writer is not None and row["count"] == every:
        writer.add_scalar("loss", row["loss"], step + 1)


def _looked(course: Course, learnt: Learnt, state: dict[str, Any], writer: Any) -> bool:
    """Look where it is time to; return whether nothing got better for long enough to stop."""
    watch = course.watch
    if watch is None or (learnt.steps % watch.every and learnt.steps < course.settings.steps):
        return False
    course.objective.eval()
    with torch.no_grad():
        found = dict(watch.look(course.objective))
    learnt.looks.append({"step": learnt.steps, **found})
    if writer is not None:
        for name, value in found.items():
            writer.add_scalar(f"select/{name}", value, learnt.steps)
    better = False
    for name, sign in (("loss", 1.0), ("accuracy", -1.0)):
        value = sign * found[name]
        if value < state.setdefault(f"best_{name}", math.inf):
            state[f"best_{name}"] = value
            learnt.best[f"best_{name}"] = {
                key: tensor.detach().cpu().clone() for key, tensor in course.objective.state_dict().items()
            }
            better = True
    state["waited"] = 0 if better else state.get("waited", 0) + 1
    return bool(watch.patience and state["waited"] >= watch.patience)


def _fabric(workshop: Workshop) -> Any:
    precision = workshop.precision
    device = workshop.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.backends.mps.is_available():
            device = "mps"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device, False):
        raise ConfigError(
            f"There is no device {device!r} to train on",
            expected="one of auto, " + ", ".join(name for name, there in present.items() if there),
            remedy="Leave --device out, or see: flawscope doctor",
        )
    if precision == "auto":
        precision = "16-mixed" if device == "cuda" else "32-true"
    try:
        return Fabric(
            accelerator=device,
            devices=workshop.devices,
            precision=precision,
            strategy="auto" if workshop.devices == 1 else "ddp_spawn",
        )
    except (ValueError, RuntimeError, TypeError) as error:  # what Fabric raises for settings that do not fit
        raise ConfigError(
            f"Training cannot run on {workshop.devices} {device} with precision {precision}",
            found=str(error).split("\n", 1)[0],
        ) from error


def _place(course: Course, workshop: Workshop) -> Path | None:
    """Return where the course's checkpoint stands."""
    if workshop.folder is None:
        return None
    key = digest.of_value({"name": course.name, "settings": as_values(course.settings), **course.key})
    return workshop.folder / CHECKPOINTS / f"{_file_name(course.name)}-{key[:16]}.pt"


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def _taken_up(place: Path | None, course: Course, optimiser: Any) -> tuple[dict[str, Any], Learnt]:
    """Load a checkpoint of this course, if there is one; return the watch's state and how far it came."""
    if place is None or not place.is_file():
        return {}, Learnt(0)
    untouched = copy.deepcopy((course.objective.state_dict(), optimiser.state_dict()))
    try:
        kept = torch.load(place, map_location="cpu", weights_only=True)
        course.objective.load_state_dict(kept["objective"])
        optimiser.load_state_dict(kept["optimiser"])
        learnt = Learnt(kept["steps"], kept["rows"], kept["best"], kept["looks"])
    except Exception as error:  # a damaged file fails in many ways; the work is then done anew
        _log.warning("The checkpoint %s cannot be taken up, training begins anew: %s", place, error)
        course.objective.load_state_dict(untouched[0])  # a part of the file may have been taken up
        optimiser.load_state_dict(untouched[1])
        return {}, Learnt(0)
    _log.info("%s goes on from step %d of %d", course.name, learnt.steps, course.settings.steps)
    return kept["state"], learnt


def _save(place: Path, course: Course, optimiser: Any, state: dict[str, Any], learnt: Learnt) -> None:
    """Write a checkpoint whole or not at all."""
    content = {
        "objective": course.objective.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": state,
        "steps": learnt.steps,
        "rows": learnt.rows,
        "best": learnt.best,
        "looks": learnt.looks,
    }
    with files.replacing(place) as temporary:
        torch.save(content, temporary)


def _write_curve(path: Path, learnt: Learnt) -> None:
    """Write the learning curve as CSV: step, loss, and what the looks saw."""
    looks = {int(row["step"]): row for row in learnt.looks}
    rows = {int(row["step"]): {"step": int(row["step"]), "loss": row["loss"]} for row in learnt.rows}
    for step, look in looks.items():
        rows.setdefault(step, {"step": step}).update(
            {f"select_{name}": value for name, value in look.items() if name != "step"}
        )
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    stream = io.StringIO()
    table = csv.DictWriter(stream, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows[step] for step in sorted(rows))
    files.write_text(path, stream.getvalue())


def _tensorboard(course: Course, workshop: Workshop) -> Any:
    if not workshop.tensorboard or workshop.folder is None:
        return None
    extras.require("tensorboard", extra="tracking", purpose="Writing for TensorBoard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(workshop.folder / "tensorboard" / _file_name(course.name)))


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Give torch so many threads for a while; 0 leaves it its own."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' advice to developers from users: what they need to know is told in our words."""
    loggers = [logging.getLogger("lightning_fabric"), logging.getLogger("lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
