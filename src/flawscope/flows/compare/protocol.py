"""The protocol: which photographs teach, choose, calibrate and test, the same for every model.

TEST is dealt once, or comes with the data, and stays. Each seed deals the rest anew into FIT, SELECT and
CALIBRATE, by part and group. Whether defects teach is decided once for a comparison: they do as soon as one
of its models learns from them; models of good parts alone pass them over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core import digest
from flawscope.core.errors import DataError
from flawscope.core.progress import Progress
from flawscope.core.types import CalibrationMode, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.layouts import read_dataset
from flawscope.data.splits import SplitPlan, assign_roles, parse_resplit, plan_for
from flawscope.decision.calibration import parts_needed
from flawscope.flows.data import ALL

_TEST_SEED = 0  # deals the test part where the data brings none: the same for all seeds


@dataclass(frozen=True)
class Dealing:
    """How photographs are dealt."""

    resplit: str = ""
    calibrate: str = "auto"
    calibrate_share: float = 0.3
    alpha: float = 0.05
    defects_teach: bool = False


@dataclass(frozen=True)
class Product:
    """One product of the comparison: its photographs, and sentences about what was assumed."""

    name: str
    samples: tuple[Sample, ...]
    root: Path
    product: str = ""  # as `train --product`
    notes: tuple[str, ...] = ()

    @property
    def teachable_defects(self) -> bool:
        """Whether there are labelled defects outside a test part that the data brings along."""
        return any(sample.is_bad and sample.role is not Role.TEST for sample in self.samples)


@dataclass(frozen=True)
class Dealt:
    """One seed's roles on one product."""

    samples: tuple[Sample, ...]
    mode: CalibrationMode
    digest: str  # of photographs, masks, labels, parts and roles: of all that decides what is measured
    notes: tuple[str, ...] = ()


def read_products(
    folders: Sequence[Path], *, layout: str = "", group_by: str = "", product: str = "", progress: Progress
) -> tuple[Product, ...]:
    """Read the products of all data sets, with the digests of their files. Raises DataError where there is
    none of the name asked for."""
    found: list[Product] = []
    for folder in folders:
        if not folder.exists():
            raise DataError(f"There is no {folder}", remedy="Check the path of --data")
        dataset = read_dataset(folder, layout=layout or None, group_by=group_by or None)
        names = dataset.products
        if product == ALL and ALL not in names:
            found.append(Product(_place(folder), dataset.samples, folder, ALL, dataset.notes))
            continue
        for name in names:
            if product and name != product:
                continue
            samples = tuple(sample for sample in dataset.samples if sample.product == name)
            found.append(Product(name or _place(folder), samples, folder, notes=dataset.notes))
    if not found:
        raise DataError(f"No data set holds a product {product!r}")
    return tuple(
        replace(one, samples=with_digests(one.samples, progress=progress)) for one in _distinct(found)
    )


def deal(product: Product, dealing: Dealing, seed: int) -> Dealt:
    """Give every photograph of a product its role for one seed. Raises DataError where nothing could be
    tested, LeakError where a part lies both in the test part and elsewhere."""
    tested = _with_test(product, dealing)
    good = {s.part_key for s in tested if s.is_good and s.role is not Role.TEST}
    plan = _plan(tested, dealing, seed)
    teaching = len(good) * plan.teach / (plan.teach + plan.select)
    mode = _mode(teaching, dealing)
    share = dealing.calibrate_share if mode is CalibrationMode.SPLIT else 0.0
    split = assign_roles(tested, replace(plan, calibrate_share=share), supervised=dealing.defects_teach)
    samples = tuple(sample for sample in split.samples if sample.role is not None)
    return Dealt(samples, mode, _digest(samples), split.notes)


def _with_test(product: Product, dealing: Dealing) -> tuple[Sample, ...]:
    """Return the samples with nothing but TEST known: the data's own, or dealt once for all seeds."""
    samples = product.samples
    if dealing.resplit:
        samples = tuple(replace(sample, role=None) for sample in samples)
    if not any(sample.role is Role.TEST for sample in samples):
        bare = tuple(replace(sample, role=None) for sample in samples)
        plan = (
            parse_resplit(dealing.resplit, seed=_TEST_SEED)
            if dealing.resplit
            else plan_for(bare, seed=_TEST_SEED)
        )
        samples = assign_roles(bare, plan, supervised=dealing.defects_teach).samples
    tested = tuple(replace(s, role=s.role if s.role is Role.TEST else None) for s in samples)
    known = [sample for sample in tested if sample.role is Role.TEST and sample.label is not None]
    if not (any(s.is_good for s in known) and any(s.is_bad for s in known)):
        raise DataError(
            f"{product.name} cannot tell models apart: its test part lacks good or defective photographs",
            expected="labelled good and defective photographs to test on",
            found=f"{sum(s.is_good for s in known)} good, {sum(s.is_bad for s in known)} defective",
            remedy="Add some, or deal anew with --resplit 70/10/20",
        )
    return tested


def _plan(samples: Sequence[Sample], dealing: Dealing, seed: int) -> SplitPlan:
    if dealing.resplit:
        return replace(parse_resplit(dealing.resplit, seed=seed), test=0.0)
    return replace(plan_for(samples, seed=seed), test=0.0)


def _mode(teaching: float, dealing: Dealing) -> CalibrationMode:
    """Choose how to calibrate, one way for all models: by parts held out where these suffice to say NG."""
    if dealing.calibrate != "auto":
        return CalibrationMode(dealing.calibrate)
    enough = dealing.calibrate_share * teaching >= parts_needed(dealing.alpha)
    return CalibrationMode.SPLIT if enough else CalibrationMode.FOLDS


def _digest(samples: Sequence[Sample]) -> str:
    rows = []
    for sample in sorted(samples, key=lambda one: one.id):
        mask = None if sample.mask_path is None else _file_digest(sample.mask_path)
        role = None if sample.role is None else sample.role.value
        rows.append(
            [sample.id, sample.sha256, sample.label, mask, role, sample.product, sample.part, sample.group]
        )
    return digest.of_value(rows)


def _file_digest(path: str) -> str:
    try:
        return digest.of_file(Path(path))
    except OSError as error:
        raise DataError(f"The mask {path} cannot be read", found=error.strerror or str(error)) from None


def _place(folder: Path) -> str:
    """Name a data set: its folder, also where a list inside it was given."""
    place = folder.absolute()
    return place.stem if place.is_file() else place.name


def _distinct(products: Sequence[Product]) -> list[Product]:
    """Return the products under names that tell them apart."""
    names = [one.name for one in products]
    return [
        one if names.count(one.name) == 1 else replace(one, name=f"{_place(one.root)}/{one.name}")
        for one in products
    ]
