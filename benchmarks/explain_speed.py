"""What an explanation adds to the latency of a verdict: batch 1, one thread, in one run.

    python benchmarks/explain_speed.py [--rounds 100] [--methods linear,patchcore] [--backbone bundled]

A classifier and a method taught from good parts alone, both on drawn chips. The verdict alone, and the
verdict with the explanation by each explainer but audits (map, regions, peaks, words; nearest good patches
left out), are timed in turn on the same photograph, so that a busy machine slows all alike. Stated are
medians, and the median of the paired ratios. The bar is 20 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from tiles import write_table

import flawscope
from flawscope.core.types import Image, Role, Sample
from flawscope.data.manifest import write_manifest
from flawscope.imaging.read import read
from flawscope.runtime.explain import Explaining, explainers
from flawscope.synth.write import write_chips

SIDE = 224
WARM = 5  # rounds that do not count


def samples_of(folder: Path) -> list[Sample]:
    """Return drawn chips with roles: half of either kind teaches, the rest chooses and calibrates."""
    good = sorted(folder.glob("test/good/*.png"))
    bad = [path for path in sorted(folder.glob("test/*/*.png")) if path.parent.name != "good"]
    dealt = [(path, Role.FIT) for path in sorted(folder.glob("train/good/*.png"))]
    dealt += [(path, Role.SELECT if i % 3 == 0 else Role.CALIBRATE) for i, path in enumerate(good)]
    dealt += [(path, Role.SELECT if i % 3 == 0 else Role.FIT) for i, path in enumerate(bad)]
    return [
        Sample(path.relative_to(folder).as_posix(), path.as_posix(), path.parent.name, role=role)
        for path, role in dealt
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--methods", default="linear,patchcore")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explain_speed.md"))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_chips(chips, good=40, bad=30, size_wh=(SIDE, SIDE), seed=0)
        samples = samples_of(chips)
        manifest = Path(folder) / "roles.jsonl"
        write_manifest(manifest, samples)
        image = read(next(sample for sample in samples if sample.is_bad).path)
        for method in arguments.methods.split(","):
            trained = flawscope.train(
                manifest,
                out=Path(folder) / method,
                settings={
                    "method": method,
                    "backbone": arguments.backbone,
                    "size": [SIDE, SIDE],
                    "fit": "stretch",
                },
                weights_dir=arguments.shared / "weights",
                threads=1,
            )
            inspector = flawscope.Inspector.open(trained.bundle.path, threads=1)
            rows += rows_of(method, *timed(inspector, image, rounds=arguments.rounds))
    write_table(
        arguments.out,
        title="What an explanation adds to a verdict",
        command=f"explain_speed.py --rounds {arguments.rounds} --methods {arguments.methods} "
        f"--backbone {arguments.backbone}`, one thread, {SIDE}x{SIDE}",
        head=("method", "what", "median", "added (median of paired ratios; bar 20 %)"),
        rows=rows,
    )
    print(arguments.out.read_text(encoding="utf-8"))


def timed(
    inspector: flawscope.Inspector, image: Image, *, rounds: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the milliseconds of the verdict alone and with each explainer, round by round."""
    known = Explaining(inspector, ()).known
    names = [one.name for one in explainers if not one.audit and not known.lacks(one)]
    every = {name: Explaining(inspector, (name,), always=True) for name in names}
    alone: list[float] = []
    explained: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds + WARM):
        start = time.perf_counter()
        inspector(image)
        once = time.perf_counter() - start
        times = {}
        for name, explaining in every.items():
            start = time.perf_counter()
            found = explaining(image)
            times[name] = time.perf_counter() - start
            assert found.explanations
        if i >= WARM:
            alone.append(once * 1000)
            for name in names:
                explained[name].append(times[name] * 1000)
    return alone, explained


def rows_of(method: str, alone: list[float], explained: dict[str, list[float]]) -> list[str]:
    """Return the lines of one method."""
    rows = [f"| {method} | verdict alone | {median(alone):.2f} ms | |"]
    for name, values in explained.items():
        added = median(b / a - 1 for a, b in zip(alone, values, strict=True))
        rows.append(f"| {method} | verdict and {name} | {median(values):.2f} ms | {added:+.1%} |")
    return rows


if __name__ == "__main__":
    main()
