"""Manifests: one sample a line in JSON, the form in which data sets and splits are kept.

The first line is a header with the version; paths are relative to the manifest's folder where they lie
below it, so that a folder can be moved as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flawscope.core import files
from flawscope.core.errors import DataError
from flawscope.core.types import Role, Sample

VERSION = 1
_HEADER = "flawscope_manifest"
_TEXTS = ("sha256", "product", "part", "group")
_FIELDS = frozenset({"id", "path", "label", "mask", "role", *_TEXTS})


def write_manifest(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as JSON lines, whole or not at all."""
    folder = path.absolute().parent
    lines = [json.dumps({_HEADER: VERSION})]
    lines += [json.dumps(_values(sample, folder), ensure_ascii=True) for sample in samples]
    files.write_text(path, "\n".join(lines) + "\n")


def manifest_for(bundle: Path) -> Path:
    """Return where the manifest of one bundle among several in a folder stands."""
    return bundle.with_suffix(".manifest.jsonl")


def manifest_beside(bundle: Path) -> Path | None:
    """Return the manifest that says who served for what in a bundle: its own, or the folder's; None where
    there is neither."""
    places = (manifest_for(bundle), bundle.parent / "manifest.jsonl")
    return next((place for place in places if place.is_file()), None)


def is_manifest(path: Path) -> bool:
    """Say whether a file begins with a manifest's header, of any version."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline(4096)
    try:
        values = json.loads(first)
    except json.JSONDecodeError:
        return False
    return isinstance(values, dict) and _HEADER in values


def read_manifest(path: Path) -> tuple[Sample, ...]:
    """Read what `write_manifest` wrote. Raises DataError for a newer version, and for a broken line with its
    number."""
    if not path.is_file():
        raise DataError(f"There is no manifest {path}")
    if not is_manifest(path):
        raise DataError(f"{path} is no manifest", expected=f'a first line {{"{_HEADER}": {VERSION}}}')
    # Only \n ends a line: names may hold other characters that splitlines() would cut at.
    lines = path.read_text("utf-8", "replace").split("\n")
    version = json.loads(lines[0])[_HEADER]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataError(
            f"{path}, line 1 has no version", expected="a whole number from 1", found=repr(version)
        )
    if version > VERSION:
        raise DataError(
            f"{path} was written by a newer flawscope",
            expected=f"version {VERSION} or older",
            found=f"version {version}",
            remedy="Update flawscope",
        )
    folder = path.absolute().parent
    samples: list[Sample] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            sample = _sample(line, f"{path}, line {number}", folder)
            if sample.id in first_seen:
                earlier = first_seen[sample.id]
                raise DataError(
                    f"{path}, line {number} repeats the id {sample.id!r}", found=f"it in line {earlier}"
                )
            first_seen[sample.id] = number
            samples.append(sample)
    return tuple(samples)


def _values(sample: Sample, folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = {"id": sample.id, "path": _relative(sample.path, folder), "label": sample.label}
    values |= {name: getattr(sample, name) for name in _TEXTS if getattr(sample, name)}
    if sample.mask_path is not None:
        values["mask"] = _relative(sample.mask_path, folder)
    if sample.role is not None:
        values["role"] = sample.role.value
    return values


def _relative(path: str, folder: Path) -> str:
    place = Path(path)
    if place.is_absolute() and place.is_relative_to(folder):
        return place.relative_to(folder).as_posix()
    return place.absolute().as_posix()


def _sample(line: str, where: str, folder: Path) -> Sample:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is no JSON", found=error.msg) from None
    if not isinstance(values, dict) or not {"id", "path", "label"} <= values.keys():
        raise DataError(
            f"{where} does not fit", expected="an object with id, path and label", found=line[:80]
        )
    if unknown := sorted(values.keys() - _FIELDS):
        raise DataError(
            f"{where} has unknown fields", expected=", ".join(sorted(_FIELDS)), found=", ".join(unknown)
        )
    optional = {name: values.get(name) for name in ("label", "mask", "role")}
    texts = {name: values.get(name, "") for name in ("id", "path", *_TEXTS)}
    if not all(isinstance(text, str) for text in texts.values()) or not all(
        text is None or isinstance(text, str) for text in optional.values()
    ):
        raise DataError(f"{where} does not fit", expected="texts only", found=line[:80])
    role = optional["role"]
    if role is not None and role not in {known.value for known in Role}:
        raise DataError(f"{where} names an unknown role", expected=", ".join(Role), found=repr(role))
    mask = optional["mask"]
    return Sample(
        id=texts["id"],
        path=(folder / texts["path"]).as_posix(),
        label=optional["label"],
        sha256=texts["sha256"],
        product=texts["product"],
        mask_path=None if mask is None else (folder / mask).as_posix(),
        part=texts["part"],
        group=texts["group"],
        role=None if role is None else Role(role),
    )
