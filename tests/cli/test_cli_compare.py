"""`flawscope compare`: the table, conclusions, files, JSON; started again, nothing is repeated."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flawscope.cli import compare as command

SMALL = ("--budget", "64", "--seeds", "1", "--threads", "1", "--batch", "2", "--alpha", "0.1")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, chips: Path, run: Callable[..., Any]) -> Any:
    """A comparison of two quick models and one that cannot be, and what was printed."""
    out = tmp_path_factory.mktemp("compared") / "cmp"
    result = run("compare", "--data", chips, "--methods", "padim,dfm,linear", "--out", out, *SMALL)
    return out, result


def test_it_prints_a_table_conclusions_and_the_next_step(compared: Any) -> None:
    out, result = compared
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    head = next(line for line in lines if "AUROC" in line and "Recall" in line)
    assert head.split()[:2] == ["Model", "AUROC"] and "p50, ms" in head and "MB" in head
    assert any(line.split()[:2] == ["linear", "failed"] for line in lines)
    assert "too few to teach" in result.stdout
    assert any(" is best: AUROC " in line or "None of these" in line for line in lines)
    assert "3 models, 1 seed: 3 cells, 1 at a time, 1 thread each." in lines
    assert "[3/3]" in result.stderr
    for name in ("compare.html", "compare.md", "compare.csv", "compare.json"):
        assert (out / name).is_file() and name in result.stdout


def test_the_files_hold_every_cell(compared: Any) -> None:
    out, _ = compared
    values = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((out / "compare.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["model"] for row in rows] == [cell["model"] for cell in values["cells"]]
    by_model = {row["model"]: row for row in rows}
    assert by_model["linear"]["status"] == "failed" and by_model["linear"]["auroc"] == ""
    assert "too few" in by_model["linear"]["reason"] and 0 <= float(by_model["padim"]["auroc"]) <= 1
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert "| linear | failed: linear learns from labelled defects" in text and "## Rules" in text


def test_started_again_it_repeats_nothing_and_prints_json(
    compared: Any, chips: Path, run: Callable[..., Any]
) -> None:
    out, _ = compared
    first = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    again = run("compare", "--data", chips, "--methods", "padim,dfm", "--out", out, *SMALL, "--json")
    assert again.exit_code == 0, again.stderr
    values = json.loads(again.stdout)
    seconds = {cell["model"]: cell["seconds"] for cell in first["cells"]}
    assert len(values["cells"]) == 2
    assert all(cell["seconds"] == seconds[cell["model"]] for cell in values["cells"])


def test_a_configuration_lists_rows(chips: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "rows.toml"
    config.write_text(
        f'data = "{chips.as_posix()}"\nseeds = 2\nbudget = 96\n'
        '[[models]]\nmethod = "padim"\n'
        '[[models]]\nname = "wide"\nmethod = "padim"\nsettings = {neighbourhood = 5}\n',
        encoding="utf-8",
    )
    options = dict.fromkeys(
        ("data", "seeds", "resplit", "layout", "group_by", "product", "mask_above", "weights_dir")
    ) | {"calibrate": "auto", "device": "auto", "batch": 8, "threads": 1}
    made = command.gathered(
        options, {"alpha": 0.1}, methods=None, preset=None, config=config, assignments=["wide.top_share=0"],
        steps=None,
    )  # fmt: skip
    assert [model.name for model in made.models] == ["padim", "wide"]
    assert made.models[1].settings["neighbourhood"] == 5 and made.models[1].settings["top_share"] == 0
    assert made.seeds == 2 and dict(made.run) == {"budget": 96, "alpha": 0.1} and made.data == (chips,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "padim"), "nothing to compare on"),
        (("--data", "here"), "nothing to compare"),
        (("--data", "here", "--methods", "padin"), "padim"),
        (("--data", "nowhere", "--methods", "padim"), "There is no nowhere"),
        (("--data", "here", "--methods", "padim", "--set", "dfm.components=3"), "meets no model"),
    ],
)
def test_a_wrong_call_is_explained(run: Callable[..., Any], arguments: tuple[str, ...], said: str) -> None:
    result = run("compare", *arguments)
    assert result.exit_code in (2, 4) and said in result.stderr


def test_nothing_measured_has_an_exit_code(chips: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("compare", "--data", chips, "--methods", "linear", "--out", tmp_path / "cmp", *SMALL)
    assert result.exit_code == command.NOTHING
    assert "Nothing could be measured; each row says why." in result.stdout


def test_memory_is_shared_by_the_jobs() -> None:
    whole, half = command.memory_limit(None, jobs=1), command.memory_limit(None, jobs=2)
    assert whole is not None and half == whole / 2
    assert command.memory_limit(500, jobs=2) == 500
