"""The documentation is true: links resolve, commands parse, tables are recomputed, the tutorial runs.

Executed (slow): the commands of the tutorial's steps 1 to 5, in order, and its Python example. Parsed against
the command line only: every other `flawscope` command in a fenced block, the README's included.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import typer
import yaml

import flawscope
import flawscope.methods
from flawscope.cli.app import app
from flawscope.core.config import build
from flawscope.core.registry import methods
from flawscope.core.types import Area, Fit, Image, Preprocess
from flawscope.data.audit.find import all_kinds
from flawscope.data.layouts import layouts, lists
from flawscope.data.layouts.tree import GOOD_NAMES, IMAGE_SUFFIXES, MASK_NAMES
from flawscope.decision.calibration import false_alarm_bound, parts_needed, percent
from flawscope.flows.settings import TrainSettings
from flawscope.imaging.area import load_area
from flawscope.imaging.preprocess import plan_size, to_canvases
from flawscope.methods.classifier import ClassifierConfig
from flawscope.methods.features import FeatureConfig
from flawscope.methods.finetune import NetworkConfig
from flawscope.methods.frozen import FrozenConfig
from flawscope.methods.settings import MapConfig, Training
from flawscope.runtime.explain import explainers

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
OURS = (
    "index", "tutorial", "verdicts", "bundle", "data", "audit", "annotations", "images", "methods", "limits",
    "explanations",
)  # fmt: skip
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def section(text: str, heading: str) -> str:
    """Return what stands between a heading and the next one of its own level or above."""
    level = heading.split(" ", 1)[0]
    rest = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table_rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not set(line) <= set("|-: ")
    ]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every `flawscope` command in fenced blocks without a language or for a shell."""
    for kind, body in _FENCE.findall(text):
        if kind not in ("", "sh", "bash", "console"):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            for piece in re.split(r"&&|\|\||;", line):
                words = shlex.split(piece.removeprefix("$ "), comments=True)
                if words[:1] == ["flawscope"]:
                    yield words[1:]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        if place.parent == RESULTS and not RESULTS.is_dir():  # the benchmarks have not been run in this copy
            continue
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name} links to {target}"


def test_index_names_every_page() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in _LINK.findall(text_of("index"))}
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= linked
    for name in ("metrics", "commands", "errors"):
        assert (DOCS / "reference" / f"{name}.md").is_file()


