"""The sha256 of every sample's file, read in threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from flawscope.core import digest
from flawscope.core.errors import DataError
from flawscope.core.progress import Progress
from flawscope.core.types import Sample


def with_digests(samples: Sequence[Sample], *, progress: Progress) -> tuple[Sample, ...]:
    """Return the samples with `sha256` filled from their files, in the same order.

    A digest that is there already is taken anew: the file may have changed. Raises DataError for a file that
    cannot be read, and for one that is not what its manifest's digest says.
    """
    hashed: list[Sample] = []
    with progress.stage("Hashing", len(samples)) as stage, ThreadPoolExecutor() as pool:
        for sample in pool.map(_hashed, samples):
            hashed.append(sample)
            stage.advance()
    return tuple(hashed)


def _hashed(sample: Sample) -> Sample:
    try:
        found = digest.of_file(Path(sample.path))
    except OSError as error:
        raise DataError(f"{sample.path} cannot be read", found=error.strerror or str(error)) from None
    if sample.sha256 not in ("", found):
        raise DataError(
            f"{sample.path} has changed since its manifest was written",
            expected=f"sha256 {sample.sha256[:12]}...",
            found=f"{found[:12]}...",
            remedy="Bring the file back, or write the manifest anew",
        )
    return replace(sample, sha256=found)
