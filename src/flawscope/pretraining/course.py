"""A course of pretraining: steps of one network, kept so that it can go on where it stopped.

Weights are averaged over the steps (an exponential moving average); the average is what is exported. The
learning rate rises, stays, and falls over the last part, so that a course can be lengthened: with more steps
stated, it goes on from what was kept, and the fall comes later.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flawscope.core.errors import ConfigError
from flawscope.core.files import replacing
from flawscope.pretraining.networks import build, early, normalised
from flawscope.pretraining.objective import Objective, Outcome
from flawscope.pretraining.settings import Architecture, Course, Progress, Workplace
from flawscope.pretraining.supply import supply
from flawscope.pretraining.whitening import LAYERS, Estimate, Whitened, trunk_of, whitened

FORMAT = 1
CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
_HEAD = "step,hours,images,loss,ranked,separated,rate,difficulty\n"
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _State:
    network: nn.Module
    average: nn.Module
    objective: Objective
    optimiser: torch.optim.Optimizer
    further: nn.Module | None = None
    step: int = 0
    seconds: float = 0.0
    images: int = 0


def run(
    course: Course,
    workplace: Workplace,
    *,
    start_from: dict[str, Tensor] | None = None,
    further: Callable[[nn.Module], nn.Module] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> tuple[nn.Module, Progress]:
    """Train until the course's last step; return the averaged trunk, ready for use, and how far it came.

    What a folder keeps of an earlier run of the same network is gone on with; else `start_from` are weights
    to begin with, or none. `further` makes, of the network, a module that learns beside it and gives another
    term of the loss, of (network, its moving average, pixels uint8 (E, K, H, W, 3)). Raises ConfigError for
    weights or a checkpoint of another architecture.
    """
    workplace.folder.mkdir(parents=True, exist_ok=True)
    with _threads(workplace.threads), torch.random.fork_rng():
        state = _prepared(course, workplace, start_from, further)
        outcome = _steps(course, workplace, state, report)
        _keep(course, workplace, state)
    return trunk_of(state.average).eval(), outcome


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of weights by name, of the names that all have. Raises ConfigError where shapes
    differ."""
    common = set(states[0]).intersection(*states[1:])
    try:
        return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in common}
    except RuntimeError as error:
        raise ConfigError("The weights to start from are not of one network", found=str(error)) from error


