"""Vision transformers as backbones: torch's own tokens, any canvas, and a run with patches of 14.

The networks are timm's with random weights, cut to a few blocks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import flawscope
from flawscope.core.errors import ConfigError
from flawscope.core.types import Preprocess
from flawscope.methods.backbones import Tokens, WeightsNotes, resolve
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.dfm import Dfm, DfmConfig
from flawscope.methods.padim import Padim, PadimConfig
from flawscope.runtime.backbone import Backbone

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.deep

HALF_PRECISION = 5e-3  # what storing weights in half precision may change, as a share of the largest value
SMALL = {"embed_dim": 48, "num_heads": 3, "depth": 4}
DINOV2 = "vit_small_patch14_reg4_dinov2"


def network(arch: str, arch_kwargs: dict[str, Any]) -> Any:
    """Build a whole transformer in which no weight is so small that it has no say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(arch, dynamic_img_size=True, **arch_kwargs).eval()
        for value in model.parameters():
            if value.abs().max() < 1e-3:
                value.data.normal_(0, 0.2)
    return model


def save(model: Any, folder: Path, arch: str, arch_kwargs: dict[str, Any]) -> Path:
    """Write a network's state, and notes that say how it is cut."""
    path = folder / f"{arch}.safetensors"
    safetensors.save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"arch_kwargs": arch_kwargs, "source": "drawn by lot"}))
    return path


def by_onnx(backbone: Backbone, pixels: np.ndarray) -> list[np.ndarray]:
    """Run a backbone."""
    session = onnxruntime.InferenceSession(
        backbone.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"image": pixels}))


