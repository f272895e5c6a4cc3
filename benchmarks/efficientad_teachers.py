"""What holds efficientad back on magnetic tiles, and what helps: its teachers, and how a difference is told.

    python benchmarks/efficientad_teachers.py [--shared ../shared] [--steps 250] [--rows distilled,student]

Nothing here looks at the protocol's test tiles. Of its 200 good tiles 150 teach; the other 50, of other
parts, stand against 90 defective tiles of the parts that do not test (`real`) and against themselves with one
simulated flaw each (`drawn`): image AUROC, the mean of the map's highest hundredth being the score, and the
AUROC over all pixels of the defective tiles (`pixels`, which is what tells most: by image, exposure outweighs
flaws). Stretched to 224x224, maps at 56x56, smoothed by 6 px.

distilled: a small teacher (width 16, 48 channels) learns from ResNet-18's main directions on 300 pictures of
128x128, in so many steps of 8: drawn textures, the same with painted flaws, or crops of good tiles with
painted flaws, the backbone looking at them as they are or at twice the size. `lost` is the share of the
directions' variance that the teacher does not tell. Its features are judged by a whitened distance.

student: ResNet-18's main directions (64 at 28x28) are the teacher itself; a student of width 24 learns them
from 120 good tiles in 120 and 240 steps of 2. Its difference is judged as it is, whitened over the other 30,
and whitened and measured by place.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from sklearn.metrics import roc_auc_score
from tiles import SIDE, protocol, sample_of, write_table
from torch.nn import functional

from flawscope.core.rng import derive
from flawscope.core.types import Array, Fit, Preprocess
from flawscope.imaging.read import read_mask
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext
from flawscope.methods.deep.blocks import to_grid
from flawscope.methods.deep.canvases import load_canvases, normalised
from flawscope.methods.deep.description import Description
from flawscope.methods.deep.draem import simulated
from flawscope.methods.draem import DraemConfig
from flawscope.runtime.backbone import Backbone
from flawscope.synth.defects import PAINTERS, Wish
from flawscope.synth.textures import random_texture

TEACH, HELD, DEFECTS, TRY = 150, 50, 90, 30
GRID = 56
SMOOTHING = 6 / 4  # cells
Pictures = Mapping[str, Array]


def main() -> None:
    """Measure the rows asked for, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rows", default="distilled,student")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/efficientad_teachers.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backbone = resolve("resnet18", weights_dir=arguments.shared / "weights")
    pictures, masks = tiles(arguments.shared, backbone)
    look = Look(backbone)
    rows: list[str] = []
    if "student" in arguments.rows:
        rows += student(pictures, masks, look)
    if "distilled" in arguments.rows:
        rows += distilled(pictures, masks, look, steps=arguments.steps)
    write_table(
        arguments.out,
        title="Teachers of efficientad, on tiles that do not test",
        command=f"efficientad_teachers.py --rows {arguments.rows} --steps {arguments.steps}`",
        head=("teacher", "judged by", "lost", "real", "pixels", "drawn"),
        rows=rows,
    )
    print(arguments.out.read_text(encoding="utf-8"))


def tiles(shared: Path, backbone: Backbone) -> tuple[Pictures, Array]:
    """Return canvases uint8 (n, 224, 224, 3) by what they serve for, and the defects' masks (n, 56, 56)."""
    module = protocol(shared)
    part = {path: str(i) for i, paths in enumerate(module.parts()) for path in paths}
    split = module.split()
    parts = sorted({part[path] for path in split["fit"]})
    held: set[str] = set()
    count = 0
    for i in derive(1, "x").permutation(len(parts)).tolist():
        if count >= HELD:
            break
        held.add(parts[i])
        count += sum(part[path] == parts[i] for path in split["fit"])
    order = derive(2, "x").permutation(len(split["fit_bad"]))[:DEFECTS]
    paths = {
        "teach": [path for path in split["fit"] if part[path] not in held],
        "good": [path for path in split["fit"] if part[path] in held],
        "real": [split["fit_bad"][i] for i in order],
    }
    card = backbone.card
    preprocess = Preprocess((SIDE, SIDE), fit=Fit.STRETCH, mean=card.mean, std=card.std)
    context = FitContext(backbone, preprocess, threads=1)
    found = {
        name: load_canvases(
            [sample_of(module.ROOT, path, part=part[path]) for path in listed], context
        ).pixels
        for name, listed in paths.items()
    }
    rng, config = derive(3, "syn"), DraemConfig()
    found["drawn"] = np.stack(
        [simulated(pixels, rng, where=None, config=config).pixels for pixels in found["good"]]
    )
    masks = [
        read_mask(str((module.ROOT / path).with_suffix(".png")), above=127).astype(np.float32)
        for path in paths["real"]
    ]
    small = [cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA) for mask in masks]
    return found, np.stack(small)


