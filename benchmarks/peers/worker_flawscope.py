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
from pathlib import Path
from typing import Any

import numpy as np

import flawscope
from flawscope.imaging.preprocess import to_canvases
from flawscope.imaging.read import read


def fit(order: dict[str, Any]) -> dict[str, Any]:
    """Teach by a manifest, calibration and report included; return the seconds to the model, and of all."""
    start = time.perf_counter()
    trained = flawscope.train(
        order["manifest"],
        out=order["out"],
        settings=order["settings"],
        weights_dir=order["weights_dir"],
        threads=1,
    )
    whole = time.perf_counter() - start
    return {"seconds": trained.seconds["teach"], "whole_seconds": whole}


class Judge:
    """A bundle, ready to look at images."""

    def __init__(self, model: str) -> None:
        self.inspector = flawscope.Inspector.open(model, threads=1)

    def timed(self, path: str) -> tuple[float, float]:
        """Return the milliseconds of a file to verdict and map, and of the graph alone."""
        start = time.perf_counter()
        self.inspector(path)
        middle = time.perf_counter()
        scorer = self.inspector.scorer
        canvas = to_canvases(read(path), scorer.preprocess)
        before = time.perf_counter()
        scorer.session.run(canvas.pixels, canvas.content_xyxy)
        return (middle - start) * 1000, (time.perf_counter() - before) * 1000

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
        found = [judge.timed(path) for path in order["paths"]]
        return {"whole_ms": [whole for whole, _ in found], "model_ms": [alone for _, alone in found]}
    if order["do"] == "batch":
        return {"seconds": judge.batches(order["paths"], order["batch"])}
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
