"""A bundle: one `.flaw` file with all that a verdict needs, sealed by digests.

It is a zip (no pickle anywhere) of `manifest.json`, `graph.onnx`, `calibration.json`, `seen.json` (digests of
what was taught, by role), `golden.npz` (a canvas with its expected answer) and `card.md`; where several
products were taught, `calibrations.json` has a calibration for each with enough good parts; `references.npz`
holds features of good patches and small pictures of where they come from, unless they were left out;
`drift.npz` how light, focus and framing of the calibration were, `teaching.npz` what further parts are taught
with. The manifest names every other member's sha256; its own sha256 is the bundle's identity.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flawscope.core import digest
from flawscope.core.errors import BundleError, DataError
from flawscope.core.explanation import ExplainLimit
from flawscope.core.files import replacing
from flawscope.core.types import Array, Calibration, Json, Preprocess
from flawscope.data.leaks import Seen
from flawscope.decision.bands import RiskLimits
from flawscope.runtime.references import References, npz_bytes
from flawscope.runtime.scene import Scene
from flawscope.runtime.scenery import Scenery

FORMAT = "flawscope-bundle"
VERSION = 1
SUFFIX = ".flaw"
_LARGEST_MEMBER = 2 << 30  # bytes; a zip bomb is not unpacked
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file
_UNIX = 3  # what zipfile writes elsewhere than on Windows; one file for all systems
_REQUIRED = ("graph.onnx", "calibration.json", "seen.json", "golden.npz", "card.md")
# what the standard library raises for zips whose bytes contradict each other
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True, eq=False)
class Golden:
    """A canvas with the answer that the graph gave when the bundle was made."""

    pixels: Array  # uint8 (1, H, W, 3)
    content_xyxy: Array  # float32 (1, 4)
    score: float
    peak: float  # of the map


@dataclass(frozen=True, eq=False)
class Contents:
    """What goes into a bundle."""

    name: str
    method: str
    settings: Json  # the method's
    backbone: Json  # its card
    preprocess: Preprocess
    graph: bytes
    calibration: Calibration
    seen: Seen
    scene: Scene
    golden: Golden
    card: str
    product: str = ""
    min_area_px: int = 0
    created: str = ""  # ISO 8601, UTC
    parent: str = ""  # identity of the bundle that this one was made from
    environment: Json = field(default_factory=dict)  # versions, seed, times
    counts: Mapping[str, int] = field(default_factory=dict)  # samples by role
    classes: tuple[str, ...] = ()  # of a supervised method, in the order of the logits
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)  # by product; `calibration`: all
    risk_limits: RiskLimits | None = None  # of the bands; None in bundles that are older than risks
    references: References | None = None  # of good parts
    explain_limits: Mapping[str, ExplainLimit] = field(default_factory=dict)  # by explainer
    scenery: Scenery | None = None  # what drift is measured against
    teaching: bytes = b""  # an NPZ file: what a method needs to learn further parts; empty: left out


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle: its contents, identity and place."""

    id: str  # the first 12 digits of the manifest's sha256
    path: Path
    size_bytes: int
    contents: Contents


def seal(path: Path, contents: Contents) -> Bundle:
    """Write a bundle whole or not at all, and return it as opened."""
    members = {
        "graph.onnx": contents.graph,
        "calibration.json": _json_bytes(contents.calibration.to_json()),
        "seen.json": _json_bytes(contents.seen.to_json()),
        "golden.npz": _golden_bytes(contents.golden),
        "card.md": contents.card.encode(errors="replace"),
    }
    if contents.calibrations:
        by_product = {product: one.to_json() for product, one in contents.calibrations.items()}
        members["calibrations.json"] = _json_bytes(by_product)
    if contents.references is not None:
        members["references.npz"] = contents.references.to_bytes()
    if contents.teaching:
        members["teaching.npz"] = contents.teaching
    if contents.scenery is not None:
        members["drift.npz"] = contents.scenery.to_bytes()
    limits = {name: one.to_json() for name, one in contents.explain_limits.items()}
    manifest = _json_bytes(
        # left out where there are none, so that older bundles keep their identity when they are sealed again
        ({"classes": list(contents.classes)} if contents.classes else {})
        | ({"risk_limits": contents.risk_limits.to_json()} if contents.risk_limits is not None else {})
        | ({"explain_limits": limits} if limits else {})
        | {
            "format": FORMAT,
            "version": VERSION,
            "name": contents.name,
            "product": contents.product,
            "method": contents.method,
            "settings": contents.settings,
            "backbone": contents.backbone,
            "preprocess": contents.preprocess.to_json(),
            "scene": contents.scene.to_json(),
            "min_area_px": contents.min_area_px,
            "created": contents.created,
            "parent": contents.parent,
            "environment": contents.environment,
            "counts": dict(contents.counts),
            "members": {name: digest.of_bytes(content) for name, content in members.items()},
        }
    )
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in {"manifest.json": manifest, **members}.items():
            entry = _entry(name)
            entry.external_attr = 0o644 << 16
            # weights hardly shrink, and a stored member opens faster
            packed = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(entry, content, packed)
    return Bundle(_identity(manifest), path, path.stat().st_size, contents)


