"""Inverse feature matching on real magnetic tiles: the original's recipe re-run, beside the method `ifm`.

    python benchmarks/ifm_on_tiles.py [--shared ../shared] [--seeds 3]

All tiles are dealt by part as in supervised_on_tiles.py: 70 % teach (some flawless parts of these calibrate),
20 % choose, 10 % test, anew with every seed; stretched to 224x224.

Re-run. What the authors released: a network pretrained on ImageNet whose last block is trained with the head,
global average pooling, softmax over two classes, SGD at 1e-3, and their class activation map (`ifm-cam`: no
bias, nothing cut off, up to five peaks), for images predicted abnormal alone. They take VGG16; its weights
are not at hand, so it is ResNet-18 with its last stage trained. Of the epochs the one with the lowest loss on
the part that chooses is kept (theirs: on the test part). Two rows of localisation: as released, where an
image predicted normal has no map, and with a map for every image.

Ours. The method `ifm`, and every map by which its bundle can be explained. A part counts as called bad from a
probability of one half.

AUPRO (to 30 %) and the AUROC of pixels are over all test photographs at 224x224, masks thresholded at 127;
pointing is the share of bad photographs whose highest value lies on the flaw. Mean and standard deviation
over the seeds. Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tiles import SIDE, Cells, labelled_samples, spread, trained, write_table

import flawscope
from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Array, Fit, Preprocess, Role, Sample
from flawscope.imaging.foreground import find_foreground
from flawscope.imaging.read import read, read_mask
from flawscope.methods.backbones import resolve, source_of
from flawscope.methods.contract import FitContext
from flawscope.metrics import localisation
from flawscope.metrics.explanations import points_at_flaw
from flawscope.metrics.ranking import auroc as auroc_of
from flawscope.runtime.explain import Explaining
from flawscope.runtime.explain.ifm import class_product, released_map

RELEASED = {"learning_rate": 1e-3, "momentum": 0.9, "batch": 32, "epochs": 10}
TRAINING = {"steps": 300, "batch": 32, "learning_rate": 3e-3, "weight_decay": 1e-3}
OURS = {"flips": "both", "views": 2, "smoothing": 14.0, "trainable": "last_stage", "training": TRAINING}
EXPLAINERS = ("anomaly", "cam", "ifm-cam", "ifm-bank")
COLUMNS = ("accuracy", "precision", "recall", "f1", "auroc")
PLACES = ("aupro", "pixel_auroc", "pointing")


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbones", default="mobilenetv2_100,resnet18", help="of the method ifm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ifm_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/ifm_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    recipes: list[dict[str, Any]] = [{"method": "re-run", "backbone": "resnet18", "settings": RELEASED}]
    for backbone in arguments.backbones.split(","):
        settings = as_values(build(methods["ifm"].method.Config, OURS, where="ifm"))
        recipes.append({"method": "ifm", "backbone": backbone, "settings": settings})
    found: list[list[dict[str, Any]]] = []
    for recipe in recipes:
        found.append([])
        for seed in range(arguments.seeds):
            one = recipe | {"seed": seed, "threads": arguments.threads}
            work = rerun if recipe["method"] == "re-run" else ours
            found[-1].append(cells.run(one, lambda one=one, work=work: work(arguments.shared, one)))
            write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def ours(shared: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train and test the method, and measure what its bundle is explained by."""
    samples = labelled_samples(shared, seed=recipe["seed"])
    with trained(samples, recipe, shared=shared) as (taught, report):
        tested = [judged.sample for judged in report.judged]
        scores = np.array([judged.inspection.score for judged in report.judged], float)
        inspector = flawscope.Inspector.open(taught.bundle.path, threads=recipe["threads"])
        explaining = Explaining(inspector, EXPLAINERS)
        maps: dict[str, list[Array]] = {name: [] for name in EXPLAINERS}
        for sample in tested:
            for name, heat in explaining.maps(read(sample.path)).maps.items():
                maps[name].append(heat)
        return verdicts(scores, tested) | {
            "maps": {name: places(heats, tested) for name, heats in maps.items()},
            "fit_s": taught.seconds["teach"],
            "verdict_ms": report.timings_ms["total"]["p50"],
            "size_mb": taught.bundle.size_bytes / 1e6,
        }