def tokens_of(model: Any, pixels: np.ndarray, block: int, *, norm: bool) -> np.ndarray:
    """Return a block's patch tokens as a map (N, C, h, w), taken by a hook."""
    taken = []
    hook = model.blocks[block].register_forward_hook(lambda _module, _inputs, output: taken.append(output))
    with torch.inference_mode():
        model.forward_features(torch.from_numpy(pixels))
        values = model.norm(taken[0]) if norm else taken[0]
    hook.remove()
    side = model.patch_embed.patch_size[0]
    n, _, height, width = pixels.shape
    patches = values[:, model.num_prefix_tokens :].transpose(1, 2)
    return np.asarray(patches.reshape(n, -1, height // side, width // side))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep converted graphs out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny DINOv2 with registers and patches of 14 px."""
    folder = tmp_path_factory.mktemp("weights")
    save(network(DINOV2, SMALL), folder, DINOV2, SMALL)
    return folder


@pytest.mark.parametrize(
    ("arch", "arch_kwargs", "stride"),
    [
        ("test_vit", {}, 16),
        (DINOV2, SMALL, 14),
        ("deit_tiny_distilled_patch16_224", SMALL, 16),
        ("vit_small_patch16_dinov3", SMALL | {"embed_dim": 96}, 16),
    ],
)
def test_maps_are_the_networks_own_tokens(
    arch: str, arch_kwargs: dict[str, Any], stride: int, tmp_path: Path
) -> None:
    from flawscope.methods.deep.backbone_export import export

    model = network(arch, arch_kwargs)
    path = save(model, tmp_path, arch, arch_kwargs)
    late = export(arch, path, notes=WeightsNotes(arch_kwargs))
    middle = export(arch, path, tokens=Tokens.MIDDLE, notes=WeightsNotes(arch_kwargs))
    assert [(level.stride, level.channels) for level in late.card.levels] == [(stride, model.embed_dim)]
    for batch, rows, columns in ((1, 5, 12), (3, 9, 4)):
        image = np.random.default_rng(5).standard_normal((batch, 3, rows * stride, columns * stride))
        image = image.astype(np.float32)
        (got,) = by_onnx(late, image)
        want = tokens_of(model, image, len(model.blocks) - 1, norm=True)
        assert got.shape == want.shape
        assert np.abs(got - want).max() < HALF_PRECISION * np.abs(want).max()
        for got, level in zip(by_onnx(middle, image), middle.card.levels, strict=True):
            want = tokens_of(model, image, int(level.name.removeprefix("block")), norm=False)
            assert np.abs(got - want).max() < HALF_PRECISION * np.abs(want).max()


def test_middle_blocks_are_dinomalys_at_every_depth() -> None:
    from flawscope.methods.deep.patch_tokens import chosen

    assert chosen(12, Tokens.MIDDLE) == tuple(range(2, 10))
    assert chosen(24, Tokens.MIDDLE) == tuple(range(4, 19, 2))
    assert chosen(4, Tokens.MIDDLE) == (1, 2, 3)
    assert chosen(12, Tokens.LATE) == (11,)


def test_late_and_middle_blocks_are_cached_apart(transformer: Path, tmp_path: Path) -> None:
    late = resolve(DINOV2, weights_dir=transformer, cache_dir=tmp_path)
    middle = resolve(DINOV2, weights_dir=transformer, cache_dir=tmp_path, tokens=Tokens.MIDDLE)
    assert [level.name for level in late.card.levels] == ["block3"]
    assert [level.name for level in middle.card.levels] == ["block1", "block2", "block3"]
    assert len(list(tmp_path.iterdir())) == 2
    assert resolve(DINOV2, weights_dir=transformer, cache_dir=tmp_path).card == late.card


def test_a_deeper_networks_file_is_refused(tmp_path: Path) -> None:
    from flawscope.methods.deep.backbone_export import export

    path = save(network(DINOV2, SMALL), tmp_path, DINOV2, SMALL)
    with pytest.raises(ConfigError, match="more weights in these stages"):
        export(DINOV2, path, notes=WeightsNotes(SMALL | {"depth": 3}))
    with pytest.raises(ConfigError, match=r"no model\.blocks\.4"):
        export(DINOV2, path, notes=WeightsNotes(SMALL | {"depth": 5}))


@pytest.mark.parametrize("method", [Padim(PadimConfig(components=16)), Dfm(DfmConfig())])
def test_other_feature_banks_learn_from_tokens(
    method: Any, transformer: Path, tmp_path: Path, chips: Any
) -> None:
    from flawscope.imaging.preprocess import to_canvases
    from flawscope.imaging.read import read
    from flawscope.runtime.session import GraphSession

    backbone = resolve(DINOV2, weights_dir=transformer, cache_dir=tmp_path)
    preprocess = Preprocess(size_hw=(84, 112))
    model = method.fit(FitData(chips.fit[:6], ()), FitContext(backbone, preprocess, threads=1))
    canvases = to_canvases(read(chips.test_bad[0].path), preprocess)
    outputs = GraphSession(model, threads=1).run(canvases.pixels, canvases.content_xyxy)
    assert outputs["map"].shape == (1, 84, 112)
    assert np.isfinite(outputs["map"]).all() and outputs["score"][0] > 0


def test_a_run_with_patches_of_14_plans_its_canvas_for_them(
    transformer: Path, chips_folder: Path, tmp_path: Path
) -> None:
    settings = {
        "method": "patchcore",
        "backbone": str(transformer / f"{DINOV2}.safetensors"),
        "budget": 112,
        "calibrate": "split",
        "calibrate_share": 0.5,
        "settings": {"bank": 64, "neighbourhood": 1},
    }
    trained = flawscope.train(chips_folder, out=tmp_path / "run", settings=settings, threads=1)
    contents = trained.bundle.contents
    assert contents.preprocess.size_hw == (84, 112)
    assert contents.backbone["source"] == "drawn by lot"
    paths = [str(path) for path in sorted(chips_folder.glob("test/*/*.png"))]
    inspected = list(flawscope.Inspector.open(tmp_path / "run" / "model.flaw", threads=1).inspect(paths))
    assert len(inspected) == len(paths) and all(one.verdict is not None for one in inspected)


def test_a_canvas_that_patches_do_not_fill_is_refused(transformer: Path, chips_folder: Path) -> None:
    settings = {"backbone": str(transformer / f"{DINOV2}.safetensors"), "size": [128, 96]}
    with pytest.raises(ConfigError, match="multiples of 14"):
        flawscope.train(chips_folder, out=transformer / "run", settings=settings, threads=1)
