"""flawscope beside anomalib's PatchCore: same split, weights, size, bank and threads, in one run, in turn.

    python3.11 -m venv ../peer && ../peer/bin/pip install "anomalib[full]==2.7.0"      # 6 GB
    PYTHONPATH=benchmarks python benchmarks/peers/run.py --peer-python ../peer/bin/python \\
        [--shared ../shared] [--seeds 3] [--peer-seeds 1] [--out benchmarks/results/peers.md]

Both teach 200 good magnetic tiles and judge 120 good and 120 defective ones, by the split of
`data/protocol.py` (no part in both), stretched to 224x224, ResNet-18 with the weights beside the photographs,
its second and third stage, a bank of 3,920, one thread. Each side runs in processes of its own environment.

- fit: ours, theirs, ours, ... by seed. Theirs is the wall time of `Engine.fit` with no validation; ours that
  of everything from the call to the graph, files read, leaks looked for and places measured included. With
  calibration by five folds and the report, which theirs has no counterpart of, ours is given as well.
- latency: rounds of twenty tiles, ours and theirs in turn, batch 1. From the file: theirs to score and map by
  the model's own call, ours to the whole verdict. Model alone: what both do after the pixels are ready.
- throughput: the same files in batches of 16, ours and theirs in turn.
- memory: the most that a process held, of one that teaches and of one that judges.
- start: a command's help, the import of what judges, and a cold process to the first score, in turn.
- quality: scores and maps at 224x224 of both, measured by the same code.

What stands in the table are medians; ratios are theirs by ours, of interleaved rounds. Each time is given by
the wall's clock and by the processor's: with one thread a side they are the same on a free machine, and on a
busy one the second is what counts. Without the peer's
environment the script says so and ends.

On a machine that has no seven minutes to spare, `--peer-centres 98` searches for so much of the peer's bank
alone. What each further centre takes is measured apart, a long search less a short one, and added for those
left out; the bank is repeated to its full size before judging is timed; its quality is not measured then.
With `--work` finished parts are kept, and `--only-kept` writes the page of those.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from asking import Cost, Worker, cost
from tiles import IMAGENET, SIDE, machine_line, protocol, write_protocol

from flawscope.core.types import Array, Metric
from flawscope.imaging.read import read_mask
from flawscope.metrics import localisation, ranking

HERE = Path(__file__).resolve().parent
PATCHES = 784  # of a canvas at stride 8
DIMENSIONS = 384  # of a patch of ResNet-18's second and third stage
IN_ROUND, BATCH = 20, 16
PARTLY = (
    "The peer was taught {centres} centres, and the time of the others is added, centre by centre. "
    "Its quality with the whole bank (image AUROC 0.870, pixel AUROC 0.809; fit 359 s of wall time and one "
    "image 51 ms on a free machine) was measured on another day with the same weights, split and size: "
    "[magnetic_tiles.md](magnetic_tiles.md) has it beside ours by seed."
)
QUALITY = (
    "",
    "| who | seed | image AUROC (95 % interval) | pixel AUROC | AUPRO 0.3 |",
    "|---|---|---|---|---|",
)
JUDGED = "from anomalib.models import Patchcore; from anomalib.engine import Engine"


@dataclass(frozen=True)
class Scene:
    """The files and settings that both sides get."""

    fit: list[str]
    test: list[str]
    masks: list[str | None]
    shared: Path
    folder: Path
    bank: int
    centres: int  # of the peer's bank that are searched for
    rounds: int
    around: int  # how often ours is taught with the first seed
    only_kept: bool  # measure nothing more
    peer: Path

    def worker(self, side: str) -> Worker:
        """Start a fresh process of one side."""
        python = self.peer if side == "anomalib" else Path(sys.executable)
        return Worker(python, HERE / f"worker_{side}.py", log=self.folder / f"{side}.log")


def scene_of(arguments: argparse.Namespace, folder: Path) -> Scene:
    """Gather the split's files."""
    module = protocol(arguments.shared)
    split = module.split()
    test = [module.ROOT / path for name in ("test_good", "test_bad") for path in split[name]]
    masks = [None if "MT_Free" in str(path) else str(path.with_suffix(".png")) for path in test]
    fit = [str((module.ROOT / path).resolve()) for path in split["fit"]]
    shared = arguments.shared.resolve()
    paths = [str(path.resolve()) for path in test]
    return Scene(
        fit,
        paths,
        masks,
        shared,
        folder,
        arguments.bank,
        arguments.peer_centres or arguments.bank,
        arguments.rounds,
        arguments.around,
        arguments.only_kept,
        arguments.peer_python.absolute(),
    )


