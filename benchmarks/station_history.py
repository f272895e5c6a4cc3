"""What the History page asks of a million inspections, and how long each answer takes.

    python benchmarks/station_history.py [--rows 1000000] [--out benchmarks/results/station_history.md]

Draws a year of inspections (40 products, 5,000 lots, 6 stations, 8 kinds of defects), keeps them in SQLite,
and times every question of the page: cold is the first time after opening, warm the median of five.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import insert
from tiles import machine_line

from flawscope.store.database import FILE
from flawscope.store.inspections import Filters
from flawscope.store.store import Store
from flawscope.store.tables import inspections

YEAR_US = 365 * 86_400_000_000
START_US = 1_700_000_000_000_000
_BLOCK = 20_000
_DEFECTS = ("scratch", "dent", "stain", "crack", "chip", "burr", "hole", "print")


def fill(store: Store, rows: int) -> None:
    """Keep drawn inspections, in the order of their times; goes on after those that are there."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, YEAR_US, rows)) + START_US
    verdicts = rng.choice(["OK", "REVIEW", "NG", "NOT JUDGED"], rows, p=[0.93, 0.04, 0.025, 0.005])
    detail = {"regions": [], "warnings": [], "timings_ms": {"total": 12.5}, "name": "part.png"}
    for begin in range(store.history.counts(Filters()).total, rows, _BLOCK):
        rng, values = np.random.default_rng(begin), []
        for i in range(begin, min(rows, begin + _BLOCK)):
            verdict = str(verdicts[i])
            odd = verdict in ("REVIEW", "NG")
            lot = i * 5000 // rows
            values.append(
                {
                    "id": f"{i:036d}",
                    "at_us": int(times[i]),
                    "station": f"cell {i % 6}",
                    "product": f"product {lot % 40}",
                    "lot": f"L{lot:05d}",
                    "part": f"P{i}",
                    "bundle_id": f"{lot % 40:012d}",
                    "verdict": verdict,
                    "score": 1.0,
                    "p_value": 0.5,
                    "risk": float(rng.uniform(0, 100)) if odd else 10.0,
                    "defect": str(rng.choice(_DEFECTS)) if odd else "",
                    "error_code": "",
                    "image_sha256": f"{i:064d}",
                    "image_bytes": 60_000,
                    "queue": 0,
                    "person": "local:kim",
                    "detail": detail,
                }
            )
        with store.database.writing() as connection:
            connection.execute(insert(inspections), values)


def questions(store: Store) -> dict[str, Callable[[], Any]]:
    """Return what the page asks, by its name in the table."""
    history, found = store.history, store.inspections
    everything = Filters()
    month = Filters(from_us=START_US + 6 * YEAR_US // 12, to_us=START_US + 7 * YEAR_US // 12)
    lot, product = Filters(lot="L02500"), Filters(product="product 7")
    bad = Filters(verdicts=("NG",), defect="crack")
    risky = Filters(risk_from=90.0)
    middle = found.page(Filters(to_us=START_US + YEAR_US // 2), limit=50).after
    day_us = YEAR_US // 365
    return {
        "counts and yield, everything": lambda: history.counts(everything),
        "counts and yield, a month": lambda: history.counts(month),
        "counts and yield, a lot": lambda: history.counts(lot),
        "counts and yield, a product": lambda: history.counts(product),
        "counts and yield, risk of 90 and more": lambda: history.counts(risky),
        "yield of the latest 50 lots, everything": lambda: history.by(everything, "lot"),
        "yield of the latest 50 lots, a month": lambda: history.by(month, "lot"),
        "Pareto of defects, everything": lambda: history.pareto(everything),
        "Pareto of defects, a product": lambda: history.pareto(product),
        "trend by day, everything": lambda: history.trend(everything, step_us=day_us),
        "trend by hour, a month": lambda: history.trend(month, step_us=day_us // 24),
        "first page of 50, everything": lambda: found.page(everything),
        "first page of 50, NG with a crack": lambda: found.page(bad),
        "first page of 50, risk of 90 and more": lambda: found.page(risky),
        "page of 50 in the middle": lambda: found.page(everything, after=middle),
        "first page of 50, a lot": lambda: found.page(lot),
        "names of all products": lambda: history.names("product"),
    }


def main() -> None:
    """Fill, ask and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--store", type=Path, help="Keep the filled store here, and take it again.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/station_history.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.store or Path(temporary)
        with Store(folder) as store:
            fill(store, arguments.rows)
        size = sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))
        with Store(folder) as store:
            assert store.history.counts(Filters()).total == arguments.rows
            rows = []
            for name, ask in questions(store).items():
                taken = []
                used = time.process_time()
                for _ in range(6):
                    start = time.perf_counter()
                    ask()
                    taken.append((time.perf_counter() - start) * 1000)
                used = (time.process_time() - used) / 6 * 1000
                rows.append(f"| {name} | {taken[0]:.0f} ms | {median(taken[1:]):.0f} ms | {used:.0f} ms |")
                print(rows[-1], flush=True)
    lines = [
        "# History over a million inspections",
        "",
        f"`python benchmarks/station_history.py --rows {arguments.rows}`",
        "",
        f"SQLite, {size / 1e6:.0f} MB. The page's bar is 300 ms. Processor time is the cost where",
        "other work takes the cores by turns.",
        "",
        machine_line(),
        "",
        "| question | first time | warm, median of five | processor time, mean |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
