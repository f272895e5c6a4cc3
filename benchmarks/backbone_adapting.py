"""Would a guarded choice of whitening on a product's own good pictures pay at teaching time?

    OMP_NUM_THREADS=1 python benchmarks/backbone_adapting.py [--backbone bundled] [--tiles 20 60] \\
        [--out benchmarks/results/backbone_adapting.md]

For each held-out product (and for so many good magnetic tiles), features are reduced to 128 components of its
own good patches, as patchcore does, once as they are and once with `whitening` 0.5. The
guard sees good pictures only: a quarter of them is kept apart, abstract defects (`synth.blemishes`) are drawn
on copies of these, and the whitening is kept where the sum of image and pixel AUROC of this check is higher.
The truth is the product's test pictures, whose defects other programs drew. Seconds are those that the guard
adds to teaching.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from backbone import levels_of, tiles
from tiles import write_table

from flawscope.core.rng import derive
from flawscope.methods.backbones import resolve
from flawscope.methods.features import Moments, principal
from flawscope.metrics import ranking
from flawscope.pretraining import heldout
from flawscope.pretraining.objective import embedded
from flawscope.pretraining.probe import Levels, Pictures, cover, distances
from flawscope.synth import blemishes, materials

COMPONENTS, BANK, CANDIDATES = 128, 1000, 20_000
POWERS = (0.0, 0.5)
Figures = tuple[float, float]


def patches(levels: Levels, pixels: np.ndarray) -> np.ndarray:
    """Return the embedding of pictures, float32 (n, h, w, C)."""
    kept = [embedded([torch.from_numpy(level) for level in levels(one[None])]) for one in pixels]
    return torch.cat(kept).permute(0, 2, 3, 1).numpy()


def judged(good: np.ndarray, tested: np.ndarray, pictures: Pictures, power: float) -> Figures:
    """Return image and pixel AUROC of tested features against a bank of good ones."""
    flat = good.reshape(-1, good.shape[-1])
    moments = Moments(good.shape[-1])
    moments.add(flat)
    matrix, offset, _ = principal(moments, COMPONENTS, power=power)
    chosen = flat[derive(0, "adapting").permutation(len(flat))[:CANDIDATES]]
    bank = cover(torch.from_numpy(chosen @ matrix + offset), BANK, seed=0)
    maps = np.stack(
        [
            distances(torch.from_numpy(one.reshape(-1, one.shape[-1]) @ matrix + offset), bank).numpy()
            for one in tested
        ]
    )
    size_hw = tested.shape[1:3]
    shares = [
        cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
        for mask in pictures.masks
    ]
    image = ranking.auroc(maps.max(1), pictures.is_bad).value
    pixel = ranking.auroc(maps.ravel(), np.stack(shares).ravel() > 0.25).value
    assert image is not None and pixel is not None
    return image, pixel


def marred(good: np.ndarray, each: int = 3) -> Pictures:
    """Return good pictures and copies of each with an abstract defect drawn on it."""
    pixels, masks = list(good), [np.zeros(good.shape[1:3], bool)] * len(good)
    side = min(good.shape[1:3])
    for number in range(each * len(good)):
        rng = derive(1, "marred", number)
        picture = good[number % len(good)].astype(np.float32) / 255
        top, left = (int(rng.integers(0, full - side + 1)) for full in picture.shape[:2])
        here = (slice(top, top + side), slice(left, left + side))
        out, seen = blemishes.blemished(rng, picture[here], materials.material(rng, side), difficulty=0.7)
        mask = np.zeros(picture.shape[:2], bool)
        picture[here], mask[here] = out, seen
        pixels.append(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
        masks.append(mask)
    marks = np.stack(masks)
    return Pictures(good, np.stack(pixels), marks.any((1, 2)), marks)


def main() -> None:
    """Judge every product, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--tiles", type=int, nargs="*", default=[20, 60])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/backbone_adapting.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    levels = levels_of(resolve(arguments.backbone, weights_dir=arguments.shared / "weights"))
    products = heldout.held_out(heldout.Drawn(textures=12))
    real = tiles(arguments.shared) if arguments.tiles else None
    for count in arguments.tiles:
        assert real is not None
        few = derive(1, "few").permutation(len(real.good))[:count]
        products[f"{count} tiles"] = Pictures(real.good[few], real.tested, real.is_bad, real.masks)
    rows, found = [], []
    for name, pictures in products.items():
        good, tested = patches(levels, pictures.good), patches(levels, pictures.tested)
        start = time.process_time()
        order = derive(2, "check").permutation(len(good))
        apart = max(3, min(20, len(good) // 4))
        check = marred(pictures.good[order[:apart]])
        features = patches(levels, check.tested)
        seen = [judged(good[order[apart:]], features, check, power) for power in POWERS]
        took = time.process_time() - start
        truth = [judged(good, tested, pictures, power) for power in POWERS]
        kept = int(sum(seen[1]) > sum(seen[0]))
        cells = [f"{image:.3f} / {pixel:.3f}" for image, pixel in (*seen, *truth)]
        rows.append("| " + " | ".join([name, *cells, ("no", "yes")[kept], f"{took:.1f}"]) + " |")
        print(rows[-1], flush=True)
        if "tiles" not in name:
            found.append((truth[0], truth[1], truth[kept], max(truth, key=sum)))
    means = [f"{image:.4f} / {pixel:.4f}" for image, pixel in np.mean(found, 0)]
    rows.append(f"| mean of the drawn: as they are, whitened | | | {means[0]} | {means[1]} | | |")
    rows.append(f"| mean of the drawn: guarded, best by hindsight | | | {means[2]} | {means[3]} | | |")
    write_table(
        arguments.out,
        title="Whitening on a product's own good pictures, guarded or not",
        command="backbone_adapting.py`, 1 thread",
        head=(
            *("product", "check, as they are", "check, whitened", "truth, as they are", "truth, whitened"),
            *("guard keeps it", "CPU seconds added"),
        ),
        rows=rows,
    )


if __name__ == "__main__":
    main()
