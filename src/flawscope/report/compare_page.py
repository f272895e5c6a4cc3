"""A comparison as one HTML file: which model to take, the table, time against accuracy, heat maps.

The file needs no network and nothing beside it. Its one script sorts the table and unfolds what a link leads
to; the page allows that script by its digest and no other. Where the folder of cells lies beside the page,
each cell's own report is linked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flawscope.core.cells import Outcome, Scored, Status
from flawscope.core.types import GOOD, Metric, Verdict
from flawscope.decision.choosing import BEHIND, BEST, RULES, UNFIT
from flawscope.decision.choosing import GOOD as ALIKE
from flawscope.decision.compared import Row
from flawscope.decision.comparison import Comparison
from flawscope.report import compare_table
from flawscope.report import format as fmt
from flawscope.report.compare_charts import pareto, strip
from flawscope.report.page import environment

GLYPHS = {BEST: "ok", ALIKE: "ok", BEHIND: "review", UNFIT: "ng"}  # the others: not judged
MISTAKES = 12  # of one kind and model that are shown
MARKED = 40  # photographs of one label whose verdicts are listed
TILES = 96  # heat maps on the page
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.best === "low" ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const [p, q] = [Number(x), Number(y)];
        return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q);
      });
      body.append(...rows);
    });
  });
}
const unfold = (hash) => {
  const fold = document.getElementById(decodeURIComponent(hash.slice(1)))?.closest("details");
  if (fold) fold.open = true;
};
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link) unfold(link.getAttribute("href"));
});
unfold(location.hash);
"""


@dataclass(frozen=True, eq=False)
class Sheet:
    """All test photographs of a product, small, as squares of one picture."""

    jpeg: bytes
    side_px: int
    columns: int
    places: Mapping[str, tuple[int, int]]  # sample's id -> column and row


@dataclass(frozen=True, eq=False)
class Shown:
    """One test photograph with every model's heat map over it."""

    sample_id: str
    label: str
    photo: bytes
    maps: Mapping[str, bytes]  # by model
    outlined: bool = False


