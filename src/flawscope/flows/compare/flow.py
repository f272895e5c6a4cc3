"""Compare: plan the cells, run them on an engine, conclude, and write what came out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from flawscope.core.progress import Progress, Silent
from flawscope.decision.choosing import Wishes
from flawscope.decision.comparison import Comparison, compared
from flawscope.flows.compare.engine import Cache, Engine, Limits, Told, run
from flawscope.flows.compare.planning import CompareSettings, Plan, plan
from flawscope.flows.compare.processes import processes
from flawscope.flows.compare.writing import write_comparison


def compare(
    settings: CompareSettings,
    out: Path,
    *,
    engine: Engine = processes,
    limits: Limits | None = None,
    wishes: Wishes | None = None,
    engine_words: str = "processes",
    told: Told | None = None,
    planned: Plan | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Carry out every cell that `out` does not hold yet, conclude, and write `compare.html`,
    `compare.json`, `compare.csv` and `compare.md` there.

    A cell that fails is part of the result; DataError, LeakError, UsageError and ConfigError are raised
    before anything is taught. `told` hears of every cell as it ends; `planned` saves planning twice.
    """
    limits = limits or Limits()
    made = planned or plan(settings, out, progress=progress or Silent())
    cache = Cache(out)
    outcomes = run(made.cells, cache, engine=engine, limits=limits, told=told)
    comparison = compared(
        outcomes,
        counts=made.counts,
        wishes=wishes or Wishes(alpha=float(settings.run.get("alpha", Wishes.alpha))),
        protocol={
            "engine": engine_words,
            "jobs": limits.jobs,
            "threads": settings.threads,
            "batch": settings.measuring.batch,
            "calibrated by": ", ".join(dict.fromkeys(str(c.settings["calibrate"]) for c in made.cells)),
        },
        notes=made.notes,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_comparison(comparison, cache)
    return comparison
