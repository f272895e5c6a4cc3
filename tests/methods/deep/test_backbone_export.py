"""Weights into ONNX: equal to the whole network's own maps, strict about what is loaded, cached by content.

The networks are timm's smallest, with random weights and lively batch-norm statistics.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from flawscope.core.errors import ConfigError
from flawscope.methods.backbones import Tokens, WeightsNotes, resolve
from flawscope.runtime.backbone import Backbone

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.deep

HALF_PRECISION = 5e-3  # what storing weights in half precision may change, as a share of the largest value


def network(arch: str, **arguments: Any) -> Any:
    """Build a whole network whose normalisation layers do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(arch, pretrained=False, **arguments).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.2)
    return model


def save(model: Any, path: Path) -> Path:
    """Write a network's state as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def maps_of(model: Any, pixels: np.ndarray) -> list[np.ndarray]:
    """Return the whole network's own maps of stride 8 and 16, taken by hooks where timm says they are."""
    places = {entry["reduction"]: entry["module"] for entry in model.feature_info}
    taken: list[np.ndarray] = []
    hooks = [
        model.get_submodule(places[stride]).register_forward_hook(
            lambda _module, _inputs, output: taken.append(output.detach().numpy())
        )
        for stride in (8, 16)
    ]
    with torch.inference_mode():
        model(torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    return taken


def by_onnx(backbone: Backbone, pixels: np.ndarray) -> list[np.ndarray]:
    """Run a backbone."""
    session = onnxruntime.InferenceSession(
        backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"image": pixels}))


