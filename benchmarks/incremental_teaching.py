"""Incremental teaching against a refit on real magnetic tiles.

    python benchmarks/incremental_teaching.py [--backbones bundled,resnet18] [--seeds 3]

The protocol's split by part (../shared/data/protocol.py): of its 200 good photographs the parts of some 20
calibrate; the others are dealt by part, a seed each, into a first half that is taught, and a second half that
is taught afterwards, at once and in four steps. The refit is taught all of them. All are tested on 120 good
and 120 defective photographs, stretched to 224x224. "Same projection" is a padim fitted to all photographs
through the projection of the first half; incremental teaching must equal that within rounding, and a dfm
must equal its refit within rounding. The largest difference of a test score is relative to these.

A patchcore samples its candidates by lot. "Refit, other draws" refits it with OTHERS further seeds on the
same photographs: what differs between those is not due to teaching.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tiles import Cells, protocol_samples, spread, write_table

import flawscope
from flawscope.core.config import build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Array, Report, Role, Sample
from flawscope.data.manifest import write_manifest
from flawscope.flows.evaluate import EvaluateSettings
from flawscope.flows.evaluate import evaluate as measure
from flawscope.flows.teach import teach
from flawscope.flows.teach_samples import TeachSettings
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.padim import Padim, PadimConfig, _by_position
from flawscope.methods.teaching import from_bytes
from flawscope.runtime.bundle import open_bundle
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

METHODS = ("patchcore", "padim", "dfm")
AT = "2026-01-01T00:00:00+00:00"
STEPS = 4
OTHERS = 3
HEAD = (
    "method", "backbone", "AUROC, first half", "taught at once", "in four steps", "refit", "mean gap at once",
    "mean gap in four steps", "gaps of single seeds", "refit, other draws, against refit",
    "largest difference of a score", "teach, s", "refit, s", "state, MB",
)  # fmt: skip


def halves(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """Deal FIT by part into two halves."""
    fit = [sample for sample in samples if sample.role is Role.FIT]
    parts = sorted({sample.part for sample in fit})
    order = derive(seed, "halves").permutation(len(parts)).tolist()
    first = {parts[i] for i in order[: len(parts) // 2]}
    return [s for s in fit if s.part in first], [s for s in fit if s.part not in first]


def steps_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Deal samples into four steps, parts together."""
    parts = sorted({sample.part for sample in samples})
    return [[s for s in samples if parts.index(s.part) % STEPS == step] for step in range(STEPS)]


def settings_of(method: str, backbone: str, seed: int) -> dict[str, Any]:
    """Return the settings of training: ImageNet's features differ in strength, and that tells."""
    own = {} if backbone == "bundled" else {"unit_levels": False}
    return {
        "fit": "stretch", "size": [224, 224], "method": method, "backbone": backbone, "seed": seed,
        "settings": own, "references": 0,
    }  # fmt: skip


