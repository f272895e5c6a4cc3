"""`flawscope train`: photographs of good parts into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import (
    AsJson,
    Backbone,
    DataOrConfig,
    Device,
    GroupBy,
    Layout,
    Method,
    Product,
    Seed,
    Threads,
    WeightsDir,
    pair,
    size_wh,
)
from flawscope.cli.progress import progress
from flawscope.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from flawscope.flows.train import Trained

_TIMED = 5  # verdicts that are timed after training
_HELD_OUT = 0.3  # the share of good parts that a split holds out unless told otherwise


def train(
    data: DataOrConfig = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the bundle goes; otherwise runs/NAME.")
    ] = None,
    method: Method = None,
    backbone: Backbone = None,
    weights_dir: WeightsDir = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The bundle's name; otherwise the folder's.")
    ] = None,
    product: Product = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    resplit: Annotated[
        str | None,
        typer.Option("--resplit", help="Percent that teach, select and test, such as 70/20/10."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="The canvas in px; otherwise the data's own aspect."),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget", help="Side in px of a square as large as the canvas; larger sees more. [224]"
        ),
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", help="letterbox, stretch, or tiles for small flaws. [letterbox]")
    ] = None,
    tile_overlap: Annotated[
        float | None,
        typer.Option("--tile-overlap", help="Share that neighbouring tiles have in common. [0.25]"),
    ] = None,
    levels: Annotated[
        str | None, typer.Option("--levels", metavar="B,W", help="Black and white of 16-bit data.")
    ] = None,
    roi: Annotated[
        Path | None, typer.Option("--roi", help="Judge only here: an image or a polygon file.")
    ] = None,
    ignore: Annotated[
        Path | None, typer.Option("--ignore", help="Never judge here: an image or a polygon file.")
    ] = None,
    min_area: Annotated[
        int | None, typer.Option("--min-area", help="Regions of fewer px are not named. [0]")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option("--calibrate", help="split promises, folds estimates from few parts. [auto]"),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="How many folds. [5]")] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Share of good parts that may be called NG. [0.05]")
    ] = None,
    review_alpha: Annotated[
        float | None, typer.Option("--review-alpha", help="Share of good parts that may be not OK. [0.15]")
    ] = None,
    cost_escape: Annotated[
        float | None, typer.Option("--cost-escape", help="What a missed defect costs, in any unit.")
    ] = None,
    cost_overkill: Annotated[
        float | None, typer.Option("--cost-overkill", help="What a good part called NG costs.")
    ] = None,
    seed: Seed = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Near-duplicates across roles are errors, not warnings.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML or YAML file of settings; options win over it."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=V", help="One setting, such as settings.bank=4000; repeatable."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", help="Which weights a trained classifier keeps: best_loss or best_accuracy."
        ),
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many of them share each step.")] = 1,
    precision: Annotated[
        str, typer.Option("--precision", help="auto, 32-true, 16-mixed or bf16-mixed.")
    ] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write learning curves for TensorBoard.")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Teach from photographs of good parts and write a bundle, calibrated."""
    from flawscope.flows import api
    from flawscope.methods.contract import Workshop

    options: dict[str, Any] = {
        "data": None if data is None else str(data),
        "method": method,
        "backbone": backbone,
        "name": name,
        "product": product,
        "layout": layout,
        "group_by": group_by,
        "resplit": resplit,
        "size": None if size is None else list(size_wh(size)),
        "budget": budget,
        "fit": fit,
        "tile_overlap": tile_overlap,
        "levels": None if levels is None else list(pair(levels, option="--levels")),
        "roi": roi,
        "ignore": ignore,
        "min_area": min_area,
        "calibrate": calibrate,
        "folds": folds,
        "alpha": alpha,
        "review_alpha": review_alpha,
        "cost_escape": cost_escape,
        "cost_overkill": cost_overkill,
        "seed": seed,
        "strict": strict or None,
    }
    chosen = [] if checkpoint is None else [f"settings.checkpoint={checkpoint}"]
    settings = gathered(config, [*(assignments or []), *chosen], options)
    folder = Path(settings["data"])
    place = out or Path("runs") / (settings.get("name") or folder.absolute().name)
    with progress() as listener:
        trained = api.train(
            folder,
            out=place,
            settings=settings,
            weights_dir=weights_dir,
            threads=threads,
            workshop=Workshop(device, devices, precision, tensorboard=tensorboard),
            progress=listener,
        )
    verdict_ms = time_verdict(trained, threads=threads)
    if as_json:
        words.say_json(as_values(trained, place, verdict_ms))
    else:
        tell(trained, place, data=folder, verdict_ms=verdict_ms)


