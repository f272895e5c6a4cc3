"""`flawscope compare`: which model for this product?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import (
    Address,
    AsJson,
    Device,
    Engines,
    GroupBy,
    Layout,
    Product,
    WeightsDir,
    refuse_address,
    size_wh,
    usable_cores,
)
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError

if TYPE_CHECKING:
    from flawscope.core.cells import Outcome
    from flawscope.decision.comparison import Comparison
    from flawscope.flows.compare.engine import Engine, Limits
    from flawscope.flows.compare.models import Model, Preset
    from flawscope.flows.compare.planning import CompareSettings, Plan

NOTHING = 11  # not one cell went well
_MEMORY_SHARE = 0.8  # of the machine's memory that all cells together may hold, unless told otherwise


class Presets(StrEnum):
    """Comparisons by name."""

    QC10 = "qc10"
    CHIPS = "chips"
    QUICK = "quick"


def compare(
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Folder, list or manifest of photographs; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where everything goes; otherwise runs/NAME-compare.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B", help="Methods to compare; see flawscope methods."),
    ] = None,
    preset: Annotated[
        Presets | None,
        typer.Option("--preset", help="qc10: ten one-class models; chips: supervised ones; quick: no torch."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML or YAML file with a table of models and settings."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="How often all but the test part is dealt. [3]")
    ] = None,
    resplit: Annotated[
        str | None,
        typer.Option("--resplit", help="Percent that teach, select and test, such as 70/20/10."),
    ] = None,
    calibrate: Annotated[
        str, typer.Option("--calibrate", help="split, folds, or auto: split where the parts suffice.")
    ] = "auto",
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="What all look through unless a preset says otherwise.")
    ] = None,
    weights_dir: WeightsDir = None,
    budget: Annotated[
        int | None, typer.Option("--budget", help="Side in px of a square as large as the canvas. [224]")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="The canvas in px; otherwise the data's own aspect."),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", help="letterbox, stretch, or tiles for small flaws. [letterbox]")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Share of good parts that may be called NG. [0.05]")
    ] = None,
    mask_above: Annotated[
        int | None,
        typer.Option("--mask-above", min=0, max=254, help="Grey value over which a mask is a defect."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="M.A=V", help="One setting of a method, such as patchcore.bank=4000."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Train every network for so many steps.")
    ] = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    product: Product = None,
    max_ms: Annotated[
        float | None,
        typer.Option("--max-ms", help="A verdict may take so long; slower models are ruled out."),
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option("--max-mb", help="A bundle may be so large; larger ones are ruled out.")
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option("--min-recall", min=0, max=1, help="Share of defective parts that must be called NG."),
    ] = None,
    engine: Annotated[
        Engines, typer.Option("--engine", help="processes of this machine, or a ray cluster.")
    ] = Engines.PROCESSES,
    address: Address = "",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Cells that run at a time.")] = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Threads of each cell; 0 shares the cores out.")
    ] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photographs judged together at a time.")] = 8,
    memory: Annotated[
        int | None,
        typer.Option("--memory", min=64, metavar="MB", help="Memory of one cell; one that takes more fails."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.01, metavar="MIN", help="Minutes a cell may take.")
    ] = 120.0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Teach and test several models on the same photographs, and say which to take.

    Finished cells are kept in OUT: started again, it goes on where it stopped.
    """
    from flawscope.decision.choosing import Wishes
    from flawscope.flows.compare.engine import Limits
    from flawscope.flows.compare.flow import compare as run
    from flawscope.flows.compare.planning import plan

    given = {
        "backbone": backbone,
        "budget": budget,
        "size": None if size is None else list(size_wh(size)),
        "fit": fit,
        "alpha": alpha,
    }
    options = {
        "data": data,
        "seeds": seeds,
        "resplit": resplit,
        "calibrate": calibrate,
        "layout": layout,
        "group_by": group_by,
        "product": product,
        "mask_above": mask_above,
        "weights_dir": weights_dir,
        "device": device,
        "batch": batch,
        "threads": threads or max(1, usable_cores() // jobs),
    }
    settings = gathered(
        options,
        {name: value for name, value in given.items() if value is not None},
        methods=methods,
        preset=None if preset is None else preset.value,
        config=config,
        assignments=assignments or [],
        steps=steps,
    )
    place = out or Path("runs") / f"{settings.data[0].absolute().stem}-compare"
    wished = Wishes(max_ms, max_mb, min_recall, float(settings.run.get("alpha", Wishes.alpha)))
    limits = Limits(timeout * 60, memory_limit(memory, jobs=jobs), jobs)
    with progress() as listener:
        planned = plan(settings, place, progress=listener)
    if not as_json:
        announce(planned, limits, threads=settings.threads)
    told = None if as_json else counting(len({cell.key for cell in planned.cells}))
    found = run(
        settings,
        place,
        planned=planned,
        engine=engine_of(engine, address),
        engine_words=engine.value,
        limits=limits,
        wishes=wished,
        told=told,
    )
    if as_json:
        words.say_json(found.to_json())
    else:
        tell(found, place)
    if not any(row.metrics for row in found.rows):
        raise typer.Exit(NOTHING)


def gathered(
    options: dict[str, Any],
    run: dict[str, Any],
    *,
    methods: str | None,
    preset: str | None,
    config: Path | None,
    assignments: Sequence[str],
    steps: int | None,
) -> CompareSettings:
    """Return what is compared: the file's, over it the options that were given."""
    from flawscope.core.cells import Measuring
    from flawscope.flows.compare.models import adjusted
    from flawscope.flows.compare.planning import CompareSettings
    from flawscope.flows.settings import read_settings

    values = read_settings(config) if config is not None else {}
    models, chosen = _models(values, methods=methods, preset=preset)
    folders = options["data"] or [Path(text) for text in _listed(values.pop("data", []))]
    if not folders:
        raise UsageError(
            "There is nothing to compare on", expected="--data DIR, or data in the configuration"
        )
    seeds = options["seeds"] or int(values.pop("seeds", 0)) or (chosen.seeds if chosen else 3)
    resplit = options["resplit"] or str(values.pop("resplit", "")) or (chosen.resplit if chosen else "")
    for name in ("data", "seeds", "resplit"):
        values.pop(name, None)
    return CompareSettings(
        data=tuple(folders),
        models=adjusted(models, assignments, steps=steps),
        seeds=seeds,
        layout=options["layout"] or str(values.pop("layout", "")),
        group_by=options["group_by"] or str(values.pop("group_by", "")),
        product=options["product"] or str(values.pop("product", "")),
        resplit=resplit,
        calibrate=options["calibrate"],
        run={**values, **run},
        measuring=Measuring(batch=options["batch"]),
        threads=options["threads"],
        device=options["device"],
        mask_above=options["mask_above"],
        weights_dir=options["weights_dir"],
    )


def _models(
    values: dict[str, Any], *, methods: str | None, preset: str | None
) -> tuple[tuple[Model, ...], Preset | None]:
    """Take the models: named by --methods, of a preset, or of the configuration's `models`."""
    from flawscope.flows.compare.models import models_from, models_named, preset_of

    tables = values.pop("models", None)
    if methods is not None:
        return models_named([name.strip() for name in methods.split(",") if name.strip()]), None
    if preset is not None:
        chosen = preset_of(preset)
        return chosen.models, chosen
    if tables is None:
        raise UsageError("There is nothing to compare", expected="--methods, --preset or --config")
    return models_from(tables), None


def _listed(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def engine_of(engine: Engines, address: str) -> Engine:
    """Return what runs the cells. Raises UsageError for an address that nothing would be sent to."""
    from flawscope.flows.compare.cluster import Cluster
    from flawscope.flows.compare.processes import processes

    if engine is Engines.RAY:
        return Cluster(address)
    refuse_address(address)
    return processes


def memory_limit(given: int | None, *, jobs: int) -> float | None:
    """Return the memory of one cell in MB: as given, or its share of the machine's."""
    from flawscope.flows.compare.memory import physical_mb

    if given is not None:
        return float(given)
    whole = physical_mb()
    return None if whole is None else whole * _MEMORY_SHARE / jobs


def announce(planned: Plan, limits: Limits, *, threads: int) -> None:
    """Say what will be done."""
    products = ", ".join(
        f"{name}: " + ", ".join(f"{number} {role}" for role, number in row.items() if number)
        for name, row in planned.counts.items()
    )
    words.sentence(f"{products} (photographs by role, seed 0).")
    for note in planned.notes:
        words.remark(f"Note: {note}")
    words.sentence(
        f"{words.counted(len(planned.models), 'model')}, {words.counted(len(planned.seeds), 'seed')}: "
        f"{words.counted(len(planned.cells), 'cell')}, {limits.jobs} at a time, "
        f"{words.counted(threads, 'thread')} each."
    )


def counting(total: int) -> Callable[[Outcome, bool], None]:
    """Return what prints a line for every cell as it ends."""
    done: list[str] = []

    def told(outcome: Outcome, known: bool) -> None:
        done.append(outcome.cell.key)
        head = f"[{len(done)}/{total}] {outcome.cell.label}: "
        if outcome.metrics:
            auroc = outcome.metrics["auroc"].value
            quality = "AUROC not known" if auroc is None else f"AUROC {auroc:.3f}"
            how = "kept from before" if known else f"{outcome.seconds:.0f} s"
            words.remark(f"{head}{quality}, {how}")
        else:
            words.remark(f"{head}{outcome.status.value}: {outcome.reason}")

    return told


def tell(found: Comparison, out: Path) -> None:
    """Print the table, what each model comes to, and which to take."""
    from flawscope.report import compare_table

    columns = compare_table.columns_of(found, brief=True)
    several = len(found.products) > 1
    head = ["Model", "", *(column.title for column in columns), *(["Worst product"] if several else [])]
    rows = [head]
    for row in found.rows:
        cells = [compare_table.written(row.metrics.get(column.name), column) for column in columns]
        rows.append(
            [row.model, row.conclusion.word, *cells, *([compare_table.worst(row)] if several else [])]
        )
    words.say()
    numbers = frozenset(range(2, 2 + len(columns)))
    words.say(words.columns([[words.plain(cell) for cell in row] for row in rows], right=numbers))
    words.say()
    for row in found.rows:
        told = compare_table.sentences(row)
        words.sentence(words.plain(f"{row.model}: {row.conclusion.word}. {told}"), indent=2)
    words.say()
    for sentence in found.recommendation:
        words.sentence(words.plain(sentence))
    words.say(f"Open {out / 'compare.html'} (beside it: compare.md, compare.csv, compare.json).")
    best = next((row for row in found.rows if row.conclusion.word == "best"), None)
    if best is not None:
        cell = next(one.cell for one in found.outcomes if one.cell.model == best.model and one.metrics)
        bundle = words.quoted(out / "cells" / cell.key / "model.flaw")
        words.say(f"Next: flawscope inspect --model {bundle} NEW_IMAGES")
