"""Masks as pictures, laid out as MVTec AD has them: `ground_truth/<defect>/<name>_mask.png`, and a manifest.

The manifest beside them (`manifest.jsonl`) joins each photograph with its label and mask, so that the folder
can be taught from as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from flawscope.core import files
from flawscope.core.types import GOOD, Sample
from flawscope.data.annotations.registry import Stems, Target, annotation_format, copied
from flawscope.data.annotations.types import Annotated
from flawscope.data.manifest import write_manifest
from flawscope.imaging.write import encode


@annotation_format("png", holds="exact masks, one label a photograph")
def write_png(target: Target, photographs: Iterable[Annotated]) -> Path:
    """Write masks and manifest and return the manifest."""
    manifest = target.folder / "manifest.jsonl"
    write_manifest(manifest, tuple(_samples(target, photographs)))
    return manifest


def _samples(target: Target, photographs: Iterable[Annotated]) -> Iterator[Sample]:
    stems = Stems(target.copy)
    for photograph in photographs:
        stem = stems.of(photograph.name, flat=True)
        place = target.photographs / photograph.name
        if target.copy:
            place = target.place(photograph.name, stem)
            copied(target, photograph.name, place)
        label, mask, mask_path = photograph.label, photograph.mask(), None
        if label is not None and mask is not None:
            written = target.folder / "ground_truth" / label / f"{stem}_mask.png"
            files.write_bytes(written, encode(mask.astype(np.uint8) * 255, ".png"))
            mask_path = written.absolute().as_posix()
        known = target.known.get(photograph.name, Sample(photograph.name, "", None))
        yield replace(
            known,
            path=place.absolute().as_posix(),
            label=label or GOOD,
            mask_path=mask_path,
            sha256="",
        )
