"""How much a whole verdict costs over the bare backbone: array in, Inspection out, batch 1, one thread,
224x224.

    python benchmarks/verdict_speed.py [--bank 2000] [--rounds 200] [--out
    benchmarks/results/verdict_speed.md]

The backbone's own forward pass runs in a stock onnxruntime session (all optimisations, the same file, the
same threads). Both are timed in turn, in one process, so that a busy machine slows both. Also measured: a
cold process from start to the first verdict, and `python -X importtime -m flawscope --help`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from tiles import machine_line

import flawscope
from flawscope.runtime.backbone import BUNDLED
from flawscope.synth.write import write_chips

COLD = """
import time; start = time.perf_counter()
import sys, flawscope
inspection = flawscope.Inspector.open(sys.argv[1], threads=1)(sys.argv[2])
print(inspection.verdict, time.perf_counter() - start)
"""


def interleaved(
    bundle: Path, pixels: np.ndarray, rounds: int
) -> tuple[list[float], list[float], dict[str, float]]:
    """Return milliseconds of the backbone and of the verdict, in turn, and the verdict's median stages."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = (resources.files("flawscope.weights") / f"{BUNDLED}.onnx").read_bytes()
    backbone = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inspector = flawscope.Inspector.open(bundle, threads=1)
    size = inspector.bundle.contents.preprocess.size_hw
    feed = {"image": np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)}
    plain, whole, stages = [], [], []
    for i in range(rounds + 10):
        start = time.perf_counter()
        backbone.run(None, feed)
        middle = time.perf_counter()
        inspection = inspector(pixels)
        end = time.perf_counter()
        if i >= 10:
            plain.append((middle - start) * 1000)
            whole.append((end - middle) * 1000)
            stages.append(inspection.timings_ms)
    return plain, whole, {name: median(stage[name] for stage in stages) for name in stages[0]}


def wall(command: list[str], times: int) -> float:
    """Return the median wall time of a command in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return median(taken)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bank", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/verdict_speed.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_chips(chips, good=40, bad=8, size_wh=(224, 224), seed=0)
        settings = {"size": [224, 224], "fit": "stretch", "settings": {"bank": arguments.bank}}
        trained = flawscope.train(chips, out=Path(folder) / "run", settings=settings, threads=1)
        photograph = next((chips / "test" / "scratch").glob("*.png"))
        pixels = flawscope.Inspector.open(trained.bundle.path)._image(photograph).pixels
        plain, whole, stages = interleaved(trained.bundle.path, pixels, arguments.rounds)
        cold = wall([sys.executable, "-c", COLD, str(trained.bundle.path), str(photograph)], 7)
    helped = wall([sys.executable, "-X", "importtime", "-m", "flawscope", "--help"], 7)
    ratios = [b / a for a, b in zip(plain, whole, strict=True)]
    lines = [
        "# A whole verdict over the bare backbone",
        "",
        f"`python benchmarks/verdict_speed.py --bank {arguments.bank} --rounds {arguments.rounds}`",
        "",
        f"One thread. {machine_line()}",
        "",
        "| what | median |",
        "|---|---|",
        f"| backbone alone, stock session | {median(plain):.2f} ms |",
        f"| whole verdict, array in, Inspection out | {median(whole):.2f} ms |",
        f"| ratio of medians (bar 1.4) | {median(whole) / median(plain):.3f} |",
        f"| median of paired ratios | {median(ratios):.3f} |",
        *(f"| of which {name} | {value:.2f} ms |" for name, value in stages.items()),
        f"| cold process to the first verdict (bar 1.5 s) | {cold:.2f} s |",
        f"| `python -X importtime -m flawscope --help` (bar 0.4 s) | {helped:.2f} s |",
        "",
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