def kept(scene: Scene, name: str, work: Callable[[], Any]) -> Any:
    """Return a part of the measurement: what `work` measures, or what a run that was broken off has kept."""
    place = scene.folder / f"{name}.json"
    if not place.is_file():
        if scene.only_kept:
            return {}
        found = work()
        place.write_text(json.dumps(found), encoding="utf-8")
    found = json.loads(place.read_text(encoding="utf-8"))
    print(name, found, flush=True)
    return found


def fitted(scene: Scene, side: str, seed: int, turn: int = 0) -> dict[str, Any]:
    """Teach one side with one seed in a fresh process; return what it says, and where its model lies."""
    partly = f"-{scene.centres}" if side == "anomalib" and scene.centres < scene.bank else ""
    name = f"fit-{side}-{seed}-{turn}{partly}"
    return dict(kept(scene, name, lambda: _fitted(scene, side, seed, name=name)))


def _fitted(scene: Scene, side: str, seed: int, *, name: str) -> dict[str, Any]:
    if side == "flawscope":
        manifest = scene.folder / "tiles.jsonl"
        write_protocol(scene.shared, manifest)
        out = scene.folder / f"ours-{seed}"
        settings = {
            "backbone": "resnet18",
            "fit": "stretch",
            "size": [SIDE, SIDE],
            "calibrate": "folds",
            "seed": seed,
            "settings": {"bank": scene.bank, **IMAGENET},
        }
        with scene.worker(side) as worker:
            said = worker.ask(
                "fit",
                manifest=str(manifest),
                out=str(out),
                settings=settings,
                weights_dir=str(scene.shared / "weights"),
            )
        return said | {"model": str(out / "model.flaw"), "seed": seed}
    out = scene.folder / f"{name}.pt"
    with scene.worker(side) as worker:
        said = worker.ask(
            "fit",
            images=scene.fit,
            weights=str(scene.shared / "weights" / "resnet18.safetensors"),
            ratio=scene.centres / (len(scene.fit) * PATCHES),
            bank=scene.bank,
            size=SIDE,
            seed=seed,
            out=str(out),
        )
    return said | {"model": str(out), "seed": seed}


def judged(scene: Scene, side: str, model: str, seed: int) -> dict[str, Any]:
    """Let one side judge the test part in a fresh process; return the quality, the model's size and the most
    memory that it took."""

    def work() -> dict[str, Any]:
        place = scene.folder / f"{side}-{seed}.npz"
        with scene.worker(side) as worker:
            opened = worker.ask("open", model=model, size=SIDE)
            peak = worker.ask("predict", paths=scene.test, out=str(place))["peak_mb"]
        with np.load(place) as found:
            measured = quality(scene, found["scores"], found["maps"])
        values = {name: [metric.value, metric.low, metric.high] for name, metric in measured.items()}
        return {"quality": values, "bytes": opened["bytes"], "peak_mb": peak}

    return dict(kept(scene, f"judged-{side}-{seed}", work))


def quality(scene: Scene, scores: Array, maps: Array) -> dict[str, Metric]:
    """Measure scores and maps (n, h, w) of either side by the same code."""
    is_bad = np.array([mask is not None for mask in scene.masks])
    masks = [None if path is None else small_mask(path) for path in scene.masks]
    heats = [cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for heat in maps]
    pixels = localisation.collect(heats, masks, pixel_threshold=1.0, is_bad=is_bad)
    return {
        "image AUROC": ranking.auroc(scores, is_bad),
        "pixel AUROC": localisation.auroc(pixels),
        "AUPRO 0.3": localisation.aupro(pixels, 0.3),
    }


def small_mask(path: str) -> Array:
    """Return a mask at 224x224, thresholded at 127 as the protocol says."""
    full = read_mask(path, above=127).astype(np.uint8)
    return np.asarray(cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0)


def in_turn(scene: Scene, our_model: str, their_model: str) -> dict[str, list[tuple[float, float]]]:
    """Time both sides round by round, the same files in the same round: pairs of ours and theirs."""
    with scene.worker("flawscope") as ours, scene.worker("anomalib") as theirs:
        ours.ask("open", model=our_model, size=SIDE)
        theirs.ask("open", model=their_model, size=SIDE)
        return _rounds(scene, ours, theirs)


