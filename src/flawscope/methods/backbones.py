"""Which backbone is meant: the bundled one, a file, a name in the weights folder, or a timm name.

ONNX files are read as they are. Weights files (safetensors, or pth read as weights only) are turned into
ONNX once, with the [train] extra, and kept in a cache by content: from then on the base install reads them
without torch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flawscope.core import config, digest, extras, files
from flawscope.core.errors import ConfigError, MissingExtraError
from flawscope.core.registry import did_you_mean
from flawscope.methods.graph import OPSET
from flawscope.runtime.backbone import BUNDLED, Backbone, bundled, read

STRIDES = (8, 16)  # what feature banks are made of, finest first
MISSING = "missing_backbone"  # the error's code where a backbone is not at hand
EXPORT_VERSION = 1  # raised whenever the same weights would give another graph
WEIGHTS_VARIABLE = "FLAWSCOPE_WEIGHTS"
WEIGHTS_SUFFIXES = (".safetensors", ".pth")
SUFFIXES = (".onnx", *WEIGHTS_SUFFIXES)  # in the order in which a name is looked for

_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_log = logging.getLogger(__name__)


class Tokens(StrEnum):
    """Which blocks of a vision transformer become the levels of a backbone."""

    LATE = "late"  # the last block, behind the final norm: what feature banks compare
    MIDDLE = "middle"  # up to eight blocks from the middle, as they are: what a decoder rebuilds


@dataclass(frozen=True)
class WeightsNotes:
    """What a weights file cannot say of itself; read from `NAME.json` beside it."""

    arch_kwargs: dict = field(default_factory=dict)  # further arguments of timm.create_model
    mean: tuple[float, float, float] | None = None  # None: as timm's settings for the architecture say
    std: tuple[float, float, float] | None = None
    source: str = ""
    licence: str = ""


def resolve(
    name_or_path: str | None,
    *,
    weights_dir: Path | None,
    cache_dir: Path | None = None,
    tokens: Tokens = Tokens.LATE,
) -> Backbone:
    """Return the backbone that a name, a path or `ARCH=PATH` means; None means the bundled one.

    A name is looked for in `weights_dir` (where that is None, in the folder that FLAWSCOPE_WEIGHTS names),
    then, with [train] installed, among timm's published weights. `cache_dir` holds converted graphs; None
    means the user's cache. `tokens` says which blocks of a transformer are meant. Raises ConfigError where
    nothing fits, MissingExtraError where weights must be converted first and [train] is not installed.
    """
    text = (name_or_path or BUNDLED).strip()
    if text in ("bundled", BUNDLED):
        return bundled()
    cache = cache_dir or default_cache_dir()
    architecture, path = _file_meant(text)
    if path is None:
        folder = _weights_folder(weights_dir)
        path = _in_folder(architecture, folder)
        if path is None:
            return _published(architecture, folder, cache, tokens)
    if path.suffix.lower() == ".onnx":
        return _usable(read(path), path)
    return _converted(architecture, path, cache, tokens)


@dataclass(frozen=True)
class Source:
    """Where a network comes from, for methods that go on training it."""

    architecture: str
    weights: Path | None  # None: timm's published ones
    notes: WeightsNotes = field(default_factory=WeightsNotes)


def source_of(name_or_path: str | None, *, weights_dir: Path | None) -> Source | None:
    """Return where the network that `resolve` takes comes from, or None for one that is there as a graph
    alone (the bundled one, an ONNX file), which can be looked through and not be trained."""
    text = (name_or_path or BUNDLED).strip()
    if text in ("bundled", BUNDLED):
        return None
    architecture, path = _file_meant(text)
    if path is None:
        path = _in_folder(architecture, _weights_folder(weights_dir))
    if path is None:
        return Source(architecture, None)
    return None if path.suffix.lower() == ".onnx" else Source(architecture, path, read_notes(path))


def default_cache_dir() -> Path:
    """Return the folder of converted backbones in the user's cache on this platform. It need not exist."""
    return cache_dir_on(sys.platform, os.environ, Path.home()) / "flawscope" / "backbones"