def measured(arguments: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """Teach a half, teach the other at once and in steps, refit, test all."""
    samples = protocol_samples(arguments.shared, calibrate=20)
    first, second = halves(samples, recipe["seed"])
    others = [sample for sample in samples if sample.role is not Role.FIT]
    weights_dir, threads = arguments.shared / "weights", recipe["threads"]
    settings = settings_of(recipe["method"], recipe["backbone"], recipe["seed"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def train(taught: Sequence[Sample], out: str, seed: int = recipe["seed"]) -> Path:
            write_manifest(folder / f"{out}.jsonl", [*taught, *others])
            found = flawscope.train(
                folder / f"{out}.jsonl", out=folder / out, settings=settings | {"seed": seed},
                weights_dir=weights_dir, threads=recipe["threads"],
            )  # fmt: skip
            return Path(found.bundle.path)

        def grow(model: Path, added: Sequence[Sample], out: str) -> Path:
            write_manifest(folder / f"{out}.jsonl", added)
            wishes = TeachSettings(
                folder / f"{out}.jsonl", backbone=recipe["backbone"], weights_dir=weights_dir
            )
            return teach(model, wishes, folder / f"{out}.flaw", at=AT, threads=recipe["threads"]).bundle.path

        half = train(first, "half")
        start = time.perf_counter()
        once = grow(half, second, "once")
        teach_s = time.perf_counter() - start
        start = time.perf_counter()
        refit = train([*first, *second], "refit")
        refit_s = time.perf_counter() - start
        grown = half
        for number, step in enumerate(steps_of(second)):
            grown = grow(grown, step, f"step{number}")
        reports = {
            key: tested(path, folder / "refit.jsonl", threads)
            for key, path in (("half", half), ("once", once), ("steps", grown), ("refit", refit))
        }
        redrawn = []
        for other in range(OTHERS if recipe["method"] == "patchcore" else 0):
            seed = 100 * (other + 1) + recipe["seed"]
            again = tested(train([*first, *second], f"again{seed}", seed), folder / "refit.jsonl", threads)
            redrawn.append(again.metrics["image"]["auroc"].value)
        differs = difference(arguments, recipe, half, second, first, reports)
        aurocs = {key: report.metrics["image"]["auroc"].value for key, report in reports.items()}
        return aurocs | {
            "difference": differs,
            "redrawn": redrawn,
            "teach_s": teach_s,
            "refit_s": refit_s,
            "state_mb": len(open_bundle(half).contents.teaching) / 1e6,
            "taught": [len(first), len(second)],
        }


def tested(model: Path, manifest: Path, threads: int) -> Report:
    """Test a bundle on the protocol's test part."""
    inspector = flawscope.Inspector.open(model, threads=threads)
    return measure(inspector, EvaluateSettings(manifest, manifest=manifest, pixels=False))


def scores(report: Report) -> Array:
    """Return the scores of the test part, in order."""
    return np.array([one.inspection.score for one in report.judged], np.float64)


def difference(
    arguments: argparse.Namespace,
    recipe: dict[str, Any],
    half: Path,
    second: Sequence[Sample],
    first: Sequence[Sample],
    reports: dict[str, Report],
) -> float:
    """Return the largest relative difference of a test score: of padim to the fit through the same
    projection, else to the refit."""
    found = scores(reports["once"])
    expected = scores(reports["refit"])
    if recipe["method"] == "padim":
        contents = open_bundle(half).contents
        backbone = resolve(recipe["backbone"], weights_dir=arguments.shared / "weights")
        context = FitContext(backbone, contents.preprocess, recipe["seed"], recipe["threads"])
        config = build(PadimConfig, contents.settings, where="padim")
        method = Padim(config)
        state = from_bytes(contents.teaching)
        projection = (state["matrix"], state["offset"])
        data = FitData((*first, *second))
        sums = _by_position(data.fit, context.features(config.embedding), context, projection)
        session = GraphSession(method._of_sums(projection, sums, context), threads=recipe["threads"])
        scorer = Scorer(session, contents.preprocess)
        paths = [one.sample.path for one in reports["once"].judged]
        expected = np.array(
            [scorer(loaded.required())[0].score for loaded in read_ahead(paths, contents.preprocess)]
        )
    return float(np.abs(found / expected - 1).max())


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbones", default="bundled,resnet18")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/incremental_teaching.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/incremental_teaching.jsonl"))
    arguments = parser.parse_args()
    assert all(hasattr(methods[name].method, "grow") for name in arguments.methods.split(","))
    cells = Cells(arguments.cells)
    found: list[dict[str, Any]] = []
    for backbone in arguments.backbones.split(","):
        for method in arguments.methods.split(","):
            for seed in range(arguments.seeds):
                recipe = {
                    "method": method, "backbone": backbone, "seed": seed, "threads": arguments.threads,
                    "version": 2,
                }  # fmt: skip
                found.append(cells.run(recipe, lambda recipe=recipe: measured(arguments, recipe)))
                write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def write(arguments: argparse.Namespace, cells: list[dict[str, Any]]) -> None:
    """Write the table of the cells so far."""
    rows = []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell["status"] == "ok":
            groups.setdefault((cell["method"], cell["backbone"]), []).append(cell)
    for (method, backbone), members in groups.items():
        columns = [spread([one[key] for one in members]) for key in ("half", "once", "steps", "refit")]
        gaps = [[one[key] - one["refit"] for one in members] for key in ("once", "steps")]
        single = "; ".join(", ".join(f"{gap:+.4f}" for gap in some) for some in gaps)
        draws = [value - one["refit"] for one in members for value in one["redrawn"]]
        redrawn = f"{np.mean(draws):+.4f}, from {min(draws):+.4f} to {max(draws):+.4f}" if draws else "alike"
        worst = max(one["difference"] for one in members)
        kind = " (same projection)" if method == "padim" else " (refit)"
        seconds = [np.median([one[key] for one in members]) for key in ("teach_s", "refit_s")]
        rows.append(
            f"| {method} | {backbone} | {' | '.join(columns)} | {np.mean(gaps[0]):+.4f} | "
            f"{np.mean(gaps[1]):+.4f} | {single} | {redrawn} | {worst:.2g}{kind} | {seconds[0]:.0f} | "
            f"{seconds[1]:.0f} | {members[0]['state_mb']:.1f} |"
        )
    seeds = max((len(members) for members in groups.values()), default=0)
    write_table(
        arguments.out,
        title="Incremental teaching on magnetic tiles",
        command=f"incremental_teaching.py --backbones {arguments.backbones} --seeds {arguments.seeds}`, "
        f"{arguments.threads} threads",
        notes=[
            f"Means ± deviations of {seeds} halvings; gaps are to the refit's AUROC.",
            "Of single seeds those at once come first, then those in four steps.",
        ],
        head=HEAD,
        rows=rows,
    )


if __name__ == "__main__":
    main()
