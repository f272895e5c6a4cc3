"""Make the backbone that ships inside the package from weights that `flawscope pretrain` left.

    python scripts/bundle_backbone.py scripts/drawn_r18.safetensors

Needs the [train] extra. The weights are a ResNet-18's trunk; the last layer is estimated anew, which depends
on the weights alone. Prints how far the result is from the file it takes the place of; `--check` writes
nothing and fails where they differ. The card `src/flawscope/weights/drawn_r18.md` is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from flawscope.core import digest, files
from flawscope.core.types import Array
from flawscope.flows.pretrain import graph_of
from flawscope.methods.deep.weights_file import load, read_state
from flawscope.pretraining.networks import build
from flawscope.pretraining.settings import Architecture
from flawscope.pretraining.whitening import Estimate, whitened
from flawscope.runtime.backbone import BUNDLED, Backbone, read

PLACE = Path(__file__).resolve().parents[1] / "src" / "flawscope" / "weights" / f"{BUNDLED}.onnx"
MOST_BYTES = 6_000_000
SAME = 1e-3  # largest difference between equal backbones, as a share of the largest value


def levels(backbone: Backbone) -> list[Array]:
    """Return what a backbone gives for one random image."""
    image = np.random.default_rng(0).standard_normal((2, 3, 224, 160)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(level) for level in session.run(None, {"image": image})]


def difference(one: Backbone, other: Backbone) -> float:
    """Return the largest difference between two backbones' levels, as a share of the largest value."""
    pairs = list(zip(levels(one), levels(other), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def main() -> int:
    """Convert, compare, write."""
    parser = argparse.ArgumentParser(description="Make the bundled backbone.")
    parser.add_argument("weights", type=Path, help="safetensors file")
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--out", type=Path, default=PLACE)
    arguments = parser.parse_args()
    trunk = build(Architecture())
    load(trunk, read_state(arguments.weights), where=str(arguments.weights))
    made = graph_of(whitened(trunk, Estimate()), name=BUNDLED)
    content = made.model.SerializeToString(deterministic=True)
    if len(content) > MOST_BYTES:
        print(f"{len(content)} bytes are too many to ship; at most {MOST_BYTES}")
        return 1
    gap = difference(made, read(arguments.out)) if arguments.out.is_file() else float("inf")
    print(f"difference from the file that was there: {gap:.2g}")
    if arguments.check:
        return 0 if gap < SAME else 1
    files.write_bytes(arguments.out, content)
    print(f"{arguments.out.name}: {len(content)} bytes, sha256 {digest.of_bytes(content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