def cache_dir_on(platform: str, environment: Mapping[str, str], home: Path) -> Path:
    """Return the user's cache folder by the custom of `platform` (a value of sys.platform)."""
    if platform == "win32":
        local = environment.get("LOCALAPPDATA", "")
        return Path(local) if local else home / "AppData" / "Local"
    if platform == "darwin":
        return home / "Library" / "Caches"
    stated = environment.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return Path(stated) if stated and Path(stated).is_absolute() else home / ".cache"


def read_notes(weights: Path) -> WeightsNotes:
    """Read `NAME.json` beside a weights file; empty notes where there is none. Raises ConfigError for notes
    that do not fit."""
    path = weights.with_suffix(".json")
    if not path.is_file():
        return WeightsNotes()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The notes {path} cannot be read", found=str(error)) from error
    notes = config.build(WeightsNotes, values, where=str(path))
    if notes.std and min(notes.std) <= 0:
        raise ConfigError(f"{path}.std does not fit", expected="numbers above 0", found=str(notes.std))
    return notes


def _file_meant(text: str) -> tuple[str, Path | None]:
    """Split what was given into architecture and path; the path is None where `text` is a bare name."""
    head, separator, tail = text.partition("=")
    # a path may hold "=" itself: what is there, or has a folder before the sign, is no ARCH=PATH
    if separator and _NAME.fullmatch(head) and not Path(text).expanduser().is_file():
        architecture, path = head, Path(tail).expanduser()
        if path.suffix.lower() not in WEIGHTS_SUFFIXES:
            raise ConfigError(
                f"The backbone {text} does not fit",
                expected="ARCH=PATH with a file ending in " + " or ".join(WEIGHTS_SUFFIXES),
                remedy="An ONNX file needs no architecture: give its path alone",
            )
    else:
        path = Path(text).expanduser()
        if path.suffix.lower() not in SUFFIXES:
            if _NAME.fullmatch(text):
                return text, None
            raise ConfigError(
                f"The backbone {text} is neither a name nor a file of a known kind",
                expected="'bundled', a timm name, or a file ending in " + ", ".join(SUFFIXES),
            )
        architecture = path.stem
    if not path.is_file():
        beside = [other.name for other in _backbones_in(path.parent)]
        raise ConfigError(
            f"The backbone {path} is not there",
            found=_listed(beside, f"in {path.parent}"),
            remedy=did_you_mean(path.name, beside),
        )
    if not _NAME.fullmatch(architecture):
        raise ConfigError(
            f"{path.name} does not name its architecture",
            expected="a timm name as the file's stem",
            remedy="Give ARCH=PATH, for example resnet18=" + str(path),
        )
    return architecture, path


def _weights_folder(weights_dir: Path | None) -> Path | None:
    stated = os.environ.get(WEIGHTS_VARIABLE, "")
    folder = weights_dir or (Path(stated).expanduser() if stated else None)
    if folder is not None and not folder.is_dir():
        raise ConfigError(
            f"There is no weights folder {folder}",
            remedy="Set --weights-dir" if weights_dir else f"Correct or unset {WEIGHTS_VARIABLE}",
        )
    return folder


