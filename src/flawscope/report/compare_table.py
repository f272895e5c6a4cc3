"""A comparison as tables: the columns, what they are called, and how their numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flawscope.core.types import Metric
from flawscope.decision.compared import Row
from flawscope.decision.comparison import Comparison
from flawscope.report import format as fmt
from flawscope.report.table import Cell, csv_text


@dataclass(frozen=True)
class Column:
    """One measured thing: its name in the JSON, its title, what it means, its unit, and which way is good."""

    name: str
    title: str
    meaning: str
    write: fmt.Formatter
    rises: bool = True  # more is better
    brief: bool = False  # part of the terminal's table


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


COLUMNS = (
    Column("auroc", "AUROC", "Defective parts ranked above good ones: 0.5 is guessing, 1 perfect", fmt.ratio,
           brief=True),
    Column("ap", "AP", "Average precision of the ranking", fmt.ratio),
    Column("recall", "Recall", "Defective parts called NG at the promised false-alarm rate", fmt.percent,
           brief=True),
    Column("overkill", "Overkill", "Good parts called NG", fmt.percent, rises=False, brief=True),
    Column("escape", "Escape", "Defective parts called OK", fmt.percent, rises=False, brief=True),
    Column("pixel_aupro_30", "AUPRO 0.3", "Overlap with each flaw, to 30 % false alarms", fmt.ratio,
           brief=True),
    Column("pixel_aupro_05", "AUPRO 0.05", "Overlap with each flaw, to 5 % false alarms", fmt.ratio),
    Column("pixel_aupimo", "AUPIMO", "Overlap while next to nothing is marked on good images", fmt.ratio),
    Column("pixel_seg_f1", "SegF1", "Overlap of marked and true pixels at the fixed limit", fmt.ratio),
    Column("pointing", "Pointing", "Bad parts on which the hottest place lies on the flaw", fmt.percent),
    Column("heat_concentration", "Heat drawn together",
           "Share of the heat in the hottest 5 % of a bad photograph", fmt.percent),
    Column("heat_outside", "Heat beside the product", "Share of the heat off the product, on bad photographs",
           fmt.percent, rises=False),
    Column("fit_s", "Fit, s", "Teaching, reading included", _tenths, rises=False, brief=True),
    Column("latency_p50_ms", "p50, ms", "Median time of a verdict, one photograph at a time", _ms,
           rises=False, brief=True),
    Column("latency_p95_ms", "p95, ms", "95 of 100 verdicts are quicker", _ms, rises=False),
    Column("processor_ms", "CPU, ms", "Processor time of a verdict; a busy machine does not lengthen it", _ms,
           rises=False),
    Column("throughput", "Images/s", "In batches, the next photographs read meanwhile", _tenths),
    Column("size_mb", "MB", "Size of the bundle", _tenths, rises=False, brief=True),
    Column("memory_mb", "Peak MB", "Highest memory of the cell's process", _whole, rises=False),
)  # fmt: skip
HEAT = ("heat_concentration", "heat_outside")
MASKED = ("pixel_aupro_30", "pixel_aupro_05", "pixel_aupimo", "pixel_seg_f1", "pointing")


def columns_of(comparison: Comparison, *, brief: bool = False) -> tuple[Column, ...]:
    """Return the columns that any row knows; those of masks give way to those of heat where there are no
    masks."""

    def known(name: str) -> bool:
        metrics = [row.metrics.get(name) for row in comparison.rows]
        return any(metric is not None and metric.value is not None for metric in metrics)

    masked = any(known(name) for name in MASKED)
    stand_in = not masked and brief
    return tuple(
        column
        for column in COLUMNS
        if known(column.name) and (not brief or column.brief or (stand_in and column.name == HEAT[0]))
    )


def written(metric: Metric | None, column: Column) -> str:
    """Write a value, or nothing where it is not known."""
    return "" if metric is None or metric.value is None else column.write(metric.value)


def spread(metric: Metric | None, column: Column) -> str:
    """Write a value's interval as `low to high`; nothing where there is none."""
    return "" if metric is None or metric.value is None else fmt.interval(metric, column.write)


