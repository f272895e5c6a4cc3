"""flawscope's patchcore, asked line by line with the same questions as anomalib's.

    python worker_flawscope.py           answers JSON lines on stdin, as asking.py writes them
    python worker_flawscope.py MODEL IMG one image from a cold start

Judging one image is the whole verdict of the line: file in, score, map, p-value, verdict and regions out.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import flawscope
from flawscope.core.progress import Silent, Stage
from flawscope.imaging.preprocess import to_canvases
from flawscope.imaging.read import read

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Teaching(Silent):
    """A progress that reads the processor's clock where calibrating begins: the graph is there."""

    def __init__(self) -> None:
        self.ended = 0.0

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Note when the first stage after teaching opens."""
        if name.startswith("Calibrating") and not self.ended:
            self.ended = time.process_time()
        yield self


def fit(order: dict[str, Any]) -> dict[str, Any]:
    """Teach by a manifest, calibration and report included; return the seconds to the model, and of all."""
    start, cpu, watch = time.perf_counter(), time.process_time(), Teaching()
    trained = flawscope.train(
        order["manifest"],
        out=order["out"],
        settings=order["settings"],
        weights_dir=order["weights_dir"],
        threads=1,
        progress=watch,
    )
    return {
        "seconds": trained.seconds["teach"],
        "cpu_seconds": watch.ended - cpu,
        "whole_seconds": time.perf_counter() - start,
        "whole_cpu_seconds": time.process_time() - cpu,
    }


class Judge:
    """A bundle, ready to look at images."""

    def __init__(self, model: str) -> None:
        self.inspector = flawscope.Inspector.open(model, threads=1)

    def timed(self, path: str, clock: Callable[[], float]) -> tuple[float, float]:
        """Return the milliseconds of a file to verdict and map, and of the graph alone."""
        start = clock()
        self.inspector(path)
        middle = clock()
        scorer = self.inspector.scorer
        canvas = to_canvases(read(path), scorer.preprocess)
        before = clock()
        scorer.session.run(canvas.pixels, canvas.content_xyxy)
        return (middle - start) * 1000, (clock() - before) * 1000

    def batches(self, paths: list[str], size: int) -> float:
        """Return the seconds that files take in batches; one thread reads, as the peer's does."""
        start = time.perf_counter()
        for _ in self.inspector.inspect(paths, batch=size, workers=1):
            pass
        return time.perf_counter() - start


def answer(order: dict[str, Any], judges: dict[str, Judge]) -> dict[str, Any]:
    """Do what is asked."""
    if order["do"] == "fit":
        return fit(order)
    if order["do"] == "open":
        judges["judge"] = Judge(order["model"])
        return {"bytes": Path(order["model"]).stat().st_size}
    judge = judges["judge"]
    if order["do"] == "time":
        found = {
            name: [judge.timed(path, clock) for path in order["paths"]] for name, clock in CLOCKS.items()
        }
        return {
            f"{what}_{name}": [pair[place] for pair in pairs]
            for name, pairs in found.items()
            for place, what in enumerate(("whole", "model"))
        }
    if order["do"] == "batch":
        cpu = time.process_time()
        seconds = judge.batches(order["paths"], order["batch"])
        return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu}
    if order["do"] == "predict":
        judged = [judge.inspector(path) for path in order["paths"]]
        maps = np.stack([found.map for found in judged]).astype(np.float32)
        np.savez(order["out"], scores=np.array([found.score for found in judged]), maps=maps)
        return {}
    raise ValueError(order["do"])


def main() -> None:
    """Answer what stands on stdin, a line each; answers begin with @@."""
    if len(sys.argv) > 1:
        print(Judge(sys.argv[1]).inspector(sys.argv[2]).score)
        return
    judges: dict[str, Judge] = {}
    for line in sys.stdin:
        reply = answer(json.loads(line), judges)
        reply["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("@@" + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
