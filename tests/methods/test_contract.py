"""What every registered one-class method keeps to, whatever it does inside."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from quick import QUICK, content, drawn_up, field_params, hasty, made, params
from sklearn.metrics import roc_auc_score

import flawscope.methods  # registers them
from flawscope.core.config import as_values, build
from flawscope.core.registry import Entry, Kind, methods
from flawscope.core.types import Area, Fit, Image, Preprocess, Sample
from flawscope.imaging.preprocess import merge_maps, to_canvases
from flawscope.imaging.read import read
from flawscope.methods.contract import FitContext, FitData
from flawscope.runtime.backbone import Backbone
from flawscope.runtime.explain.contract import level_names
from flawscope.runtime.session import GraphSession

HEIGHT, WIDTH = 96, 128
ONE_CLASS = [entry for entry in methods if entry.kind is Kind.ONE_CLASS]
every_method = pytest.mark.parametrize("entry", params(ONE_CLASS))
PIXELS_ALONE = ("draem",)  # look at pixels, and have no features to compare good parts by
# seen to in the tests of the method: what needs another setting to count
APART = (("supersimplenet", "defect_share"), ("efficientad", "distil_steps"))
FIELDS = field_params(
    ONE_CLASS,
    apart=lambda entry, name: name == "training" or (entry.name, name) in APART,  # the loop's tests: training
)


@pytest.fixture
def context(entry, context_of) -> FitContext:
    """The method's context."""
    return context_of(entry)


@pytest.fixture
def backbone(context) -> Backbone:
    """A backbone that suits the method."""
    return context.backbone


@pytest.fixture(scope="session")
def fitted(chips, context_of) -> Callable[[Entry], Any]:
    """The graph of a method, taught once from all good chips."""
    return functools.cache(lambda entry: made(entry).fit(FitData(chips.fit), context_of(entry)))


@pytest.fixture(scope="session")
def plain(chips, context_of) -> Callable[[Entry], bytes]:
    """The graph of a method with its defaults, taught from six chips."""
    return functools.cache(
        lambda entry: drawn_up(entry, hasty(entry), FitData(chips.fit[:6]), context_of(entry))
    )


@pytest.fixture
def opened(entry, fitted) -> GraphSession:
    """The method's graph, opened."""
    return GraphSession(fitted(entry), threads=1)


@every_method
def test_has_papers_and_few_explained_settings(entry):
    assert entry.summary and entry.paper
    assert len(entry.summary) < 120
    fields = dataclasses.fields(entry.method.Config)
    assert 1 <= sum(field.name != "training" for field in fields) <= 12
    for field in fields:
        assert len(field.metadata["help"]) > 10, field.name
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert field.metadata["low"] <= field.default <= field.metadata["high"], field.name
    defaults = build(entry.method.Config, {}, where=entry.name)
    assert build(entry.method.Config, as_values(defaults), where=entry.name) == defaults
    assert (entry.extra is None) == (entry.name not in QUICK)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(defaults, fields[0].name, fields[0].default)


@every_method
def test_refit_forgets(entry, chips, context):
    method = hasty(entry)
    first, second = FitData(chips.fit[:6]), FitData(chips.fit[6:12])
    once = drawn_up(entry, method, first, context)
    again = drawn_up(entry, method, second, context)
    assert again == drawn_up(entry, hasty(entry), second, context)
    assert again != once


@every_method
def test_same_seed_gives_the_same_graph(entry, chips, backbone, preprocess):
    graphs = []
    for _ in range(2):
        fresh = FitContext(backbone, preprocess, seed=3, threads=1)
        graphs.append(drawn_up(entry, hasty(entry), FitData(chips.fit[:6]), fresh))
    assert graphs[0] == graphs[1]


