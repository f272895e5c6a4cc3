"""From settings to cells: products read, roles dealt and written down, one cell a model, product and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import flawscope
from flawscope.core import digest
from flawscope.core.cells import Cell, Measuring
from flawscope.core.config import as_values, build
from flawscope.core.errors import DataError, FlawscopeError
from flawscope.core.progress import Progress
from flawscope.core.types import Role
from flawscope.data.manifest import write_manifest
from flawscope.flows import environment
from flawscope.flows.compare.models import Model, refuse_repeated, whole_settings
from flawscope.flows.compare.protocol import Dealing, Dealt, Product, deal, read_products
from flawscope.flows.settings import TrainSettings
from flawscope.methods.backbones import source_of

SPLITS = "splits"
_ASIDE = ("cli", "app", "report", "store")  # code that decides no number
_FILES = ("roi", "ignore")  # settings that name a file: its content decides, not its name
_OURS = ("data", "method", "product", "layout", "group_by", "resplit", "seed", "settings", "calibrate")


@dataclass(frozen=True)
class CompareSettings:
    """What is compared, and how."""

    data: tuple[Path, ...]
    models: tuple[Model, ...]
    seeds: int = 3
    layout: str = ""
    group_by: str = ""
    product: str = ""
    resplit: str = ""
    calibrate: str = "auto"
    run: Mapping[str, Any] = field(default_factory=dict)  # further fields of TrainSettings, for all models
    measuring: Measuring = field(default_factory=Measuring)
    threads: int = 1
    device: str = "auto"
    mask_above: int | None = None
    weights_dir: Path | None = None


@dataclass(frozen=True)
class Plan:
    """The cells, product by product and seed by seed, and what should be known of the splits."""

    cells: tuple[Cell, ...]
    products: tuple[Product, ...]
    models: tuple[Model, ...]
    seeds: tuple[int, ...]
    counts: Mapping[str, Mapping[str, int]]  # of the first seed: product -> role -> photographs
    notes: tuple[str, ...]


def plan(settings: CompareSettings, out: Path, *, progress: Progress) -> Plan:
    """Read the data, deal the roles, write the splits' manifests into `out` and return the cells.

    Raises DataError, LeakError, UsageError or ConfigError before anything is taught.
    """
    refuse_repeated(settings.models)
    common = build(TrainSettings, {**settings.run, "data": "."}, where="settings")
    products = read_products(
        settings.data,
        layout=settings.layout,
        group_by=settings.group_by,
        product=settings.product,
        progress=progress,
    )
    models, notes = _taught(settings, products)
    defects_teach = any(model.needs_defects for model in models)
    dealing = Dealing(
        settings.resplit, settings.calibrate, common.calibrate_share, common.alpha, defects_teach
    )
    cells: list[Cell] = []
    counts: dict[str, dict[str, int]] = {}
    code = code_digest()
    seeds = tuple(range(settings.seeds))
    for product in products:
        for seed in seeds:
            dealt = deal(product, dealing, seed)
            place = out / SPLITS / f"{_file_name(product.name)}-seed{seed}.jsonl"
            write_manifest(place, dealt.samples)
            if product.name not in counts:
                counts[product.name] = {
                    role.value: sum(sample.role is role for sample in dealt.samples) for role in Role
                }
                notes += [f"{product.name}: {note}" for note in (*product.notes, *dealt.notes)]
            for model in models:
                cells.append(_cell(settings, model, product, dealt, seed, manifest=place, code=code))
    return Plan(tuple(cells), products, models, seeds, counts, tuple(dict.fromkeys(notes)))


def code_digest() -> str:
    """Return the digest of all code of this package that decides a number."""
    root = Path(flawscope.__file__).parent
    rows = [
        [path.relative_to(root).as_posix(), digest.of_file(path)]
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] not in _ASIDE
    ]
    return digest.of_value(rows)


def _taught(settings: CompareSettings, products: Sequence[Product]) -> tuple[tuple[Model, ...], list[str]]:
    """Return the models that this data can teach; those that are optional and cannot be are left out."""
    teachable = bool(settings.resplit) or all(product.teachable_defects for product in products)
    kept = tuple(
        model for model in settings.models if teachable or not (model.optional and model.needs_defects)
    )
    left = [model.name for model in settings.models if model not in kept]
    if not kept:
        raise DataError(
            "There is no defect to teach with", remedy="Deal the test part anew with --resplit 70/20/10"
        )
    if not left:
        return kept, []
    return kept, [
        f"Left out, for no labelled defect lies outside the test part: {', '.join(left)}. "
        "--resplit 70/20/10 deals anew."
    ]


def _cell(
    settings: CompareSettings,
    model: Model,
    product: Product,
    dealt: Dealt,
    seed: int,
    *,
    manifest: Path,
    code: str,
) -> Cell:
    own = {name: value for name, value in settings.run.items() if name not in _OURS}
    chosen = {
        **own,
        "name": f"{product.name} {model.name}",
        "product": product.product,
        "calibrate": dealt.mode.value,
        "settings": whole_settings(model),
    }
    if model.backbone:
        chosen["backbone"] = model.backbone
    values = as_values(build(TrainSettings, {**chosen, "data": "."}, where="settings"))
    values = {name: value for name, value in values.items() if name not in ("data", "method", "seed")}
    values |= {name: str(Path(values[name]).absolute()) for name in _FILES if values[name] is not None}
    weights_dir = None if settings.weights_dir is None else str(settings.weights_dir.absolute())
    content = {
        "code": code,
        "versions": environment.versions(),
        "data": dealt.digest,
        "backbone": _backbone_digest(values["backbone"], settings.weights_dir),
        "method": model.method,
        "seed": seed,
        "settings": {name: value for name, value in values.items() if name not in ("name", *_FILES)},
        "files": [values[name] and _digest_of(Path(values[name])) for name in _FILES],
        "measuring": asdict(settings.measuring),
        "threads": settings.threads,
        "device": settings.device,
        "mask_above": settings.mask_above,
    }
    return Cell(
        key=digest.of_value(content)[:20],
        model=model.name,
        method=model.method,
        product=product.name,
        seed=seed,
        manifest=str(manifest.absolute()),
        settings=values,
        measuring=settings.measuring,
        threads=settings.threads,
        weights_dir=weights_dir,
        device=settings.device,
        mask_above=settings.mask_above,
    )


def _backbone_digest(name: str, weights_dir: Path | None) -> str:
    """Return the digest of a backbone's file; its name where there is none, or where it cannot be found (the
    cell will say so)."""
    try:
        source = source_of(name, weights_dir=weights_dir)
    except FlawscopeError:
        return name
    file = source.weights if source is not None else Path(name)
    return digest.of_file(file) if file is not None and file.is_file() else name


def _digest_of(path: Path) -> str:
    """Return the digest of a file that settings name. Raises DataError where it cannot be read."""
    try:
        return digest.of_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read", found=error.strerror or str(error)) from None


def _file_name(product: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in product) or "product"