def _rounds(scene: Scene, ours: Worker, theirs: Worker) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for worker in (ours, theirs):
        worker.ask("time", paths=scene.test[:3])  # warm
    for number in range(scene.rounds):
        paths = scene.test[number * IN_ROUND : (number + 1) * IN_ROUND]
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        answers = {worker: worker.ask("time", paths=paths) for worker in (first, second)}
        for key in ("whole_wall", "whole_cpu", "model_wall", "model_cpu"):
            pair = (median(answers[ours][key]), median(answers[theirs][key]))
            found.setdefault(key, []).append(pair)
        many = scene.test[-2 * BATCH :]
        spent = {worker: worker.ask("batch", paths=many, batch=BATCH) for worker in (first, second)}
        for key, name in (("seconds", "batch_wall"), ("cpu_seconds", "batch_cpu")):
            pair = (len(many) / spent[ours][key], len(many) / spent[theirs][key])
            found.setdefault(name, []).append(pair)
    return found


def starts(scene: Scene, our_model: str, their_model: str) -> dict[str, Any]:
    """Measure cold processes, ours and theirs in turn."""
    us, them = sys.executable, str(scene.peer)
    commands = {
        "help": ([us, "-m", "flawscope", "--help"], [str(scene.peer.parent / "anomalib"), "--help"]),
        "import": ([us, "-c", "import flawscope; flawscope.Inspector"], [them, "-c", JUDGED]),
        "first score": (
            [us, str(HERE / "worker_flawscope.py"), our_model, scene.test[0]],
            [them, str(HERE / "worker_anomalib.py"), their_model, scene.test[0]],
        ),
    }
    found: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in commands}
    for number in range(scene.rounds + 1):
        for name, (ours, theirs) in commands.items():
            pair = (cost(ours), cost(theirs))
            if number:  # the first finds nothing in the system's cache
                found[name].append(pair)
    return {name: [(vars(a), vars(b)) for a, b in pairs] for name, pairs in found.items()}


def ratio(pairs: list[tuple[float, float]], *, faster_is_more: bool = False) -> float:
    """Return the median of theirs by ours, or of ours by theirs where more is better."""
    return median(a / b if faster_is_more else b / a for a, b in pairs)


def row(what: str, pairs: list[tuple[float, float]], *, unit: str, bar: str = "", more: bool = False) -> str:
    """Write a row of the table: medians of ours and theirs, the ratio, and the bar."""
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    places = 0 if min(ours, theirs) >= 100 else 1 if min(ours, theirs) >= 10 else 2
    return (
        f"| {what} | {ours:.{places}f} {unit} | {theirs:.{places}f} {unit} | "
        f"{ratio(pairs, faster_is_more=more):.1f} | {bar} |"
    )


def centre(scene: Scene) -> dict[str, Any]:
    """Return the seconds that each further centre of the peer's search takes."""
    with scene.worker("anomalib") as worker:
        patches = len(scene.fit) * PATCHES
        return worker.ask("search", patches=patches, dimensions=DIMENSIONS, centres=[10, 90])


def fit_rows(scene: Scene, ours: list[dict[str, Any]], theirs: dict[str, Any]) -> list[str]:
    """Write what teaching took: ours before and after theirs, theirs for the whole bank."""
    rows = []
    left = scene.bank - theirs.get("chosen", scene.bank)  # centres that were not searched for
    each = kept(scene, "search", lambda: centre(scene)) if left else {}
    for clock, words, bar in (("cpu_", "processor time", "20"), ("", "wall time", "20")):
        whole = theirs[f"{clock}seconds"] + left * each.get(f"{clock}seconds", 0.0)
        for what, key, needed in (
            ("fit, 200 tiles to a model", f"{clock}seconds", bar),
            ("ours with calibration and report", f"whole_{clock}seconds", ""),
        ):
            pairs = [(float(np.mean([said[key] for said in ours])), whole)]
            rows.append(row(f"{what}, {words}", pairs, unit="s", bar=needed))
    return [*rows, row("peak memory, teaching", [(ours[0]["peak_mb"], theirs["peak_mb"])], unit="MB")]


