"""Promised against delivered: false alarms on good parts that neither teaching nor calibration has seen.

    python benchmarks/promises.py [--tiles FOLDER] [--seeds 20] [--out benchmarks/results/promises.md]

For each seed, parts are dealt anew into teaching, calibration and test. `split`: n parts calibrate, the
method was taught others; the false alarms among m test parts should lie within the beta-binomial interval of
their n (95 % of the seeds do, if the promise is right). `folds`: n parts teach and calibrate; the rate should
stay at or below the stated bound of twice alpha. A test part counts once, by one of its photographs. The
canvas is small (96 px): the promise does not depend on how well the method sees.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tiles import machine_line

from flawscope.core.config import build
from flawscope.core.progress import Silent
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Fit, Preprocess, Role, Sample
from flawscope.data.layouts import read_dataset
from flawscope.data.splits import folds
from flawscope.decision.calibration import beta_binomial_interval, calibrate, parts_needed, thresholds
from flawscope.imaging.preprocess import to_canvases
from flawscope.imaging.read import read
from flawscope.methods.contract import FitContext, FitData
from flawscope.runtime.backbone import bundled
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession
from flawscope.synth.write import write_chips

SIZES = (12, 20, 50, 100, 200)
ALPHAS = (0.05, 0.01)
SETTINGS = {"bank": 200, "candidates": 4000, "components": 64}


@dataclass(frozen=True)
class Trial:
    """One seed's false alarms: `alarms` of `tested` parts with `n` calibration parts."""

    n: int
    alpha: float
    alarms: int
    tested: int
    can_say_ng: bool


class Bench:
    """Teaches and scores over one set of good photographs; canvases are read once."""

    def __init__(self, samples: Sequence[Sample], threads: int) -> None:
        self.samples = tuple(samples)
        self.preprocess = Preprocess(size_hw=(96, 96), fit=Fit.LETTERBOX)
        self.context = FitContext(bundled(), self.preprocess, threads=threads)
        self.threads = threads
        self._canvases = {sample.path: to_canvases(read(sample.path), self.preprocess) for sample in samples}

    def taught(self, samples: Sequence[Sample], seed: int) -> Scorer:
        """Return the line's scorer for a method taught these samples."""
        entry = methods["patchcore"]
        method = entry.method(build(entry.method.Config, SETTINGS, where="patchcore"))
        context = FitContext(
            self.context.backbone, self.preprocess, seed, self.threads, Silent(), self.context._stores
        )
        model = method.fit(FitData(tuple(samples)), context)
        return Scorer(GraphSession(model, threads=self.threads), self.preprocess)

    def scores(self, scorer: Scorer, samples: Sequence[Sample]) -> dict[str, float]:
        """Return score by path."""
        found: dict[str, float] = {}
        for start in range(0, len(samples), 16):
            chunk = samples[start : start + 16]
            pixels = np.concatenate([self._canvases[sample.path].pixels for sample in chunk])
            content = np.concatenate([self._canvases[sample.path].content_xyxy for sample in chunk])
            outputs = scorer.session.run(pixels, content)
            found |= dict(zip((sample.path for sample in chunk), outputs["score"].tolist(), strict=True))
        return found


