"""`flawscope evaluate`, `card` and `examples/run_bundle.py`: numbers as documented, and the page beside."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flawscope.runtime.bundle import open_bundle
from flawscope.runtime.inspector import Inspector

Run = Callable[..., Any]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "run_bundle.py"


def test_evaluates_a_test_folder_as_written_in_the_readme(chips: Path, model: Path, run: Run):
    page = model.parent / "report.html"
    before = page.read_bytes()
    result = run("evaluate", "--model", model, "--data", chips / "test")
    assert result.exit_code == 0, result.stderr
    assert "8 images that chips has not seen: 4 good, 4 defective." in result.stdout
    for title in ("AUROC", "False alarms (overkill)", "Pixel AUROC", "By defect", "Promised and delivered"):
        assert title in result.stdout
    assert re.search(r"Delivered: \d of 4 good test parts called NG", result.stdout)
    written = model.parent / "evaluation" / "report.html"
    assert written.is_file() and str(written) in result.stdout
    assert page.read_bytes() == before, "the page of the training run stays"


def test_json_has_the_documented_names_and_samples_only_where_asked_for(
    chips: Path, model: Path, tmp_path: Path, run: Run
):
    command = ("evaluate", "--model", model, "--data", chips, "--no-pixels", "--json", "--out", tmp_path)
    values = json.loads(run(*command).stdout)
    assert set(values["metrics"]["image"]["auroc"]) == {"value", "low", "high", "n"}
    assert set(values["metrics"]) == {"image", "verdict"} and "samples" not in values
    longer = json.loads(run(*command, "--samples").stdout)
    assert len(longer["samples"]) == 8
    assert longer["metrics"] == values["metrics"]
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["metrics"] == values["metrics"]


def test_what_was_taught_is_refused_with_exit_code_4(chips: Path, model: Path, tmp_path: Path, run: Run):
    result = run("evaluate", "--model", model, "--data", chips / "train", "--out", tmp_path, "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "leak"
    assert "16 of 16 test images were seen" in result.stderr


def test_the_folder_of_the_bundle_is_refused(chips: Path, model: Path, run: Run):
    result = run("evaluate", "--model", model, "--data", chips, "--out", model.parent)
    assert result.exit_code == 2 and "is the folder of the bundle" in result.stderr


def test_card_prints_what_the_bundle_says(model: Path, run: Run):
    bundle = open_bundle(model)
    result = run("card", "--model", model)
    assert result.stdout.startswith(bundle.contents.card.rstrip()) and bundle.id in result.stdout
    assert json.loads(run("card", "--model", model, "--json").stdout)["bundle_id"] == bundle.id


def test_the_example_gives_the_inspectors_score_and_verdict_in_thirty_lines(
    chips: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    source = EXAMPLE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 30 and not re.search(r"^\s*(from|import) flawscope", source, re.M)
    inspector = Inspector.open(model)
    images = sorted((chips / "test").rglob("*.png"))
    for image in images:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(model), str(image)])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        found = re.fullmatch(r"score (\S+)   p (\S+)   (\w+)\n", capsys.readouterr().out)
        expected = inspector(image)
        assert found is not None and expected.score is not None
        assert float(found[1]) == pytest.approx(expected.score, rel=1e-4)
        assert (float(found[2]), found[3]) == (pytest.approx(expected.p_value, rel=0.05), expected.verdict)
    assert len(images) == 8
