"""ifm: two levels side by side, the bank against a slow match, what the sign does, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import Labelled, few

from flawscope.core.config import build
from flawscope.core.errors import ConfigError
from flawscope.core.registry import methods
from flawscope.core.types import Fit, Preprocess, Sample
from flawscope.methods.backbones import Source, WeightsNotes
from flawscope.methods.contract import FitContext, FitData
from flawscope.runtime.session import GraphSession

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.deep

from flawscope.methods import joining  # noqa: E402
from flawscope.methods.deep import backbone_export, ifm  # noqa: E402
from flawscope.methods.deep.classifier import Classifier, head_of  # noqa: E402
from flawscope.methods.deep.trunk import cut_levels  # noqa: E402

SIZE_HW = (64, 96)


@pytest.fixture(scope="module", params=["test_resnet", "test_efficientnet"])
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
    values = {"views": 2, "bank": 60, "training": {"steps": 6, "batch": 4}} | settings
    return methods["ifm"].method(build(methods["ifm"].method.Config, values, where="ifm")).fit(data, context)


def looked_at(context: FitContext, trainable: str, images: Any) -> Any:
    """What both pieces of a cut network make of normalised images."""
    pieces = cut_levels(context, trainable)
    values = images
    if pieces.frozen is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            pieces.frozen.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        values = torch.from_numpy(found)
    assert tuple(values.shape[1:]) == pieces.input_shape
    with torch.no_grad():
        return pieces.trained.eval()(values)


def test_however_it_is_cut_the_levels_are_the_backbones(context):
    """Stride 8 and 16 of the whole network, the coarser brought up, whatever part of it is frozen."""
    images = torch.randn(3, 3, *SIZE_HW, generator=torch.Generator().manual_seed(1))
    whole = backbone_export.network(context.source).eval()
    with torch.no_grad():
        levels = dict(zip(whole.feature_info.reduction(), whole(images), strict=True))
    up = torch.nn.functional.interpolate(levels[16], size=levels[8].shape[2:], mode="bilinear")
    wanted = torch.cat([levels[8], up], 1)
    for trainable in ("head", "last_stage", "all"):
        found = looked_at(context, trainable, images)
        # frozen weights are stored in half precision
        assert (found - wanted).abs().max() < 5e-3 * wanted.abs().max(), trainable
    counts = [
        sum(p.numel() for p in cut_levels(context, trainable).trained.parameters())
        for trainable in ("head", "last_stage", "all")
    ]
    assert counts[0] == 0 < counts[1] < counts[2]


def test_a_graph_alone_can_only_be_looked_through(context, labelled):
    from dataclasses import replace

    with pytest.raises(ConfigError, match="cannot be trained further"):
        taught(replace(context, source=None), few(labelled), trainable="last_stage")


def test_the_heads_weights_hold_for_features_as_they_are():
    generator = torch.Generator().manual_seed(3)
    norm = torch.nn.BatchNorm2d(5).eval()
    for value in (norm.running_mean, norm.weight.data, norm.bias.data):
        value.copy_(torch.randn(5, generator=generator))
    norm.running_var.copy_(torch.rand(5, generator=generator) + 0.1)
    classifier = Classifier(torch.nn.Identity(), torch.nn.Conv2d(5, 3, 1), norm).eval()
    maps = torch.randn(2, 5, 4, 6, generator=generator)
    with torch.no_grad():
        wanted = classifier.head(norm(maps)).numpy()
    weights, bias = head_of(classifier)
    found = np.einsum("ck,nchw->nkhw", weights, maps.numpy()) + bias[None, :, None, None]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.fixture(scope="module")
def kept(context, labelled) -> tuple[dict[str, Any], GraphSession]:
    """A taught model's memory, head and rule, and its graph opened."""
    found: dict[str, Any] = {}
    original = ifm._remember

    def remember(learned: Any, *given: Any, **named: Any) -> Any:
        found["memory"] = original(learned, *given, **named)
        found["head"] = head_of(learned.classifier)
        return found["memory"]

    def rule(*given: Any, **named: Any) -> Any:
        found["rule"] = joining.rule_of(*given, **named)
        return found["rule"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ifm, "_remember", remember)
        patch.setattr(ifm, "rule_of", rule)
        model = taught(context, few(labelled), trainable="last_stage")
    return found, GraphSession(model, threads=1)