def gap(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Return the largest difference as a share of the largest value, over levels of the same shape."""
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True))


def pixels(batch: int = 2, height: int = 160, width: int = 96) -> np.ndarray:
    """Make random normalised images of a size that the export did not look at."""
    return np.random.default_rng(5).standard_normal((batch, 3, height, width)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny ResNet."""
    return save(network("test_resnet"), tmp_path_factory.mktemp("weights") / "test_resnet.safetensors")


@pytest.fixture(scope="module")
def exported(weights: Path) -> Backbone:
    """The tiny ResNet as a backbone."""
    from flawscope.methods.deep.backbone_export import export

    return export("test_resnet", weights)


@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_the_graph_gives_the_whole_networks_own_maps(arch: str, tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    model = network(arch)
    backbone = export(arch, save(model, tmp_path / f"{arch}.safetensors"))
    for batch, height, width in ((1, 160, 96), (5, 32, 64)):
        image = pixels(batch, height, width)
        assert gap(by_onnx(backbone, image), maps_of(model, image)) < HALF_PRECISION
    assert [level.stride for level in backbone.card.levels] == [8, 16]
    assert backbone.card.mean == timm.get_pretrained_cfg(arch).mean


def test_a_thousand_and_one_classes_mean_tensorflow(tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    model = network("test_efficientnet", num_classes=1001, pad_type="same")
    plain = network("test_efficientnet", num_classes=1001)
    plain.load_state_dict(model.state_dict())
    path = save(model, tmp_path / "test_efficientnet.safetensors")
    backbone = export("test_efficientnet", path)
    image = pixels()
    assert gap(by_onnx(backbone, image), maps_of(model, image)) < HALF_PRECISION
    assert gap(by_onnx(backbone, image), maps_of(plain, image)) > 10 * HALF_PRECISION
    assert backbone.card.mean == backbone.card.std == (0.5, 0.5, 0.5)

    stated = WeightsNotes({"pad_type": ""}, mean=(0.1, 0.2, 0.3), licence="MIT")
    other = export("test_efficientnet", path, notes=stated)
    assert gap(by_onnx(other, image), maps_of(plain, image)) < HALF_PRECISION
    assert (other.card.mean, other.card.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert other.card.licence == "MIT"


def test_the_same_weights_give_the_same_graph_and_touch_nothing_else(
    weights: Path, exported: Backbone, capfd: pytest.CaptureFixture[str]
) -> None:
    from flawscope.methods.deep.backbone_export import export

    torch.manual_seed(3)
    before, filters = torch.get_rng_state(), list(warnings.filters)
    assert export("test_resnet", weights).card == exported.card
    assert torch.equal(torch.get_rng_state(), before)
    assert warnings.filters == filters
    assert capfd.readouterr().out == ""
    content = exported.model.SerializeToString()
    assert b"site-packages" not in content and b"stack_trace" not in content
    assert {node.op_type for node in exported.model.graph.node} <= {
        "Cast",
        "Conv",
        "Relu",
        "Add",
        "MaxPool",
        "AveragePool",
    }


def test_the_file_must_be_the_architectures_own(weights: Path, tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    state = safetensors.load_file(weights)

    def complaint(changed: dict[str, Any]) -> str:
        path = tmp_path / "test_resnet.safetensors"
        safetensors.save_file(changed, path)
        with pytest.raises(ConfigError) as caught:
            export("test_resnet", path)
        return str(caught.value)

    lacking = {key: value for key, value in state.items() if not key.startswith("layer2.0.conv1")}
    assert "1 of " in complaint(lacking) and "no layer2.0.conv1.weight" in complaint(lacking)
    statistics = {key: value for key, value in state.items() if "running_var" not in key}
    assert "no bn1.running_var" in complaint(statistics)
    grown = state | {"layer3.7.conv1.weight": torch.zeros(3)}
    assert "more weights in these stages" in complaint(grown) and "layer3.7.conv1" in complaint(grown)
    misshapen = state | {"conv1.0.weight": torch.zeros(7, 3, 3, 3)}
    assert "have other shapes" in complaint(misshapen) and "(7, 3, 3, 3)" in complaint(misshapen)


def test_later_stages_and_head_may_be_there_or_not(weights: Path, exported: Backbone, tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    state = safetensors.load_file(weights)
    trunk = {key: value for key, value in state.items() if not key.startswith(("layer4", "fc"))}
    assert len(trunk) < len(state)
    wrapped = tmp_path / "test_resnet.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in trunk.items()}}, wrapped)
    assert export("test_resnet", wrapped).model.graph == exported.model.graph

    # an EfficientNet's trunk carries its later stages along; they are asked of no file
    model = network("test_efficientnet")
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("blocks.4")}
    safetensors.save_file(kept, tmp_path / "kept.safetensors")
    backbone = export("test_efficientnet", tmp_path / "kept.safetensors")
    assert gap(by_onnx(backbone, pixels()), maps_of(model, pixels())) < HALF_PRECISION


class _Touch:
    """An object that makes a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_pth_file_is_executed(tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    made, path = tmp_path / "made", tmp_path / "test_resnet.pth"
    torch.save({"state_dict": _Touch(made)}, path)
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        export("test_resnet", path)
    assert not made.exists()
    path.write_bytes(pickle.dumps(_Touch(made)))
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        export("test_resnet", path)
    assert not made.exists()


def test_what_gives_no_levels_is_refused(weights: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    with pytest.raises(ConfigError, match="gives no stride-6 map"):
        export("test_resnet", weights, strides=(6, 16))
    with pytest.raises(ConfigError, match="has no blocks of patch tokens"):
        export("test_resnet", weights, tokens=Tokens.MIDDLE)
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        export("resnet_18", weights)
    with pytest.raises(ConfigError, match="unexpected keyword"):
        export("test_resnet", weights, notes=WeightsNotes({"pad_typ": "same"}))


def python(code: str, **environment: str) -> str:
    """Run code in a Python of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_was_converted_once_is_read_without_torch(weights: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "weights", tmp_path / "cache"
    folder.mkdir()
    shutil.copy(weights, folder)
    made = resolve("test_resnet", weights_dir=folder, cache_dir=cache)
    (place,) = cache.iterdir()
    stamp = place.stat().st_mtime_ns
    code = f"""
import sys
for name in ("torch", "timm", "safetensors", "onnxscript"):
    sys.modules[name] = None
from pathlib import Path
from flawscope.methods.backbones import resolve
for name in ("test_resnet", {str(folder / "test_resnet.safetensors")!r}):
    print(resolve(name, weights_dir=Path({str(folder)!r}), cache_dir=Path({str(cache)!r})).card.digest)
"""
    assert python(code).split() == [made.card.digest] * 2
    assert place.stat().st_mtime_ns == stamp

    # other notes are another backbone; the first stays
    (folder / "test_resnet.json").write_text('{"mean": [0.1, 0.1, 0.1], "source": "drawn"}')
    noted = resolve("test_resnet", weights_dir=folder, cache_dir=cache)
    assert (noted.card.mean, noted.card.source) == ((0.1, 0.1, 0.1), "drawn")
    assert len(list(cache.iterdir())) == 2

    # a damaged file in the cache is made again
    (folder / "test_resnet.json").unlink()
    place.write_bytes(b"damaged")
    assert resolve("test_resnet", weights_dir=folder, cache_dir=cache).card == made.card
    assert place.stat().st_size > 1000


def test_published_weights_come_from_the_hub_or_the_error_says_why(
    weights: Path, exported: Backbone, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    repository = hub / "hub" / "models--timm--test_resnet.r160_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    code = f"""
import sys
from pathlib import Path
from flawscope.core.errors import FlawscopeError
from flawscope.methods.backbones import resolve
try:
    card = resolve("test_resnet", weights_dir=None, cache_dir=Path({str(tmp_path / "cache")!r})).card
    print(card.source, "|", card.licence)
except FlawscopeError as error:
    print(error.code, error)
"""
    offline = {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "FLAWSCOPE_WEIGHTS": ""}
    refused = python(code, **offline)
    assert refused.startswith("missing_backbone The backbone 'test_resnet' has no weights here")
    assert "HF_HUB_OFFLINE" in refused and "drawn_r18 (bundled)" in refused
    assert not (tmp_path / "cache").exists()

    # as the hub's client lays them down
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copy(weights, snapshot / "model.safetensors")
    assert "timm/test_resnet.r160_in1k | " in python(code, **offline)
    shutil.rmtree(hub)
    assert "timm/test_resnet.r160_in1k | " in python(code, **offline)
    kept = resolve("test_resnet", weights_dir=None, cache_dir=tmp_path / "cache")
    assert kept.model.graph == exported.model.graph


@pytest.mark.real
@pytest.mark.slow
def test_real_mobilenet_weights_follow_the_tensorflow_rule(weights_dir: Path, tmp_path: Path) -> None:
    path = weights_dir / "mobilenetv2_100.safetensors"
    model = timm.create_model("mobilenetv2_100", num_classes=1001, pad_type="same").eval()
    model.load_state_dict(safetensors.load_file(path))
    backbone = resolve("mobilenetv2_100", weights_dir=weights_dir, cache_dir=tmp_path)
    assert gap(by_onnx(backbone, pixels()), maps_of(model, pixels())) < HALF_PRECISION
    assert backbone.card.mean == (0.5, 0.5, 0.5)
