"""Drift: false alarms over unchanged parts, delay to detection, and what is named as what.

    python benchmarks/drift.py [--seeds 20] [--parts 10000]

Numbers first: scores of good parts follow a gamma distribution, looks (light, colour, sharpness, position,
agreement) normal ones; 60 and 200 good parts calibrate, each seed anew. "Unchanged" adds nothing; "with
defects" makes 2 % of the parts defective at random and lays a burst of 100 defective parts in a row into each
thousand: their scores are twice a good part's, so that about a sixth of them lies among the ordinary, with
"weak defects" 1.5 times, so that about half does. A seed counts once however many alarms it has. Delays are
in parts, from the change at part 500 on, median and range over half the seeds. Finished cells are kept
(--cells) and not measured again.

Then pictures: chips of flawscope synth, 200 good ones to teach and calibrate by split, and streams of 60 good
ones followed by 60 of one sort: good, defective, in another light, in another layout.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tiles import Cells, machine_line

import flawscope
from flawscope.core.rng import derive
from flawscope.core.scores import ScoreSet
from flawscope.core.types import GOOD, Array, Calibration, Role, Sample
from flawscope.decision.calibration import calibrate
from flawscope.decision.drift import LOOKS, RUN_LENGTH, Watch
from flawscope.flows.drift import begin, watch_paths
from flawscope.synth.write import write_chips

SPREAD = {"light": 0.02, "red": 0.01, "blue": 0.01, "sharpness": 0.04, "right": 0.01, "down": 0.01}
AGREEMENT = (0.98, 0.005)
Part = tuple[float, dict[str, float]]
CHANGES: dict[str, dict[str, float]] = {
    "scores 1.3 times as high": {"score": 1.3},
    "scores 1.6 times as high": {"score": 1.6},
    "scores 2.5 times as high": {"score": 2.5},
    "light 5 % darker": {"light": -0.05},
    "light 15 % darker": {"light": -0.16},
    "15 % less fine detail": {"sharpness": -0.16},
    "moved by 3 % of the width": {"right": 0.03},
    "another layout (agreement -0.1)": {"agreement": -0.1},
}


def calibration_of(seed: int, parts: int) -> tuple[Calibration, dict[str, Array]]:
    """Return a calibration of good parts, and their looks."""
    rng = derive(seed, "calibration", parts)
    scores = rng.gamma(4, 0.2, parts)
    samples = [Sample(str(i), str(i), GOOD, role=Role.CALIBRATE) for i in range(parts)]
    scored = ScoreSet.of(samples, scores, maxima=scores, role=Role.CALIBRATE)
    looks = {name: rng.normal(0, spread, parts) for name, spread in SPREAD.items()}
    return calibrate(scored), looks | {"agreement": rng.normal(*AGREEMENT, parts)}


def good(rng: np.random.Generator, change: Mapping[str, float] | None = None) -> Part:
    """Return one good part, changed where a change is given."""
    change = change or {}
    looks = {name: float(rng.normal(change.get(name, 0.0), spread)) for name, spread in SPREAD.items()}
    looks["agreement"] = float(rng.normal(AGREEMENT[0] + change.get("agreement", 0.0), AGREEMENT[1]))
    return float(rng.gamma(4, 0.2)) * change.get("score", 1.0), looks


def unchanged(rng: np.random.Generator, parts: int) -> Iterator[Part]:
    """Yield good parts."""
    for _ in range(parts):
        yield good(rng)


def with_defects(rng: np.random.Generator, parts: int, *, factor: float = 2.0) -> Iterator[Part]:
    """Yield good parts, 2 % defective ones among them, and a burst of 100 in each thousand."""
    for number in range(parts):
        score, looks = good(rng)
        burst = 400 <= number % 1000 < 500
        yield (factor * score if burst or rng.random() < 0.02 else score), looks


def with_weak_defects(rng: np.random.Generator, parts: int) -> Iterator[Part]:
    """Yield the same with defects that hardly show."""
    return with_defects(rng, parts, factor=1.5)


def false_alarms(
    stream: Callable[[np.random.Generator, int], Iterator[Part]], *, calibrated: int, seeds: int, parts: int
) -> tuple[int, int]:
    """Return how many seeds had an alarm of drift, and how many one of odd parts."""
    drift = odd = 0
    for seed in range(seeds):
        watch = Watch.of(*calibration_of(seed, calibrated), seed=seed)
        for score, looks in stream(derive(seed, "stream"), parts):
            watch.add(score, looks)
        drift += any(alarm.is_drift for alarm in watch.alarms)
        odd += any(not alarm.is_drift for alarm in watch.alarms)
    return drift, odd


def delays(
    change: Mapping[str, float], *, calibrated: int, seeds: int
) -> list[tuple[int | None, int | None]]:
    """Return after how many parts the change was named drift, and after how many odd parts were noticed, a
    seed each; None: not within 3000, or not before drift was named."""
    found: list[tuple[int | None, int | None]] = []
    for seed in range(seeds):
        watch = Watch.of(*calibration_of(seed, calibrated), seed=seed)
        rng = derive(seed, "change")
        for _ in range(500):
            watch.add(*good(rng))
        named = odd = None
        for number in range(1, 3001):
            alarms = watch.add(*good(rng, change))
            odd = number if odd is None and any(not alarm.is_drift for alarm in alarms) else odd
            if any(alarm.is_drift for alarm in alarms):
                named = number
                break
        found.append((named, odd))
    return found


def alarmed(
    stream: Callable[[np.random.Generator, int], Iterator[Part]], recipe: Mapping[str, Any]
) -> dict[str, int]:
    """Return a finished cell of the first table."""
    drift, odd = false_alarms(
        stream, calibrated=recipe["calibrated"], seeds=recipe["seeds"], parts=recipe["parts"]
    )
    return {"drift": drift, "odd": odd}


def delayed(change: Mapping[str, float], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a finished cell of the second table."""
    return {"delays": delays(change, calibrated=recipe["calibrated"], seeds=recipe["seeds"])}


