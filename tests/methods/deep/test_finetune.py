"""finetune: where a network is cut, what stays frozen, which weights are kept, the loss of rare classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import few

from flawscope.core.config import build
from flawscope.core.errors import ConfigError
from flawscope.core.registry import methods
from flawscope.core.types import Fit, Preprocess
from flawscope.methods.backbones import Source, WeightsNotes, resolve, source_of
from flawscope.methods.contract import FitContext, FitData, Workshop
from flawscope.runtime.session import LEARNT_KEY, GraphSession

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.deep

from flawscope.methods.deep import backbone_export  # noqa: E402
from flawscope.methods.deep.trunk import cut  # noqa: E402

ARCHITECTURES = ("test_resnet", "test_efficientnet")
SIZE_HW = (64, 96)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def context(request, tmp_path_factory: pytest.TempPathFactory) -> FitContext:
    """A tiny network of timm with weights on disk."""
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(request.param, pretrained=False)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.8, 1.2)
    safetensors.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    source = Source(request.param, path, WeightsNotes())
    backbone = backbone_export.export(request.param, path, strides=(8, 16))
    preprocess = Preprocess(SIZE_HW, fit=Fit.STRETCH, mean=backbone.card.mean, std=backbone.card.std)
    return FitContext(backbone, preprocess, threads=1, source=source)


def taught(context: FitContext, data: FitData, **settings: Any) -> Any:
    config = methods["finetune"].method.Config
    values = {"views": 2, "training": {"steps": 6, "batch": 4}} | settings
    return methods["finetune"].method(build(config, values, where="finetune")).fit(data, context)


@pytest.mark.parametrize("trainable", ["head", "last_stage", "all"])
def test_both_pieces_together_are_the_network(context, trainable):
    whole = backbone_export.network(context.source).eval()
    images = torch.randn(3, 3, *SIZE_HW, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = whole(images)[-1]
    pieces = cut(context, trainable)
    assert (pieces.channels, *pieces.grid_hw) == tuple(wanted.shape[1:])
    values = images
    if pieces.frozen is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            pieces.frozen.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        values = torch.from_numpy(found)
    assert (pieces.frozen is None) == (trainable == "all")
    assert tuple(values.shape[1:]) == pieces.input_shape
    with torch.no_grad():
        found = pieces.trained(values)
    # frozen weights are stored in half precision
    assert (found - wanted).abs().max() < 5e-3 * wanted.abs().max()
    assert (len(list(pieces.trained.parameters())) == 0) == (trainable == "head")


def test_a_stage_can_be_named_and_a_wrong_name_is_explained(context):
    names = list(cut(context, "all").trained.state_dict())
    assert names
    with pytest.raises(ConfigError) as caught:
        cut(context, "layer9")
    listed = caught.value.expected.removeprefix("one of ").split(", ")
    assert listed[:3] == ["head", "last_stage", "all"]
    stage = listed[-1]
    parameters = sum(p.numel() for p in cut(context, stage).trained.parameters())
    everything = sum(p.numel() for p in cut(context, "all").trained.parameters())
    assert 0 < parameters < everything


def test_a_graph_alone_can_only_be_looked_through(context):
    alone = replace(context, source=None)
    assert cut(alone, "head").grid_hw == (SIZE_HW[0] // 16, SIZE_HW[1] // 16)
    with pytest.raises(ConfigError, match="cannot be trained further"):
        cut(alone, "last_stage")


@pytest.mark.parametrize("trainable, attention", [("head", "cbam"), ("last_stage", "none"), ("all", "cbam")])
def test_every_way_of_training_gives_a_graph_that_adds_up(context, labelled, trainable, attention):
    model = taught(context, few(labelled), trainable=trainable, attention=attention)
    session = GraphSession(model, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), np.uint8)
    box = np.tile(np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32), (2, 1))
    names = ("evidence", "logits", "features", "score", "head_weight", "head_bias")
    outputs = session.run(pixels, box, names=names)
    mean = outputs["evidence"].astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(outputs["logits"], mean, rtol=1e-4, atol=1e-4)
    weight, bias = outputs["head_weight"], outputs["head_bias"]
    rebuilt = np.einsum("kc,nchw->nkhw", weight, outputs["features"]) + bias[None, :, None, None]
    np.testing.assert_allclose(rebuilt, outputs["evidence"], rtol=1e-3, atol=1e-3)


def test_what_is_frozen_stays_its_statistics_too(context, labelled, monkeypatch):
    from flawscope.methods.deep import finetune

    kept = []
    original = finetune.cut
    monkeypatch.setattr(finetune, "cut", lambda *given: kept.append(original(*given)) or kept[-1])
    taught(context, few(labelled), trainable="last_stage", training={"steps": 3, "batch": 4})
    (pieces,) = kept
    fresh = original(context, "last_stage")
    assert pieces.frozen.SerializeToString(deterministic=True) == fresh.frozen.SerializeToString(
        deterministic=True
    )
    changed = [
        name
        for name, value in pieces.trained.state_dict().items()
        if not torch.equal(value, fresh.trained.state_dict()[name])
    ]
    assert any("running_mean" in name for name in changed) and any("weight" in name for name in changed)


def notes_of(model: Any) -> dict[str, Any]:
    return json.loads({entry.key: entry.value for entry in model.metadata_props}[LEARNT_KEY])


def test_both_checkpoints_are_told_and_the_one_asked_for_is_kept(context, labelled):
    settings = {"training": {"steps": 90, "batch": 8, "learning_rate": 0.05}, "patience": 0}
    by_loss, by_accuracy = (
        taught(context, labelled.data, checkpoint=name, **settings) for name in ("best_loss", "best_accuracy")
    )
    first, second = notes_of(by_loss), notes_of(by_accuracy)
    assert first["kept"] == "best_loss" and second["kept"] == "best_accuracy"
    assert first["best_loss"] == second["best_loss"] and first["best_accuracy"] == second["best_accuracy"]
    assert first["best_loss"]["loss"] <= first["best_accuracy"]["loss"]
    assert first["best_accuracy"]["accuracy"] >= first["best_loss"]["accuracy"]
    assert {"loss", "accuracy", "f1"} == set(first["best_loss"])


def test_stops_early_where_nothing_gets_better(context, labelled):
    settings = {"training": {"steps": 300, "batch": 8, "learning_rate": 1e-9}, "patience": 2}
    assert notes_of(taught(context, labelled.data, **settings))["steps"] < 300


def test_rare_classes_are_drawn_as_often(labelled):
    from flawscope.imaging.augment import Augmentation
    from flawscope.methods.deep.classifier import Seen, _class_weights, _Drawn
    from flawscope.runtime.backbone import bundled

    classes = np.array([0] * 90 + [1] * 10)
    seen = Seen(
        np.zeros((100, 2, 1, 1), np.float16),
        np.ones((100, 1, 1), np.float32),
        classes,
        np.arange(100),
        1,
        Augmentation(),
    )
    shares = {}
    for balance in ("none", "sampler"):
        drawn = _Drawn(seen, bundled().card, 50, 0, balance)
        shares[balance] = np.mean([drawn(step)[2].numpy().mean() for step in range(40)])
    assert shares["none"] == pytest.approx(0.1, abs=0.03)
    assert shares["sampler"] == pytest.approx(0.5, abs=0.05)
    weights = _class_weights(classes, 2)
    assert weights[1] / weights[0] == pytest.approx(9) and weights[classes].mean() == pytest.approx(1)


def test_learning_leaves_its_curve(context, labelled, tmp_path):
    here = replace(context, workshop=Workshop(folder=tmp_path))
    taught(here, labelled.data, training={"steps": 60, "batch": 8}, patience=0)
    from flawscope.flows.learning import learning_curves

    curve = learning_curves(tmp_path)["learning/teaching"]
    assert len(curve["step"]) == len(curve["loss"]) == 60
    assert curve["select_step"] == sorted(curve["select_step"]) and len(curve["select_loss"]) > 5
    pace = json.loads((tmp_path / "learning" / "teaching.json").read_text())
    assert pace["images_per_second"] > 0 and pace["device"] == "cpu" and pace["precision"] == "32-true"


def test_a_source_is_known_for_weights_and_not_for_graphs(context, tmp_path, monkeypatch):
    monkeypatch.delenv("FLAWSCOPE_WEIGHTS", raising=False)
    weights = context.source.weights
    found = source_of(f"{context.source.architecture}={weights}", weights_dir=None)
    assert found.architecture == context.source.architecture and found.weights == Path(weights)
    assert source_of("bundled", weights_dir=None) is None
    assert source_of(context.source.architecture, weights_dir=weights.parent).weights == weights
    graph = tmp_path / "net.onnx"
    graph.write_bytes(resolve("bundled", weights_dir=None).model.SerializeToString())
    assert source_of(str(graph), weights_dir=None) is None
    assert source_of("resnet18", weights_dir=None).weights is None
