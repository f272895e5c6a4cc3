"""`flawscope compare --preset qc10` on real magnetic tiles, with small settings, unattended.

    python benchmarks/compare_on_tiles.py [--seeds 1] [--steps 40] [--budget 128] [--every 2]

The test part is the protocol's (../shared/data/protocol.py), good and defective tiles of parts that teach
nothing, of which every `--every`-th photograph is judged; each seed deals its 200 good photographs anew, by
part, into those that teach and those that calibrate. ImageNet's ResNet-18 from ../shared/weights,
letterboxed, each tile's aspect kept. Feature banks have the settings for ImageNet's features of
docs/methods.md; networks are trained for few steps (--steps), enough to run through and too few to show what
they can do: methods_on_tiles.md has them at their defaults and at 224.

The command itself is run, so that it can be killed and started again; what it writes (--work) is turned into
the table of results.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tiles import IMAGENET, machine_line, protocol_samples

from flawscope.core.types import Role
from flawscope.data.manifest import write_manifest

SETTINGS = {
    "patchcore": IMAGENET | {"bank": 4000},
    "padim": {"unit_levels": False},
    "dfm": {"unit_levels": False},
    "supersimplenet": {"unit_levels": False},
    "efficientad": {"distil_steps": 100},
}


def main() -> None:
    """Run the command and write its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, default=Path("runs/compare_on_tiles"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--budget", type=int, default=128)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compare_on_tiles.md"))
    arguments = parser.parse_args()
    manifest = arguments.work / "tiles.jsonl"
    samples = protocol_samples(arguments.shared)
    tested = [sample for sample in samples if sample.role is Role.TEST]
    taught = [sample for sample in samples if sample.role is not Role.TEST]
    write_manifest(manifest, [*taught, *tested[:: arguments.every]])
    options = [
        "compare", "--data", str(manifest), "--preset", "qc10", "--seeds", str(arguments.seeds),
        "--steps", str(arguments.steps), "--budget", str(arguments.budget), "--backbone", "resnet18",
        "--mask-above", "127", "--threads", str(arguments.threads),
        "--weights-dir", str(arguments.shared / "weights"), "--out", str(arguments.work),
        *(piece for name, values in SETTINGS.items() for piece in assigned(name, values)),
    ]  # fmt: skip
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "flawscope", *options], check=True)
    seconds = time.monotonic() - start
    found = json.loads((arguments.work / "compare.json").read_text(encoding="utf-8"))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page(arguments, options, found, seconds), encoding="utf-8")


def assigned(method: str, values: dict[str, Any]) -> list[str]:
    """Return a method's settings as options."""
    return [piece for name, value in values.items() for piece in ("--set", f"{method}.{name}={value}")]


def page(arguments: argparse.Namespace, options: list[str], found: dict[str, Any], seconds: float) -> str:
    """Return the page of results: what was run, and what the command wrote as Markdown."""
    table = (arguments.work / "compare.md").read_text(encoding="utf-8")
    states = [cell["status"] for cell in found["cells"]]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    shown = shlex.join("..." if "/" in option else option for option in options)
    body = table.replace("# Comparison\n", "", 1).replace(str(arguments.shared), "../shared")
    return "\n".join(
        [
            "# Comparison of ten models on magnetic tiles",
            "",
            f"`python benchmarks/compare_on_tiles.py --seeds {arguments.seeds} --steps {arguments.steps} "
            f"--budget {arguments.budget} --every {arguments.every}`; "
            "the script's head says what is measured.",
            "",
            f"`flawscope {shown}`",
            "",
            f"{len(states)} cells: {counted}; the last start took {seconds:.0f} s, the cells together "
            f"{sum(cell['seconds'] for cell in found['cells']):.0f} s.",
            "",
            machine_line(),
            body.rstrip(),
            "",
        ]
    )


if __name__ == "__main__":
    main()