def gathered(config: Path | None, assignments: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run: the file's, over them --set, over them the options that were given."""
    from flawscope.core.config import merged
    from flawscope.flows.settings import read_settings

    values = merged(read_settings(config) if config is not None else {}, assignments)
    values |= {name: value for name, value in options.items() if value is not None}
    _explain_misplaced(values)
    _check_pairs(values)
    if not values.get("data"):
        raise UsageError(
            "There is nothing to learn from", expected="--data DIR, or data in the configuration"
        )
    return values


def _explain_misplaced(values: dict[str, Any]) -> None:
    """Refuse a method's setting that stands among the run's, and say where it belongs."""
    import dataclasses
    import importlib

    from flawscope.core.registry import methods
    from flawscope.flows.settings import TrainSettings

    strangers = values.keys() - {field.name for field in dataclasses.fields(TrainSettings)}
    if not strangers:
        return
    importlib.import_module("flawscope.methods")  # registers them
    entry = methods[values.get("method", TrainSettings.method)]
    for name in sorted(strangers & {field.name for field in dataclasses.fields(entry.method.Config)}):
        raise ConfigError(
            f"{name} is a setting of the method {entry.name}, not of the run",
            remedy=f"Write --set settings.{name}={values[name]}, or put it under `settings` in the file",
        )


def _check_pairs(values: dict[str, Any]) -> None:
    """Refuse a canvas and levels that nothing could be done with."""
    for name, low, high, rising in (("size", 32, 4096, False), ("levels", 0, 65535, True)):
        pair = values.get(name)
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            continue  # told by the settings themselves
        if not all(isinstance(n, int) and low <= n <= high for n in pair) or (rising and pair[0] >= pair[1]):
            order = ", the first below the second" if rising else ""
            raise ConfigError(
                f"{name} does not fit",
                expected=f"two whole numbers from {low} to {high}{order}",
                found=", ".join(map(str, pair)),
            )


def time_verdict(trained: Trained, *, threads: int) -> float:
    """Return the median milliseconds of a verdict on a taught photograph, file read included."""
    from flawscope.core.types import Role
    from flawscope.runtime.inspector import Inspector

    inspector = Inspector.open(trained.bundle.path, threads=threads)
    paths = [sample.path for sample in trained.prepared.of(Role.FIT) if sample.is_good][:_TIMED]
    inspector(paths[0])
    times = sorted(inspector(path).timings_ms.get("total", 0.0) for path in paths)
    return times[len(times) // 2]


def as_values(trained: Trained, out: Path, verdict_ms: float) -> dict[str, Any]:
    """Return what a training run left as JSON."""
    from flawscope.decision.calibration import thresholds

    bundle = trained.bundle
    return {
        "bundle": str(bundle.path),
        "bundle_id": bundle.id,
        "report": str(out / "report.html"),
        "manifest": str(out / "manifest.jsonl"),
        "size_bytes": bundle.size_bytes,
        "size_hw": list(bundle.contents.preprocess.size_hw),
        "samples": dict(bundle.contents.counts),
        "promise": trained.promise.to_json(),
        "thresholds": thresholds(bundle.contents.calibration).to_json(),
        "classes": list(bundle.contents.classes),
        "products": {
            product: thresholds(one).to_json() for product, one in bundle.contents.calibrations.items()
        },
        "choice": trained.choice_words,
        "seconds": {name: round(value, 3) for name, value in trained.seconds.items()},
        "verdict_ms": round(verdict_ms, 3),
        "warnings": list(trained.warnings),
        "broken": list(trained.prepared.broken),
    }


def tell(trained: Trained, out: Path, *, data: Path, verdict_ms: float) -> None:
    """Print what was learned, what is promised, where it lies and what comes next."""
    from flawscope.core.types import Role
    from flawscope.report import format as fmt

    words.remarks(trained.prepared.broken, what="Left out")
    words.remarks(trained.warnings, what="Note")
    bundle = trained.bundle
    words.sentence(f"{bundle.contents.name}: {taught_from(trained)}. {canvas(trained)}.")
    for sentence in trained.promise.sentences:
        words.sentence(sentence)
    promise = trained.promise
    if promise.mode == "folds" and promise.can_say_ng and _HELD_OUT * promise.parts >= promise.parts_needed:
        words.say("With --calibrate split it would be a promise, kept by parts that are held out.")
    if own := sorted(bundle.contents.calibrations):
        words.sentence(f"Limits of their own: {', '.join(own)} (inspect --product NAME).")
    if trained.choice_words:
        words.sentence(trained.choice_words)
    seconds = trained.seconds
    words.say(f"Taught in {seconds['teach']:.1f} s, calibrated in {seconds['calibrate']:.1f} s.")
    words.say(
        f"{bundle.path}  {words.plain(fmt.size(bundle.size_bytes))}   "
        f"one verdict {words.plain(fmt.milliseconds(verdict_ms))}   {out / 'report.html'}"
    )
    model = words.quoted(bundle.path)
    tested = len(trained.prepared.of(Role.TEST))
    if tested:
        kept = f"{words.counted(tested, 'test image')} kept apart"
        words.say(f"Next: flawscope evaluate --model {model} --data {words.quoted(data)}   ({kept})")
    words.say(f"Next: flawscope inspect --model {model} NEW_IMAGES")


def taught_from(trained: Trained) -> str:
    """Say how many parts served for what."""
    from flawscope.core.types import Role

    good = {role: sum(s.is_good for s in trained.prepared.of(role)) for role in Role}
    bad = [sample for sample in trained.prepared.of(Role.SELECT) if sample.is_bad]
    tested = len(trained.prepared.of(Role.TEST))
    taught = [sample for sample in trained.prepared.of(Role.FIT) if sample.is_bad]
    defects = f" and {words.counted(len(taught), 'defect')}" if trained.bundle.contents.classes else ""
    pieces = [f"{good[Role.FIT]} good{defects} to teach from"]
    if good[Role.CALIBRATE]:
        pieces.append(f"{good[Role.CALIBRATE]} good to calibrate with")
    if bad:
        kinds = words.counted(len({sample.label for sample in bad}), "kind")
        pieces.append(f"{words.counted(len(bad), 'defect')} of {kinds} to choose by")
    if tested:
        pieces.append(f"{tested} kept for the test")
    elif not bad and not defects:
        pieces.append("no defects given")
    return ", ".join(pieces)


def canvas(trained: Trained) -> str:
    """Say how the photographs come onto the canvas."""
    from flawscope.core.types import Fit

    preprocess = trained.bundle.contents.preprocess
    height, width = preprocess.size_hw
    if preprocess.fit is Fit.STRETCH:
        return f"They are stretched to {width}x{height} px"
    if preprocess.fit is Fit.TILES:
        return f"They are judged in tiles of {width}x{height} px at their own size"
    ratio = f"1 : {height / width:.2g}" if height > width else f"{width / height:.2g} : 1"
    return f"{width}x{height} px keeps their aspect ({ratio})"
