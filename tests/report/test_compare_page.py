"""The comparison's page: its numbers lead somewhere, nothing comes from outside, it sorts in a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import Page

from flawscope.core.cells import Cell, Outcome, Scored, Status
from flawscope.core.types import Metric
from flawscope.decision.choosing import Wishes
from flawscope.decision.comparison import Comparison, compared
from flawscope.report.compare_charts import pareto, strip
from flawscope.report.compare_page import SCRIPT, Pictures, Sheet, Shown, choose_shown, render_compare
from flawscope.report.compare_table import COLUMNS, columns_of, compare_md, worst

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
MODELS = (("patchcore", 2.4, 20.0), ("padim", 2.3, 8.0), ("dfm & <co>", 0.8, 30.0), ("linear", 0.0, 0.0))
LABELS = ("good", "scratch", "good", "dent")


def outcome(model: str, signal: float, ms: float, *, product: str, seed: int) -> Outcome:
    cell = Cell(f"{abs(hash(model))}{product}{seed}", model, "padim", product, seed, "m.jsonl")
    if not ms:
        return Outcome(cell, Status.FAILED, "there are too few defects to teach. Expected <more>")
    hard = np.random.default_rng(3).normal(0, 0.6, 60)
    samples = []
    for i in range(60):
        score = float(hard[i] + (signal if i % 2 else 0))
        verdict = None if i == 58 else "NG" if score > 1.4 else "REVIEW" if score > 1.1 else "OK"
        known = None if verdict is None else score
        samples.append(Scored(f"test/{i:03d}.png", LABELS[i % 4], str(i), known, verdict))
    metrics = {
        "auroc": Metric(0.8, 0.7, 0.9, 60),
        "pixel_aupro_30": Metric(0.7, 0.6, 0.8, 30),
        "latency_p50_ms": Metric(ms, n=30),
        "size_mb": Metric(ms / 3, n=1),
        "fit_s": Metric(3.0, n=1),
    }
    defect = {"recall": Metric(0.5, 0.3, 0.7, 15), "auroc": Metric(0.9, 0.8, 0.95, 45)}
    return Outcome(
        cell,
        Status.OK,
        metrics=metrics,
        per_defect={"scratch": defect, "dent": {"recall": Metric(None, reason="none was judged")}},
        samples=tuple(samples),
        pictures={sample.id: "x.jpg" for sample in samples[:20]},
        facts={
            "aspect": "native",
            "canvas_hw": [96, 224],
            "stages_ms": {"graph": {"p50": ms / 2, "p95": ms}},
            "limits": {"ng": 1.4, "review": 1.1, "pixel": 2.0},
            "machine": {"processor": "x", "cores": "2"},
        },
    )


def comparison_of(products: Sequence[str] = ("caps",), *, seeds: int = 1) -> Comparison:
    outcomes = [
        outcome(name, signal - 0.3 * i, ms, product=product, seed=seed)
        for i, product in enumerate(products)
        for seed in range(seeds)
        for name, signal, ms in MODELS
    ]
    counts = {product: {"fit": 40, "test": 60} for product in products}
    return compared(
        outcomes, counts=counts, wishes=Wishes(alpha=0.2), protocol={"jobs": 2}, created="2026-01-01"
    )


def jpeg(side: int = 8) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((side, side, 3), 99, np.uint8))[1])


def pictures(comparison: Comparison) -> list[Pictures]:
    found = []
    for product in comparison.products:
        own = [o for o in comparison.outcomes if o.cell.product == product and o.metrics]
        shown = []
        for name in choose_shown(own, models=len(own)):
            maps = {o.cell.model: jpeg() for o in own if o.cell.model != "padim"}
            shown.append(Shown(name, "scratch", jpeg(), maps, True))
        places = {sample.id: (i % 20, i // 20) for i, sample in enumerate(own[0].samples)}
        found.append(Pictures(product, Sheet(jpeg(), 72, 20, places), tuple(shown)))
    return found


@pytest.fixture(scope="module")
def page() -> Page:
    made = comparison_of()
    return Page(render_compare(made, pictures=pictures(made)))


def test_it_says_first_which_model_to_take(page: Page) -> None:
    assert page.words.index("patchcore is best: AUROC") < page.words.index("All models")
    head, *rows = page.rows["table"]
    assert head[:3] == ["Model", "Conclusion", "AUROC"] and head[-1] == "Aspect"
    assert [row[0].strip() for row in rows] == ["patchcore", "padim", "dfm & <co>", "linear"]
    words = [row[1].strip() for row in rows]
    assert words[:3] == ["best", "good", "not for this product"] and words[3].startswith("failed")
    assert "too few defects" in words[3] and not any(cell.strip() for cell in rows[3][2:])


def test_every_number_leads_to_a_place_on_the_page(page: Page) -> None:
    ids = {values["id"] for _, values in page.tags if values.get("id")}
    targets = [str(values["href"]) for tag, values in page.tags if tag == "a"]
    inner = [target for target in targets if target.startswith("#")]
    assert {target[1:] for target in inner} <= ids
    assert {"#missed-0", "#alarms-0", "#gallery", "#m-0", "#d-0-scratch"} <= set(inner)
    numbers = sum(bool(re.match(r"\s*[\d<>]", cell)) for row in page.rows["table"][1:] for cell in row)
    assert numbers == 3 * 8  # eight columns are known
    links = re.findall(r'<td data-v="[\d.]+"[^>]*><a href="#', page.html)
    assert len(links) == numbers
    assert any(target.startswith("cells/") and target.endswith("report.html") for target in targets)
    alone = Page(render_compare(comparison_of(), reports=False))
    assert not any(str(values["href"]).startswith("cells/") for tag, values in alone.tags if tag == "a")


def test_nothing_comes_from_outside_and_only_its_own_script_may_run(page: Page) -> None:
    policy = next(v["content"] for t, v in page.tags if t == "meta" and v.get("http-equiv"))
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert page.html.count("<script>") == 1 and f"<script>{SCRIPT}</script>" in page.html
    sources = [str(v.get("src")) for t, v in page.tags if t == "img"]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<co>" not in page.html and "dfm &amp; &lt;co&gt;" in page.html


def test_photographs_stand_behind_the_numbers(page: Page) -> None:
    assert page.html.count('class="thumb sheet-0"') > 20
    assert "no map" in page.words  # padim drew none
    assert "NOT JUDGED" in page.html and "true flaw outlined" in page.words
    marks = page.rows["verdicts"]
    assert ["Photograph", "patchcore", "padim", "dfm & <co>"] in marks


def test_several_products_show_the_worst() -> None:
    made = comparison_of(("caps", "plates"), seeds=2)
    page = Page(render_compare(made, pictures=pictures(made)))
    head, first, *_ = page.rows["products"]
    assert head == ["AUROC", "caps", "plates"] and "worst" in first[2] and "worst" not in first[1]
    assert worst(made.rows[0]).endswith("plates")
    assert "caps: scratch" in page.words and "#d-1-scratch" in page.html
    text = compare_md(made)
    assert "| Model | AUROC | Worst product |" in text and "- **padim: good.**" in text


def test_the_shown_are_those_that_models_disagree_on_of_every_label() -> None:
    done = [o for o in comparison_of().outcomes if o.metrics]
    chosen = choose_shown(done, models=3)
    labels = {sample.id: sample.label for sample in done[0].samples}
    assert {labels[name] for name in chosen} == {"good", "scratch", "dent"} and len(chosen) == 12
    assert labels[chosen[0]] == "dent" and labels[chosen[-1]] == "good"
    assert len(choose_shown(done, models=20)) == 4
    assert choose_shown([], models=1) == ()
    undrawn = [replace(one, pictures={}) for one in done]
    assert choose_shown(undrawn, models=3) == ()


def test_columns_of_heat_stand_in_where_there_are_no_masks() -> None:
    made = comparison_of()
    names = [column.name for column in columns_of(made, brief=True)]
    assert "pixel_aupro_30" in names and "heat_concentration" not in names
    bare = []
    for one in made.outcomes:
        if one.metrics:
            known = {name: metric for name, metric in one.metrics.items() if name != "pixel_aupro_30"}
            bare.append(replace(one, metrics=known | {"heat_concentration": Metric(0.4, 0.3, 0.5, 30)}))
    unmarked = compared(bare, counts={}, wishes=Wishes(), protocol={})
    names = [column.name for column in columns_of(unmarked, brief=True)]
    assert "heat_concentration" in names and "pixel_aupro_30" not in names


def test_the_chart_shows_what_is_measured() -> None:
    made = comparison_of()
    chart = pareto(made)
    assert chart is not None and [row[0] for row in chart.rows] == ["padim", "patchcore", "dfm & <co>"]
    assert chart.svg.count('class="bubble') == 3 and "&lt;co&gt;" in chart.svg
    assert {row[0]: row[4] for row in chart.rows}["dfm & <co>"] == "no"
    done = next(one for one in made.outcomes if one.metrics)
    assert strip(done, name="s").count("<circle") == 59  # one was not judged
    assert strip(replace(done, samples=()), name="s") == ""
    alone = compared([done], counts={}, wishes=Wishes(), protocol={})
    assert pareto(alone) is None


FRAME = """
<body><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"
 onload="const page = this.contentDocument;
 const heads = page.querySelectorAll('table.sortable thead button');
 const names = () => [...page.querySelectorAll('.sortable tbody th')].map(th => th.textContent).join(',');
 const before = names(); const time = [...heads].find(b => b.textContent.startsWith('p50'));
 time.click(); const fast = names(); time.click(); const slow = names();
 const fold = page.getElementById('d-0-scratch'); const closed = fold.open;
 page.querySelector(`a[href='#d-0-scratch']`).click();
 const told = [page.documentElement.scrollWidth, before, fast, slow, closed, fold.open];
 document.title = told.join(';')"></iframe></body>
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_sorts_and_is_no_wider_than_the_window(width: int, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    made = comparison_of(("caps", "plates"))
    frame = tmp_path / "frame.html"
    whole = render_compare(made, pictures=pictures(made))
    frame.write_text(FRAME.format(width=width, page=html.escape(whole)), encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", frame.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", found.stdout)
    assert title is not None, found.stderr[-2000:]
    measured, before, fast, slow, *folded = html.unescape(title[1]).split(";")
    assert folded == ["false", "true"]  # a number's link unfolds the photographs behind it
    assert int(measured) == width
    assert before == "patchcore,padim,dfm & <co>,linear"
    assert fast == "padim,patchcore,dfm & <co>,linear"
    assert slow == "dfm & <co>,patchcore,padim,linear"  # what has no number stays last


def test_every_column_is_explained_where_metrics_are() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md").read_text("utf-8")
    section = page.split("\n## Comparison\n")[1].split("\n## ")[0]
    for column in COLUMNS:
        name = column.name
        others = {
            f"### metrics.{group}.{name.removeprefix('pixel_')}" for group in ("image", "verdict", "pixel")
        }
        known = f"### comparison.{name}" in section or f"`{name}`" in section
        assert known or any(one in page for one in others), name
