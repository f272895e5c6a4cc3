"""Measure how far the difference from the median good picture gets on drawn chips: image AUROC of its best
variant.

The product is meant to be hard for this (at most 0.75) and possible for methods that look at patches.

    python benchmarks/synth_hardness.py [--seeds 0 1 2] [--size 256x192] [--good 200] [--bad 100]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from flawscope.synth.write import write_chips

SIGMAS = (0.0, 1.5, 3.0, 6.0)


def main() -> None:
    """Draw each seed's set, score it by the median picture and print the AUROC of each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", default="256x192")
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--bad", type=int, default=100)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_chips(folder, good=options.good, bad=options.bad, size_wh=(width, height), seed=seed)
            results = dict(variants(folder))
        best = max(results, key=lambda variant: results[variant])
        print(f"seed {seed}: best {results[best]:.3f} ({best}); median of {len(results)} variants", end=" ")
        print(f"{np.median(list(results.values())):.3f}")


def variants(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the name and image AUROC of each variant of scoring by the median training picture."""
    train = np.stack([_read(path) for path in sorted((folder / "train/good").glob("*.png"))])
    paths = sorted((folder / "test").glob("*/*.png"))
    is_bad = [path.parent.name != "good" for path in paths]
    test = [_read(path) for path in paths]
    for evened in (False, True):
        centre = np.median(_evened(train) if evened else train, axis=0).astype(np.float32)
        changes = [np.abs((_evened(picture[None])[0] if evened else picture) - centre) for picture in test]
        for sigma in SIGMAS:
            soft = [cv2.GaussianBlur(c, (0, 0), sigma) if sigma else c for c in changes]
            flat = [change.mean(2) for change in soft]
            name = f"{'light evened' if evened else 'as they are'}, sigma {sigma}"
            yield f"{name}, max", float(roc_auc_score(is_bad, [change.max() for change in flat]))
            yield f"{name}, mean", float(roc_auc_score(is_bad, [change.mean() for change in flat]))
            top = [np.sort(change, axis=None)[-len(change.ravel()) // 100 :].mean() for change in flat]
            yield f"{name}, top 1 %", float(roc_auc_score(is_bad, top))


def _read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR).astype(np.float32)


def _evened(pictures: np.ndarray) -> np.ndarray:
    """Divide each picture's channels by their means: a simple cure for gain and colour cast."""
    return pictures * (110 / pictures.mean(axis=(1, 2), keepdims=True))


if __name__ == "__main__":
    main()
