"""`flawscope pretrain`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
TRAIN = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("timm") is not None
SMALL = ("--steps", "2", "--episodes", "1", "--side", "64", "--workers", "0", "--threads", "1")


@pytest.mark.deep
@pytest.mark.skipif(not TRAIN, reason="pretraining needs flawscope[train]")
def test_pretrain_writes_a_backbone_and_says_what_comes_next(tmp_path: Path, run: Run) -> None:
    small = (*SMALL, "--architecture", "mobile", "--width", "0.25", "--no-judge")
    result = run("pretrain", "--out", tmp_path / "b", *small)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == (
        f"Next: flawscope train --data YOUR_PHOTOGRAPHS --backbone {tmp_path / 'b' / 'backbone.onnx'}"
    )
    assert "2 steps, 16 drawn pictures" in result.stdout
    values = json.loads(run("pretrain", "--out", tmp_path / "b", *small, "--json").stdout)
    assert values["steps"] == 2 and values["held_out"] is None and len(values["sha256"]) == 64


def test_pretrain_refuses_what_cannot_be(tmp_path: Path, run: Run) -> None:
    result = run("pretrain", "--out", tmp_path, *SMALL, "--architecture", "vgg")
    assert result.exit_code == 2 and "resnet, plain, mobile" in result.stderr
