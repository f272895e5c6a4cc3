"""`flawscope inspect`: lines, JSON, CSV, overlays, faults and exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from flawscope.cli.inspect import FailOn, exit_code
from flawscope.core.errors import DataError
from flawscope.core.types import Fault, Inspection, Verdict
from flawscope.flows.listing import found_in
from flawscope.imaging.read import read
from flawscope.runtime.inspector import Inspector

Run = Callable[..., Any]
Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mixed(chips: Path, tmp_path: Path) -> Path:
    """A folder with two sound images, one cut off, one empty, one text, and litter."""
    folder = tmp_path / "new"
    (folder / "below").mkdir(parents=True)
    good = sorted((chips / "test" / "good").iterdir())
    shutil.copy(good[0], folder / "a.png")
    shutil.copy(good[1], folder / "below" / "a.png")
    (folder / "cut.png").write_bytes(good[2].read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    for litter in (".hidden.png", "Thumbs.db", "desktop.ini"):
        (folder / litter).write_bytes(b"x")
    return folder


def test_a_broken_folder_is_judged_to_the_end_and_each_fault_is_named(mixed: Path, model: Path, start: Start):
    result = start("inspect", "--model", model, mixed)
    lines = result.stdout.splitlines()
    assert result.returncode == 3
    assert [line.split("  ")[0] for line in lines[:-1]].count("NOT JUDGED") == 3 and len(lines) == 6
    summary = lines[-1]
    assert summary.startswith("5 images: ") and "images/s" in summary
    for words in ("cut.png is cut off", "empty.png is empty", "notes.txt is no image"):
        assert words in summary
    assert result.stderr == "", "nothing but our own words reaches the terminal"


def test_json_is_a_line_an_image_exactly_as_the_inspector_says(mixed: Path, model: Path, run: Run):
    result = run("inspect", "--model", model, mixed, "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    paths = [str(file.path) for file in found_in([mixed])]
    expected = [one.to_json() for one in Inspector.open(model).inspect(paths)]
    for values in (*found, *expected):
        values.pop("timings_ms")
    assert found == expected
    assert {values["path"]: values["error"]["code"] for values in found if values["verdict"] is None} == {
        str(mixed / "cut.png"): "truncated",
        str(mixed / "empty.png"): "empty",
        str(mixed / "notes.txt"): "not_an_image",
    }


def test_overlays_keep_relative_names_and_size_and_the_table_has_every_image(
    mixed: Path, model: Path, tmp_path: Path, run: Run
):
    out, table = mixed / "overlays", tmp_path / "verdicts.csv"
    for _ in range(2):  # the second run must not judge the overlays of the first
        result = run("inspect", "--model", model, mixed, "--out", out, "--csv", table)
        assert result.exit_code == 3
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert written == ["a.png", "below/a.png"]
    assert read(out / "a.png").size_hw == read(mixed / "a.png").size_hw
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [str(file.path) for file in found_in([mixed], besides=out)]
    assert [row["error_code"] for row in rows] == ["", "", "truncated", "empty", "not_an_image"]
    scores = [one.score for one in Inspector.open(model).inspect([row["path"] for row in rows[:2]])]
    assert [float(row["score"]) for row in rows[:2]] == pytest.approx(scores, rel=1e-5)


def test_overlays_never_write_over_the_photographs(mixed: Path, model: Path, run: Run):
    before = (mixed / "a.png").read_bytes()
    result = run("inspect", "--model", model, mixed / "a.png", "--out", mixed)
    assert result.exit_code == 2 and "would write over" in result.stderr
    assert (mixed / "a.png").read_bytes() == before


def test_files_of_one_name_and_formats_that_are_not_written_get_names_of_their_own(
    mixed: Path, model: Path, tmp_path: Path, run: Run
):
    cv2.imwrite(str(mixed / "a.tif"), cv2.imread(str(mixed / "a.png")))
    arguments = [mixed / "a.png", mixed / "below" / "a.png", mixed / "a.tif"]
    run("inspect", "--model", model, *arguments, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-2.png", "a.png", "a.tif.png"]


def _judged(*verdicts: Verdict | None) -> list[Inspection]:
    fault = Fault("empty", "x is empty.")
    return [Inspection("x", "b", verdict, None if verdict else fault) for verdict in verdicts]


@pytest.mark.parametrize(
    ("verdicts", "fail_on", "expected"),
    [
        ([Verdict.OK, Verdict.NG], None, 0),
        ([Verdict.OK, Verdict.NG], FailOn.NG, 10),
        ([Verdict.OK, Verdict.REVIEW], FailOn.NG, 0),
        ([Verdict.OK, Verdict.REVIEW], FailOn.REVIEW, 10),
        ([Verdict.OK, Verdict.NG], FailOn.REVIEW, 10),
        ([Verdict.OK, None], None, 3),
        ([None, Verdict.OK], FailOn.REVIEW, 3),
        ([None, Verdict.NG], FailOn.NG, 10),
    ],
)
def test_exit_codes(verdicts: list[Verdict | None], fail_on: FailOn | None, expected: int):
    assert exit_code(_judged(*verdicts), fail_on) == expected


def test_fail_on_review_reaches_the_shell(chips: Path, model: Path, run: Run):
    result = run("inspect", "--model", model, chips / "test", "--fail-on", "review", "--batch", 3)
    assert "0 REVIEW" not in result.stdout, "the set has parts that are not OK"
    assert result.exit_code == 10


def test_a_missing_file_is_not_judged_and_a_folder_without_files_is_an_error(
    model: Path, tmp_path: Path, run: Run
):
    result = run("inspect", "--model", model, tmp_path / "no.png")
    assert result.exit_code == 3 and "no.png cannot be opened" in result.stdout
    with pytest.raises(DataError):
        found_in([tmp_path])


def test_a_missing_bundle_and_an_unknown_provider_have_exit_code_5(
    chips: Path, model: Path, tmp_path: Path, run: Run
):
    assert run("inspect", "--model", tmp_path / "no.flaw", chips).exit_code == 5
    result = run("inspect", "--model", model, chips, "--provider", "nonsense")
    assert result.exit_code == 5 and "onnxruntime has no nonsense" in result.stderr
