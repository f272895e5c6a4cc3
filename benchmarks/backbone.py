"""Backbones judged for inspection by one fixed protocol, beside their size and their time.

    OMP_NUM_THREADS=1 python benchmarks/backbone.py [--shared ../shared] \\
        [--backbones bundled resnet18 ...] [--held-out] [--out benchmarks/results/backbone_table.md]

The protocol is `flawscope.pretraining.probe`: a plain feature bank of 4,000 patches on magnetic tiles at
224x224, stretched, split by part (`data/protocol.py`: 200 good tiles teach, 120 good and 120 defective ones
test), both levels at unit length, three by three averaged, the score the largest distance. There are no
places, no components, no calibration, so that it tells backbones apart. `--held-out` adds the held-out
generators, by which recipes are chosen. A backbone is `bundled`, an ONNX file, a weights file (`ARCH=PATH`),
a name in the weights folder, or `random`, a ResNet-18 nobody trained. Times are those of the bare graph,
batch 1, one thread, taken in turn with ResNet-18's own graph from the weights folder, as a ratio: a busy
machine slows both. Needs flawscope[train].
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from tiles import SIDE, machine_line, protocol

from flawscope.flows.pretrain import graph_of
from flawscope.imaging.read import read_mask
from flawscope.methods.backbones import resolve
from flawscope.pretraining import heldout
from flawscope.pretraining.networks import build
from flawscope.pretraining.probe import Levels, Pictures, Protocol, probe
from flawscope.pretraining.settings import Architecture
from flawscope.runtime.backbone import Backbone

ROUNDS = 30


def tiles(shared: Path) -> Pictures:
    """Read the protocol's tiles."""
    module = protocol(shared)
    split = module.split()

    def picture(path: str) -> np.ndarray:
        read = cv2.imread(str(module.ROOT / path), cv2.IMREAD_COLOR)
        assert read is not None
        return cv2.resize(read[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    def mask(path: str) -> np.ndarray:
        full = read_mask(str((module.ROOT / path).with_suffix(".png")), above=127).astype(np.uint8)
        return cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0

    good, bad = split["test_good"], split["test_bad"]
    masks = [np.zeros((SIDE, SIDE), bool)] * len(good) + [mask(path) for path in bad]
    return Pictures(
        np.stack([picture(path) for path in split["fit"]]),
        np.stack([picture(path) for path in good + bad]),
        np.repeat([False, True], [len(good), len(bad)]),
        np.stack(masks),
    )


def found(name: str, weights: Path) -> Backbone:
    """Return a backbone by what `--backbones` takes."""
    if name != "random":
        return resolve(name, weights_dir=weights)
    torch.manual_seed(0)
    return graph_of(build(Architecture()), name="random")


def session_of(backbone: Backbone) -> Any:
    """Open a backbone's graph, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = backbone.model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def levels_of(backbone: Backbone) -> Levels:
    """Return what gives a backbone's levels of pixels uint8 (n, H, W, 3)."""
    session = session_of(backbone)
    mean, std = (np.array(values, np.float32) * 255 for values in (backbone.card.mean, backbone.card.std))

    def given(pixels: np.ndarray) -> list[np.ndarray]:
        image = ((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        return list(session.run(None, {"image": np.ascontiguousarray(image)}))

    return given


def ratio(backbone: Backbone, other: Backbone) -> tuple[float, float]:
    """Return milliseconds a picture, and the median ratio to the other's, taken in turn."""
    sessions = [session_of(backbone), session_of(other)]
    feed = {"image": np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)}
    took: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 3):
        for session, times in zip(sessions, took, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            if turn >= 3:
                times.append((time.perf_counter() - start) * 1000)
    return median(took[0]), median(one / two for one, two in zip(*took, strict=True))


def main() -> None:
    """Judge each backbone, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbones", nargs="+", default=["bundled", "resnet18", "random"])
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--no-tiles", action="store_true")
    parser.add_argument("--bank", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_table.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    weights = arguments.shared / "weights"
    reference = resolve("resnet18", weights_dir=weights)
    pictures = None if arguments.no_tiles else tiles(arguments.shared)
    rows = []
    for name in arguments.backbones:
        backbone = found(name, weights)
        levels = levels_of(backbone)
        cells = [name.rpartition("/")[2], "-", "-", "-", "-"]
        if pictures is not None:
            judged = probe(levels, pictures, Protocol(bank=arguments.bank))
            cells[1:3] = [f"{judged.image:.4f}", f"{judged.pixel:.4f}"]
        if arguments.held_out:
            drawn = heldout.judge(levels, heldout.Drawn())
            cells[3:5] = [f"{drawn.image:.4f}", f"{drawn.pixel:.4f}"]
        size = len(backbone.model.SerializeToString()) / 1e6
        milliseconds, share = ratio(backbone, reference)
        rows.append("| " + " | ".join([*cells, f"{size:.1f}", f"{milliseconds:.1f}", f"{share:.2f}"]) + " |")
        print(rows[-1], flush=True)
    head = (
        "| backbone | tiles, image AUROC | tiles, pixel AUROC | held-out, image | held-out, pixel | MB | "
        "ms | time beside ResNet-18 |"
    )
    text = ["# Backbones in the fixed protocol", "", machine_line(), "", head, "|" + "---|" * 8, *rows]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