def test_the_sign_in_the_graph_is_the_evidence_times_what_no_good_part_has(kept):
    found, session = kept
    memory, (weights, bias), usual = found["memory"], found["head"], found["rule"].usual
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), np.uint8)
    box = np.tile(np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32), (2, 1))
    outputs = session.run(pixels, box, names=("features", "features_1"))
    features, sign = outputs["features"].astype(np.float64), outputs["features_1"]
    assert sign.shape == (2, 1, *features.shape[2:]) and (sign >= 0).all() and sign.max() > 0
    for canvas in range(2):
        for row in range(features.shape[2]):
            for column in range(features.shape[3]):
                own = features[canvas, :, row, column]
                best = max(own @ one / np.linalg.norm(own) for one in memory.bank.astype(np.float64))
                logits = (own / memory.scale) @ weights + bias
                excess = max(0.0, (1 - best) / memory.places[row, column] - usual)
                wanted = np.log1p(np.exp(logits[1] - logits[0])) * excess
                assert sign[canvas, 0, row, column] == pytest.approx(wanted, rel=2e-2, abs=2e-3)


def test_the_bank_holds_normal_features_of_unit_length(kept):
    memory = kept[0]["memory"]
    np.testing.assert_allclose(np.linalg.norm(memory.bank, axis=1), 1, atol=1e-3)
    assert len(memory.bank) == 60 and (memory.places > 0).all()


def test_a_part_is_not_compared_with_itself(context, labelled):
    """With every good photograph twice, as two views of one part, a place's usual inverse match does not
    shrink to nothing."""
    from dataclasses import replace

    data = few(labelled, count=8)
    single = tuple(replace(sample, part=sample.id) for sample in data.fit)
    twice = (*single, *(replace(sample, id=sample.id + "b") for sample in single if sample.is_good))
    places = []
    original = ifm._remember

    def remember(*given: Any, **named: Any) -> Any:
        found = original(*given, **named)
        places.append(found.places)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ifm, "_remember", remember)
        for fit in (single, twice):
            taught(context, FitData(fit, data.select), training={"steps": 1, "batch": 4}, bank=2000)
    assert places[1].mean() > 0.6 * places[0].mean()


def test_without_select_the_match_is_left_out_and_said_so(context, labelled, caplog):
    data = few(labelled)
    with caplog.at_level("WARNING", logger="flawscope"):
        model = taught(context, FitData(data.fit))
    assert "left out" in caplog.text
    outputs = GraphSession(model, threads=1).run(
        np.zeros((1, *SIZE_HW, 3), np.uint8),
        np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32),
        names=("head_weight",),
    )
    assert (outputs["head_weight"][:, -1] == 0).all()


def test_a_defect_that_was_never_labelled_counts_by_the_match(labelled: Labelled, context_of):
    """Taught some kinds of defects and judged on the others, the sign raises the score of most."""
    kinds = sorted({sample.label for sample in labelled.fit if sample.is_bad})
    known = set(kinds[: len(kinds) // 2])

    def shown(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples if sample.is_good or sample.label in known)

    context = context_of(methods["ifm"])
    values = {"views": 1, "bank": 300, "training": {"steps": 150, "batch": 16, "learning_rate": 0.01}}
    method = methods["ifm"].method(build(methods["ifm"].method.Config, values, where="ifm"))
    session = GraphSession(method.fit(FitData(shown(labelled.fit), labelled.select), context), threads=1)
    from flawscope.imaging.read import read

    names = ("features_1", "head_weight")
    means: dict[bool, list[float]] = {True: [], False: []}
    for sample in labelled.test:
        if sample.is_bad and sample.label in known:
            continue
        pixels = read(sample.path).pixels[None]
        box = np.array([[0, 0, pixels.shape[2], pixels.shape[1]]], np.float32)
        outputs = session.run(pixels, box, names=names)
        means[sample.is_bad].append(float(outputs["features_1"].mean()))
    assert outputs["head_weight"][1, -1] > 0 and outputs["head_weight"][0, -1] == 0
    assert np.mean(means[True]) > 1.5 * np.mean(means[False])


_LINE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "timm", "onnxscript"}:
            raise ImportError(name)
        return None

sys.meta_path.insert(0, Refuse())
import json
import numpy as np
from pathlib import Path
from flawscope.runtime.session import GraphSession
session = GraphSession(Path(sys.argv[1]), threads=1)
pixels = np.zeros((1, 64, 96, 3), np.uint8)
found = session.run(pixels, np.array([[0, 0, 96, 64]], np.float32))
sys.stdout.write(json.dumps({"score": float(found["score"][0]), "classes": session.classes}))
"""


def test_its_graph_runs_without_torch(kept, context, labelled, tmp_path: Path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(taught(context, few(labelled)).SerializeToString())
    ran = subprocess.run(
        [sys.executable, "-c", _LINE, str(path)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["classes"] == ["good", "defect"]
