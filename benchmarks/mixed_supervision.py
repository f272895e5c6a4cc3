"""Good magnetic tiles beside a few labelled defects: does mixed supervision beat either alone?

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/mixed_supervision.py \\
        [--shared ../shared] [--seeds 3] [--threads 2] [--steps 0] \\
        [--out benchmarks/results/mixed_supervision.md]

The split is that of `data/protocol.py` beside the photographs, by part: 200 good tiles teach, 120 good and
120 defective ones test. The few labelled defects come from the defects of the parts that do not test, drawn
anew for each seed, the first 4 of them within the first 8 and so on. All canvases are 224x224, stretched, the
backbone is ImageNet's ResNet-18. The rows:

- patchcore: good tiles alone.
- supersimplenet: good tiles alone, and with so many defects and their masks.
- classifier: a logistic regression on pooled features (the mean and the highest value of each channel of both
  levels) of the few defects against the good tiles, classes weighted evenly.
- joined: the sum of patchcore's and the classifier's score, each standardised on good tiles that neither was
  taught: both are taught 160 of the good tiles and standardised on the other 40.

Each finished cell (row, number of defects, seed) is appended to a JSON-lines file beside the table; cells
that stand there under the same settings are not computed again. `--steps` 0 takes supersimplenet's default.
Masks of these tiles have smeared edges: grey over 127 counts as marked.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import flawscope.methods as _registers  # noqa: F401
from flawscope.core.config import build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import GOOD, Fit, Preprocess, Sample
from flawscope.flows.environment import machine, versions
from flawscope.imaging.read import read, read_mask
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Embedding
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

SIDE = 224
COUNTS = (4, 8, 16, 32)
CALIBRATING = 40  # good tiles that standardise the join
PATCHCORE = {"bank": 4000, "unit_levels": False, "components": 192, "smoothing": 14.0}
ONE_CLASS_ROWS = ("patchcore", "supersimplenet")
MIXED_ROWS = ("supersimplenet", "classifier", "joined")


@dataclass(frozen=True)
class Tiles:
    """The protocol's samples."""

    good: tuple[Sample, ...]
    defects: tuple[Sample, ...]  # of parts that do not test
    test: tuple[Sample, ...]

    def few(self, count: int, seed: int) -> tuple[Sample, ...]:
        """Return so many labelled defects; more of the same seed contain fewer."""
        order = derive(seed, "defects").permutation(len(self.defects))
        return tuple(self.defects[i] for i in order[:count])


def load_tiles(shared: Path, folder: Path) -> Tiles:
    """Read the protocol; write the masks, cleared of their smear, into `folder`."""
    spec = importlib.util.spec_from_file_location("protocol", shared / "data" / "protocol.py")
    assert spec is not None and spec.loader is not None
    protocol = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protocol)
    lists = protocol.split()

    def samples(name: str) -> tuple[Sample, ...]:
        found = []
        for path in lists[name]:
            photograph = protocol.ROOT / path
            label, mask = GOOD, None
            if name.endswith("bad"):
                label = path.split("/")[0].removeprefix("MT_").lower()
                cleared = folder / f"{photograph.stem}.png"
                marked = read_mask(photograph.with_suffix(".png"), above=127)
                cv2.imwrite(str(cleared), marked.astype(np.uint8) * 255)
                mask = cleared.as_posix()
            found.append(Sample(path, str(photograph), label, mask_path=mask))
        return tuple(found)

    return Tiles(samples("fit"), samples("fit_bad"), samples("test_good") + samples("test_bad"))


@dataclass(frozen=True, eq=False)
class Bench:
    """What all cells share."""

    tiles: Tiles
    backbone: Backbone
    threads: int
    steps: int

    @property
    def preprocess(self) -> Preprocess:
        """The canvas of every row."""
        card = self.backbone.card
        return Preprocess(size_hw=(SIDE, SIDE), fit=Fit.STRETCH, mean=card.mean, std=card.std)

    def settings(self, row: str) -> dict[str, Any]:
        """Return a method's settings."""
        if row == "patchcore":
            return PATCHCORE
        return {"unit_levels": False} | ({"training": {"steps": self.steps}} if self.steps else {})

    def scorer(self, row: str, samples: Sequence[Sample], seed: int) -> Scorer:
        """Teach a method these samples."""
        method = methods[row].method
        config = build(method.Config, self.settings(row), where=row)
        context = FitContext(self.backbone, self.preprocess, seed=seed, threads=self.threads)
        graph = method(config).fit(FitData(tuple(samples)), context)
        return Scorer(GraphSession(graph, threads=self.threads), self.preprocess)


