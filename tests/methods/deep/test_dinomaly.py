"""dinomaly: its pieces against slow and obvious versions, torch against the bundle's graph, and a run.

The transformer is timm's smallest with random weights; what it sees is little, so that these tests look at
the structure. tests/methods/test_contract.py shows that flaws are found where the features tell of them.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flawscope
from flawscope.core.errors import ConfigError
from flawscope.core.types import Preprocess
from flawscope.imaging.read import read
from flawscope.methods.backbones import Tokens, WeightsNotes
from flawscope.methods.contract import FitContext
from flawscope.methods.dinomaly import DinomalyConfig
from flawscope.runtime.backbone import bundled
from flawscope.runtime.session import GraphSession

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.deep

ARCH_KWARGS = {"patch_size": 8, "depth": 6, "init_values": 0.1}


def halved(module: Any) -> Any:
    """Round weights as a bundle stores them, so that what is left is the arithmetic's difference."""
    for value in module.parameters():
        value.data = value.data.half().float()
    return module


@pytest.fixture(scope="module")
def transformer() -> Any:
    """A tiny transformer with patches of 8 px."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return halved(timm.create_model("test_vit", num_classes=0, dynamic_img_size=True, **ARCH_KWARGS))


@pytest.fixture(scope="module")
def weights(transformer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file, with notes."""
    path = tmp_path_factory.mktemp("weights") / "test_vit.safetensors"
    safetensors.save_file({key: value.contiguous() for key, value in transformer.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"arch_kwargs": ARCH_KWARGS}))
    return path


def test_linear_attention_is_attention_without_softmax() -> None:
    from flawscope.methods.deep.dinomaly import LinearAttention

    torch.manual_seed(0)
    attention, tokens = LinearAttention(128), torch.randn(2, 5, 128)
    assert attention.heads == 2
    mixed = attention.mixed(tokens)
    expected = torch.zeros(2, 5, 128)
    for head in range(2):
        own = slice(64 * head, 64 * head + 64)
        query, key, value = (mixed[..., 128 * i : 128 * i + 128][..., own] for i in range(3))
        query, key = torch.nn.functional.elu(query) + 1, torch.nn.functional.elu(key) + 1
        weight = query @ key.transpose(1, 2)
        expected[..., own] = weight / weight.sum(-1, keepdim=True) @ value
    assert torch.allclose(attention(tokens), attention.joined(expected), atol=1e-5)


def test_the_last_blocks_rebuild_the_first_group() -> None:
    from flawscope.methods.deep.dinomaly import Rebuilder, fused

    one, two, three, four = (torch.full((1, 2, 1, 1), float(i)) for i in (1, 2, 3, 4))
    assert [float(group.mean()) for group in fused([one, two, three, four])] == [1.5, 3.5]
    torch.manual_seed(0)
    rebuilder = Rebuilder(8, depth=4, noise=0.0).eval()
    levels = [torch.randn(1, 8, 2, 3) for _ in range(4)]
    before = rebuilder(levels)[1]
    rebuilder.decoder[3].perceptron[3].bias.data += 1  # the last block's output
    after = rebuilder(levels)[1]
    assert not torch.allclose(before[0], after[0]) and torch.equal(before[1], after[1])


def test_easy_positions_keep_their_values_and_a_tenth_of_their_gradient() -> None:
    from flawscope.methods.deep.dinomaly import dampened

    own = torch.tensor([[1.0, 0.0]]).T.reshape(1, 2, 1, 1).expand(1, 2, 1, 4).contiguous()
    angles = torch.tensor([0.1, 0.2, 0.3, 0.4])
    rebuilt = torch.stack([angles.cos(), angles.sin()]).reshape(1, 2, 1, 4).requires_grad_()
    shown = torch.ones(1, 1, 4, dtype=torch.bool)
    for easy, strength in ((0.0, [1.0, 1.0, 1.0, 1.0]), (0.6, [0.1, 0.1, 1.0, 1.0])):
        result = dampened(own, rebuilt, shown, easy=easy)
        assert torch.allclose(result, rebuilt)
        (gradient,) = torch.autograd.grad(result.sum(), rebuilt)
        assert torch.allclose(gradient[0, 0, 0], torch.tensor(strength))
    shown[..., 3] = False  # what is not judged sets no limit: the two hardest of three are left
    (gradient,) = torch.autograd.grad(dampened(own, rebuilt, shown, easy=0.5).sum(), rebuilt)
    assert torch.allclose(gradient[0, 0, 0], torch.tensor([0.1, 1.0, 1.0, 1.0]))