def measured(scene: Scene, seeds: int, peer_seeds: int) -> list[str]:
    """Run everything and return the tables."""
    whole = scene.centres == scene.bank
    ours = [fitted(scene, "flawscope", 0)]
    theirs = [fitted(scene, "anomalib", 0)]
    # ours before theirs and after: a busy hour slows both
    around = [said for turn in range(scene.around) if (said := fitted(scene, "flawscope", 0, turn=turn))]
    models = (ours[0].get("model", ""), theirs[0].get("model", ""))
    timings = kept(scene, "turns", lambda: in_turn(scene, *models))
    cold = kept(scene, "starts", lambda: starts(scene, *models))
    ours += [fitted(scene, "flawscope", seed) for seed in range(1, seeds)]
    theirs += [fitted(scene, "anomalib", seed) for seed in range(1, peer_seeds if whole else 1)]
    us = [judged(scene, "flawscope", said.get("model", ""), seed) for seed, said in enumerate(ours)]
    them = [
        judged(scene, "anomalib", said.get("model", ""), seed) for seed, said in enumerate(theirs) if whole
    ]
    both = zip(us[:1], them[:1], strict=False)
    return [
        "| what | flawscope | anomalib | ratio | bar |",
        "|---|---|---|---|---|",
        *(fit_rows(scene, around, theirs[0]) if around and theirs[0] else []),
        *(
            row(f"{what}, {clock}", timings[f"{key}_{name}"], unit=unit, bar=bar, more=unit == "/s")
            for what, key, unit, bar in (
                ("one tile from the file", "whole", "ms", "2"),
                ("one tile, model alone", "model", "ms", "2"),
                (f"files in batches of {BATCH}", "batch", "/s", ""),
            )
            for clock, name in (("processor time", "cpu"), ("wall time", "wall"))
            if timings
        ),
        *(
            row(words, [(one[key] * scale, other[key] * scale)], unit="MB")
            for one, other in both
            if one and other
            for words, key, scale in (
                ("peak memory, judging", "peak_mb", 1),
                ("model on disk", "bytes", 1e-6),
            )
        ),
        *(
            row(f"{name}, {words}", [(a[key], b[key]) for a, b in cold[name]], unit=unit)
            for name in cold
            for words, key, unit in (
                ("processor time", "cpu_seconds", "s"),
                ("wall time", "seconds", "s"),
                ("memory", "peak_mb", "MB"),
            )
        ),
        *(QUALITY if any((*us, *them)) else ()),
        *(
            quality_row(side, seed, found["quality"])
            for side, judgements in (("flawscope", us), ("anomalib", them))
            for seed, found in enumerate(judgements)
            if found
        ),
    ]


def quality_row(side: str, seed: int, found: dict[str, list[float]]) -> str:
    """Write one model's quality."""
    (value, low, high), (pixel, *_), (pro, *_) = found.values()
    return f"| {side} | {seed} | {value:.4f} ({low:.3f} to {high:.3f}) | {pixel:.4f} | {pro:.4f} |"


def main() -> None:
    """Measure both sides and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", type=Path, default=Path("../peer/bin/python"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--bank", type=int, default=3920)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--around", type=int, default=2, help="1: ours is taught before theirs alone")
    parser.add_argument("--only-kept", action="store_true", help="write the page of what --work holds")
    parser.add_argument("--peer-centres", type=int, default=0, help="0: the whole bank")
    parser.add_argument(
        "--work", type=Path, help="where finished fits are kept, for a run that is broken off"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers.md"))
    arguments = parser.parse_args()
    if not arguments.peer_python.is_file():
        print(f"Skipped: there is no environment of the peer's at {arguments.peer_python}; see the head.")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = (arguments.work or Path(folder)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        tables = measured(scene_of(arguments, work), arguments.seeds, arguments.peer_seeds)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        "# Beside anomalib's PatchCore",
        "",
        f"`PYTHONPATH=benchmarks python benchmarks/peers/run.py --seeds {arguments.seeds} --peer-seeds "
        f"{arguments.peer_seeds} --rounds {arguments.rounds} --peer-centres {arguments.peer_centres}`; "
        "anomalib 2.7.0; the script's head says what is measured.",
        "",
        "A command's memory reads no lower than this script's own (about 105 MB). Wall times are of a "
        "machine as busy as its load says.",
        "",
        f"One thread a side, in turn. {machine_line()}. Load averages at the end: {load}.",
        "",
        *tables,
        *(["", PARTLY.format(centres=arguments.peer_centres)] if arguments.peer_centres else []),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