def open_bundle(path: Path) -> Bundle:
    """Open and check a bundle. Raises BundleError where it is missing, damaged, changed, or of a newer
    version."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest_bytes = _member(archive, "manifest.json", path)
            manifest = _manifest(manifest_bytes, path)
            digests = _digests(manifest, path)
            members = {name: _member(archive, name, path) for name in digests}
    except FileNotFoundError as error:
        raise BundleError(f"There is no bundle {path}", remedy="Check the path of --model") from error
    except _UNREADABLE as error:
        raise _damaged(path, str(error)) from error
    for name, expected in digests.items():
        if digest.of_bytes(members[name]) != expected:
            raise BundleError(
                f"Damaged: {name} in {path} has another digest",
                expected=expected[:12],
                found=digest.of_bytes(members[name])[:12],
                remedy="Copy the file again, or train anew",
            )
    try:
        contents = _contents(manifest, members)
    except DataError as error:
        raise _damaged(path, str(error)) from error
    except (KeyError, TypeError, AttributeError, *_UNREADABLE) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return Bundle(_identity(manifest_bytes), path, path.stat().st_size, contents)


def _manifest(content: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise _damaged(path, f"manifest.json: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path} is no bundle of flawscope", expected=f"format {FORMAT!r} in manifest.json")
    version = manifest.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _damaged(path, f"version {version!r} in manifest.json")
    if version > VERSION:
        raise BundleError(
            f"{path} was written by a newer flawscope",
            expected=f"version {VERSION} or older",
            found=f"version {version}",
            remedy="Update with: pip install --upgrade flawscope",
        )
    return manifest


def _digests(manifest: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return the sha256 of every member by name."""
    members = manifest.get("members")
    if not isinstance(members, dict) or not all(isinstance(value, str) for value in members.values()):
        raise _damaged(path, "manifest.json does not name its members")
    missing = [name for name in _REQUIRED if name not in members]
    if missing:
        raise _damaged(path, f"manifest.json names no {', '.join(missing)}")
    return members


def _contents(manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> Contents:
    return Contents(
        name=str(manifest["name"]),
        product=str(manifest["product"]),
        method=str(manifest["method"]),
        settings=manifest["settings"],
        backbone=manifest["backbone"],
        preprocess=Preprocess.from_json(manifest["preprocess"]),
        graph=members["graph.onnx"],
        calibration=Calibration.from_json(json.loads(members["calibration.json"])),
        seen=Seen.from_json(json.loads(members["seen.json"])),
        scene=Scene.from_json(manifest["scene"]),
        golden=_golden(members["golden.npz"]),
        card=members["card.md"].decode(),
        min_area_px=int(manifest["min_area_px"]),
        created=str(manifest["created"]),
        parent=str(manifest["parent"]),
        environment=manifest["environment"],
        counts=manifest["counts"],
        classes=tuple(map(str, manifest.get("classes", ()))),
        calibrations={
            product: Calibration.from_json(values)
            for product, values in json.loads(members.get("calibrations.json", b"{}")).items()
        },
        risk_limits=RiskLimits.from_json(manifest["risk_limits"]) if "risk_limits" in manifest else None,
        references=References.from_bytes(members["references.npz"]) if "references.npz" in members else None,
        explain_limits={
            name: ExplainLimit.from_json(values)
            for name, values in manifest.get("explain_limits", {}).items()
        },
        scenery=Scenery.from_bytes(members["drift.npz"]) if "drift.npz" in members else None,
        teaching=members.get("teaching.npz", b""),
    )


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise _damaged(path, f"it holds no {name}") from None
    if entry.file_size > _LARGEST_MEMBER:
        raise _damaged(path, f"{name} claims {entry.file_size} bytes")
    try:
        return archive.read(entry)
    except _UNREADABLE as error:
        raise _damaged(path, f"{name} cannot be read: {error}") from error


def _damaged(path: Path, found: str) -> BundleError:
    return BundleError(
        f"{path} is damaged or no bundle",
        expected="a .flaw file as flawscope writes it",
        found=found,
        remedy="Copy the file again, or train anew",
    )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _FIXED_TIME)
    entry.create_system = _UNIX
    return entry


def _identity(manifest: bytes) -> str:
    return digest.of_bytes(manifest)[:12]


def _json_bytes(value: Json) -> bytes:
    # names of files may hold bytes that are no text; JSON readers take them back as they were
    return (digest.canonical_json(value) + "\n").encode(errors="surrogatepass")


def _golden_bytes(golden: Golden) -> bytes:
    arrays = {
        "pixels": golden.pixels,
        "content_xyxy": golden.content_xyxy,
        "answer": np.array([golden.score, golden.peak], np.float64),
    }
    return npz_bytes(arrays, packed=tuple(arrays))


def _golden(content: bytes) -> Golden:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        score, peak = arrays["answer"].tolist()
        return Golden(arrays["pixels"], arrays["content_xyxy"], float(score), float(peak))
