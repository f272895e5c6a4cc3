"""`flawscope train`: settings from file, --set and options; what it writes and says; Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flawscope.cli.train import gathered
from flawscope.core.errors import ConfigError, UsageError
from flawscope.runtime.bundle import open_bundle

Run = Callable[..., Any]


def test_writes_bundle_page_json_and_manifest_and_nothing_else(training: Any):
    assert sorted(path.name for path in training.out.iterdir() if path.is_file()) == [
        "manifest.jsonl",
        "model.flaw",
        "report.html",
        "report.json",
    ]


def test_says_results_first_promise_next_and_the_next_step_last(training: Any):
    lines = training.stdout.splitlines()
    assert lines[0].startswith("chips: 16 good to teach from, 8 kept for the test. 96x64 px")
    assert "16 good parts cannot say NG at 5 %: 3 more would allow it" in lines[1]
    model = training.out / "model.flaw"
    assert f"{model}  " in training.stdout and "one verdict" in training.stdout
    assert "Taught in" in training.stdout and "calibrated in" in training.stdout
    assert lines[-1] == f"Next: flawscope inspect --model {model} NEW_IMAGES"
    assert training.stderr == ""


def _written(folder: Path, name: str, data: Path) -> Path:
    """Write a configuration as TOML or YAML."""
    values = {"alpha": 0.1, "review_alpha": 0.4, "budget": 96, "folds": 2, "name": "from_file"}
    sign = " = " if name.endswith("toml") else ": "
    place = folder / name
    place.write_text(
        "".join(f"{key}{sign}{json.dumps(v)}\n" for key, v in (values | {"data": str(data)}).items())
    )
    return place


@pytest.mark.parametrize("name", ["c.toml", "c.yaml"])
def test_options_win_over_set_and_set_over_the_file(name: str, tmp_path: Path):
    config = _written(tmp_path, name, tmp_path)
    found = gathered(
        config, ["alpha=0.2", "review_alpha=0.3", "settings.bank=64"], {"alpha": 0.25, "seed": None}
    )
    assert found == {
        "alpha": 0.25,
        "review_alpha": 0.3,
        "budget": 96,
        "folds": 2,
        "name": "from_file",
        "data": str(tmp_path),
        "settings": {"bank": 64},
    }


def test_a_configuration_reaches_the_bundle_and_json_tells_it(chips: Path, tmp_path: Path, run: Run):
    config = _written(tmp_path, "config.yaml", chips)
    result = run(
        *("train", "--config", config, "--set", "settings.bank=64", "--alpha", "0.25"),
        *("--resplit", "50/25/25", "--out", tmp_path / "run", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert (values["promise"]["alpha"], values["promise"]["review_alpha"]) == (0.25, 0.4)
    contents = open_bundle(tmp_path / "run" / "model.flaw").contents
    assert contents.name == "from_file" and contents.settings["bank"] == 64
    assert values["samples"] == dict(contents.counts) and values["samples"]["select"] > 0
    assert sum(values["samples"].values()) == 24
    assert Path(values["bundle"]).is_file() and Path(values["report"]).is_file()


def test_options_that_were_not_given_leave_the_file_alone(tmp_path: Path):
    config = tmp_path / "c.toml"
    config.write_text('data = "x"\nstrict = true\nalpha = 0.01\n')
    given = {"alpha": None, "strict": None, "seed": 0, "data": None}
    assert gathered(config, [], given) == {"data": "x", "strict": True, "alpha": 0.01, "seed": 0}


def test_nothing_to_learn_from_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="--data"):
        gathered(None, ["alpha=0.1"], {"data": None})


def test_an_unknown_key_is_refused_with_the_nearest_name(chips: Path, tmp_path: Path, run: Run):
    config = tmp_path / "c.yaml"
    config.write_text("alfa: 0.1\n")
    result = run("train", "--data", chips, "--config", config, "--out", tmp_path / "run")
    assert result.exit_code == 2 and "Did you mean 'alpha'?" in result.stderr and result.stdout == ""
    assert not (tmp_path / "run").exists()


def test_a_methods_setting_in_the_wrong_place_is_shown_its_place(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--set settings\.bank=64"):
        gathered(None, ["bank=64"], {"data": "x"})


@pytest.mark.parametrize(
    "wrong", ["size=[16, 64]", "size=[64, 5000]", "levels=[50, 10]", "levels=[0, 65536]"]
)
def test_a_canvas_and_levels_that_cannot_be_are_refused(wrong: str):
    with pytest.raises(ConfigError, match="two whole numbers"):
        gathered(None, [wrong], {"data": "x"})
    gathered(None, ["size=[64, 96]", "levels=[10, 50]"], {"data": "x"})


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_leaves_no_half_written_file(tmp_path: Path, run: Run, environment: dict[str, str]):
    chips, out = tmp_path / "chips", tmp_path / "run"
    assert run("synth", "--out", chips, "--good", 60, "--bad", 0, "--size", "256x192").exit_code == 0
    arguments = ["train", "--data", str(chips), "--out", str(out), "--budget", "320"]
    terminal, stderr = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flawscope", *arguments],
        env=environment | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        # where the tests run in the background, a shell may have told them to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(stderr)
    shown = b""
    while b"Teaching" not in shown:  # a terminal sees bars; a file would not
        shown += os.read(terminal, 4096)
    os.kill(process.pid, signal.SIGINT)
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while piece := os.read(terminal, 4096):
            shown += piece
    assert process.communicate(timeout=60)[0] == b""
    os.close(terminal)
    assert process.returncode == 130
    assert shown.endswith(b"Stopped. Nothing half-written was left.\r\n") and b"Traceback" not in shown
    assert not out.exists() or list(out.iterdir()) == []
