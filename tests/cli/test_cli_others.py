"""`flawscope data`, `synth`, `methods`, `export`, `doctor` and `demo`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import flawscope.methods
from flawscope.core.errors import BundleError
from flawscope.core.registry import methods
from flawscope.core.types import Role
from flawscope.data.manifest import read_manifest
from flawscope.flows import export
from flawscope.runtime.bundle import open_bundle

Run = Callable[..., Any]
assert flawscope.methods  # registers them


@pytest.fixture
def copy(chips: Path, tmp_path: Path) -> Path:
    """The chips in a folder that may be changed."""
    return shutil.copytree(chips, tmp_path / "copy")


def test_data_shows_labels_sizes_roles_and_the_layout(chips: Path, run: Run):
    result = run("data", chips)
    assert result.exit_code == 0, result.stderr
    assert "24 images, layout mvtec (" in result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.startswith("  ")}
    assert rows["good"][:4] == ["good", "20", "0", "128x96"] and rows["all"][1:3] == ["24", "4"]
    assert result.stdout.splitlines()[-1] == f"Next: flawscope train --data {chips}"
    values = json.loads(run("data", chips, "--json").stdout)
    assert values["layout"] == "mvtec" and values["total"]["images"] == 24 and values["error"] is None


def test_data_deals_anew_and_writes_a_manifest_that_train_can_read(chips: Path, tmp_path: Path, run: Run):
    result = run(
        "data", chips, "--resplit", "50/25/25", "--group-by", r"lot(?P<group>[A-Z]\d+)", "--out", tmp_path
    )
    assert result.exit_code == 0, result.stderr
    samples = read_manifest(tmp_path / "manifest.jsonl")
    assert len(samples) == 24 and {Role.FIT, Role.TEST} <= {sample.role for sample in samples}
    groups = {sample.group for sample in samples}
    assert len({(sample.group, sample.role) for sample in samples}) == len(groups), "a lot has one role"


def test_data_tells_leaks_with_exit_code_4(copy: Path, run: Run):
    shutil.copy(next((copy / "train" / "good").iterdir()), copy / "test" / "good" / "again.png")
    result = run("data", copy, "--json")
    assert result.exit_code == 4
    values = json.loads(result.stdout)
    assert values["error"]["code"] == "leak" and "again.png" in values["error"]["message"]
    assert values["total"]["images"] == 25 and "the same content in two roles" in result.stderr


def test_data_names_what_cannot_be_read_with_exit_code_3(copy: Path, run: Run):
    broken = next((copy / "train" / "good").iterdir())
    broken.write_bytes(broken.read_bytes()[:500])
    result = run("data", copy)
    assert result.exit_code == 3 and "Cannot be read: " in result.stdout and broken.name in result.stdout


def test_synth_counts_what_it_drew_and_refuses_a_full_folder(tmp_path: Path, run: Run):
    out = tmp_path / "drawn"
    command = ("synth", "--out", out, "--good", 2, "--bad", 1, "--size", "64x48", "--shifts", 1, "--json")
    values = json.loads(run(*command).stdout)
    assert (
        sum(values["images"].values()) == len([p for p in out.rglob("*.png") if "_mask" not in p.name]) == 5
    )
    again = run(*command)
    assert again.exit_code == 2 and json.loads(again.stdout)["error"]["code"] == "not_empty"
    assert run("synth", "--out", tmp_path / "x", "--size", "64").exit_code == 2


def test_methods_lists_every_registered_one_and_each_setting(run: Run):
    listed = json.loads(run("methods", "--json").stdout)
    assert [values["name"] for values in listed] == [entry.name for entry in methods]
    text = run("methods").stdout
    for entry in methods:
        assert entry.name in text and entry.summary in text
        shown = run("methods", entry.name).stdout
        for setting in json.loads(run("methods", entry.name, "--json").stdout)["settings"]:
            assert f"  {setting['name']} = " in shown and setting["help"] in shown
    result = run("methods", "patchcor")
    assert result.exit_code == 2 and "Did you mean 'patchcore'?" in result.stderr


def test_export_writes_a_graph_that_any_onnxruntime_opens(chips: Path, model: Path, tmp_path: Path, run: Run):
    out = tmp_path / "out"
    result = run(
        "export", "--model", model, "--to", "onnx", "--out", out, "--images", chips / "test", "--json"
    )
    assert result.exit_code == 0, result.stderr
    parity = json.loads(result.stdout)["parity"]
    assert parity["images"] == 8 and parity["flipped"] == 0 and parity["largest_difference"] <= 1e-3
    assert sorted(path.name for path in out.iterdir()) == ["graph.onnx", "preprocess.json"]
    papers = json.loads((out / "preprocess.json").read_text(encoding="utf-8"))
    golden = open_bundle(model).contents.golden
    assert papers["preprocess"]["size_hw"] == list(golden.pixels.shape[1:3])
    session = onnxruntime.InferenceSession(str(out / "graph.onnx"), providers=["CPUExecutionProvider"])
    (score,) = session.run(["score"], {"image": golden.pixels, "content_xyxy": golden.content_xyxy})
    assert float(score[0]) == pytest.approx(golden.score, rel=1e-5)
    without = run("export", "--model", model, "--to", "onnx", "--out", tmp_path / "out2")
    assert "the golden sample and 16 variations" in without.stdout


class _Off:
    """A graph whose scores are a little off."""

    def __init__(self, session: export.Runner, share: float) -> None:
        self._session, self._share = session, share

    def run(self, pixels: np.ndarray, content_xyxy: np.ndarray) -> dict[str, np.ndarray]:
        found = self._session.run(pixels, content_xyxy)
        return found | {"score": found["score"] * (1 + self._share)}


def test_export_without_parity_is_refused_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    honest = export._as_onnx

    def off(bundle: Any, folder: Path, threads: int) -> Any:
        session, names = honest(bundle, folder, threads)
        return _Off(session, 0.01), names

    monkeypatch.setattr(export, "_as_onnx", off)
    with pytest.raises(BundleError) as caught:
        export.export(model, tmp_path / "out", target="onnx")
    assert caught.value.code == "parity" and list((tmp_path / "out").iterdir()) == []


def test_export_to_openvino_gives_the_same_verdicts_or_says_what_to_install(
    chips: Path, model: Path, tmp_path: Path, run: Run
):
    out = tmp_path / "out"
    result = run("export", "--model", model, "--to", "openvino", "--out", out, "--images", chips / "test")
    if importlib.util.find_spec("openvino") is None:
        assert result.exit_code == 6 and "pip install openvino" in result.stderr
        assert list(out.iterdir()) == []
    else:
        assert result.exit_code == 0, result.stderr
        assert sorted(path.name for path in out.iterdir()) == ["graph.bin", "graph.xml", "preprocess.json"]


def test_doctor_finds_this_machine_well(run: Run):
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    values = json.loads(result.stdout)
    assert values["ok"] and values["self_test"]["verdict_ms"] > 0
    assert values["onnxruntime"]["providers"] == onnxruntime.get_available_providers()
    assert values["onnxruntime"]["for_gpus"][-1] == "pip install onnxruntime-gpu"
    assert set(values["extras"]) == {"train", "tracking", "app", "tune", "scale"}


def test_demo_refuses_a_folder_of_other_things(tmp_path: Path, run: Run):
    (tmp_path / "mine.txt").write_text("x")
    result = run("demo", "--out", tmp_path, "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["error"]["code"] == "not_empty"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_demo_teaches_tests_and_reports_in_a_minute(tmp_path: Path, run: Run):
    for _ in range(2):  # a demo may take the place of an earlier one
        result = run("demo", "--out", tmp_path / "demo", "--json")
        assert result.exit_code == 0, result.stderr
        values = json.loads(result.stdout)
        assert values["metrics"]["image"]["auroc"]["value"] >= 0.95
        assert set(values["drawn"]) == set(values["per_defect"])
        assert Path(values["report"]).is_file() and Path(values["bundle"]).is_file()
        assert values["seconds"]["total"] < 120  # 60 s on two cores that nobody shares