class Look:
    """The backbone, one picture at a time, its levels side by side on the finest grid."""

    def __init__(self, backbone: Backbone) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            backbone.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self.card = backbone.card

    def __call__(self, pictures: Array, *, scale: int = 1) -> Array:
        """Return (n, C, h, w), float32, the pictures enlarged by `scale` first."""
        found = []
        for picture in pictures:
            size_wh = (picture.shape[1] * scale, picture.shape[0] * scale)
            enlarged = cv2.resize(picture, size_wh, interpolation=cv2.INTER_LINEAR)
            values = normalised(enlarged[None], self.card).numpy()
            levels = [torch.from_numpy(level) for level in self._session.run(None, {self._input: values})]
            grid_hw = (levels[0].shape[2], levels[0].shape[3])
            found.append(torch.cat([to_grid(level, grid_hw) for level in levels], 1)[0].numpy())
        return np.stack(found).astype(np.float16).astype(np.float32)


def student(pictures: Pictures, masks: Array, look: Look) -> list[str]:
    """Let a student copy the backbone's main directions; judge its difference in three ways."""
    channels, steps = 64, 240
    features = {name: look(values) for name, values in pictures.items()}
    flat = features["teach"].transpose(1, 0, 2, 3).reshape(features["teach"].shape[1], -1)
    mean, spread = flat.mean(1)[:, None], flat.std(1)[:, None]
    matrix = directions((flat - mean) / spread, channels)
    matrix = matrix / np.sqrt(np.square(matrix @ ((flat - mean) / spread)).mean(1))[:, None]
    wanted = {}
    for name, values in features.items():
        own = (values - mean[None, :, :, None]) / spread[None, :, :, None]
        wanted[name] = np.einsum("kc,nchw->nkhw", matrix, own, optimize=True).astype(np.float32)
    torch.manual_seed(0)
    network = Description(24, channels)
    rng, kept, rows = np.random.default_rng(0), TEACH - TRY, []
    lost: list[float] = []

    def said(values: Array) -> torch.Tensor:
        return functional.avg_pool2d(network(normalised(values, look.card)), 2)

    def loss(step: int) -> torch.Tensor:
        chosen = rng.integers(0, kept, 2)
        gaps = (said(pictures["teach"][chosen]) - torch.from_numpy(wanted["teach"][chosen])).square()
        lost.append(float(gaps.detach().mean()))
        share = 0.1 ** min(1.0, 2 * step / steps)
        return gaps.flatten().topk(max(1, round(share * gaps.numel()))).values.mean()

    for step in descend(network, loss, steps=steps):
        if step not in (steps // 2, steps):
            continue
        gaps = {}
        with torch.no_grad():
            for name, values in pictures.items():
                part = slice(kept, None) if name == "teach" else slice(None)
                own = [said(values[part][i : i + 4]).numpy() for i in range(0, len(values[part]), 4)]
                gaps[name] = np.concatenate(own) - wanted[name][part]
        white = whitened(gaps, gaps["teach"], least=1e-3)
        usual = cv2.GaussianBlur(white["teach"].mean(0), (0, 0), 1.0)
        ways = {
            "its difference": {name: np.square(gap).mean(1) for name, gap in gaps.items()},
            "its difference, whitened": white,
            "the same by place": {name: values / usual for name, values in white.items()},
        }
        share = float(np.mean(lost[-20:]))
        rows += [
            row(f"backbone, student after {step} steps", way, share, maps, masks)
            for way, maps in ways.items()
        ]
    return rows


def distilled(pictures: Pictures, masks: Array, look: Look, *, steps: int) -> list[str]:
    """Let small teachers learn from the backbone on several kinds of pictures; judge their features."""
    count, side, rng = 300, 128, derive(5, "d")
    textures = np.stack([random_texture(derive(0, "texture", i), (side, side)) for i in range(count)])
    marked = np.stack([flawed(texture, rng) for texture in textures])
    crops = []
    for i in range(count):
        row_from, column_from = rng.integers(0, SIDE - side + 1, 2)
        crop = pictures["teach"][i % TEACH][row_from : row_from + side, column_from : column_from + side]
        crops.append(flawed(crop, rng) if rng.random() < 0.7 else crop)
    kinds = {
        "textures": (textures, 1),
        "textures, the backbone at twice the size": (textures, 2),
        "textures with flaws, at twice the size": (marked, 2),
        "the product with flaws, at twice the size": (np.stack(crops), 2),
    }
    rows = []
    for kind, (taught, scale) in kinds.items():
        network, share = distil(taught, look(taught, scale=scale), look, steps=steps)
        features = {}
        with torch.no_grad():
            for name, values in pictures.items():
                part = values[:80] if name == "teach" else values
                own = [
                    network(normalised(part[i : i + 4], look.card)).numpy() for i in range(0, len(part), 4)
                ]
                features[name] = np.concatenate(own)
        maps = whitened(features, features["teach"], least=1e-4)
        rows.append(row(f"distilled on {kind}", "a whitened distance", share, maps, masks))
    return rows


def distil(pictures: Array, seen: Array, look: Look, *, steps: int) -> tuple[Description, float]:
    """Teach a small network what the backbone has seen; return it with the share that it does not tell."""
    channels = 48
    flat = seen.transpose(1, 0, 2, 3).reshape(seen.shape[1], -1)
    flat = (flat - flat.mean(1, keepdims=True)) / np.maximum(flat.std(1, keepdims=True), 1e-6)
    values = directions(flat, channels) @ flat
    values /= np.sqrt(np.square(values).mean())
    wanted = values.reshape(channels, len(seen), *seen.shape[2:]).transpose(1, 0, 2, 3)
    torch.manual_seed(0)
    network = Description(16, channels, steadied=True)
    rng, lost = np.random.default_rng(0), []

    def loss(step: int) -> torch.Tensor:
        chosen = rng.integers(0, len(pictures), 8)
        said = network(normalised(pictures[chosen], look.card))
        targets = torch.from_numpy(np.ascontiguousarray(wanted[chosen])).float()
        found = functional.mse_loss(said, to_grid(targets, (said.shape[2], said.shape[3])))
        lost.append(float(found.detach()))
        return found

    for _ in descend(network, loss, steps=steps):
        pass
    return network.eval(), float(np.mean(lost[-30:]))


def descend(network: torch.nn.Module, loss: Callable[[int], torch.Tensor], *, steps: int) -> Iterator[int]:
    """Train in place; yield how many steps are done after each."""
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        value = loss(step)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        yield step + 1


def directions(flat: Array, count: int) -> Array:
    """Return the main directions of vectors (C, n), turned at random, float32 (count, C)."""
    some = flat[:, ::5]
    vectors = np.linalg.eigh(some @ some.T / some.shape[1])[1][:, ::-1][:, :count]
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((count, count)))
    return np.asarray((vectors @ turn).T, np.float32)