def save(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors."""
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)


def averaged(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the averaged trunk that a course's folder keeps, ready for use, and the course's papers.
    Raises ConfigError where there is none."""
    kept = _read(folder / CHECKPOINT)
    if kept is None:
        raise ConfigError(f"{folder} keeps no course of pretraining", expected=CHECKPOINT)
    network = build(Architecture(**kept["course"]["architecture"]))
    weights = {name.removeprefix("trunk."): value for name, value in kept["average"].items()}
    network.load_state_dict({name: value for name, value in weights.items() if not name.startswith(LAYERS)})
    papers = {name: kept[name] for name in ("course", "step", "seconds", "images")}
    return network.eval(), papers


def _prepared(
    course: Course,
    workplace: Workplace,
    start_from: dict[str, Tensor] | None,
    further: Callable[[nn.Module], nn.Module] | None,
) -> _State:
    torch.manual_seed(course.seed)
    network = build(course.architecture)
    if start_from is not None:
        _load(network, start_from, "The weights to start from")
    if course.whitening:
        network = whitened(network, Estimate(power=course.whitening))
    network = network.to(workplace.device, memory_format=torch.channels_last)
    objective = Objective(course.terms).to(workplace.device)
    last = network.layers if isinstance(network, Whitened) else nn.ModuleList()
    trunk = trunk_of(network)
    if course.hold_early:
        for weight in early(trunk):
            weight.requires_grad_(False)
    kinds: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for weight in trunk.parameters():
        kinds[weight.ndim > 1].append(weight)
    groups = [
        {"params": list(last.parameters()), "weight_decay": 0.0, "share": 0.5},
        {"params": kinds[True], "weight_decay": course.decay, "share": 1.0},
        {"params": kinds[False], "weight_decay": 0.0, "share": 1.0},
        {"params": list(objective.parameters()), "weight_decay": 0.0, "share": 8.0},
    ]
    beside = None if further is None else further(network).to(workplace.device)
    if beside is not None:
        groups.append({"params": list(beside.parameters()), "weight_decay": 0.0, "share": 2.0})
    optimiser = torch.optim.AdamW(groups, lr=course.rate, betas=(0.9, 0.98))
    state = _State(network, copy.deepcopy(network), objective, optimiser, beside)
    kept = _read(workplace.folder / CHECKPOINT)
    if kept is not None:
        _load(state.network, kept["network"], f"{workplace.folder / CHECKPOINT}")
        state.average.load_state_dict(kept["average"])
        objective.load_state_dict(kept["objective"])
        if beside is not None:
            beside.load_state_dict(kept["further"])
        optimiser.load_state_dict(kept["optimiser"])
        state.step, state.seconds, state.images = kept["step"], kept["seconds"], kept["images"]
    return state


def _steps(
    course: Course, workplace: Workplace, state: _State, report: Callable[[Progress], None]
) -> Progress:
    mixed = workplace.mixed if workplace.mixed is not None else _half_is_fast(workplace.device)
    begun, before, kept = time.monotonic(), state.seconds, time.monotonic()
    smooth: Progress | None = None
    for pixels, masks in supply(course, start=state.step, workers=workplace.workers):
        state.network.train()
        if course.hold_norms:
            _hold_norms(state.network)
        for group in state.optimiser.param_groups:
            group["lr"] = course.rate_at(state.step) * group["share"]
        torch.manual_seed(course.seed * 1_000_003 + state.step)  # which patches are compared
        outcome = _step(state, pixels.to(workplace.device), masks.to(workplace.device), mixed=mixed)
        _average(state, course.average)
        state.step += 1
        state.images += pixels.shape[0] * pixels.shape[1]
        state.seconds = before + time.monotonic() - begun
        smooth = _smoothed(smooth, state, outcome)
        if state.step % workplace.log_every == 0 or state.step == course.steps:
            _note(course, workplace, smooth)
            report(smooth)
        if time.monotonic() - kept > workplace.keep_every_s:
            _keep(course, workplace, state)
            kept = time.monotonic()
    return smooth or Progress(state.step, state.seconds / 3600, state.images, 0.0, 0.0, 0.0)


def _step(state: _State, pixels: Tensor, masks: Tensor, *, mixed: bool) -> Outcome:
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=mixed):
        levels = state.network(normalised(pixels))
    outcome: Outcome = state.objective(levels, masks)
    loss = outcome.loss
    if state.further is not None:
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=mixed):
            loss = loss + state.further(state.network, state.average, pixels)
    state.optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    return outcome


def _average(state: _State, share: float) -> None:
    """Move the averaged weights on; early in a course they follow faster."""
    share = min(share, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for kept, new in zip(
            state.average.state_dict().values(), state.network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - share)
            else:
                kept.copy_(new)


def _hold_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _smoothed(last: Progress | None, state: _State, outcome: Outcome) -> Progress:
    share = 0.0 if last is None else 0.98

    def mean(name: str, value: float) -> float:
        return value if last is None else share * float(getattr(last, name)) + (1 - share) * value

    return Progress(
        state.step,
        state.seconds / 3600,
        state.images,
        mean("loss", float(outcome.loss.detach())),
        mean("ranked", outcome.ranked),
        mean("separated", outcome.separated),
    )


def _note(course: Course, workplace: Workplace, at: Progress) -> None:
    path = workplace.folder / LOG
    new = not path.is_file()
    with path.open("a", encoding="utf-8") as stream:
        difficulty = course.curriculum.at(at.step / course.steps)
        stream.write(
            (_HEAD if new else "")
            + f"{at.step},{at.hours:.4f},{at.images},{at.loss:.4f},{at.ranked:.4f},{at.separated:.4f},"
            f"{course.rate_at(at.step - 1):.3g},{difficulty:.3f}\n"
        )


def _keep(course: Course, workplace: Workplace, state: _State) -> None:
    values = {
        "format": FORMAT,
        "course": asdict(course),
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "objective": state.objective.state_dict(),
        "further": None if state.further is None else state.further.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "images": state.images,
    }
    with replacing(workplace.folder / CHECKPOINT) as temporary:
        torch.save(values, temporary)


def _read(place: Path) -> dict[str, Any] | None:
    if not place.is_file():
        return None
    kept: dict[str, Any] = torch.load(place, map_location="cpu", weights_only=True)
    if kept.get("format") != FORMAT:
        raise ConfigError(
            f"{place} is of another version", expected=str(FORMAT), found=str(kept.get("format"))
        )
    return kept


def _load(network: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    try:
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise ConfigError(f"{what} do not fit the architecture", found=str(error).split("\n")[1]) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(f"{what} lack a part of the network", expected=missing[0])


def _half_is_fast(device: str) -> bool:
    """Return whether half precision (bfloat16) is computed by the device itself."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