def rerun(shared: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train the original's classifier on the same split, and measure it with the released map."""
    import torch
    from torch import nn

    from flawscope.methods.deep.canvases import load_canvases, normalised
    from flawscope.methods.deep.trunk import cut

    torch.set_num_threads(recipe["threads"])
    samples = labelled_samples(shared, seed=recipe["seed"])
    backbone = resolve(recipe["backbone"], weights_dir=shared / "weights")
    preprocess = Preprocess((SIDE, SIDE), Fit.STRETCH, mean=backbone.card.mean, std=backbone.card.std)
    source = source_of(recipe["backbone"], weights_dir=shared / "weights")
    context = FitContext(backbone, preprocess, recipe["seed"], recipe["threads"], source=source)
    start = time.perf_counter()
    torch.manual_seed(recipe["seed"])
    pieces = cut(context, "last_stage")
    head = nn.Linear(pieces.channels, 2)
    look = Frozen(pieces.frozen, recipe["threads"])
    seen = {}
    for role in (Role.FIT, Role.SELECT, Role.TEST):
        some = [one for one in samples if one.role is role]
        pixels = load_canvases(some, context).pixels
        truth = torch.tensor([int(one.is_bad) for one in some])
        seen[role] = (look(normalised(pixels, backbone.card).numpy()), truth)
    train_as_released(pieces.trained, head, seen, recipe)
    last = through(pieces.trained, seen[Role.TEST][0])
    with torch.no_grad():
        logits, weights = head(last.mean((2, 3))).numpy(), head.weight.numpy()
    fit_s = time.perf_counter() - start
    tested = [one for one in samples if one.role is Role.TEST]
    maps = original_maps(last.numpy(), weights, logits, tested)
    return verdicts(logits[:, 1] - logits[:, 0], tested) | {
        "maps": {name: places(heats, tested) for name, heats in maps.items()},
        "fit_s": fit_s,
    }


def train_as_released(block: Any, head: Any, seen: dict[Role, tuple[Array, Any]], recipe: dict) -> None:
    """Train the last block and the head by SGD; keep the epoch with the lowest loss on SELECT."""
    import torch
    from torch.nn import functional

    settings = recipe["settings"]
    optimiser = torch.optim.SGD(
        [*block.parameters(), *head.parameters()],
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
    )
    values, truth = seen[Role.FIT]
    kept: list[Any] = []
    lowest = float("inf")
    for epoch in range(settings["epochs"]):
        block.train()
        order = derive(recipe["seed"], "epoch", epoch).permutation(len(truth))
        for first in range(0, len(order), settings["batch"]):
            rows = order[first : first + settings["batch"]]
            found = block(torch.from_numpy(values[rows]).float())
            loss = functional.cross_entropy(head(found.mean((2, 3))), truth[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            judged = head(through(block, seen[Role.SELECT][0]).mean((2, 3)))
            left = float(functional.cross_entropy(judged, seen[Role.SELECT][1]))
        if left < lowest:
            lowest = left
            kept = [
                {name: value.clone() for name, value in module.state_dict().items()}
                for module in (block, head)
            ]
    block.load_state_dict(kept[0])
    head.load_state_dict(kept[1])


def through(block: Any, values: Array) -> Any:
    """Return what the trained block makes of frozen maps, float32 (n, C, h, w)."""
    import torch

    block.eval()
    with torch.no_grad():
        return torch.cat([block(some) for some in torch.from_numpy(values).float().split(32)])


class Frozen:
    """What stays as it is, run once over all canvases."""

    def __init__(self, model: Any, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        content = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Array) -> Array:
        """Return maps float16 (n, C, h, w) of normalised images float32 (n, 3, H, W)."""
        name = self._session.get_inputs()[0].name
        parts = [self._session.run(None, {name: images[i : i + 16]})[0] for i in range(0, len(images), 16)]
        return np.concatenate(parts).astype(np.float16)


def original_maps(
    features: Array, weights: Array, logits: Array, tested: Sequence[Sample]
) -> dict[str, list[Array]]:
    """Return the released map of each image, as released and for every image, float32 (224, 224) each."""
    maps: dict[str, list[Array]] = {"ifm-cam, as released": [], "ifm-cam, for every image": []}
    for row, sample in enumerate(tested):
        mask = cv2.resize(
            find_foreground(read(sample.path).pixels).mask.astype(np.uint8),
            (SIDE, SIDE),
            interpolation=cv2.INTER_NEAREST,
        )
        predicted = int(logits[row].argmax())
        every = released_map(features[row], weights, mask > 0, predicted=1)
        shown = released_map(features[row], weights, mask > 0, predicted=predicted)
        assert every is not None
        lowest = np.full((SIDE, SIDE), min(0.0, float(class_product(features, weights[1]).min())), np.float32)
        maps["ifm-cam, as released"].append(lowest if shown is None else shown.heat)
        maps["ifm-cam, for every image"].append(every.heat)
    return maps


def verdicts(log_odds: Array, tested: Sequence[Sample]) -> dict[str, float]:
    """Return what the log-odds of bad are worth."""
    bad = np.array([sample.is_bad for sample in tested])
    called = log_odds > 0
    hits = int((called & bad).sum())
    return {
        "accuracy": float((called == bad).mean()),
        "precision": hits / max(int(called.sum()), 1),
        "recall": hits / max(int(bad.sum()), 1),
        "f1": 2 * hits / max(int(called.sum() + bad.sum()), 1),
        "auroc": float(auroc_of(log_odds, bad).value or 0.0),
        "tested": len(bad),
        "bad": int(bad.sum()),
    }


def places(maps: Sequence[Array], tested: Sequence[Sample]) -> dict[str, float]:
    """Return how well maps show where flaws are."""
    large = [cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for heat in maps]
    masks = [None if sample.mask_path is None else mask_of(sample) for sample in tested]
    pixels = localisation.collect(
        large, masks, pixel_threshold=1.0, is_bad=[sample.is_bad for sample in tested]
    )
    pointed = [
        points_at_flaw(heat, mask)
        for heat, mask in zip(large, masks, strict=True)
        if mask is not None and mask.any()
    ]
    return {
        "aupro": float(localisation.aupro(pixels, 0.3).value or 0.0),
        "pixel_auroc": float(localisation.auroc(pixels).value or 0.0),
        "pointing": float(np.mean(pointed)),
    }


def mask_of(sample: Sample) -> Array:
    """Return where a tile's flaw is, bool (224, 224)."""
    full = read_mask(str(sample.mask_path), above=127).astype(np.uint8)
    return np.asarray(cv2.resize(full, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0)


def write(arguments: argparse.Namespace, found: list[list[dict[str, Any]]]) -> None:
    """Write the table of the cells so far."""
    rows = []
    for cells in found:
        good = [cell for cell in cells if cell["status"] == "ok"]
        if not good:
            rows.append(f"| {cells[0]['method']} | {cells[0]['backbone']} | skipped: {cells[0]['reason']} |")
            continue
        for name in good[0]["maps"]:
            values = [spread([cell[column] for cell in good]) for column in COLUMNS]
            values += [spread([cell["maps"][name][place] for cell in good]) for place in PLACES]
            values.append(f"{np.mean([cell['fit_s'] for cell in good]):.0f}")
            head = [good[0]["method"], good[0]["backbone"], name, str(len(good))]
            rows.append("| " + " | ".join([*head, *values]) + " |")
    columns = ("accuracy", "precision", "recall", "F1", "AUROC", "AUPRO, to 30 %", "pixel AUROC", "pointing")
    write_table(
        arguments.out,
        title="Inverse feature matching on magnetic tiles",
        command=f"ifm_on_tiles.py --seeds {arguments.seeds}`, {arguments.threads} threads",
        head=("method", "backbone", "map", "seeds", *columns, "fit, s"),
        rows=rows,
    )


if __name__ == "__main__":
    main()
