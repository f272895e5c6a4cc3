"""Explainers on real magnetic tiles: how well each shows why a tile is bad, against masks and by deletion.

    python benchmarks/explainers_on_tiles.py [--shared ../shared] [--seeds 3]

All tiles are dealt by part, as in supervised_on_tiles.py; bundles are taught, calibrated and explained as by
`flawscope explain --evaluate`, stretched to 224x224, masks thresholded at 127. Every explainer that is
registered and works with a bundle is measured on the same test photographs. Mean and standard deviation over
the seeds. Occlusion, an audit, is measured for the first seed when asked for (--occlusion).

Finished cells are kept beside the table (--cells) and not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from tiles import IMAGENET, SIDE, Cells, labelled_samples, machine_line, spread

import flawscope
from flawscope.core.config import as_values, build
from flawscope.core.registry import methods
from flawscope.data.manifest import write_manifest
from flawscope.flows.evaluate import EvaluateSettings
from flawscope.flows.explain import ExplainSettings
from flawscope.flows.explain_evaluate import measurable, measure
from flawscope.report.metric_words import EXPLANATION
from flawscope.runtime.explain import explainers

Row = tuple[str, str, dict[str, Any]]  # method, backbone, settings
FLIPS = {"flips": "both"}
ROWS: list[Row] = [
    ("finetune", "resnet18", FLIPS | {"views": 2}),
    ("linear", "resnet18", FLIPS | {"unit_levels": False}),
    ("patchcore", "resnet18", IMAGENET),
]


def main() -> None:
    """Measure every cell that is not there yet, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="finetune,linear,patchcore")
    parser.add_argument("--occlusion", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/explainers_on_tiles.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/explainers_on_tiles.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    found: list[list[dict[str, Any]]] = []
    for method, backbone, settings in ROWS:
        if method not in arguments.methods.split(","):
            continue
        found.append([])
        for seed in range(arguments.seeds):
            config = methods[method].method.Config
            recipe = {
                "method": method,
                "backbone": backbone,
                "seed": seed,
                "threads": arguments.threads,
                "settings": as_values(build(config, settings, where=method)),
                "explainers": [one.name for one in explainers if not one.audit],
                "occlusion": arguments.occlusion and seed == 0,
            }
            found[-1].append(cells.run(recipe, lambda recipe=recipe: measured(arguments, recipe)))
            write(arguments, found)
    print(arguments.out.read_text(encoding="utf-8"))


def measured(arguments: argparse.Namespace, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train one classifier and measure its explainers."""
    samples = labelled_samples(arguments.shared, seed=recipe["seed"])
    settings = {"fit": "stretch", "size": [SIDE, SIDE]}
    settings |= {name: recipe[name] for name in ("method", "backbone", "seed", "settings")}
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "tiles.jsonl"
        write_manifest(manifest, samples)
        taught = flawscope.train(
            manifest,
            out=Path(folder) / "run",
            settings=settings,
            weights_dir=arguments.shared / "weights",
            threads=recipe["threads"],
        )
        inspector = flawscope.Inspector.open(taught.bundle.path, threads=recipe["threads"])
        names = (*measurable(inspector), *(("occlusion",) if recipe["occlusion"] else ()))
        values = EvaluateSettings(manifest, mask_above=127)
        result = measure(inspector, values, ExplainSettings(names))
        references = taught.bundle.contents.references
        return {
            **{key: result.to_json()[key] for key in ("explainers", "best", "why", "tested")},
            "seconds": dict(taught.seconds),
            "references": 0 if references is None else len(references.vectors),
            "references_bytes": 0 if references is None else len(references.to_bytes()),
        }


def write(arguments: argparse.Namespace, found: list[list[dict[str, Any]]]) -> None:
    """Write the table of the cells so far."""
    lines = [
        "# Explainers on magnetic tiles",
        "",
        f"`python benchmarks/explainers_on_tiles.py --seeds {arguments.seeds}`, {arguments.threads} threads; "
        "the script's head says what is measured.",
        "",
        machine_line(),
        "",
        "| method | explainer | seeds | " + " | ".join(one.title for one in EXPLANATION.values()) + " |",
        "|---|---|---|" + "---|" * len(EXPLANATION),
    ]
    for cells in found:
        good = [cell for cell in cells if cell["status"] == "ok"]
        if not good:
            lines.append(f"| {cells[0]['method']} | skipped: {cells[0]['reason'].split('. ')[0]} |")
            continue
        for name in good[0]["explainers"]:
            rows = [cell["explainers"][name] for cell in good if name in cell["explainers"]]
            shown = []
            for metric in EXPLANATION:
                values = [row[metric]["value"] for row in rows if row[metric]["value"] is not None]
                shown.append(spread(values) if values else "not known")
            lines.append(f"| {good[0]['method']} | {name} | {len(rows)} | " + " | ".join(shown) + " |")
    lines += ["", "Taught, calibrated, and prepared for explanations (references and limits):", ""]
    for cells in found:
        for cell in cells:
            if cell["status"] == "ok":
                took = ", ".join(f"{name} {cell['seconds'][name]:.1f} s" for name in cell["seconds"])
                lines.append(
                    f"- {cell['method']}, seed {cell['seed']}: {took}; {cell['references']} references, "
                    f"{cell['references_bytes'] / 1e6:.2f} MB. {cell['why']}"
                )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