@dataclass(frozen=True, eq=False)
class Scored:
    """What a row says of some samples."""

    scores: np.ndarray  # (n,)
    maps: np.ndarray | None = None  # float16 (n, SIDE, SIDE)


def judged(scorer: Scorer, samples: Sequence[Sample]) -> Scored:
    """Return scores and maps by the line's own code."""
    scores, maps = [], []
    for sample in samples:
        raw, _ = scorer(read(sample.path))
        scores.append(raw.score)
        maps.append(cv2.resize(raw.map.astype(np.float32), (SIDE, SIDE)).astype(np.float16))
    return Scored(np.array(scores), np.stack(maps))


def classified(
    bench: Bench, good: Sequence[Sample], bad: Sequence[Sample], wanted: Sequence[Sample]
) -> np.ndarray:
    """Return the decision values (n,) of a logistic regression taught `good` and `bad`."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
    )
    labels = [0] * len(good) + [1] * len(bad)
    model.fit(pooled(bench, (*good, *bad)), labels)
    return np.asarray(model.decision_function(pooled(bench, wanted)))


@functools.cache
def _store(bench: Bench) -> Any:
    """Return the frozen features, kept between cells."""
    context = FitContext(bench.backbone, bench.preprocess, threads=bench.threads)
    return context.features(Embedding(unit_levels=False, neighbourhood=1))


@functools.cache
def _pooled_one(bench: Bench, sample: Sample) -> np.ndarray:
    (vectors,) = (vectors.astype(np.float32) for _, vectors, _ in _store(bench).stream([sample]))
    return np.concatenate([vectors.mean(0), vectors.max(0)])


def pooled(bench: Bench, samples: Sequence[Sample]) -> np.ndarray:
    """Return each sample's pooled features, (n, 2C)."""
    return np.stack([_pooled_one(bench, sample) for sample in samples])


@functools.cache
def _held_out(bench: Bench, seed: int) -> tuple[list[Sample], list[Sample], np.ndarray]:
    """Return the good tiles held out, those taught, and patchcore's scores of the former and the test."""
    order = derive(seed, "calibrating").permutation(len(bench.tiles.good))
    held_out = [bench.tiles.good[i] for i in order[:CALIBRATING]]
    taught = [bench.tiles.good[i] for i in order[CALIBRATING:]]
    scorer = bench.scorer("patchcore", taught, seed)
    return held_out, taught, judged(scorer, (*held_out, *bench.tiles.test)).scores


def joined(bench: Bench, count: int, seed: int) -> Scored:
    """Return the sum of patchcore's and the classifier's scores, each standardised on good tiles held out."""
    held_out, taught, oddness = _held_out(bench, seed)
    likeness = classified(bench, taught, bench.tiles.few(count, seed), (*held_out, *bench.tiles.test))
    total = np.zeros(len(bench.tiles.test))
    for scores in (oddness, likeness):
        own = scores[:CALIBRATING]
        total += (scores[CALIBRATING:] - own.mean()) / max(float(own.std(ddof=1)), 1e-9)
    return Scored(total)


def cell(bench: Bench, row: str, count: int, seed: int) -> Scored:
    """Return what a row says of the test tiles."""
    few = bench.tiles.few(count, seed)
    if row == "classifier":
        return Scored(classified(bench, bench.tiles.good, few, bench.tiles.test))
    if row == "joined":
        return joined(bench, count, seed)
    return judged(bench.scorer(row, (*bench.tiles.good, *few), seed), bench.tiles.test)


