"""What every registered supervised method keeps to, whatever it does inside."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from quick import QUICK, drawn_up, few, field_params, hasty, made, params
from sklearn.metrics import roc_auc_score

import flawscope.methods  # registers them
from flawscope.core.config import as_values, build
from flawscope.core.errors import DataError
from flawscope.core.registry import Entry, Kind, methods
from flawscope.core.types import Area, Fit, Image, Preprocess, Sample
from flawscope.imaging.preprocess import to_canvases
from flawscope.imaging.read import read
from flawscope.methods.classifier import ClassifierConfig
from flawscope.methods.contract import FitContext, FitData
from flawscope.runtime.explain.contract import all_levels
from flawscope.runtime.session import GraphSession

HEIGHT, WIDTH = 96, 128
WHOLE = np.array([[0, 0, WIDTH, HEIGHT]], np.float32)
SUPERVISED = [entry for entry in methods if entry.kind is Kind.SUPERVISED]
every_method = pytest.mark.parametrize("entry", params(SUPERVISED))
APART = ("training", "trainable", "checkpoint", "patience")  # shown to matter in tests of their own
FIELDS = field_params(SUPERVISED, apart=lambda entry, name: name in APART)


@pytest.fixture(scope="session")
def fitted(labelled, context) -> Callable[..., Any]:
    """The graph of a method, taught once from all labelled chips, for two classes or one for every defect."""
    return functools.cache(
        lambda entry, classes="two": made(entry, classes=classes).fit(labelled.data, context)
    )


@pytest.fixture(scope="session")
def plain(labelled, context) -> Callable[[Entry], bytes]:
    """The graph of a method with its defaults, taught from few chips."""
    return functools.cache(lambda entry: drawn_up(entry, hasty(entry), few(labelled), context))


@pytest.fixture
def opened(entry, fitted) -> GraphSession:
    """The method's graph, opened."""
    return GraphSession(fitted(entry), threads=1)


@every_method
def test_has_papers_and_few_explained_settings(entry):
    assert entry.summary and len(entry.summary) < 120 and entry.paper
    assert issubclass(entry.method.Config, ClassifierConfig)
    fields = dataclasses.fields(entry.method.Config)
    assert sum(field.name != "training" for field in fields) <= 12
    assert (entry.extra is None) == (entry.name not in QUICK)
    for field in fields:
        assert len(field.metadata["help"]) > 10, field.name
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name
    defaults = build(entry.method.Config, {}, where=entry.name)
    assert build(entry.method.Config, as_values(defaults), where=entry.name) == defaults


@every_method
def test_refit_forgets(entry, labelled, context):
    method = hasty(entry)
    once = drawn_up(entry, method, few(labelled), context)
    again = drawn_up(entry, method, few(labelled, 12), context)
    assert again == drawn_up(entry, hasty(entry), few(labelled, 12), context)
    assert again != once


@every_method
def test_same_seed_gives_the_same_graph(entry, labelled, backbone, preprocess):
    data = few(labelled, count=6)
    graphs = [
        drawn_up(entry, hasty(entry), data, FitContext(backbone, preprocess, seed=seed, threads=1))
        for seed in (3, 3, 4)
    ]
    assert graphs[0] == graphs[1] != graphs[2]  # other views


@every_method
def test_a_batch_equals_one_by_one(entry, opened, labelled, canvas):
    pixels = np.concatenate([canvas(sample.path) for sample in labelled.test[:2] + labelled.test[-2:]])
    boxes = np.array(
        [[0, 0, WIDTH, HEIGHT], [0, 16, WIDTH, 80], [20, 0, 100, HEIGHT], [0, 0, 128, 96]], np.float32
    )
    together = opened.run(pixels, boxes)
    assert together.keys() == {"score", "map", "logits"}
    for i in range(len(pixels)):
        alone = opened.run(pixels[i : i + 1], boxes[i : i + 1])
        for name, values in together.items():
            np.testing.assert_allclose(values[i], alone[name][0], rtol=1e-3, atol=1e-3)