def compare_csv(comparison: Comparison) -> str:
    """Return a line a cell: model, method, product, seed, status, reason and every metric, an unknown one as
    an empty cell; the bounds of intervals follow as `NAME_low` and `NAME_high`."""
    names = [column.name for column in COLUMNS]
    bounds = [f"{name}_{end}" for name in names for end in ("low", "high")]
    head = ("model", "method", "product", "seed", "status", "reason", *names, *bounds, "aspect", "folder")
    rows: list[list[Cell]] = []
    for outcome in comparison.outcomes:
        cell = outcome.cell
        found = [outcome.metrics.get(name) for name in names]
        values: list[Cell] = [None if one is None else one.value for one in found]
        ends: list[Cell] = [
            end for one in found for end in ((None, None) if one is None else (one.low, one.high))
        ]
        start: list[Cell] = [
            cell.model, cell.method, cell.product, cell.seed, outcome.status.value, outcome.reason,
        ]  # fmt: skip
        aspect = str(outcome.facts.get("aspect", ""))
        rows.append([*start, *values, *ends, aspect, f"cells/{cell.key}"])
    return csv_text(head, rows)


def compare_md(comparison: Comparison) -> str:
    """Return the comparison as Markdown: what to take, the table, conclusions, products, rules."""
    columns = columns_of(comparison)
    several = len(comparison.products) > 1
    head = ["Model", *(f"{column.title}" for column in columns), "Aspect"]
    if several:
        head.insert(2, "Worst product")
    lines = ["# Comparison", "", *comparison.recommendation, "", *_facts(comparison), ""]
    lines += [_line(head), "|" + "---|" * len(head)]
    for row in comparison.rows:
        if not row.metrics:
            lines.append(_line([row.model, f"{row.status.value}: {_short(row)}", *[""] * (len(head) - 2)]))
            continue
        cells = [row.model]
        for column in columns:
            metric = row.metrics.get(column.name)
            interval = (
                f" ({spread(metric, column)})" if column.name == "auroc" and spread(metric, column) else ""
            )
            cells.append(written(metric, column) + interval)
        if several:
            cells.insert(2, worst(row))
        lines.append(_line([*cells, str(row.facts.get("aspect", ""))]))
    lines += ["", "## Conclusions", ""]
    lines += [f"- **{row.model}: {row.conclusion.word}.** {sentences(row)}" for row in comparison.rows]
    lines += ["", "## Rules", "", *(f"- {rule}" for rule in comparison.to_json()["rules"])]
    if comparison.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in comparison.notes)]
    return "\n".join(lines).replace(fmt.NBSP, " ").replace("\u202f", ",") + "\n"


def worst(row: Row) -> str:
    """Write the worst product with its AUROC."""
    metric = row.by_product.get(row.worst_product, {}).get("auroc")
    if metric is None or metric.value is None:
        return ""
    return f"{fmt.ratio(metric.value)} {row.worst_product}"


def sentences(row: Row) -> str:
    """Write a conclusion's sentences as one line of prose."""
    told = [sentence.rstrip(".") for sentence in row.conclusion.sentences]
    return "; ".join(told)[:1].upper() + "; ".join(told)[1:] + "." if told else ""


def _facts(comparison: Comparison) -> list[str]:
    counts = "; ".join(
        f"{product}: " + ", ".join(f"{number} {role}" for role, number in row.items() if number)
        for product, row in comparison.counts.items()
    )
    protocol = comparison.protocol
    ways = ", ".join(f"{name} {value}" for name, value in protocol.items() if value not in ("", None))
    machine = "; ".join(comparison.machines) or "no cell was carried out"
    return [f"Photographs by role: {counts}. Seeds: {len(comparison.seeds)}.", "", f"{machine}; {ways}."]


def _short(row: Row) -> str:
    return (row.missing[0] if row.missing else "no cell of it was carried out").split(". ")[0].rstrip(".")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