@every_method
def test_inputs_stay_untouched(entry, opened, chips, backbone, preprocess, canvas):
    samples = chips.fit[:4]
    before = [Path(sample.path).read_bytes() for sample in samples]
    graph_before, canvas_before = content(backbone.model), preprocess.to_json()
    drawn_up(entry, hasty(entry), FitData(samples), FitContext(backbone, preprocess, threads=1))
    assert [Path(sample.path).read_bytes() for sample in samples] == before
    assert content(backbone.model) == graph_before and preprocess.to_json() == canvas_before
    pixels, box = canvas(samples[0].path), np.array([[0, 0, WIDTH, HEIGHT]], np.float32)
    kept = pixels.copy()
    opened.run(pixels, box)
    assert (pixels == kept).all() and box.tolist() == [[0, 0, WIDTH, HEIGHT]]


@every_method
def test_a_batch_equals_one_by_one(entry, opened, chips, canvas):
    pixels = np.concatenate([canvas(s.path) for s in (*chips.test_good[:2], *chips.test_bad[:2])])
    boxes = np.array(
        [[0, 0, WIDTH, HEIGHT], [0, 16, WIDTH, 80], [20, 0, 100, HEIGHT], [0, 0, 128, 96]], np.float32
    )
    together = opened.run(pixels, boxes)
    for i in range(len(pixels)):
        alone = opened.run(pixels[i : i + 1], boxes[i : i + 1])
        np.testing.assert_allclose(together["score"][i], alone["score"][0], rtol=1e-4)
        np.testing.assert_allclose(together["map"][i], alone["map"][0], rtol=1e-4, atol=1e-4)


@every_method
@pytest.mark.parametrize("count", [1, 3])
def test_outputs_have_their_form_on_any_picture(entry, opened, count):
    noise = np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    boxes = np.tile(np.array([0, 0, WIDTH, HEIGHT], np.float32), (count, 1))
    assert ("features" in opened.output_names) == (entry.name not in PIXELS_ALONE)
    names = (*opened.output_names,) if count > 1 else ()
    for pixels in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        outputs = opened.run(pixels, boxes, names=names)
        for name in level_names(tuple(outputs)):  # what good parts are compared by
            assert outputs[name].shape[0] == count and outputs[name].ndim == 4
            assert np.isfinite(outputs[name]).all()
        assert outputs["score"].shape == (count,) and outputs["score"].dtype == np.float32
        assert outputs["map"].shape == (count, HEIGHT, WIDTH) and outputs["map"].dtype == np.float32
        assert np.isfinite(outputs["score"]).all() and np.isfinite(outputs["map"]).all()
        assert (outputs["map"] >= 0).all() and (outputs["score"] > 0).all()


@every_method
def test_what_lies_in_the_padding_changes_nothing(entry, opened, chips, canvas):
    left, top, right, bottom = 12, 8, 116, 88
    box = np.array([[left, top, right, bottom]], np.float32)
    picture = canvas(chips.test_bad[0].path)
    padded = []
    for garbage in (0, 255, None):
        pixels = np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8)
        if garbage is not None:
            pixels[:] = garbage
        pixels[:, top:bottom, left:right] = picture[:, top:bottom, left:right]
        padded.append(opened.run(pixels, box))
    for other in padded[1:]:
        assert (other["score"] == padded[0]["score"]).all()
        assert (other["map"] == padded[0]["map"]).all()
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[top:bottom, left:right] = False
    assert (padded[0]["map"][0][outside] == 0).all()
    assert padded[0]["map"][0][~outside].max() > 0


