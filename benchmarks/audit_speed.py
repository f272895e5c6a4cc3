"""Draw synthetic photographs, audit them, and write how long that took and the most memory it held.

python benchmarks/audit_speed.py [--images 10000] [--size 128x96] [--out benchmarks/results]

Four fifths teach, a tenth is a good test part and a tenth defective; every hundredth is a copy of another.
The audit runs in a process of its own, so that drawing does not count.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tiles import machine_line

from flawscope.core import files
from flawscope.synth.write import write_chips

TARGET_S, TARGET_MB = 900, 2000


def audited(folder: Path) -> None:
    """Audit a folder and print the figures as JSON: what the process of its own does."""
    from tiles import Stopwatch

    from flawscope.flows.audit import audit, write_audit
    from flawscope.flows.environment import peak_memory_mb

    watch = Stopwatch()
    start = time.perf_counter()
    found = audit(folder, progress=watch)
    write_audit(found, folder.parent / "audit", progress=watch)
    values = found.to_json()
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - start,
                "stages": watch.seconds,
                "peak_mb": peak_memory_mb(),
                "kinds": values["kinds"],
                "images": values["images"],
            }
        )
    )


def main() -> None:
    """Draw, audit in a process of its own, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit is not None:
        audited(options.audit)
        return
    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "chips"
        bad = options.images // 10
        drawn = time.perf_counter()
        write_chips(folder, good=options.images - 2 * bad, bad=bad, size_wh=(width, height), seed=0)
        drawn = time.perf_counter() - drawn
        sources = sorted((folder / "train" / "good").glob("*.png"))
        for source in sources[::100]:
            shutil.copyfile(source, source.with_name(f"again_{source.name}"))
        command = [sys.executable, __file__, "--audit", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    found = ", ".join(f"{kind} {count}" for kind, count in figures["kinds"].items())
    lines = [
        "# Audit: speed and memory",
        "",
        f"`python benchmarks/audit_speed.py --images {options.images} --size {options.size}`; "
        "the script's head says what is measured.",
        "",
        machine_line(),
        "",
        "| images | size | audit, s | images/s | peak memory, MB | wished |",
        "|---|---|---|---|---|---|",
        f"| {figures['images']} | {options.size} | {figures['seconds']:.0f} | "
        f"{figures['images'] / figures['seconds']:.0f} | {figures['peak_mb']:.0f} | "
        f"under {TARGET_S} s and {TARGET_MB} MB |",
        "",
        f"Drawing took {drawn:.0f} s and does not count. Photographs of this size are small: reading larger "
        "ones takes longer, comparing them does not.",
        "",
        "| stage | s |",
        "|---|---|",
        *(f"| {name} | {seconds:.0f} |" for name, seconds in figures["stages"].items()),
        "",
        f"Found: {found or 'nothing'}. {len(sources[::100])} exact copies were planted.",
        "",
    ]
    files.write_text(options.out / "audit_speed.md", "\n".join(lines))


if __name__ == "__main__":
    main()