def test_what_is_not_judged_has_no_part_in_the_loss() -> None:
    from flawscope.methods.deep.dinomaly import LooseLoss, Rebuilder

    torch.manual_seed(0)
    loss = LooseLoss(Rebuilder(8, depth=2, noise=0.0), hard_share=0.5).eval()
    levels = [torch.randn(2, 8, 3, 4) for _ in range(2)]
    shares = torch.ones(2, 3, 4)
    shares[1] = 0
    part = loss(shares, *levels)
    assert torch.allclose(part, loss(shares[:1], *(level[:1] for level in levels)), atol=1e-6)
    assert not torch.allclose(part, loss(torch.ones(2, 3, 4), *levels))


def test_a_convolutional_backbone_is_refused(chips_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patch tokens of several blocks of a vision transformer"):
        flawscope.train(chips_folder, out=tmp_path / "run", settings={"method": "dinomaly"}, threads=1)
    assert not (tmp_path / "run" / "model.flaw").exists()


def test_the_graph_gives_what_torch_gives(transformer: Any, weights: Path, chips: Any) -> None:
    from flawscope.methods.deep.backbone_export import export
    from flawscope.methods.deep.canvases import normalised
    from flawscope.methods.deep.dinomaly import Misfit, Rebuilder
    from flawscope.methods.deep.export import Head, distance_graph
    from flawscope.methods.deep.patch_tokens import TokenTrunk

    backbone = export("test_vit", weights, tokens=Tokens.MIDDLE, notes=WeightsNotes(ARCH_KWARGS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        rebuilder = Rebuilder(64, depth=4, noise=0.2)
        for value in rebuilder.parameters():
            value.data += 0.05 * torch.randn_like(value)
    misfit = Misfit(halved(rebuilder)).eval()
    preprocess = Preprocess((96, 128), mean=backbone.card.mean, std=backbone.card.std)
    config = replace(DinomalyConfig(), smoothing=0.0, top_share=0.0)
    model = distance_graph(Head(misfit, (12, 16)), FitContext(backbone, preprocess), config, name="dinomaly")
    pixels = np.stack([read(sample.path).pixels for sample in (*chips.test_good[:4], *chips.test_bad[:4])])
    trunk = TokenTrunk(transformer.eval(), Tokens.MIDDLE)
    with torch.inference_mode():
        want = misfit(*trunk(normalised(pixels, backbone.card))).flatten(1).amax(1).numpy()
    session, whole = GraphSession(model, threads=1), np.array([[0, 0, 128, 96]], np.float32)
    together = session.run(pixels, np.repeat(whole, 8, 0))["score"]
    single = np.concatenate([session.run(pixels[i : i + 1], whole)["score"] for i in range(8)])
    spread = np.subtract(*np.percentile(want, [75, 25]))
    assert spread > 0
    assert np.abs(together - want).max() < 1e-3 * spread and np.abs(single - want).max() < 1e-3 * spread


def test_a_run_learns_and_leaves_a_bundle_for_the_line(
    weights: Path, chips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = {
        "method": "dinomaly",
        "backbone": str(weights),
        "budget": 96,
        "calibrate": "split",
        "calibrate_share": 0.5,
        "settings": {"depth": 2, "training": {"steps": 60, "batch": 4}},
    }
    trained = flawscope.train(chips_folder, out=tmp_path / "run", settings=settings, threads=1)
    names = [name for name, _, _ in trained.bundle.contents.backbone["levels"]]
    assert names == ["block1", "block2", "block3", "block4", "block5"]
    with (tmp_path / "run" / "learning" / "teaching.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])
    paths = [str(path) for path in sorted(chips_folder.glob("test/*/*.png"))]
    inspected = list(flawscope.Inspector.open(tmp_path / "run" / "model.flaw", threads=1).inspect(paths))
    assert len(inspected) == len(paths) and all(one.verdict is not None for one in inspected)


def test_levels_of_one_stride_are_asked_for() -> None:
    from flawscope.methods.deep.dinomaly import token_channels

    card = bundled().card
    blocks = tuple(replace(card.levels[0], name=f"block{i}") for i in range(2))
    assert token_channels(replace(card, levels=blocks)) == card.levels[0].channels
    for levels in (blocks[:1], card.levels):
        with pytest.raises(ConfigError, match="vit_small_patch14_dinov2"):
            token_channels(replace(card, levels=levels))