def whitened(values: Pictures, usual: Array, *, least: float) -> dict[str, Array]:
    """Return the mean square (n, h, w) of values (n, C, h, w) in units of how the usual ones vary."""
    flat = usual.astype(np.float32).transpose(1, 0, 2, 3).reshape(usual.shape[1], -1)
    mean = flat.mean(1, keepdims=True)
    variances, vectors = np.linalg.eigh(np.cov(flat))
    matrix = (vectors / np.sqrt(np.maximum(variances, 0) + least * variances[-1])).T.astype(np.float32)
    return {
        name: np.square(np.einsum("kc,nchw->nkhw", matrix, own - mean[None, :, :, None], optimize=True)).mean(
            1
        )
        for name, own in values.items()
    }


def flawed(picture: Array, rng: np.random.Generator) -> Array:
    """Paint one to three flaws."""
    for _ in range(int(rng.integers(1, 4))):
        painter = PAINTERS[tuple(PAINTERS)[rng.integers(len(PAINTERS))]]
        area = picture.shape[0] * picture.shape[1] * np.exp(rng.uniform(np.log(5e-4), np.log(3e-2)))
        wish = Wish(area_px=max(4.0, float(area)), contrast=float(rng.uniform(10, 90)), where=None)
        picture = painter(picture, rng, wish=wish).pixels
    return picture


def row(teacher: str, way: str, lost: float, maps: Mapping[str, Array], masks: Array) -> str:
    """Judge maps (n, h, w) of good, defective and marked tiles."""
    calm = {name: np.stack([smoothed(heat) for heat in maps[name]]) for name in ("good", "real", "drawn")}
    scores = {
        name: np.sort(values.reshape(len(values), -1), 1)[:, -31:].mean(1) for name, values in calm.items()
    }
    marked, clear = calm["real"][masks > 0.5], calm["real"][masks < 0.05]
    cells = [
        above(scores["good"], scores["real"]),
        above(clear, marked),
        above(scores["good"], scores["drawn"]),
    ]
    return f"| {teacher} | {way} | {lost:.2f} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |"


def smoothed(heat: Array) -> Array:
    """Return a map on the common grid, smoothed."""
    laid = cv2.resize(heat.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(laid, (0, 0), SMOOTHING))


def above(good: Array, bad: Array) -> float:
    """Return the AUROC of bad values over good ones."""
    values = np.concatenate([good, bad])
    return float(roc_auc_score(np.arange(len(values)) >= len(good), values))


if __name__ == "__main__":
    main()
