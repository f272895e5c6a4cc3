"""`flawscope explain` through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

Run = Callable[..., Any]


def test_pictures_and_data_are_written(run: Run, classified: Any, tmp_path: Path) -> None:
    folder = classified.data.parent / "test"
    result = run("explain", "-m", classified.model, folder, "--out", tmp_path, "--all", "-e", "cam,anomaly")
    assert result.exit_code == 0, result.stderr
    values = json.loads((tmp_path / "explain.json").read_text(encoding="utf-8"))
    photographs = values["photographs"]
    assert len(photographs) == 48 and values["explainers"] == ["cam", "anomaly"]
    for one in photographs:
        assert [each["explainer"] for each in one["explanations"]] == ["cam", "anomaly"]
        assert cv2.imread(str(tmp_path / one["picture"])) is not None
        assert one["verdict"] in ("OK", "REVIEW", "NG") and set(one["probabilities"]) == {"good", "defect"}
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("Next: flawscope explain --evaluate")
    assert any(line.startswith("48 images, 48 explained") for line in lines)


def test_ok_parts_are_not_explained_unless_asked_for(run: Run, classified: Any, tmp_path: Path) -> None:
    folder = classified.data.parent / "train" / "good"
    result = run("explain", "-m", classified.model, folder, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    calm = [row for row in rows if row["verdict"] == "OK"]
    assert calm and all(row["explanations"] == [] and row["picture"] is None for row in calm)
    for row in calm:
        assert not (tmp_path / Path(row["path"]).name).exists()


def test_what_cannot_be_judged_sets_the_exit_code(run: Run, classified: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "no.png").write_bytes(b"no image")
    result = run("explain", "-m", classified.model, tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 3
    assert "NOT JUDGED" in result.stdout and "1 not judged" in result.stdout


def test_the_table_is_printed_and_written(run: Run, classified: Any, tmp_path: Path) -> None:
    command = ("explain", "-m", classified.model, "--evaluate", "--data", classified.data)
    result = run(*command, "-e", "cam,anomaly", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "Pointing game" in result.stdout and "is best here by AUPRO" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "explainers.csv",
        "explainers.json",
        "explainers.md",
    ]
    asked = run(*command, "-e", "cam", "--json")
    values = json.loads(asked.stdout)
    assert list(values["explainers"]) == ["cam"] and values["best"] == "cam"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to explain"),
        (("--evaluate",), "--data DIR"),
        (("--out", "x", "photo.png", "-e", "gradcan"), "Did you mean"),
        (("--out", "x", "photo.png", "--class", "scratch"), "no bad class"),
    ],
)
def test_errors_name_the_remedy(run: Run, classified: Any, arguments: tuple[str, ...], said: str) -> None:
    result = run("explain", "-m", classified.model, *arguments)
    assert result.exit_code == 2 and said in result.stderr
