"""Incremental teaching against a refit on real magnetic tiles.

    python benchmarks/incremental_teaching.py [--backbones bundled,resnet18] [--seeds 3]

The protocol's split by part (../shared/data/protocol.py): its 200 good photographs are dealt by part, a seed
each, into a first half that is taught, and a second half that is taught afterwards, at once and in four
steps, its state being kept as a bundle keeps it. The refit is taught all of them. The graphs that come out
are tested on 120 good and 120 defective photographs, stretched to 224x224. "Same projection" is a padim or a
patchcore fitted to all photographs through the projection of the first half, since teaching leaves the
projection as it is; a padim must equal that within rounding, and a dfm its refit. The largest difference of a
test score, at once or in steps, is relative to these.

A patchcore samples its candidates by lot. "Refit, other draws" refits it with OTHERS further seeds on the
same photographs: what differs between those is not due to teaching.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from tiles import SIDE, Cells, judged, protocol_samples, spread, write_table

from flawscope.core.config import build
from flawscope.core.registry import methods
from flawscope.core.rng import derive
from flawscope.core.types import Fit, Preprocess, Role, Sample
from flawscope.methods.backbones import resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.padim import Padim, _by_position
from flawscope.methods.places import Places
from flawscope.methods.teaching import from_bytes, places_state, to_bytes

METHODS = ("patchcore", "padim", "dfm")
STEPS = 4
OTHERS = 3
HEAD = (
    "method", "backbone", "AUROC, first half", "taught at once", "in four steps", "refit", "mean gap at once",
    "mean gap in four steps", "gaps of single seeds", "refit, same projection", "mean gap at once to that",
    "mean gap in four steps to that", "its gaps of single seeds", "refit, other draws, against refit",
    "largest difference of a score", "state, MB",
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


def measured(arguments: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """Teach a half, teach the other at once and in steps, refit, test all."""
    samples = protocol_samples(arguments.shared)
    first, second = halves(samples, recipe["seed"])
    together = FitData((*first, *second))
    known = context_of(recipe["backbone"], arguments.shared / "weights", recipe["threads"])
    context = replace(known, seed=recipe["seed"])
    entry = methods[recipe["method"]]
    own = {} if recipe["backbone"] == "bundled" else {"unit_levels": False}
    method = entry.method(build(entry.method.Config, own, where=entry.name))
    half = method.learn(FitData(tuple(first)), context)
    once = method.grow(half.state, FitData(tuple(second)), context)
    state = from_bytes(to_bytes(half.state))
    for step in steps_of(second):
        steps = method.grow(state, FitData(tuple(step)), context)
        state = from_bytes(to_bytes(steps.state))  # as a bundle keeps it
    refit = method.fit(together, context)
    graphs = {"half": half.model, "once": once.model, "steps": steps.model, "refit": refit}
    if isinstance(method, Padim):
        projection = (half.state["matrix"], half.state["offset"])
        sums = _by_position(together.fit, context.features(method._config.embedding), context, projection)
        graphs["same projection"] = method._of_sums(projection, sums, context)
    if recipe["method"] == "patchcore":
        nothing = places_state(Places(context.features(method._config.embedding).geometry.grid_hw))
        window_alone = half.state | nothing | {
            "bank": half.state["bank"][:0], "photographs": np.zeros(1, np.int64),
        }  # fmt: skip
        graphs["same projection"] = method.grow(window_alone, together, context).model
        for other in range(OTHERS):
            again = replace(context, seed=100 * (other + 1) + recipe["seed"])
            graphs[f"redrawn {other}"] = method.fit(together, again)
    test = [sample for sample in samples if sample.role is Role.TEST]
    scores = {
        name: np.array([raw.score for raw in judged(graph, test, context)]) for name, graph in graphs.items()
    }
    is_bad = np.array([sample.is_bad for sample in test])
    aurocs = {name: float(roc_auc_score(is_bad, found)) for name, found in scores.items()}
    expected = scores.get("same projection", scores["refit"])
    return {name: aurocs[name] for name in ("half", "once", "steps", "refit")} | {
        "same": aurocs.get("same projection", aurocs["refit"]),
        "difference": max(float(np.abs(scores[n] / expected - 1).max()) for n in ("once", "steps")),
        "redrawn": [value for name, value in aurocs.items() if name.startswith("redrawn")],
        "state_mb": len(to_bytes(half.state)) / 1e6,
        "taught": [len(first), len(second)],
    }


@cache
def context_of(backbone: str, weights_dir: Path, threads: int) -> FitContext:
    """Return the context over one backbone, which keeps the features of what was seen."""
    opened = resolve(backbone, weights_dir=weights_dir)
    preprocess = Preprocess((SIDE, SIDE), Fit.STRETCH, mean=opened.card.mean, std=opened.card.std)
    return FitContext(opened, preprocess, threads=threads)


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
                    "version": 4,
                }  # fmt: skip
                found.append(cells.run(recipe, lambda recipe=recipe: measured(arguments, recipe)))
                write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def gaps_to(aim: str, cells: list[dict[str, Any]]) -> list[str]:
    """Return the mean gap at once and in steps to what cells have as `aim`, and those of single seeds."""
    gaps = [[one[key] - one[aim] for one in cells] for key in ("once", "steps")]
    single = "; ".join(", ".join(f"{gap:+.4f}" for gap in some) for some in gaps)
    return [f"{np.mean(gaps[0]):+.4f}", f"{np.mean(gaps[1]):+.4f}", single]


def write(arguments: argparse.Namespace, cells: list[dict[str, Any]]) -> None:
    """Write the table of the cells so far."""
    rows = []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell["status"] == "ok":
            groups.setdefault((cell["method"], cell["backbone"]), []).append(cell)
    for (method, backbone), members in groups.items():
        columns = [spread([one[key] for one in members]) for key in ("half", "once", "steps", "refit")]
        gaps = [*gaps_to("refit", members), spread([one["same"] for one in members])]
        gaps += gaps_to("same", members)
        draws = [value - one["refit"] for one in members for value in one["redrawn"]]
        redrawn = f"{np.mean(draws):+.4f}, from {min(draws):+.4f} to {max(draws):+.4f}" if draws else "alike"
        worst = max(one["difference"] for one in members)
        kind = " (refit)" if method == "dfm" else " (same projection)"
        rows.append(
            f"| {method} | {backbone} | {' | '.join([*columns, *gaps])} | {redrawn} | {worst:.2g}{kind} | "
            f"{members[0]['state_mb']:.1f} |"
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
