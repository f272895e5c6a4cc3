"""What the commands say of labelled defects, of classes, and of several products."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, golden_maker: Any) -> Path:
    """Two products, one of the folders a class: 24 good and 12 bad parts each."""
    folder = tmp_path_factory.mktemp("lines") / "plant"
    for number, product in enumerate(("left", "right")):
        golden_maker.write_parts(folder / product / "good", 24, start=1000 * number)
        for i in range(12):
            pixels = golden_maker.part(1000 * number + 500 + i, "blob")
            golden_maker.write_png(folder / product / "blob" / f"{i:02d}.png", pixels)
    return folder


@pytest.fixture(scope="module")
def taught(
    lines: Path, run: Run, tiny_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A run of `flawscope train` on both products with labelled defects: its folder and what it printed."""
    out = tmp_path_factory.mktemp("taught") / "run"
    result = run(
        "train", "--data", lines, "--product", "all", "--method", "linear", "--out", out,
        "--size", "64x64", "--backbone", tiny_settings["backbone"], "--alpha", "0.1", "--resplit", "70/20/10",
        "--set", "settings.views=2", "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return out, result.stdout


def test_train_says_what_it_learned_from(taught: Any) -> None:
    _, told = taught
    assert " good and " in told and "defects to teach from" in told
    assert "no defects given" not in told
    assert "Limits of their own: left, right (inspect --product NAME)." in told


def test_inspect_names_the_likeliest_class(taught: Any, lines: Path, run: Run, tmp_path: Path) -> None:
    out, _ = taught
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(lines / "left" / "blob" / "00.png", folder / "bad.png")
    shutil.copy(min((lines / "left" / "good").iterdir()), folder / "ok.png")
    arguments = ("inspect", "--model", out / "model.flaw", folder, "--product", "left")
    plain = run(*arguments, "--csv", tmp_path / "table.csv")
    assert plain.exit_code == 0, plain.stderr
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text("utf-8").splitlines()))
    for line, row, values in zip(
        plain.stdout.splitlines(),
        rows,
        map(json.loads, run(*arguments, "--json").stdout.splitlines()),
        strict=False,
    ):
        chances = values["probabilities"]
        assert set(chances) == {"good", "defect"}
        assert row["likeliest"] == max(chances, key=chances.get) and f"   {row['likeliest']} " in line
        assert float(row["probability_bad"]) == pytest.approx(chances["defect"], abs=1e-6)
    assert len(rows) == 2 and float(rows[0]["probability_bad"]) > float(rows[1]["probability_bad"])


def test_a_product_that_is_not_known_is_named_with_those_that_are(taught: Any, lines: Path, run: Run) -> None:
    out, _ = taught
    result = run("inspect", "--model", out / "model.flaw", lines / "left" / "blob", "--product", "lefd")
    assert result.exit_code == 2 or isinstance(result.exception, Exception)
    assert "left, right" in str(result.exception) + result.stderr


def test_evaluate_tells_products_apart(taught: Any, lines: Path, run: Run) -> None:
    out, _ = taught
    result = run("evaluate", "--model", out / "model.flaw", "--data", lines)
    assert result.exit_code == 0, result.stderr
    for words in ("By product", "Worst: ", "Probability of being bad", "Calibration error", "Brier score"):
        assert words in result.stdout


def test_too_few_defects_are_an_error_in_words(lines: Path, run: Run, tmp_path: Path) -> None:
    result = run("train", "--data", lines / "left" / "good", "--method", "svm", "--out", tmp_path / "run")
    assert "too few to teach" in str(result.exception) + result.stderr
