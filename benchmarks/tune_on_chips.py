"""Does tuning help on parts that it has not seen, by labelled defects and by drawn flaws?

    OMP_NUM_THREADS=1 python benchmarks/tune_on_chips.py [--seeds 3] [--budget 20] [--method patchcore]
        [--out benchmarks/results/tune_on_chips.md]

Chips of a seed: 60 good ones teach, 20 good and 20 bad choose (labelled SELECT), 40 good and 40 bad test. The
settings are tuned twice: with that SELECT, and with the good parts alone, so that flaws are drawn. Settings
as they come, and both that were found, then teach the same parts, and TEST tells. 128x96, canvas of 96.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tiles import write_table

import flawscope
from flawscope.core.config import build
from flawscope.core.rng import derive
from flawscope.core.types import Role, Sample
from flawscope.data.layouts import read_dataset
from flawscope.data.manifest import write_manifest
from flawscope.flows.lesson import Tools
from flawscope.flows.settings import TrainSettings
from flawscope.flows.tune import Tuned, TunePlan, tune
from flawscope.synth.write import write_chips

DEALT = {
    True: [Role.FIT] * 60 + [Role.SELECT] * 20 + [Role.TEST] * 40,
    False: [Role.SELECT] * 20 + [Role.TEST] * 40,
}


def dealt(folder: Path, seed: int) -> list[Sample]:
    """Draw the chips of a seed and give each its role, by chance."""
    write_chips(folder, good=60, bad=60, size_wh=(128, 96), seed=seed)
    samples = sorted(read_dataset(folder).samples, key=lambda sample: sample.id)
    roles = {kind: list(roles) for kind, roles in DEALT.items()}
    order = derive(seed, "tune", "chips").permutation(len(samples)).tolist()
    return [replace(samples[i], role=roles[samples[i].is_good].pop()) for i in order]


def manifest(folder: Path, samples: Sequence[Sample]) -> Path:
    """Write a manifest and return its path."""
    path = folder / f"{len(samples)}.jsonl"
    write_manifest(path, samples)
    return path


def tested(data: Path, settings: Mapping[str, Any], out: Path) -> float:
    """Teach with these settings and return the AUROC on TEST."""
    flawscope.train(data, out=out, settings=settings, threads=1)
    report = flawscope.evaluate(out / "model.flaw", data, settings={"pixels": False}, threads=1)
    value = report.metrics["image"]["auroc"].value
    assert value is not None
    return value


def one(seed: int, *, method: str, budget: int) -> tuple[list[float], list[Tuned]]:
    """Return the AUROC on TEST as given, tuned by labels and tuned by drawn flaws, and both tunings."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        samples = dealt(folder / "chips", seed)
        whole = manifest(folder, samples)
        alone = manifest(
            folder, [s for s in samples if s.role is Role.FIT or (s.role is Role.SELECT and s.is_good)]
        )
        common = {"method": method, "budget": 96, "seed": seed, "calibrate": "folds", "folds": 2}
        found = []
        for name, data in (("labels", whole), ("drawn", alone)):
            given = build(TrainSettings, {**common, "data": str(data)}, where="settings")
            found.append(tune(given, TunePlan(budget=budget), folder / name, tools=Tools(threads=1)))
        rows = [{}, *(tuned.settings["settings"] for tuned in found)]
        scores = [
            tested(whole, {**common, "settings": row}, folder / f"run{number}")
            for number, row in enumerate(rows)
        ]
    return scores, found


def main() -> None:
    """Run every seed and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--method", default="patchcore")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_on_chips.md"))
    arguments = parser.parse_args()
    rows, all_scores = [], []
    for seed in range(arguments.seeds):
        scores, tunings = one(seed, method=arguments.method, budget=arguments.budget)
        all_scores.append(scores)
        gains = [f"{t.first.value or 0:.3f} to {t.best.value or 0:.3f}" for t in tunings]
        rows.append(f"| {seed} | {' | '.join(f'{value:.4f}' for value in scores)} | {' | '.join(gains)} |")
        print(rows[-1], flush=True)
    mean = np.mean(all_scores, axis=0)
    rows.append(f"| mean | {' | '.join(f'{value:.4f}' for value in mean)} | | |")
    write_table(
        arguments.out,
        title="Tuning on chips",
        command=f"tune_on_chips.py --method {arguments.method} --seeds {arguments.seeds} "
        f"--budget {arguments.budget}`",
        notes=["AUROC on TEST, which no tuning has seen; the last two columns are what SELECT said."],
        head=[
            "seed",
            "as given",
            "tuned by labels",
            "tuned by drawn flaws",
            "SELECT, labels",
            "SELECT, drawn",
        ],
        rows=rows,
    )
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
