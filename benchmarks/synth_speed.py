"""Measure how fast chips are drawn and written as PNG: the median of three runs, in images a second.

OMP_NUM_THREADS=1 python benchmarks/synth_speed.py [--workers 2] [--size 256x256] [--count 200]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2

from flawscope.synth.write import write_chips


def main() -> None:
    """Write three sets and print each rate and their median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", default="256x256")
    parser.add_argument("--count", type=int, default=200, help="half training, a quarter good, a quarter bad")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    cv2.setNumThreads(1)  # the workers are the only threads
    rates, busy_ms = [], []
    for run in range(3):
        with tempfile.TemporaryDirectory() as folder:
            start, busy = time.perf_counter(), time.process_time()
            counts = write_chips(
                Path(folder),
                good=options.count // 2,
                bad=options.count // 4,
                size_wh=(width, height),
                seed=run,
                workers=options.workers,
            )
            total = sum(counts.values())
            rates.append(total / (time.perf_counter() - start))
            busy_ms.append(1000 * (time.process_time() - busy) / total)
    shown = ", ".join(f"{rate:.0f}" for rate in rates)
    print(f"{options.size}, {options.workers} workers: {shown} images/s", end=", ")
    print(f"median {statistics.median(rates):.0f}; {statistics.median(busy_ms):.1f} ms of CPU an image")


if __name__ == "__main__":
    main()
