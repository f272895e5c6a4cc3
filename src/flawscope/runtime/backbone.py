"""A backbone: an ONNX graph from normalised pixels to one or more levels of features, with its papers.

The file is an ordinary ONNX model: input `image` float32 (N, 3, H, W), already normalised; one output per
level, finest first, float32 (N, C, H / stride, W / stride); N, H and W are free. What else must be known
(normalisation, strides, source, licence) travels in the model's metadata under `flawscope.backbone` as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import onnx

from flawscope.core import digest
from flawscope.core.errors import ConfigError
from flawscope.core.types import Json

METADATA_KEY = "flawscope.backbone"
BUNDLED = "drawn_r18"


@dataclass(frozen=True)
class Level:
    """One output of a backbone."""

    name: str
    channels: int
    stride: int  # canvas pixels per position


@dataclass(frozen=True)
class BackboneCard:
    """What must be known of a backbone: where it comes from and how it wants its input."""

    name: str
    levels: tuple[Level, ...]  # finest first
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str
    licence: str
    digest: str = ""  # sha256 of the file it was read from

    @property
    def canvas_multiple(self) -> int:
        """The step in which canvases are planned: a multiple of the coarsest stride near 32 px (28 for
        patches of 14)."""
        coarsest = max(level.stride for level in self.levels)
        return coarsest * max(1, round(32 / coarsest))

    def to_json(self) -> Json:
        """Return the card as JSON."""
        return {
            "name": self.name,
            "levels": [[level.name, level.channels, level.stride] for level in self.levels],
            "mean": list(self.mean),
            "std": list(self.std),
            "source": self.source,
            "licence": self.licence,
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, values: Json) -> BackboneCard:
        """Read what `to_json` wrote."""
        mean, std = values["mean"], values["std"]
        return cls(
            name=str(values["name"]),
            levels=tuple(Level(str(name), int(c), int(stride)) for name, c, stride in values["levels"]),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
            source=str(values["source"]),
            licence=str(values["licence"]),
            digest=str(values.get("digest", "")),
        )


@dataclass(frozen=True, eq=False)
class Backbone:
    """A backbone's graph and its card."""

    card: BackboneCard
    model: Any  # onnx.ModelProto


def bundled() -> Backbone:
    """Return the backbone that ships inside the package."""
    return read_bytes(
        (resources.files("flawscope.weights") / f"{BUNDLED}.onnx").read_bytes(), name=f"{BUNDLED}.onnx"
    )


def read(path: Path) -> Backbone:
    """Read a backbone from an ONNX file. Raises ConfigError where it is missing or holds no backbone."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"The backbone {path} cannot be read", found=str(error)) from error
    return read_bytes(content, name=str(path))


def read_bytes(content: bytes, *, name: str) -> Backbone:
    """Read a backbone from an ONNX file's content; `name` is for messages."""
    try:
        model = onnx.load_model_from_string(content)
    except (
        Exception
    ) as error:  # protobuf's parser raises a type of its own that cannot be named without importing it
        raise ConfigError(f"{name} is no ONNX model", found=str(error)) from error
    papers = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in papers:
        raise ConfigError(
            f"{name} says nothing about itself",
            expected=f"metadata {METADATA_KEY!r} with levels, strides and normalisation",
            remedy="Give a timm name or a safetensors file (needs flawscope[train]); "
            "docs/backbones.md says how to prepare an ONNX file",
        )
    values = json.loads(papers[METADATA_KEY])
    return Backbone(BackboneCard.from_json(values | {"digest": digest.of_bytes(content)}), model)


def with_card(model: Any, card: BackboneCard) -> Any:
    """Return a copy of an ONNX model with the card in its metadata."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    copy.metadata_props.add(key=METADATA_KEY, value=json.dumps(card.to_json(), sort_keys=True))
    return copy
