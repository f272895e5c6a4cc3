"""Draw chips, compare the models that need no torch on them, and keep the page as docs/samples/compare.html.

    python scripts/compare_sample.py [--work runs/compare_sample] [--jobs 2]

Finished cells are kept in --work, so that the page can be made again in a moment.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flawscope.flows.compare.engine import Cache, Limits
from flawscope.flows.compare.flow import compare
from flawscope.flows.compare.models import adjusted, preset_of
from flawscope.flows.compare.planning import CompareSettings
from flawscope.flows.compare.writing import write_comparison
from flawscope.synth.write import write_chips

LARGEST = 1_500_000  # bytes of the page


def main() -> None:
    """Make the sample."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/compare_sample"))
    parser.add_argument("--out", type=Path, default=Path("docs/samples/compare.html"))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    chips = arguments.work / "chips"
    if not chips.is_dir():
        write_chips(chips, good=150, bad=110, size_wh=(192, 144), seed=3)
    settings = CompareSettings(
        (chips,),
        adjusted(preset_of("quick").models, [], steps=None),
        seeds=2,
        group_by=r"(?P<group>lot[A-Z]\d+)",
        resplit="65/10/25",
        run={"budget": 192},
    )
    found = compare(
        settings,
        arguments.work,
        limits=Limits(jobs=arguments.jobs),
        told=lambda outcome, known: print(outcome.cell.label, outcome.status, round(outcome.seconds)),
    )
    page = write_comparison(found, Cache(arguments.work), reports=False)
    content = page.read_bytes()
    if len(content) > LARGEST:
        raise SystemExit(f"The page has {len(content)} bytes, more than {LARGEST}.")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(content)
    print(arguments.out, len(content))


if __name__ == "__main__":
    main()
