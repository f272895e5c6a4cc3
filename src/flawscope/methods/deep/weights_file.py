"""Weights files into trunks: read without executing anything, and only where they are the network's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from flawscope.core.errors import ConfigError
from flawscope.methods.backbones import WeightsNotes
from flawscope.methods.deep.patch_tokens import TokenTrunk

TF_CLASSES = 1001  # ImageNet's classes and "background": the mark of networks trained with TensorFlow


def read_state(weights: Path) -> dict[str, Any]:
    """Read a weights file; nothing in it is executed."""
    try:
        state = timm.models.load_state_dict(str(weights), weights_only=True)
    except Exception as error:  # torch's, pickle's and safetensors' errors share no base class
        raise ConfigError(
            f"{weights} cannot be read as weights", found=str(error).split("\n", 1)[0]
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{weights} cannot be read as weights", expected="tensors by name")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def with_tf_rule(arch: str, state: dict[str, Any], notes: WeightsNotes) -> WeightsNotes:
    """Fill in what 1001 classes tell: TensorFlow's padding, and input from -1 to 1. Stated notes win."""
    classifier = state.get("classifier.weight")
    told = classifier is not None and len(classifier) == TF_CLASSES
    if not told or not timm.models.is_model_in_modules(
        arch.partition(".")[0], {"efficientnet", "mobilenetv3"}
    ):
        return notes
    half = (0.5, 0.5, 0.5)
    return WeightsNotes(
        {"pad_type": "same"} | notes.arch_kwargs,
        notes.mean or half,
        notes.std or half,
        notes.source,
        notes.licence,
    )


def load(trunk: Any, state: dict[str, Any], *, where: str) -> None:
    """Load the trunk's part of a state. Raises ConfigError unless it has all of it, in the right shapes, and
    nothing more within the trunk's stages."""
    own = trunk.state_dict()
    names = {key: _name_in(state, key) for key in own}
    found = {key: state[name] for key, name in names.items() if name is not None}
    absent = [key for key in own if key not in found]
    missing = sorted(_needed(trunk).intersection(absent)) if absent else []
    if missing:
        raise ConfigError(
            f"{where}: {len(missing)} of {len(own)} weights are missing",
            found="no " + _few(missing),
            remedy="Name the right architecture (ARCH=PATH), with timm's names for the weights",
        )
    misshapen = [key for key, value in found.items() if value.shape != own[key].shape]
    if misshapen:
        shapes = (f"{key} {tuple(found[key].shape)} for {tuple(own[key].shape)}" for key in misshapen)
        raise ConfigError(
            f"{where}: {len(misshapen)} weights have other shapes",
            found=_few(list(shapes)),
            remedy="Name the right architecture (ARCH=PATH)",
        )
    if isinstance(trunk, TokenTrunk):
        stages: tuple[str, ...] = ("blocks.",)
    else:
        stages = tuple(f"{entry['module']}." for entry in trunk.feature_info.get_dicts())
    known = {name for name in names.values() if name is not None}
    strange = [name for name in state if name.startswith(stages) and name not in known]
    if strange:
        raise ConfigError(
            f"{where}: the file has more weights in these stages than the architecture",
            found=_few(strange),
            remedy="Name the right architecture (ARCH=PATH)",
        )
    trunk.load_state_dict(found, strict=False)


def _name_in(state: dict[str, Any], key: str) -> str | None:
    """Return a trunk weight's name in the whole network's state: timm writes `stages.0` as `stages_0` in a
    trunk; a transformer stands whole under `model`."""
    key = key.removeprefix("model.")
    head, dot, rest = key.partition(".")
    places = [i for i, letter in enumerate(head) if letter == "_"]
    candidates = [key, *(f"{head[:i]}.{head[i + 1 :]}{dot}{rest}" for i in reversed(places))]
    return next((name for name in candidates if name in state), None)


def _needed(trunk: Any) -> set[str]:
    """Return the weights on which the levels depend (a trunk may carry later stages along)."""
    # sides that all strides divide, patches of 14 pixels among them
    sum(level.sum() for level in trunk.eval()(torch.zeros(1, 3, 224, 224))).backward()
    alive = {name for name, value in trunk.named_parameters() if value.grad is not None}
    trunk.zero_grad(set_to_none=True)
    owners = {name.rpartition(".")[0] for name, _ in trunk.named_parameters()}
    alive_owners = {name.rpartition(".")[0] for name in alive}
    for name, _ in trunk.named_buffers():
        owner, _, leaf = name.rpartition(".")
        # a counter has no say in the outcome; a buffer without weights beside it may have
        if leaf != "num_batches_tracked" and (owner in alive_owners or owner not in owners):
            alive.add(name)
    return alive


def _few(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