def by_part(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each part."""
    parts: dict[str, list[Sample]] = {}
    for sample in samples:
        parts.setdefault(sample.part_key, []).append(sample)
    return parts


def alarms(
    calibrated: Sequence[Sample],
    scores: dict[str, float],
    tested: Sequence[Sample],
    test_scores: dict[str, float],
    out_of_fold: bool,
) -> list[Trial]:
    """Calibrate at each alpha and count the tested parts called NG."""
    values = [scores[sample.path] for sample in calibrated]
    good = ScoreSet.of(calibrated, values, maxima=values, role=Role.CALIBRATE, out_of_fold=out_of_fold)
    n = len({sample.part_key for sample in calibrated})
    trials = []
    for alpha in ALPHAS:
        limit = thresholds(calibrate(good, alpha=alpha, review_alpha=max(alpha, 0.15))).ng
        above = [] if limit is None else [s for s in tested if test_scores[s.path] > limit]
        trials.append(Trial(n, alpha, len(above), len(tested), limit is not None))
    return trials


def run(name: str, bench: Bench, seeds: int, teach_parts: int) -> dict[str, list[Trial]]:
    """Return the trials of both modes over all seeds and sizes."""
    parts = by_part(bench.samples)
    keys = sorted(parts)
    results: dict[str, list[Trial]] = {"split": [], "folds": []}
    for seed in range(seeds):
        start = time.perf_counter()
        rng = derive(seed, "promises", name)
        order = [keys[i] for i in rng.permutation(len(keys))]
        one_each = {key: parts[key][int(rng.integers(len(parts[key])))] for key in keys}
        taught = [sample for key in order[:teach_parts] for sample in parts[key]]
        rest = order[teach_parts:]
        scorer = bench.taught(taught, seed)
        scores = bench.scores(scorer, [sample for key in rest for sample in parts[key]])
        for n in SIZES:
            if n + 15 > len(rest):
                continue
            calibrated = [sample for key in rest[:n] for sample in parts[key]]
            tested = [one_each[key] for key in rest[n:]]
            results["split"] += alarms(calibrated, scores, tested, scores, False)
        for n in SIZES:
            if n + 15 > len(order):
                continue
            members = [sample for key in order[:n] for sample in parts[key]]
            out: dict[str, float] = {}
            for fold in folds(members, 5, seed):
                left = set(fold)
                model = bench.taught([s for i, s in enumerate(members) if i not in left], seed)
                out |= bench.scores(model, [members[i] for i in fold])
            tested = [one_each[key] for key in order[n : n + 200]]
            final = bench.scores(bench.taught(members, seed), tested)
            results["folds"] += alarms(members, out, tested, final, True)
        print(f"{name} seed {seed}: {time.perf_counter() - start:.1f} s", flush=True)
    return results


def table(name: str, results: dict[str, list[Trial]]) -> list[str]:
    """Return the Markdown table of one product."""
    lines = [
        f"### {name}",
        "",
        "| calibration | alpha | parts n | promised or bound | delivered, mean of seeds | "
        "seeds within 95 % interval | all seeds together |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, trials in results.items():
        for alpha in ALPHAS:
            for n in sorted({trial.n for trial in trials}):
                chosen = [trial for trial in trials if trial.n == n and trial.alpha == alpha]
                if not chosen:
                    continue
                alarms_sum, tested = sum(t.alarms for t in chosen), sum(t.tested for t in chosen)
                rate = float(np.mean([t.alarms / t.tested for t in chosen]))
                if not chosen[0].can_say_ng:
                    told = f"says NG to none: {parts_needed(alpha)} parts needed"
                    lines.append(
                        f"| {mode} | {alpha} | {n} | {told} | {rate:.4f} | - | {alarms_sum} of {tested} |"
                    )
                    continue
                if mode == "split":
                    exact = int(alpha * (n + 1) + 1e-9) / (n + 1)
                    inside = 0
                    for trial in chosen:
                        low, high = beta_binomial_interval(n, alpha, trial.tested, confidence=0.95)
                        inside += low <= trial.alarms <= high
                    lines.append(
                        f"| split | {alpha} | {n} | {exact:.4f} expected | {rate:.4f} | "
                        f"{inside} of {len(chosen)} | {alarms_sum} of {tested} |"
                    )
                else:
                    kept = "kept" if rate <= 2 * alpha else "BROKEN"
                    lines.append(
                        f"| folds | {alpha} | {n} | at most {2 * alpha:.2f} | {rate:.4f} ({kept}) | - | "
                        f"{alarms_sum} of {tested} |"
                    )
    return [*lines, ""]


def main() -> None:
    """Run both products and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/promises.md"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    head = [
        "# Promised against delivered",
        "",
        f"`python benchmarks/promises.py --seeds {arguments.seeds}`; patchcore on a 96x96 canvas with "
        "the bundled backbone; see the script's head for what is measured.",
        "",
        machine_line(),
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_chips(chips, good=450, bad=8, size_wh=(128, 96), seed=7)
        good = [sample for sample in read_dataset(chips).samples if sample.is_good and "train" in sample.id]
        head += table("Synthetic chips", run("chips", Bench(good, arguments.threads), arguments.seeds, 100))
        arguments.out.write_text("\n".join(head))
        if arguments.tiles.is_dir():
            tiles = [sample for sample in read_dataset(arguments.tiles).samples if sample.is_good]
            count = len(by_part(tiles))
            head += table(
                f"Magnetic tiles, split by part ({len(tiles)} photographs of {count} parts)",
                run("tiles", Bench(tiles, arguments.threads), arguments.seeds, 40),
            )
    arguments.out.write_text("\n".join(head))
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