@every_method
def test_what_is_not_judged_changes_nothing(entry, opened, backbone, preprocess, chips):
    """With the left half ignored, a flaw drawn into it leaves the score and shows nowhere."""
    judged = np.ones((1, 2), bool)
    judged[0, 0] = False
    ignoring = dataclasses.replace(preprocess, area=Area(judged))
    picture = read(chips.test_good[0].path).pixels
    flawed = picture.copy()
    flawed[40:60, 0:40] = 255 - flawed[40:60, 0:40]

    def outputs(session: GraphSession, where: Preprocess) -> list[dict[str, np.ndarray]]:
        canvases = [to_canvases(Image(pixels), where) for pixels in (picture, flawed)]
        return [session.run(each.pixels, each.content_xyxy) for each in canvases]

    model = hasty(entry, smoothing=0).fit(FitData(chips.fit[:6]), FitContext(backbone, ignoring, threads=1))
    clean, marked = outputs(GraphSession(model, threads=1), ignoring)
    assert (clean["map"][0, :, : WIDTH // 2 - 8] == 0).all()
    assert clean["map"][0, :, WIDTH // 2 + 8 :].min() > 0
    assert (marked["map"] == clean["map"]).all() and marked["score"] == clean["score"]
    clean, marked = outputs(opened, preprocess)  # where it is judged, it counts
    assert abs(marked["map"] - clean["map"]).max() > 0.2 * clean["map"].std()


@every_method
@pytest.mark.parametrize("fit", [Fit.LETTERBOX, Fit.TILES])
def test_teaches_from_letterboxed_pictures_and_from_tiles(entry, fit, backbone, chips):
    """Canvases with padding, several canvases a picture, and pictures smaller than the canvas."""
    size = (64, 64) if fit is Fit.TILES else (128, 128)
    preprocess = Preprocess(size_hw=size, fit=fit)
    model = hasty(entry).fit(FitData(chips.fit[:4]), FitContext(backbone, preprocess, threads=1))
    canvases = to_canvases(read(chips.test_bad[0].path), preprocess)
    assert len(canvases) == (1 if fit is Fit.LETTERBOX else 6)
    outputs = GraphSession(model, threads=1).run(canvases.pixels, canvases.content_xyxy)
    assert np.isfinite(outputs["score"]).all() and (outputs["score"] > 0).all()
    assert merge_maps(outputs["map"], canvases, preprocess).max() > 0


@every_method
def test_two_parts_are_enough_to_get_a_graph(entry, chips, context, scores_of):
    model = hasty(entry).fit(FitData(chips.fit[:2]), context)
    scores = scores_of(model, chips.test_good[:2])
    assert np.isfinite(scores).all() and len(set(scores.tolist())) == 2


@every_method
def test_teaching_beats_not_teaching(entry, fitted, chips, context, scores_of, tmp_path):
    """Untaught means: the same method, settings and backbone, taught from pictures of noise instead of good
    parts. What is left to it is that defects are odd in themselves; teaching must add a tenth of AUROC."""
    noise = []
    for i in range(8):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        noise.append(Sample(id=str(i), path=path.as_posix(), label="good"))
    labels = [0] * len(chips.test_good) + [1] * len(chips.test_bad)
    samples = chips.test_good + chips.test_bad
    taught = roc_auc_score(labels, scores_of(fitted(entry), samples))
    untaught = roc_auc_score(labels, scores_of(made(entry).fit(FitData(tuple(noise)), context), samples))
    assert taught >= 0.75
    assert taught >= untaught + 0.10


@pytest.mark.parametrize("entry, field", FIELDS)
def test_every_setting_changes_the_graph(entry, field, plain, chips, context):
    """Each setting at its lowest value (a switch: the other way) gives another graph, unless it is marked as
    changing time or memory alone: then it must give the same one."""
    value = not field.default if isinstance(field.default, bool) else field.metadata["low"]
    if field.metadata["choices"]:
        value = next(choice for choice in field.metadata["choices"] if choice != field.default)
    if value == field.default:
        value = field.metadata["high"]
    changed = drawn_up(entry, hasty(entry, **{field.name: value}), FitData(chips.fit[:6]), context)
    assert (changed == plain(entry)) == field.metadata["speed_only"]


def test_methods_are_listed_without_torch():
    """The whole registry fills where torch, timm and Lightning Fabric cannot be imported."""
    program = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'lightning_fabric'): sys.modules[name] = None\n"
        "import flawscope.methods\n"
        "from flawscope.core.registry import methods\n"
        "print(*[entry.name for entry in methods])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [entry.name for entry in methods]
    assert {"patchcore", "padim", "dfm"} <= set(done.stdout.split())
    assert flawscope.methods.__name__ in sys.modules
