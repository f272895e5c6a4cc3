"""Photographs on disk into samples with roles: what training and evaluation begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core.errors import DataError, ImageError
from flawscope.core.progress import Progress
from flawscope.core.registry import methods
from flawscope.core.types import CalibrationMode, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.layouts import Dataset, read_dataset
from flawscope.data.leaks import check_leaks
from flawscope.data.splits import Split, as_given, assign_roles, by_role, parse_resplit, plan_for
from flawscope.flows.settings import TrainSettings
from flawscope.imaging.read import read

ALL = "all"  # as a product: every product of the folder, in one model


def gather(folder: Path, *, layout: str = "", group_by: str = "", product: str = "") -> Dataset:
    """Read a data set and keep one product, or all of them where `product` is `all` (and none is called so).
    Raises DataError where it holds several and none was named."""
    if not folder.exists():
        raise DataError(f"There is no {folder}", remedy="Check the path of --data")
    dataset = read_dataset(folder, layout=layout or None, group_by=group_by or None)
    products = dataset.products
    if product == ALL and ALL not in products:
        return dataset
    if product:
        if product not in products:
            named = [name for name in products if name]
            raise DataError(
                f"{folder} holds no product {product!r}",
                expected="one of " + ", ".join(named)
                if named
                else "no --product: its products have no names",
            )
        return replace(
            dataset, samples=tuple(sample for sample in dataset.samples if sample.product == product)
        )
    if len(products) > 1:
        raise DataError(
            f"{folder} holds several products",
            expected="one product a bundle",
            found=", ".join(products),
            remedy="Name one with --product, or teach one model on all of them with --product all",
        )
    return dataset


@dataclass(frozen=True, eq=False)
class Prepared:
    """Samples with roles, the sizes of their images, and sentences for people."""

    split: Split
    sizes_hw: Mapping[str, tuple[int, int]]  # by path; TEST samples that came with the data are not opened
    warnings: tuple[str, ...]
    broken: tuple[str, ...]  # one sentence for each file that is set aside because it cannot be read

    def of(self, role: Role) -> tuple[Sample, ...]:
        """Return the samples of one role."""
        return by_role(self.split, role)


def prepare(
    dataset: Dataset, settings: TrainSettings, *, progress: Progress, defects: bool = False
) -> Prepared:
    """Set broken files aside, give every sample its role and check for leaks. With `defects`, labelled ones
    teach as well.

    A manifest's roles are kept. A test part that the folders bring along is never opened here: its samples
    keep the role TEST without a digest, and `evaluate` refuses those that were seen.
    """
    samples = dataset.samples
    if settings.resplit:
        samples = tuple(replace(sample, role=None) for sample in samples)
    own_test = tuple(sample for sample in samples if sample.role is Role.TEST)
    others, sizes, broken = sound([sample for sample in samples if sample.role is not Role.TEST], progress)
    if not others:
        raise DataError("No readable photograph is left to teach from", found=broken[0] if broken else "none")
    others = with_digests(others, progress=progress)
    if any(sample.role is Role.FIT for sample in others):
        split = as_given((*others, *own_test))
    else:
        parts = len({sample.part_key for sample in others if sample.is_good})
        mode = settings.mode(parts, slow=methods[settings.method].extra is not None)
        share = settings.calibrate_share if mode is CalibrationMode.SPLIT else 0.0
        plan = (
            parse_resplit(settings.resplit, calibrate_share=share, seed=settings.seed)
            if settings.resplit
            else plan_for((*others, *own_test), calibrate_share=share, seed=settings.seed)
        )
        split = assign_roles((*others, *own_test), plan, supervised=defects)
    return Prepared(
        split, sizes, (*dataset.notes, *split.notes, *_leaks(split, own_test, settings, progress)), broken
    )


def _leaks(
    split: Split, own_test: Sequence[Sample], settings: TrainSettings, progress: Progress
) -> tuple[str, ...]:
    """Return warnings about the roles. A test part that came with the data is compared by what is known of
    it (names of parts and groups, a manifest's digests), all others by their pixels too."""
    untouched = {sample.id for sample in own_test}
    opened = [sample for sample in split.samples if sample.id not in untouched]
    known = check_leaks(split.samples, look=False) if own_test else ()
    near = check_leaks(opened, strict=settings.strict, progress=progress)
    return tuple(dict.fromkeys((*known, *near)))


def sound(
    samples: Sequence[Sample], progress: Progress
) -> tuple[tuple[Sample, ...], dict[str, tuple[int, int]], tuple[str, ...]]:
    """Return the samples whose files hold a whole image, the images' sizes, and what is wrong with the
    others. Each is decoded once: a header can be sound where the pixels are not, and a fault that shows while
    teaching would end the run."""
    kept: list[Sample] = []
    sizes: dict[str, tuple[int, int]] = {}
    broken: list[str] = []
    with progress.stage("Looking", len(samples)) as stage, ThreadPoolExecutor(2) as pool:
        for sample, found in zip(samples, pool.map(_size_or_fault, samples), strict=True):
            if isinstance(found, ImageError):
                broken.append(str(found))
            else:
                sizes[sample.path] = found
                kept.append(sample)
            stage.advance()
    return tuple(kept), sizes, tuple(broken)


def _size_or_fault(sample: Sample) -> tuple[int, int] | ImageError:
    try:
        return read(sample.path).size_hw
    except ImageError as error:
        return error
