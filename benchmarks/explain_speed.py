"""What an explanation adds to the latency of a verdict: batch 1, one thread, in one run.

    python benchmarks/explain_speed.py [--rounds 100] [--method linear] [--backbone bundled]

The verdict alone, and the verdict with the explanation by each closed-form explainer (map, regions, peaks,
words; nearest good patches left out), are timed in turn on the same photograph, so that a busy machine slows
all alike. Stated are medians, and the median of the paired ratios. The bar is 20 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from tiles import machine_line

import flawscope
from flawscope.core.types import Role, Sample
from flawscope.data.manifest import write_manifest
from flawscope.imaging.read import read
from flawscope.runtime.explain import Explaining, explainers
from flawscope.synth.write import write_chips

SIDE = 224


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
    parser.add_argument("--method", default="linear")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explain_speed.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_chips(chips, good=40, bad=30, size_wh=(SIDE, SIDE), seed=0)
        samples = samples_of(chips)
        write_manifest(Path(folder) / "roles.jsonl", samples)
        trained = flawscope.train(
            Path(folder) / "roles.jsonl",
            out=Path(folder) / "run",
            settings={
                "method": arguments.method,
                "backbone": arguments.backbone,
                "size": [SIDE, SIDE],
                "fit": "stretch",
            },
            weights_dir=arguments.shared / "weights",
            threads=1,
        )
        inspector = flawscope.Inspector.open(trained.bundle.path, threads=1)
        bad = next(sample for sample in samples if sample.is_bad)
        image = read(bad.path)
        known = Explaining(inspector, ()).known
        names = [one.name for one in explainers if not one.audit and not known.lacks(one)]
        timed = {name: Explaining(inspector, (name,), always=True) for name in names}
        alone: list[float] = []
        explained: dict[str, list[float]] = {name: [] for name in names}
        for i in range(arguments.rounds + 5):
            start = time.perf_counter()
            inspector(image)
            once = time.perf_counter() - start
            times = {}
            for name, explaining in timed.items():
                start = time.perf_counter()
                found = explaining(image)
                times[name] = time.perf_counter() - start
                assert found.explanations
            if i >= 5:
                alone.append(once * 1000)
                for name in names:
                    explained[name].append(times[name] * 1000)
    lines = [
        "# What an explanation adds to a verdict",
        "",
        f"`python benchmarks/explain_speed.py --rounds {arguments.rounds} --method {arguments.method} "
        f"--backbone {arguments.backbone}`",
        "",
        f"One thread, {SIDE}x{SIDE}. {machine_line()}",
        "",
        "| what | median | added (median of paired ratios; bar 20 %) |",
        "|---|---|---|",
        f"| verdict alone | {median(alone):.2f} ms | |",
    ]
    for name in names:
        ratios = [b / a - 1 for a, b in zip(alone, explained[name], strict=True)]
        lines.append(f"| verdict and {name} | {median(explained[name]):.2f} ms | {median(ratios):+.1%} |")
    lines.append("")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