@dataclass(frozen=True, eq=False)
class Pictures:
    """What one product's pictures are."""

    product: str
    sheet: Sheet | None = None
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One cell of the table: its text, its interval, what it is sorted by, and where it leads."""

    text: str
    interval: str = ""
    value: float | None = None
    href: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Thumb:
    """A small photograph from a sheet, with what was said of it."""

    product: int
    style: str
    name: str
    score: str


@dataclass(frozen=True, eq=False)
class ModelView:
    """One model as the page shows it."""

    index: int
    row: Row
    glyph: str
    words: str
    figures: tuple[Figure, ...]
    strips: tuple[tuple[str, str], ...]  # product, drawing
    missed: tuple[Thumb, ...]
    missed_more: int
    alarms: tuple[Thumb, ...]
    alarms_more: int
    reports: tuple[tuple[str, str], ...]  # words, link
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Marks:
    """The verdicts of all models on the photographs of one label."""

    anchor: str
    label: str
    rows: tuple[tuple[Thumb, tuple[str, ...]], ...]
    more: int
    total: int


@dataclass(frozen=True, eq=False)
class ProductView:
    """One product's gallery and verdicts."""

    index: int
    name: str
    sheet: Sheet | None
    shown: tuple[tuple[Shown, tuple[tuple[str, bytes | None, str, str], ...]], ...]
    marks: tuple[Marks, ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What every section looks up: the first good outcome of each model on each product."""

    comparison: Comparison
    pictures: Mapping[str, Pictures]
    first: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)

    @classmethod
    def of(cls, comparison: Comparison, pictures: Sequence[Pictures]) -> _Seen:
        first: dict[tuple[str, str], Outcome] = {}
        for outcome in comparison.outcomes:
            if outcome.status is Status.OK:
                first.setdefault((outcome.cell.model, outcome.cell.product), outcome)
        return cls(comparison, {one.product: one for one in pictures}, first)

    def verdicts(self, product: str) -> dict[str, dict[str, Scored]]:
        """Return every model's samples by id."""
        return {
            model: {sample.id: sample for sample in outcome.samples}
            for (model, place), outcome in self.first.items()
            if place == product
        }

    def thumb(self, product: str, sample: Scored) -> Thumb:
        """Return a photograph's small picture; without style where it is on no sheet."""
        index = self.comparison.products.index(product)
        found = self.pictures.get(product)
        style = ""
        if found is not None and found.sheet is not None and sample.id in found.sheet.places:
            column, line = found.sheet.places[sample.id]
            style = f"background-position:{-72 * column}px {-72 * line}px"
        score = "not judged" if sample.score is None else fmt.score(sample.score)
        return Thumb(index, style, sample.id, score)


def render_compare(comparison: Comparison, *, pictures: Sequence[Pictures] = (), reports: bool = True) -> str:
    """Return the page as HTML text; `reports` links each cell's own report, in the folder beside the page."""
    seen = _Seen.of(comparison, pictures)
    columns = compare_table.columns_of(comparison)
    chart = pareto(comparison)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    views = tuple(
        _model(seen, row, index, columns, reports=reports) for index, row in enumerate(comparison.rows)
    )
    return (
        environment()
        .get_template("compare.html")
        .render(
            comparison=comparison,
            title=" and ".join(comparison.products),
            recommendation=comparison.recommendation,
            columns=columns,
            models=views,
            chart=chart,
            several=len(comparison.products) > 1,
            products=tuple(_product(seen, name, index) for index, name in enumerate(comparison.products)),
            by_product=_by_product(comparison),
            defects=_defects(comparison),
            rules=RULES,
            script=SCRIPT,
            script_digest=digest,
            protocol=[(name, str(value)) for name, value in comparison.protocol.items()],
            measured=sum(1 for one in comparison.outcomes if one.status is Status.OK),
            verdict_words={"ok": "OK", "review": "REVIEW", "ng": "NG", "not-judged": "NOT JUDGED"},
        )
    )


def choose_shown(outcomes: Sequence[Outcome], *, models: int) -> tuple[str, ...]:
    """Choose the test photographs of one product whose maps are shown side by side: of every label in turn
    the one on which the models disagree most, defects first; as many as `models` leave room for."""
    done = [one for one in outcomes if one.status is Status.OK]
    if not done:
        return ()
    drawn = [name for name in done[0].pictures if all(name in one.pictures for one in done)]
    by_id = [{sample.id: sample for sample in one.samples} for one in done]
    by_label: dict[str, list[str]] = {}
    for name in drawn:
        by_label.setdefault(str(by_id[0][name].label), []).append(name)

    def split(name: str) -> int:
        right = sum(_is_right(one[name]) for one in by_id)
        return min(right, len(by_id) - right)

    for members in by_label.values():
        members.sort(key=lambda name: (-split(name), name))
    labels = sorted(by_label, key=lambda label: (label == GOOD, label))
    chosen: list[str] = []
    room = max(4, min(12, TILES // max(1, models)))
    turn = 0
    while len(chosen) < min(room, len(drawn)):
        chosen += [by_label[label][turn] for label in labels if turn < len(by_label[label])]
        turn += 1
    kept = set(chosen[:room])
    return tuple(name for label in labels for name in by_label[label] if name in kept)


def _is_right(sample: Scored) -> bool:
    return sample.verdict == (Verdict.NG.value if sample.is_bad else Verdict.OK.value)


def _model(
    seen: _Seen, row: Row, index: int, columns: Sequence[compare_table.Column], *, reports: bool
) -> ModelView:
    own = [(product, seen.first.get((row.model, product))) for product in seen.comparison.products]
    done = [(product, outcome) for product, outcome in own if outcome is not None]
    missed = [(p, s) for p, o in done for s in o.samples if s.is_bad and s.verdict == Verdict.OK.value]
    alarms = [(p, s) for p, o in done for s in o.samples if s.label == GOOD and s.verdict == Verdict.NG.value]
    missed.sort(key=lambda one: one[1].score or 0.0)
    alarms.sort(key=lambda one: -(one[1].score or 0.0))
    several = len(seen.comparison.products) > 1
    links = [
        (
            f"seed {outcome.cell.seed}" + (f", {outcome.cell.product}" if several else ""),
            f"cells/{outcome.cell.key}/report/report.html",
        )
        for outcome in seen.comparison.outcomes
        if outcome.cell.model == row.model and outcome.status is Status.OK
    ]
    return ModelView(
        index=index,
        row=row,
        glyph=GLYPHS.get(row.conclusion.word, "not-judged"),
        words=compare_table.sentences(row),
        figures=tuple(_figure(row, column, index) for column in columns),
        strips=tuple((p, strip(o, name=f"strip-{index}-{i}")) for i, (p, o) in enumerate(done)),
        missed=tuple(seen.thumb(p, sample) for p, sample in missed[:MISTAKES]),
        missed_more=max(0, len(missed) - MISTAKES),
        alarms=tuple(seen.thumb(p, sample) for p, sample in alarms[:MISTAKES]),
        alarms_more=max(0, len(alarms) - MISTAKES),
        reports=tuple(links) if reports else (),
        facts=_facts(row),
    )


def _figure(row: Row, column: compare_table.Column, index: int) -> Figure:
    """Return a number with where it leads: to the photographs it was wrong on, to the heat maps, or to the
    model."""
    metric = row.metrics.get(column.name)
    if metric is None or metric.value is None:
        return Figure("", reason=metric.reason if metric is not None else "")
    places = {"escape": f"#missed-{index}", "recall": f"#missed-{index}", "overkill": f"#alarms-{index}"}
    heat = column.name in (*compare_table.MASKED, *compare_table.HEAT)
    href = places.get(column.name, "#gallery" if heat else f"#m-{index}")
    return Figure(column.write(metric.value), compare_table.spread(metric, column), metric.value, href)


def _facts(row: Row) -> tuple[tuple[str, str], ...]:
    stages = row.facts.get("stages_ms", {})
    canvas = row.facts.get("canvas_hw") or (0, 0)
    rows = [
        ("Method", row.method),
        ("Backbone", str(row.facts.get("backbone", ""))),
        ("Canvas", f"{canvas[1]}x{canvas[0]} px, aspect {row.facts.get('aspect', '')}"),
        *((f"Stage {name}", fmt.milliseconds(value)) for name, value in stages.items()),
    ]
    return tuple((name, value) for name, value in rows if value) if row.facts else ()


def _product(seen: _Seen, name: str, index: int) -> ProductView:
    found = seen.pictures.get(name, Pictures(name))
    verdicts = seen.verdicts(name)
    models = [row.model for row in seen.comparison.rows if row.model in verdicts]
    shown = []
    for one in found.shown:
        tiles = []
        for model in models:
            sample = verdicts[model][one.sample_id]
            key = _key(sample)
            tiles.append(
                (model, one.maps.get(model), key, "" if sample.score is None else fmt.score(sample.score))
            )
        shown.append((one, tuple(tiles)))
    return ProductView(index, name, found.sheet, tuple(shown), _marks(seen, name, index, models, verdicts))


def _marks(
    seen: _Seen,
    product: str,
    index: int,
    models: Sequence[str],
    verdicts: Mapping[str, Mapping[str, Scored]],
) -> tuple[Marks, ...]:
    """List what every model said of each photograph, label by label; good ones only where some model did not
    call them OK."""
    if not models:
        return ()
    by_label: dict[str, list[Scored]] = {}
    for sample in verdicts[models[0]].values():
        if sample.label is not None:
            by_label.setdefault(sample.label, []).append(sample)
    found = []
    for label in sorted(by_label, key=lambda one: (one == GOOD, one)):
        members = by_label[label]
        rows = [(s, tuple(_key(verdicts[model][s.id]) for model in models)) for s in members]
        right = "ok" if label == GOOD else "ng"
        rows.sort(key=lambda row: (sum(key == right for key in row[1]), row[0].id))
        if label == GOOD:
            rows = [row for row in rows if any(key != "ok" for key in row[1])]
        found.append(
            Marks(
                anchor(index, label),
                label,
                tuple((seen.thumb(product, sample), keys) for sample, keys in rows[:MARKED]),
                max(0, len(rows) - MARKED),
                len(members),
            )
        )
    return tuple(found)


def _key(sample: Scored) -> str:
    return "not-judged" if sample.verdict is None else sample.verdict.lower()


def anchor(product: int, label: str) -> str:
    """Return the id of the list of one label's photographs."""
    return f"d-{product}-" + (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "unnamed")


def _defects(comparison: Comparison) -> tuple[tuple[str, str, tuple[Figure, ...]], ...]:
    """Return a row a defect: its name, where it leads, and of every measured model the recall with AUROC."""
    measured = [row for row in comparison.rows if row.metrics]
    names = dict.fromkeys(name for row in measured for name in row.per_defect)
    rows = []
    for name in names:
        product, label = (0, name)
        if len(comparison.products) > 1:
            place, _, label = name.rpartition(": ")
            product = comparison.products.index(place)
        href = f"#{anchor(product, label)}"
        rows.append(
            (
                name,
                href,
                tuple(_defect_figure(row.per_defect.get(name, {}), href) for row in measured),
            )
        )
    return tuple(rows)


def _defect_figure(metrics: Mapping[str, Metric], href: str) -> Figure:
    recall, auroc = metrics.get("recall"), metrics.get("auroc")
    if recall is None or recall.value is None:
        return Figure("", reason="" if recall is None else recall.reason)
    beside = f"AUROC {fmt.ratio(auroc.value)}" if auroc is not None and auroc.value is not None else ""
    return Figure(fmt.percent(recall.value), beside, recall.value, href)


def _by_product(comparison: Comparison) -> tuple[tuple[str, tuple[tuple[Figure, bool], ...]], ...]:
    """Return a row a model with its AUROC on each product, the worst one marked; none for one product."""
    if len(comparison.products) < 2:
        return ()
    rows = []
    for index, row in enumerate(comparison.rows):
        if not row.metrics:
            continue
        cells = [
            (_figure_of(row.by_product[product].get("auroc"), f"#m-{index}"), product == row.worst_product)
            for product in comparison.products
        ]
        rows.append((row.model, tuple(cells)))
    return tuple(rows)


def _figure_of(metric: Metric | None, href: str) -> Figure:
    if metric is None or metric.value is None:
        return Figure("", reason="" if metric is None else metric.reason)
    return Figure(fmt.ratio(metric.value), fmt.interval(metric, fmt.ratio), metric.value, href)
