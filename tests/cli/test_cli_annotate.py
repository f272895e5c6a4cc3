"""`flawscope annotate`: what it says, its JSON, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_it_says_what_was_marked_and_what_to_do_next(chips: Path, model: Path, tmp_path: Path, run: Run):
    out = tmp_path / "labels"
    result = run("annotate", chips / "test", "--model", model, "--out", out, "--label", "flaw", "--copy")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    summary = json.loads((out / "annotate.json").read_text())
    verdicts = summary["verdicts"]
    assert lines[0] == f"8 photographs: {verdicts['OK']} OK, {verdicts['REVIEW']} REVIEW, {verdicts['NG']} NG"
    assert f"{summary['refined']} of " in lines[3] and summary["refined"] > 0
    assert lines[2].split() == ["flaw", str(summary["annotated"]), str(summary["places"])]
    assert summary["annotated"] == verdicts["REVIEW"] + verdicts["NG"] > 0
    for name in ("coco", "yolo", "voc", "png"):
        assert any(line.split()[0] == name and Path(line.split()[1]).exists() for line in lines[3:] if line)
    assert lines[-1] == f"Next: correct them, then flawscope data {out / 'coco' / 'instances_rle.json'}"
    words = lines[-1].split("then flawscope ")[1].split()
    told = run(*words, "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["total"]["images"] == summary["annotated"]


def test_json_and_what_is_not_judged(chips: Path, model: Path, tmp_path: Path, run: Run):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    (folder / "a.png").write_bytes(sorted((chips / "test").rglob("*.png"))[0].read_bytes())
    arguments = ["annotate", folder, "--model", model, "--format", "coco", "--all"]
    result = run(*arguments, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 3
    values = json.loads(result.stdout)
    assert values == json.loads((tmp_path / "out" / "annotate.json").read_text())
    assert values["photographs"] == 2 and list(values["written"]) == ["coco"]
    assert [entry["code"] for entry in values["not_judged"]] == ["not_an_image"]
    told = run(*arguments, "--out", tmp_path / "told")
    assert told.exit_code == 3 and "NOT JUDGED" in told.stdout and ", 1 not judged" in told.stdout
    again = run(*arguments, "--out", tmp_path / "told")
    assert again.exit_code == 2 and "holds finished annotations" in again.stderr


def test_nothing_to_mark_says_so(chips: Path, model: Path, tmp_path: Path, run: Run):
    lone = tmp_path / "lone"
    lone.mkdir()
    good = sorted((chips / "train" / "good").iterdir())[0]  # taught, so surely OK
    (lone / "a.png").write_bytes(good.read_bytes())
    result = run("annotate", lone, "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "--all also marks parts that are OK" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--refine", "magic"), "none, grabcut, walker"),
        (("--reach", "far"), "pixel, peak, rise"),
        (("--role", "boss"), "fit, select, calibrate, test"),
        (("--format", "coco,labelme"), "no annotation format named 'labelme'"),
        (("--share", "2"), "marks nothing"),
        (("--label", "good"), "cannot name a defect"),
    ],
)
def test_options_that_mean_nothing_have_exit_code_2(
    chips: Path, model: Path, tmp_path: Path, run: Run, options: tuple[str, ...], words: str
):
    result = run("annotate", chips / "test", "--model", model, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_and_a_missing_bundle(chips: Path, model: Path, tmp_path: Path, run: Run):
    missing = run("annotate", tmp_path / "no", "--model", model, "--out", tmp_path / "out")
    assert missing.exit_code == 4 and "no folder or list" in missing.stderr
    bundle = run("annotate", chips / "test", "--model", tmp_path / "no.flaw", "--out", tmp_path / "out")
    assert bundle.exit_code == 5