@every_method
def test_the_evidence_is_the_head_on_the_features_exactly(entry, opened):
    """What explains a verdict from the forward pass alone rests on this."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    boxes = np.array([[0, 0, WIDTH, HEIGHT], [7, 30, 101, 81]], np.float32)
    outputs = opened.run(pixels, boxes, names=opened.output_names)
    evidence, share = outputs["evidence"], outputs["share"]
    built = np.einsum("kc,nchw->nkhw", outputs["head_weight"], all_levels(outputs))
    built += outputs["head_bias"][:, None, None]
    np.testing.assert_allclose(built, evidence, atol=1e-4 * np.abs(evidence).max())
    mean = (evidence * share[:, None]).sum((2, 3)) / share.sum((1, 2))[:, None]
    np.testing.assert_allclose(mean, outputs["logits"], rtol=1e-4, atol=1e-4)
    assert (share[0] == 1).all() and (share[1] == 0).any() and ((share >= 0) & (share <= 1)).all()


@every_method
def test_outputs_have_their_form_on_any_picture(entry, opened):
    assert opened.classes == ("good", "defect")
    noise = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    for pixels in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        outputs = opened.run(pixels, np.tile(WHOLE, (3, 1)), names=opened.output_names)
        assert outputs["score"].shape == (3,) and outputs["logits"].shape == (3, 2)
        assert outputs["map"].shape == (3, HEIGHT, WIDTH) and (outputs["map"] >= 0).all()
        assert outputs["evidence"].shape[:2] == (3, 2)
        for values in outputs.values():
            assert values.dtype == np.float32 and np.isfinite(values).all()


@every_method
@pytest.mark.parametrize("classes", ["two", "all"])
def test_evidence_adds_up_to_the_logits_and_these_to_the_score(entry, classes, fitted, labelled, canvas):
    """On a padded canvas too: the mean of the evidence, weighted by what each cell shows, is the logit."""
    session = GraphSession(fitted(entry, classes), threads=1)
    assert len(session.classes) == (
        2 if classes == "two" else 1 + len({s.label for s in labelled.fit if s.is_bad})
    )
    for sample in labelled.test[:3] + labelled.test[-3:]:
        for box in ((0, 0, WIDTH, HEIGHT), (12, 8, 116, 91)):
            left, top, right, bottom = box
            outputs = session.run(
                canvas(sample.path), np.array([box], np.float32), names=("evidence", "logits", "score")
            )
            evidence = outputs["evidence"][0].astype(np.float64)
            shown = np.zeros((HEIGHT, WIDTH))
            shown[top:bottom, left:right] = 1
            rows, columns = evidence.shape[1:]
            share = shown.reshape(rows, HEIGHT // rows, columns, WIDTH // columns).mean((1, 3))
            mean = (evidence * share).sum((1, 2)) / share.sum()
            size = max(1.0, float(np.abs(evidence).max()))
            np.testing.assert_allclose(outputs["logits"][0], mean, atol=1e-5 * size)
            logits = outputs["logits"][0].astype(np.float64)
            expected = np.log(np.exp(logits[1:] - logits[0]).sum())
            np.testing.assert_allclose(outputs["score"][0], expected, rtol=1e-4, atol=1e-4)


@every_method
def test_what_lies_in_the_padding_changes_nothing(entry, opened, labelled, canvas):
    left, top, right, bottom = 12, 8, 116, 88
    box = np.array([[left, top, right, bottom]], np.float32)
    picture = canvas(labelled.test[-1].path)
    padded = []
    for garbage in (0, 255, None):
        pixels = np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8)
        if garbage is not None:
            pixels[:] = garbage
        pixels[:, top:bottom, left:right] = picture[:, top:bottom, left:right]
        padded.append(opened.run(pixels, box))
    for other in padded[1:]:
        for name, values in other.items():
            assert (values == padded[0][name]).all(), name
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[top:bottom, left:right] = False
    assert (padded[0]["map"][0][outside] == 0).all() and padded[0]["map"][0][~outside].max() > 0


@every_method
def test_what_is_not_judged_changes_nothing(entry, backbone, preprocess, labelled):
    """With the left half ignored, a flaw drawn into it leaves the answer and shows nowhere."""
    judged = np.ones((1, 2), bool)
    judged[0, 0] = False
    picture = read(labelled.test[0].path).pixels
    flawed = picture.copy()
    flawed[40:60, 0:40] = 255 - flawed[40:60, 0:40]
    for area in (None, Area(judged)):
        where = dataclasses.replace(preprocess, area=area)
        model = hasty(entry, smoothing=0).fit(few(labelled), FitContext(backbone, where, threads=1))
        session = GraphSession(model, threads=1)
        both = [to_canvases(Image(pixels), where) for pixels in (picture, flawed)]
        clean, marked = (session.run(each.pixels, each.content_xyxy) for each in both)
        for name, values in clean.items():
            assert (values == marked[name]).all() == (area is not None), name
    assert (clean["map"][0, :, : WIDTH // 2 - 32] == 0).all()


@every_method
@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.TILES])
def test_teaches_from_letterboxed_pictures_and_from_tiles(entry, fit, backbone, labelled):
    preprocess = Preprocess(size_hw=(64, 64) if fit is Fit.TILES else (128, 128), fit=fit)
    context = FitContext(backbone, preprocess, threads=1)
    model = hasty(entry).fit(few(labelled, count=5), context)
    canvases = to_canvases(read(labelled.test[-1].path), preprocess)
    assert len(canvases) == (1 if fit is Fit.LETTERBOX else 6)
    outputs = GraphSession(model, threads=1).run(canvases.pixels, canvases.content_xyxy)
    assert np.isfinite(outputs["score"]).all()


@every_method
def test_one_class_alone_is_refused(entry, labelled, context):
    for samples in (labelled.fit[:6], labelled.fit[-6:]):
        with pytest.raises(DataError, match="Two classes are needed"):
            made(entry).fit(FitData(samples), context)


@every_method
def test_true_labels_teach_and_shuffled_ones_do_not(entry, opened, labelled, context, scores_of):
    """The same method, taught with labels dealt by lot, is worse by a tenth of AUROC at least."""
    truth = [sample.is_bad for sample in labelled.test]
    runs = [opened]
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(labelled.fit))
        dealt = tuple(
            dataclasses.replace(sample, label=labelled.fit[i].label)
            for sample, i in zip(labelled.fit, order, strict=True)
        )
        runs.append(made(entry).fit(FitData(dealt), context))
    taught, *chance = (roc_auc_score(truth, _scores(run, labelled.test, scores_of)) for run in runs)
    assert taught >= 0.65 and taught >= float(np.mean(chance)) + 0.10, (taught, chance)


def _scores(run: Any, samples: tuple[Sample, ...], scores_of: Any) -> np.ndarray:
    if not isinstance(run, GraphSession):
        return scores_of(run, samples)
    return np.concatenate([run.run(read(s.path).pixels[None], WHOLE)["score"] for s in samples])


@pytest.mark.parametrize("entry, field", FIELDS)
def test_every_setting_changes_the_graph(entry, field, plain, labelled, context):
    value = not field.default if isinstance(field.default, bool) else field.metadata["low"]
    if field.metadata["choices"]:
        value = next(choice for choice in field.metadata["choices"] if choice != field.default)
    if value == field.default:
        value = field.metadata["high"]
    changed = drawn_up(entry, hasty(entry, **{field.name: value}), few(labelled), context)
    assert (changed == plain(entry)) == field.metadata["speed_only"]


def test_there_are_supervised_methods():
    assert {"linear", "svm", "joined", "cnn", "finetune", "ifm"} == {entry.name for entry in SUPERVISED}
    assert flawscope.methods.__name__