def _in_folder(name: str, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    places = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((place for place in places if place.is_file()), None)


def _backbones_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _listed(names: list[str], place: str) -> str:
    return f"{', '.join(names)} {place}" if names else f"no backbone {place}"


def _usable(backbone: Backbone, path: Path) -> Backbone:
    """Return a backbone that was made elsewhere. Raises ConfigError where its graph cannot stand within ours
    or is not what its card says."""
    graph = backbone.model.graph
    operations = [(entry.domain, entry.version) for entry in backbone.model.opset_import]
    if operations != [("", OPSET)] or len(backbone.model.functions):
        raise ConfigError(
            f"The backbone {path} does not fit",
            expected=f"ONNX's own operations, opset {OPSET}",
            found=", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in operations),
            remedy="docs/backbones.md shows how to convert it",
        )
    if len(graph.input) != 1 or len(graph.output) != len(backbone.card.levels):
        raise ConfigError(
            f"The backbone {path} is not what its card says",
            expected=f"one input and {len(backbone.card.levels)} outputs",
            found=f"{len(graph.input)} and {len(graph.output)}",
        )
    return backbone


def _converted(architecture: str, weights: Path, cache: Path, tokens: Tokens) -> Backbone:
    """Return the graph of a weights file, from the cache where the same content was converted before."""
    notes = read_notes(weights)
    try:
        content = digest.of_file(weights)
    except OSError as error:
        raise ConfigError(f"The backbone {weights} cannot be read", found=str(error)) from error
    recipe = {
        "weights": content,
        "notes": config.as_values(notes),
        "architecture": architecture,
        **_levels_in_key(tokens),
    }
    place = cache / f"{architecture}-{digest.of_value(recipe)[:32]}.onnx"
    kept = _kept(place)
    if kept is not None:
        return kept
    _require_train(f"Turning {weights.name} into a graph (once)")
    from flawscope.methods.deep import backbone_export

    return _keep(backbone_export.export(architecture, weights, tokens=tokens, notes=notes), place)


def _published(name: str, folder: Path | None, cache: Path, tokens: Tokens) -> Backbone:
    """Return timm's published weights of that name: from the cache, or fetched and converted."""
    # a published tag stands for one set of weights, so that its name can stand for their content
    recipe = {"published": name, **_levels_in_key(tokens)}
    place = cache / f"{name}-{digest.of_value(recipe)[:32]}.onnx"
    kept = _kept(place)
    if kept is not None:
        return kept
    at_hand = sorted({path.stem for path in _backbones_in(folder)} | {BUNDLED}) if folder else [BUNDLED]
    looked = f"in {folder}" if folder else f"(no weights folder is set: --weights-dir or {WEIGHTS_VARIABLE})"
    choices = f"The choices: {BUNDLED} (bundled), a name in the weights folder, ARCH=PATH, or an ONNX file"
    beside = _listed([path.name for path in _backbones_in(folder)] if folder else [], looked)
    try:
        _require_train(f"Reading timm's {name}")
    except MissingExtraError as error:
        near = did_you_mean(name, at_hand)
        install = error.remedy.rpartition(": ")[2]
        raise ConfigError(
            f"The backbone {name!r} was not found",
            found=beside,
            remedy=f"{near} {choices}; timm's published weights need: {install}".strip(),
            code=MISSING,
        ) from error
    from flawscope.methods.deep import backbone_export

    known = backbone_export.architectures()
    if name.partition(".")[0] not in known:
        raise ConfigError(
            f"The backbone {name!r} was not found, and timm knows no such architecture",
            found=beside,
            remedy=f"{did_you_mean(name, [*at_hand, *known])} {choices}".strip(),
            code=MISSING,
        )
    try:
        backbone = backbone_export.export(name, None, tokens=tokens)
    except backbone_export.UnpublishedError as error:
        raise ConfigError(
            f"The backbone {name!r} has no weights here",
            found=f"{beside}. {error}",
            remedy=choices,
            code=MISSING,
        ) from error
    return _keep(backbone, place)


def _levels_in_key(tokens: Tokens) -> dict[str, object]:
    """Return what the cache's key says of levels; the usual tokens stay unsaid, so that graphs that were
    cached before there were others are found."""
    further = {} if tokens is Tokens.LATE else {"tokens": tokens.value}
    return {"strides": list(STRIDES), "export": EXPORT_VERSION, **further}


def _require_train(purpose: str) -> None:
    extras.require_all("train", purpose=purpose)


def _kept(place: Path) -> Backbone | None:
    """Return a graph from the cache, None where it is not there or damaged (it is then made again)."""
    if not place.is_file():
        return None
    try:
        return read(place)
    except ConfigError as error:
        _log.warning("The cached backbone %s is damaged and will be made again: %s", place, error)
        return None


def _keep(backbone: Backbone, place: Path) -> Backbone:
    """Write a graph to the cache; a cache that cannot be written costs time next time, not the work now."""
    try:
        files.write_bytes(place, backbone.model.SerializeToString(deterministic=True))
    except OSError as error:
        _log.warning("The backbone cannot be cached: %s", error)
    return backbone