def cell(found: list[tuple[int | None, int | None]]) -> str:
    """Write the delays of one change."""
    known = [named for named, _ in found if named is not None]
    odd = [first for _, first in found if first is not None]
    text = f"{np.median(known):.0f} ({min(known)} to {max(known)})" if known else ""
    late = len(found) - len(known)
    pieces = [text] if known else []
    pieces += [f"{late} of {len(found)} not within 3,000"] if late else []
    pieces += [f"many odd parts noticed after {np.median(odd):.0f} in {len(odd)}"] if odd else []
    return "; ".join(pieces)


def pictures(threads: int) -> list[str]:
    """Return rows of the table of streams of pictures."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        chips = Path(folder) / "chips"
        write_chips(chips, good=200, bad=64, size_wh=(256, 192), seed=0, shifts=120)
        taught = flawscope.train(
            chips / "train" / "good", out=Path(folder) / "run", settings={"calibrate": "split"},
            threads=threads,
        )  # fmt: skip
        inspector = flawscope.Inspector.open(taught.bundle.path, threads=threads)
        usual = sorted(chips.glob("test/good/*.png"))
        sorts = {
            "good": sorted(chips.glob("train/good/*.png"))[:60],
            "defective, eight kinds": [
                p for p in sorted(chips.glob("test/*/*.png")) if p.parent.name != GOOD
            ],
            "another light": sorted(chips.glob("shift/lighting/*.png")),
            "another layout": sorted(chips.glob("shift/layout/*.png")),
        }
        for name, then in sorts.items():
            watch = begin(inspector.bundle)
            stream = [str(path) for path in (*usual[:60], *then[:60])]
            alone = list(watch_paths(inspector, watch, stream))[60:]
            kinds = sorted({kind for one in alone for kind in (effect.kind for effect in one.unlike)})
            unlike = sum(bool(one.unlike) for one in alone)
            alarms = ", ".join(f"{alarm.kind} (part {alarm.first - 60})" for alarm in watch.alarms) or "none"
            said = watch.sentence().replace("|", "/")
            rows.append(
                f"| {name} | {unlike} of {len(alone)} ({', '.join(kinds) or 'none'}) | {alarms} | {said} |"
            )
    return rows


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/drift.md"))
    parser.add_argument("--cells", type=Path, default=Path("benchmarks/results/drift.jsonl"))
    arguments = parser.parse_args()
    cells = Cells(arguments.cells)
    lines = [
        "# Drift",
        "",
        f"`python benchmarks/drift.py --seeds {arguments.seeds} --parts {arguments.parts}`; the script's "
        f"head says what is measured. Stated: one false alarm in {RUN_LENGTH:,} parts on average at most, "
        f"over all {len(LOOKS) + 2} charts together.",
        "",
        machine_line(),
        "",
        "| parts | calibrated by | seeds named drift | seeds with many odd parts |",
        "|---|---|---|---|",
    ]
    for name, stream in (
        ("unchanged", unchanged),
        ("with defects", with_defects),
        ("with weak defects", with_weak_defects),
    ):
        for calibrated in (60, 200) if stream is unchanged else (60,):
            recipe = {
                "stream": name, "calibrated": calibrated, "seeds": arguments.seeds, "parts": arguments.parts,
            }  # fmt: skip
            found = cells.run(recipe, lambda stream=stream, recipe=recipe: alarmed(stream, recipe))
            lines.append(
                f"| {arguments.parts:,} {name} | {calibrated} | {found['drift']} of {arguments.seeds} | "
                f"{found['odd']} of {arguments.seeds} |"
            )
    lines += [
        "",
        "| change | parts until it is named, 60 calibrated | 200 calibrated |",
        "|---|---|---|",
    ]
    for name, change in CHANGES.items():
        row = []
        for calibrated in (60, 200):
            recipe = {"change": name, "calibrated": calibrated, "seeds": max(1, arguments.seeds // 2)}
            found = cells.run(recipe, lambda change=change, recipe=recipe: delayed(change, recipe))
            row.append(cell(found["delays"]))
        lines.append(f"| {name} | {' | '.join(row)} |")
    lines += [
        "",
        "| pictures, after 60 good ones | single pictures unlike the calibration | alarms | said |",
        "|---|---|---|---|",
        *cells.run({"pictures": 120}, lambda: {"rows": pictures(arguments.threads)})["rows"],
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