def figures(scored: Scored, test: Sequence[Sample]) -> dict[str, float | None]:
    """Return image AUROC, average precision and pixel AUROC (None for a row without a map)."""
    bad = np.array([sample.is_bad for sample in test])
    pixels = None
    if scored.maps is not None:
        truth = np.zeros(scored.maps.shape, bool)
        for i, sample in enumerate(test):
            if sample.mask_path:
                mask = read_mask(sample.mask_path).astype(np.uint8)
                truth[i] = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        pixels = float(roc_auc_score(truth.ravel(), scored.maps.ravel().astype(np.float32)))
    return {
        "image_auroc": float(roc_auc_score(bad, scored.scores)),
        "average_precision": float(average_precision_score(bad, scored.scores)),
        "pixel_auroc": pixels,
    }


def plan(seeds: int) -> list[tuple[str, int, int]]:
    """Return all cells: row, number of defects, seed; seed by seed, so that a part run is a whole table."""
    return [
        (row, count, seed)
        for seed in range(seeds)
        for count in (0, *COUNTS)
        for row in (MIXED_ROWS if count else ONE_CLASS_ROWS)
    ]


def table(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table's lines: mean and deviation over the seeds."""
    lines = [
        "| taught | defects | seeds | image AUROC | average precision | pixel AUROC | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, count in dict.fromkeys((c["row"], c["defects"]) for c in sorted(cells, key=_order)):
        own = [c for c in cells if (c["row"], c["defects"]) == (row, count)]
        shown = [
            _spread([c[name] for c in own]) for name in ("image_auroc", "average_precision", "pixel_auroc")
        ]
        seconds = np.mean([c["seconds"] for c in own])
        lines.append(f"| {row} | {count} | {len(own)} | " + " | ".join(shown) + f" | {seconds:.0f} |")
    return lines


def _order(found: dict[str, Any]) -> tuple[int, int]:
    rows = ("patchcore", "classifier", "joined", "supersimplenet")
    return found["defects"], rows.index(found["row"])


def _spread(values: Sequence[float | None]) -> str:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return "no map"
    return f"{known.mean():.3f}" + (f", {known.std(ddof=1):.3f}" if len(known) > 1 else "")


def finished(place: Path) -> list[dict[str, Any]]:
    """Return the cells that stand in a file; a last line that was cut off is passed over."""
    if not place.is_file():
        return []
    found = []
    for line in place.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def same(settings: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """Return whether a cell was computed under these settings."""
    return lambda found: all(found.get(name) == value for name, value in settings.items())


def main() -> None:
    """Compute the cells that are missing, write the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0, help="of supersimplenet; 0: its default")
    parser.add_argument("--cells", type=int, default=0, help="compute at most so many; 0: all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mixed_supervision.md"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    kept = arguments.out.with_suffix(".jsonl")
    head = [
        "# Mixed supervision on the magnetic tiles",
        "",
        f"`python benchmarks/mixed_supervision.py --seeds {arguments.seeds} --steps {arguments.steps}`, "
        f"{arguments.threads} threads; the script's head says what is measured. "
        "Mean and deviation of the seeds; seconds of teaching and judging.",
        "",
        f"Machine: {machine()['processor']}, {machine()['cores']} cores; "
        + ", ".join(f"{key} {value}" for key, value in versions().items()),
        "",
    ]
    computed = 0
    with tempfile.TemporaryDirectory() as folder:
        tiles = load_tiles(arguments.shared, Path(folder))
        backbone = resolve("resnet18", weights_dir=arguments.shared / "weights")
        bench = Bench(tiles, backbone, arguments.threads, arguments.steps)
        for row, count, seed in plan(arguments.seeds):
            settings = {"row": row, "defects": count, "seed": seed}
            if row == "supersimplenet":
                settings["steps"] = arguments.steps
            if any(map(same(settings), finished(kept))):
                continue
            if arguments.cells and computed == arguments.cells:
                break
            start = time.perf_counter()
            measured = figures(cell(bench, row, count, seed), tiles.test)
            entry = settings | measured | {"seconds": round(time.perf_counter() - start, 1)}
            with kept.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)
            computed += 1
    cells = [c for c in finished(kept) if c.get("steps", arguments.steps) == arguments.steps]
    arguments.out.write_text("\n".join([*head, *table(cells), ""]), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