def test_every_command_parses() -> None:
    group = typer.main.get_command(app)
    known = {
        option
        for command in [group, *group.commands.values()]
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    seen = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for words in commands(text):
            parent = group.make_context("flawscope", list(words))
            name, command, rest = group.resolve_command(parent, list(words))
            command.make_context(name, rest, parent=parent)  # parses and converts, runs nothing
            seen += 1
        if page.stem in OURS:  # options named in running text exist as well
            for option in re.findall(r"`(--[a-z][\w-]*)", _FENCE.sub("", text)):
                assert option in known, f"{page.name} names {option}"
    assert seen > 20
    with pytest.raises(typer.BadParameter.__base__):  # type: ignore[arg-type]
        group.commands["train"].make_context("train", ["--no-such-option"])


def test_the_bound_table_is_recomputed() -> None:
    rows = [row for row in table_rows(text_of("verdicts")) if row[0].isdecimal()]
    assert [int(row[0]) for row in rows] == [20, 50, 100, 200, 500]
    for n, *cells in rows:
        for alpha, cell in zip((0.05, 0.01), cells, strict=True):
            can = int(n) >= parts_needed(alpha)
            assert cell == (percent(false_alarm_bound(int(n), alpha)) if can else "cannot say NG")
    assert (parts_needed(0.05), parts_needed(0.01)) == (19, 99)
    assert percent(2 / 59) == "3.4 %" and percent(3 / 60) == "5 %"


def test_the_table_of_working_sizes_is_recomputed() -> None:
    rows = table_rows(section(text_of("images"), "### The working size"))
    budgets = [int(re.sub(r"\D", "", cell)) for cell in rows[0][1:]]
    assert budgets == [224, 320, 448] and len(rows) > 5
    for size, *cells in rows[1:]:
        width, height = map(int, size.split("x"))
        for budget, cell in zip(budgets, cells, strict=True):
            planned = plan_size([(height, width)], budget_px=budget**2)
            assert cell == f"{planned[1]}x{planned[0]}", (size, budget)


def test_every_kind_of_finding_is_described_in_order() -> None:
    rows = table_rows(section(text_of("audit"), "## What is looked for"))[1:]
    assert [row[0].strip("`") for row in rows] == [kind.name for kind in all_kinds()]
    assert [row[1] for row in rows] == [kind.title for kind in all_kinds()]


def test_every_layout_has_its_heading_in_order() -> None:
    headings = re.findall(r"^### (\w+)$", section(text_of("data"), "## Layouts"), flags=re.MULTILINE)
    assert headings == [layout.name for layout in layouts]
    for layout in layouts:
        by_product = "by product" in section(text_of("data"), f"### {layout.name}")
        assert by_product == layout.products, layout.name


def test_names_that_the_layouts_understand_are_listed() -> None:
    text = text_of("data")
    for name in GOOD_NAMES | MASK_NAMES - {"groundtruth", "ground-truth"}:
        assert re.search(rf"\b{re.escape(name)}\b", text), name
    for suffix in IMAGE_SUFFIXES:
        assert re.search(rf"\b{suffix[1:]}\b", text), suffix
    rows = {row[0].strip("`"): row[1] for row in table_rows(section(text, "## Lists"))[1:]}
    for ours, theirs in lists._COLUMNS.items():
        assert rows[ours].split(":")[0].split(", ") == [name for name in theirs if name != ours], ours


# the classes of settings that several methods share, and where each is described
SHARED = {
    MapConfig: "## Settings that all share",
    FeatureConfig: "## Settings on frozen features",
    Training: "## Settings of training",
    ClassifierConfig: "## Settings that classifiers share",
    FrozenConfig: "## Settings of classifiers on frozen features",
    NetworkConfig: "## Settings of trained classifiers",
}


def settings_in(text: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table under a heading, by the setting's name."""
    return {row[0].strip("`"): row for row in table_rows(section(text, heading))[1:]}


def flat(configuration: type, *, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return default and metadata of every setting; those of a nested table as `training.steps`."""
    found: dict[str, tuple[Any, Any]] = {}
    for field in dataclasses.fields(configuration):
        if dataclasses.is_dataclass(field.default):
            for inner in dataclasses.fields(field.default):
                value = getattr(field.default, inner.name)
                found[f"{prefix}{field.name}.{inner.name}"] = (value, inner.metadata)
        else:
            found[prefix + field.name] = (field.default, field.metadata)
    return found


def check_rows(told: dict[str, list[str]], known: dict[str, tuple[Any, Any]], where: str) -> None:
    for name, (_, default, unit, bounds, effect) in told.items():
        value, metadata = known[name]
        assert default == str(value).lower(), f"{where}.{name}"
        assert unit == metadata["unit"] and (effect or "." in name), f"{where}.{name}"
        if metadata["low"] is not None:
            low, high = re.match(r"([\d.]+) to ([\d.]+)", bounds).groups()  # type: ignore[union-attr]
            assert (float(low), float(high)) == (metadata["low"], metadata["high"]), f"{where}.{name}"
        if metadata["choices"]:
            assert bounds.split(", ") == list(metadata["choices"]), f"{where}.{name}"


def test_every_method_and_setting_is_described_with_its_default() -> None:
    """A method's own table holds what is its own, and what it presets otherwise than the shared tables."""
    text = text_of("methods")
    headings = re.findall(r"^## (\w+)$", text, flags=re.MULTILINE)
    assert sorted(headings) == sorted(entry.name for entry in methods)
    for shared, heading in SHARED.items():
        check_rows(settings_in(text, heading), flat(shared), heading)
    for entry in methods:
        config = entry.method.Config
        expected = dict(flat(config))
        for shared, heading in SHARED.items():
            common = {
                ("training." if shared is Training else "") + name: value
                for name, value in flat(shared).items()
                if name in settings_in(text, heading)
            }
            if shared is Training or issubclass(config, shared):
                for name, (value, _) in common.items():
                    if name in expected and expected[name][0] == value:
                        del expected[name]
        own = settings_in(text, f"## {entry.name}")
        assert own.keys() == expected.keys(), entry.name
        check_rows(own, flat(config), entry.name)
    for shared, heading in SHARED.items():
        assert settings_in(text, heading).keys() <= flat(shared).keys()
    for whole in (Training, MapConfig, ClassifierConfig):
        assert settings_in(text, SHARED[whole]).keys() == flat(whole).keys()


def test_every_explainer_is_described() -> None:
    rows = table_rows(section(text_of("explanations"), "## Explainers"))[1:]
    assert [row[0].strip("`") for row in rows] == [one.name for one in explainers]


def test_examples_of_configuration_are_accepted() -> None:
    text = text_of("tutorial")
    tables = [tomllib.loads(body) for body in blocks(text, "toml")]
    tables += [yaml.safe_load(body) for body in blocks(text, "yaml")]
    assert len(tables) == 2
    for values in tables:
        settings = build(TrainSettings, values, where="example")
        build(methods[settings.method].method.Config, settings.settings, where=settings.method)


def test_examples_of_areas_are_accepted(tmp_path: Path) -> None:
    examples = blocks(text_of("images"), "json")
    judged = []
    for body in examples:
        (tmp_path / "area.json").write_text(body, encoding="utf-8")
        area = load_area(tmp_path / "area.json", None)
        assert area is not None
        judged.append(float(area.judged.mean()))
    assert judged == pytest.approx([0.64, 40 / 192], abs=0.01)


def test_the_bundle_is_described_member_by_member() -> None:
    text = text_of("bundle")
    with zipfile.ZipFile(ROOT / "tests" / "golden" / "tiny.flaw") as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        calibration = json.loads(archive.read("calibration.json"))
        graph = onnx.load_model_from_string(archive.read("graph.onnx"))
    assert [row[0].strip("`") for row in table_rows(section(text, "## Members"))[1:7]] == names
    for member, values in (("manifest.json", manifest), ("calibration.json", calibration)):
        rows = table_rows(section(text, f"### {member}"))[1:]
        assert {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} == values.keys()
    rows = table_rows(section(text, "## The graph"))[1:]
    told = {(row[0], row[1].strip("`")) for row in rows}
    assert told == {
        *(("input", value.name) for value in graph.graph.input),
        *(("output", value.name) for value in graph.graph.output),
    }
    assert f"opset {graph.opset_import[0].version}, IR version {graph.ir_version}" in text


def canvas_by_the_page(pixels: np.ndarray, values: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Make a canvas by steps 2 to 5 of the page and nothing else: stretch and letterbox."""
    (height, width), (size_h, size_w) = pixels.shape[:2], values["size_hw"]
    colour = np.array([round(255 * mean) for mean in values["mean"]], np.uint8)
    shown = pixels.copy()
    if values["area"] is not None:
        rows, columns = values["area"]["size_hw"]
        packed = np.frombuffer(zlib.decompress(base64.b64decode(values["area"]["bits"])), np.uint8)
        judged = np.unpackbits(packed)[: rows * columns].reshape(rows, columns)
        for y in range(height):
            for x in range(width):
                if not judged[(2 * y + 1) * rows // (2 * height), (2 * x + 1) * columns // (2 * width)]:
                    shown[y, x] = colour
    inner_h, inner_w = size_h, size_w
    if values["fit"] == "letterbox":
        scale = min(size_h / height, size_w / width)
        if "content_px" in values:
            scale = min(scale, (values["content_px"] / (height * width)) ** 0.5)
        inner_h = min(size_h, max(1, round(height * scale)))
        inner_w = min(size_w, max(1, round(width * scale)))
    top, left = (size_h - inner_h) // 2, (size_w - inner_w) // 2
    if inner_h < height or inner_w < width:
        shown = cv2.resize(shown, (min(inner_w, width), min(inner_h, height)), interpolation=cv2.INTER_AREA)
    if shown.shape[:2] != (inner_h, inner_w):
        shown = cv2.resize(shown, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
    canvas = np.empty((size_h, size_w, 3), np.uint8)
    canvas[:] = colour
    canvas[top : top + inner_h, left : left + inner_w] = shown
    return canvas, [left, top, left + inner_w, top + inner_h]


@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.STRETCH])
def test_canvases_are_made_as_the_page_says(fit: Fit) -> None:
    rng = np.random.default_rng(5)
    for i in range(24):
        height, width = rng.integers(5, 160, 2).tolist()
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        area = Area(rng.random((7, 9)) > 0.3) if i % 3 == 0 else None
        size_hw = tuple(int(32 * side) for side in rng.integers(1, 4, 2))
        content_px = 2048 if i % 2 else None
        preprocess = Preprocess((size_hw[0], size_hw[1]), fit, area=area, content_px=content_px)
        ours = to_canvases(Image(pixels), preprocess)
        canvas, content = canvas_by_the_page(pixels, preprocess.to_json())
        assert np.array_equal(ours.pixels[0], canvas), (height, width, size_hw)
        assert ours.content_xyxy[0].tolist() == content
    with_mean = Preprocess((32, 32)).mean
    assert [round(255 * mean) for mean in with_mean] == [124, 116, 104]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial is followed."""
    return tmp_path_factory.mktemp("tutorial")


def follow(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    source = str(Path(flawscope.__file__).resolve().parents[1])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


@pytest.mark.slow
def test_the_tutorial_runs(workshop: Path) -> None:
    steps = re.split(r"^## ", text_of("tutorial"), flags=re.MULTILINE)
    steps = [step for step in steps if re.match(r"[1-5]\. ", step)]
    assert len(steps) == 5
    printed: dict[str, str] = {}
    for step in steps:
        for words in commands(step):
            done = follow(["-m", "flawscope", *words], workshop)
            expected = 10 if "--fail-on" in words else 0
            assert done.returncode == expected, f"{words}: {done.stdout}\n{done.stderr}"
            printed[words[0]] = done.stdout + done.stderr
    for line in blocks(steps[2], "text")[0].splitlines():  # what the tutorial says that train says
        assert line in printed["train"]
    for file in ("model.flaw", "manifest.jsonl", "report.html", "report.json"):
        assert (workshop / "runs" / "chips" / file).is_file()
    for file in ("report.html", "report.json", "metrics.csv", "samples.csv"):
        assert (workshop / "runs" / "chips" / "evaluation" / file).is_file()
    assert (workshop / "verdicts.csv").is_file() and any((workshop / "seen").rglob("*.png"))

    (script,) = blocks(text_of("tutorial"), "python")
    (workshop / "example.py").write_text(script, encoding="utf-8")
    done = follow(["example.py"], workshop)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Promise: at most 5 %")
