"""What `whitening` does to patchcore as it ships: drawn products and magnetic tiles, with judging by place.

    OMP_NUM_THREADS=1 python benchmarks/patchcore_whitening.py [--backbones bundled,resnet18] \\
        [--powers 0,0.5,1] [--out benchmarks/results/patchcore_whitening.md]

patchcore with its other settings as they ship (with ImageNet weights: as docs/methods.md recommends for
them) learns good pictures of a product, stretched to 224x224; image and pixel AUROC are those of its graph,
as the line computes them, over the product's test pictures. Products: those of the held-out generators (12
textures, 3 chips; 20 good pictures each), and magnetic tiles in the protocol's split, of whose 200 good
photographs all, 60 or 20 teach. Finished cells are kept and not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from incremental_teaching import context_of
from tiles import IMAGENET, Cells, judged, pixels_of, protocol_samples, write_table

from flawscope.core.config import build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import GOOD, Role, Sample
from flawscope.methods.contract import FitContext, FitData
from flawscope.metrics import localisation, ranking
from flawscope.pretraining import heldout

TILES = (200, 60, 20)


def drawn(folder: Path) -> dict[str, list[Sample]]:
    """Draw the held-out products into a folder; return their samples by product."""
    found = {}
    for name, pictures in heldout.held_out(heldout.Drawn(textures=12)).items():
        place = folder / name
        place.mkdir(parents=True)
        samples = [
            _written(place / f"good{i}.png", pixels, None, role=Role.FIT)
            for i, pixels in enumerate(pictures.good)
        ]
        for i, pixels in enumerate(pictures.tested):
            mask = pictures.masks[i] if pictures.is_bad[i] else None
            samples.append(_written(place / f"tested{i}.png", pixels, mask, role=Role.TEST))
        found[name] = samples
    return found


def _written(path: Path, pixels: np.ndarray, mask: np.ndarray | None, *, role: Role) -> Sample:
    cv2.imwrite(str(path), pixels[..., ::-1])
    if mask is None:
        return Sample(path.name, str(path), GOOD, part=path.stem, role=role)
    mask_path = path.with_name(f"{path.stem}_mask.png")
    cv2.imwrite(str(mask_path), mask.astype(np.uint8) * 255)
    return Sample(path.name, str(path), "bad", mask_path=str(mask_path), part=path.stem, role=role)


def tiles(shared: Path, count: int) -> list[Sample]:
    """Return the protocol's samples with so many that teach."""
    samples = protocol_samples(shared)
    fit = [sample for sample in samples if sample.role is Role.FIT]
    chosen = derive(1, "few").permutation(len(fit))[:count]
    return [fit[i] for i in sorted(chosen.tolist())] + [s for s in samples if s.role is Role.TEST]


def measured(samples: Sequence[Sample], context: FitContext, settings: dict[str, Any]) -> dict[str, float]:
    """Teach and test one product."""
    entry = methods["patchcore"]
    method = entry.method(build(entry.method.Config, settings, where=entry.name))
    graph = method.fit(FitData(tuple(s for s in samples if s.role is Role.FIT)), context)
    test = [sample for sample in samples if sample.role is Role.TEST]
    found = judged(graph, test, context)
    bad = np.array([sample.is_bad for sample in test])
    image = ranking.auroc(np.array([raw.score for raw in found]), bad).value
    pixel = localisation.auroc(pixels_of(test, [raw.map for raw in found])).value
    assert image is not None and pixel is not None
    return {"image": float(image), "pixel": float(pixel)}


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbones", default="bundled,resnet18")
    parser.add_argument("--powers", default="0,0.5,1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/patchcore_whitening.md"))
    parser.add_argument("--cells", type=Path, default=Path("runs/patchcore_whitening.jsonl"))
    arguments = parser.parse_args()
    powers = [float(power) for power in arguments.powers.split(",")]
    cells = Cells(arguments.cells)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        products = drawn(Path(folder))
        real = {f"{count} tiles": tiles(arguments.shared, count) for count in TILES}
        for backbone in arguments.backbones.split(","):
            context = context_of(backbone, arguments.shared / "weights", arguments.threads)
            own = {} if backbone == "bundled" else IMAGENET
            found: dict[str, list[dict[str, Any]]] = {}
            for name, samples in (real | products).items():
                for power in powers:
                    recipe = {"backbone": backbone, "product": name, "whitening": power, "version": 1}
                    settings = own | {"whitening": power}
                    work = partial(measured, samples, context, settings)
                    found.setdefault(name, []).append(cells.run(recipe, work))
            for name in real:
                rows.append(_row(backbone, name, [(one["image"], one["pixel"]) for one in found[name]]))
            table = np.array([[(c["image"], c["pixel"]) for c in found[name]] for name in products])
            rows.append(_row(backbone, f"{len(products)} drawn, mean", table.mean(0)))
            better = [f"{(table[:, i, 0] > table[:, 0, 0]).sum()} / {(table[:, i, 1] > table[:, 0, 1]).sum()}"
                      for i in range(len(powers))]  # fmt: skip
            rows.append(f"| {backbone} | drawn products that are better than at {powers[0]:g} | "
                        + " | ".join(better) + " |")  # fmt: skip
            write_table(
                arguments.out,
                title="patchcore with its components whitened",
                command=f"patchcore_whitening.py --backbones {arguments.backbones} "
                f"--powers {arguments.powers}`, {arguments.threads} thread",
                notes=["Image / pixel AUROC."],
                head=("backbone", "product", *(f"whitening {power:g}" for power in powers)),
                rows=rows,
            )
    print(arguments.out.read_text(encoding="utf-8"))


def _row(backbone: str, name: str, figures: Any) -> str:
    cells = [f"{image:.4f} / {pixel:.4f}" for image, pixel in figures]
    return f"| {backbone} | {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
