"""How names become backbones, on the base install: the bundled one, ONNX files, folders, errors, the docs'
recipe."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from flawscope.core import digest
from flawscope.core.errors import ConfigError
from flawscope.core.types import Preprocess
from flawscope.methods.backbones import WEIGHTS_VARIABLE, cache_dir_on, read_notes, resolve
from flawscope.methods.features import Embedding, level_maps
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.runtime.backbone import Backbone, BackboneCard, Level, bundled, with_card
from flawscope.runtime.session import GraphSession

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = """
import sys
for name in ("torch", "timm", "torchvision", "safetensors", "onnxscript"):
    sys.modules[name] = None
"""


def classifier(opset: int = 18) -> Any:
    """Make a network with maps of stride 8 and 16 on the way to ten classes."""
    generator = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32) * 0.1, name)

    nodes = [
        helper.make_node("Conv", ["pixels", "w1"], ["stem"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["stem"], ["stage2"]),
        helper.make_node("Conv", ["stage2", "w2"], ["deep"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["deep"], ["stage3"]),
        helper.make_node("GlobalAveragePool", ["stage3"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "w3"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10, 1, 1])],
        initializer=[weight("w1", 16, 3, 8, 8), weight("w2", 32, 16, 2, 2), weight("w3", 10, 32, 1, 1)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def save_backbone(path: Path, *, name: str = "tiny", opset: int = 18) -> Path:
    """Write the classifier's maps as a backbone file."""
    model = classifier(opset)
    del model.graph.output[:]
    for label, channels in (("stage2", 16), ("stage3", 32)):
        model.graph.output.append(
            helper.make_tensor_value_info(label, TensorProto.FLOAT, ["N", channels, None, None])
        )
    levels = (Level("stage2", 16, 8), Level("stage3", 32, 16))
    third = (0.5, 0.5, 0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(with_card(model, BackboneCard(name, levels, third, third, "drawn", "none")), path)
    return path


def run_levels(backbone: Backbone, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Run a backbone on random pixels."""
    session = onnxruntime.InferenceSession(
        backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return list(session.run(None, {backbone.model.graph.input[0].name: pixels}))


def within_our_graph(backbone: Backbone) -> list[np.ndarray]:
    """Run a backbone as methods do: in a graph from uint8 canvases (two of 64x96) to unit levels."""
    graph = GraphBuilder()
    image, _ = canvas_input(graph, Preprocess((64, 96)), backbone)
    for name in level_maps(graph, image, backbone, Embedding()):
        graph.output(f"out_{name.replace('/', '_')}", name, TensorProto.FLOAT, ["N", None, None, None])
    canvases = np.random.default_rng(2).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    outputs = GraphSession(graph.model()).run(canvases, np.array([[0, 0, 96, 64]] * 2, np.float32))
    return list(outputs.values())


@pytest.fixture(autouse=True)
def _no_weights_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)


@pytest.mark.parametrize("name", [None, "bundled", "drawn_r18"])
def test_the_bundled_backbone_has_three_names(name: str | None, tmp_path: Path) -> None:
    backbone = resolve(name, weights_dir=None, cache_dir=tmp_path)
    assert backbone.card == bundled().card
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bundled", "tiny"])
def test_a_backbone_stands_within_a_methods_graph(name: str, tmp_path: Path) -> None:
    save_backbone(tmp_path / "tiny.onnx")
    backbone = resolve(name, weights_dir=tmp_path, cache_dir=tmp_path)
    for level, values in zip(backbone.card.levels, within_our_graph(backbone), strict=True):
        assert values.shape == (2, level.channels, 64 // level.stride, 96 // level.stride)
        lengths = np.linalg.norm(values, axis=1)
        assert 0.2 < lengths.mean() <= 1 + 1e-5  # means of unit vectors


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (3, 3, 48, 32)])
def test_the_bundled_graph_is_what_its_card_says(shape: tuple[int, ...]) -> None:
    backbone = bundled()
    for level, values in zip(backbone.card.levels, run_levels(backbone, shape), strict=True):
        assert values.shape == (
            shape[0],
            level.channels,
            shape[2] // level.stride,
            shape[3] // level.stride,
        )
        assert values.std() > 0
    assert backbone.card.licence == "Apache-2.0"


def test_the_bundled_file_is_small_names_no_machine_and_is_the_one_on_its_card() -> None:
    path = ROOT / "src" / "flawscope" / "weights" / "drawn_r18.onnx"
    content = path.read_bytes()
    assert len(content) < 6_000_000
    assert b"site-packages" not in content
    assert digest.of_bytes(content) in path.with_suffix(".md").read_text(encoding="utf-8")


def test_a_file_is_read_by_its_path_and_by_name_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_backbone(tmp_path / "weights" / "tiny.onnx")
    other = save_backbone(tmp_path / "other" / "tiny.onnx", name="other")
    cache = tmp_path / "cache"
    assert resolve(str(path), weights_dir=None, cache_dir=cache).card.name == "tiny"
    assert resolve("tiny", weights_dir=path.parent, cache_dir=cache).card.digest == digest.of_file(path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(other.parent))
    assert resolve("tiny", weights_dir=None, cache_dir=cache).card.name == "other"
    assert resolve("tiny", weights_dir=path.parent, cache_dir=cache).card.name == "tiny"


def test_an_equals_sign_within_a_path_is_part_of_the_path(tmp_path: Path) -> None:
    path = save_backbone(tmp_path / "lot=7" / "tiny.onnx")
    assert resolve(str(path), weights_dir=None, cache_dir=tmp_path).card.name == "tiny"
    with pytest.raises(ConfigError, match=r"not there.*lot=7"):
        resolve(str(path.with_name("tinny.onnx")), weights_dir=None, cache_dir=tmp_path)


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    save_backbone(tmp_path / "tiny.onnx")
    with pytest.raises(ConfigError, match=r"tiny2\.onnx is not there.*Did you mean 'tiny\.onnx'"):
        resolve(str(tmp_path / "tiny2.onnx"), weights_dir=None, cache_dir=tmp_path)


def test_a_missing_folder_says_where_it_was_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Set --weights-dir"):
        resolve("tiny", weights_dir=tmp_path / "none", cache_dir=tmp_path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=WEIGHTS_VARIABLE):
        resolve("tiny", weights_dir=None, cache_dir=tmp_path)


@pytest.mark.parametrize("text", ["some/where", "weights.h5/", "two words"])
def test_what_is_neither_name_nor_known_file_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a name nor a file of a known kind"):
        resolve(text, weights_dir=None, cache_dir=tmp_path)


def test_an_onnx_file_takes_no_architecture(tmp_path: Path) -> None:
    path = save_backbone(tmp_path / "tiny.onnx")
    with pytest.raises(ConfigError, match="An ONNX file needs no architecture"):
        resolve(f"resnet18={path}", weights_dir=None, cache_dir=tmp_path)


def test_foreign_graphs_are_refused(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "bare.onnx")
    with pytest.raises(ConfigError, match="says nothing about itself"):
        resolve(str(tmp_path / "bare.onnx"), weights_dir=None)
    with pytest.raises(ConfigError, match=r"opset 18.*Found ai\.onnx 17"):
        resolve(str(save_backbone(tmp_path / "old.onnx", opset=17)), weights_dir=None)
    whole = onnx.load(save_backbone(tmp_path / "one.onnx"))
    del whole.graph.output[1]
    onnx.save(whole, tmp_path / "one.onnx")
    with pytest.raises(ConfigError, match="one input and 2 outputs"):
        resolve(str(tmp_path / "one.onnx"), weights_dir=None)


def test_notes_are_read_and_checked(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    assert read_notes(weights).arch_kwargs == {}
    notes = tmp_path / "net.json"
    notes.write_text('{"mean": [0.5, 0.5, 0.5], "licence": "MIT", "arch_kwargs": {"pad_type": "same"}}')
    assert read_notes(weights).mean == (0.5, 0.5, 0.5)
    assert read_notes(weights).licence == "MIT"
    for text, complaint in (
        ('{"licens": "MIT"}', "Did you mean 'licence'"),
        ('{"std": [1, 0, 1]}', "numbers above 0"),
        ('{"mean": [1]}', "3 values"),
        ("[", "cannot be read"),
    ):
        notes.write_text(text)
        with pytest.raises(ConfigError, match=complaint):
            read_notes(weights)


def test_without_torch_weights_ask_for_the_extra_and_names_list_the_choices(tmp_path: Path) -> None:
    save_backbone(tmp_path / "tiny.onnx")
    (tmp_path / "resnet18.safetensors").write_bytes(b"weights")
    code = f"""{BLOCKED}
from pathlib import Path
from flawscope.core.errors import FlawscopeError
from flawscope.methods.backbones import resolve
folder = Path({str(tmp_path)!r})
for name in ("tiny", "tinny", "resnet18"):
    try:
        print(resolve(name, weights_dir=folder, cache_dir=folder / "cache").card.name)
    except FlawscopeError as error:
        print(error.code, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, near, weights = done.stdout.splitlines()
    assert found == "tiny"
    assert near.startswith("missing_backbone The backbone 'tinny' was not found")
    assert "resnet18.safetensors, tiny.onnx in" in near
    assert "Did you mean 'tiny'" in near and 'pip install "flawscope[train]"' in near
    assert weights.startswith("missing_extra") and 'pip install "flawscope[train]"' in weights


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "home/.cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache"),
        ("darwin", {"XDG_CACHE_HOME": "relative"}, "home/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "local"}, "local"),
        ("win32", {}, "home/AppData/Local"),
    ],
)
def test_the_cache_stands_where_the_platform_keeps_caches(
    platform: str, environment: dict[str, str], expected: str
) -> None:
    assert cache_dir_on(platform, environment, Path("home")) == Path(expected)


def test_an_absolute_cache_home_is_heeded(tmp_path: Path) -> None:
    assert cache_dir_on("linux", {"XDG_CACHE_HOME": str(tmp_path)}, Path("home")) == tmp_path


def test_the_recipe_of_the_docs_makes_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    onnx.save(classifier(opset=17), tmp_path / "classifier.onnx")
    exec(compile(recipe, "docs/backbones.md", "exec"), {})
    backbone = resolve("my_trunk.onnx", weights_dir=None, cache_dir=tmp_path)
    assert [values.shape for values in run_levels(backbone, (2, 3, 64, 32))] == [
        (2, level.channels, 64 // level.stride, 32 // level.stride) for level in backbone.card.levels
    ]
