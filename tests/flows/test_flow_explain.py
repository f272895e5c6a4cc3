"""Explaining through the flow: the file, the pictures, and the table over explainers."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from flawscope.core.errors import DataError, LeakError, UsageError
from flawscope.core.types import Image, Metric
from flawscope.data.manifest import read_manifest, write_manifest
from flawscope.flows.evaluate import EvaluateSettings
from flawscope.flows.explain import (
    Explainers,
    ExplainSettings,
    as_json,
    default_explainer,
    explain_file,
    picture,
)
from flawscope.flows.explain_evaluate import choose, measure, table, write_measured
from flawscope.flows.stand_in import blur, like, stand_in
from flawscope.imaging.read import read
from flawscope.report.metric_words import EXPLANATION
from flawscope.runtime.explain import Known
from flawscope.runtime.inspector import Inspector


@pytest.fixture(scope="module")
def inspector(classified) -> Inspector:
    return Inspector.open(classified.model, threads=1)


@pytest.fixture(scope="module")
def measured(inspector, classified):
    return measure(inspector, EvaluateSettings(classified.data), ExplainSettings())


def test_a_file_of_any_length_is_json(inspector, tmp_path):
    for count in (0, 1, 3):
        with explain_file(tmp_path / "explain.json", inspector.bundle, ("cam",)) as add:
            for i in range(count):
                add({"path": f"{i}"})
        values = json.loads((tmp_path / "explain.json").read_text(encoding="utf-8"))
        assert [one["path"] for one in values["photographs"]] == [str(i) for i in range(count)]
        assert values["explainers"] == ["cam"] and values["bundle_id"] == inspector.bundle.id
    with pytest.raises(RuntimeError), explain_file(tmp_path / "other.json", inspector.bundle, ()) as add:
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explain.json"]


def test_photographs_come_back_in_order_with_faults(inspector, classified, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    paths = [s.path for s in read_manifest(classified.data) if s.role == "test"][:3]
    given = [paths[0], str(tmp_path / "no.png"), *paths[1:]]
    found = list(Explainers(inspector, ExplainSettings(("cam", "anomaly"), always=True))(given))
    assert [image is None for image, _ in found] == [False, True, False, False]
    assert found[1][1].inspection.error.code == "not_an_image"
    for place, (image, explained) in zip(given, found, strict=True):
        assert explained.inspection.path == place
        assert len(explained.explanations) == (0 if image is None else 2)
        json.dumps(as_json(explained), allow_nan=False)


def test_the_default_suits_the_bundle(inspector, world):
    known = Known.of(inspector.bundle, inspector.scorer.session)
    name = default_explainer(inspector.bundle, known)
    assert name in known.working() and name != "anomaly"
    without = replace(inspector.bundle, contents=replace(inspector.bundle.contents, explain_limits={}))
    assert default_explainer(without, known) == "anomaly"
    one_class = Inspector.open(world.model, threads=1)
    assert (
        default_explainer(one_class.bundle, Known.of(one_class.bundle, one_class.scorer.session)) == "anomaly"
    )


def test_the_picture_holds_every_overlay_and_the_good_patches(inspector, classified):
    contents = inspector.bundle.contents
    # a fifth of the limit, so that there are regions whatever the classifier has learnt
    limits = {name: replace(one, value=one.value / 5) for name, one in contents.explain_limits.items()}
    eager = Inspector(
        replace(inspector.bundle, contents=replace(contents, explain_limits=limits)), inspector.scorer
    )
    bad = next(s.path for s in read_manifest(classified.data) if s.role == "test" and s.is_bad)
    ((image, explained),) = Explainers(eager, ExplainSettings(("cam", "layercam"), always=True))([bad])
    assert explained.explanations[0].regions
    whole = picture(image, explained.explanations, contents.references)
    bare = picture(image, explained.explanations, None)
    assert whole.dtype == np.uint8 and whole.shape[2] == 3
    assert whole.shape[0] > bare.shape[0]  # a row for each region compared
    one = picture(image, explained.explanations[:1], None)
    calm = picture(image, explained.explanations[:1], None, plain_below=1.0)
    assert (one != calm).any() and Explainers(eager, ExplainSettings(("cam",))).plain_below == 0.5
    assert bare.shape[1] > one.shape[1]


def test_every_explainer_is_measured_by_every_metric(measured, tmp_path):
    assert {"anomaly", "cam", "gradcam", "gradcam++", "layercam"} <= measured.rows.keys()
    assert "occlusion" not in measured.rows  # an audit, only when named
    for row in measured.rows.values():
        assert row.keys() == EXPLANATION.keys()
        for metric in row.values():
            assert metric.reason if metric.value is None else 0 <= metric.value <= 1
        assert row["deletion"].n == row["insertion"].n <= 8
        assert row["pointing"].n == 8 and row["dark"].n == 8
    assert measured.best in measured.rows and measured.best in measured.why
    rows = table(measured)
    assert rows[1][0] == measured.best and len(rows) == len(measured.rows) + 1
    places = write_measured(measured, tmp_path)
    assert [place.suffix for place in places] == [".csv", ".json", ".md"]
    assert json.loads(places[1].read_text(encoding="utf-8"))["best"] == measured.best
    assert "photograph" in measured.instead  # a blurred or a good one, as the bundle finds less odd
    assert f"gave way to {measured.instead}." in places[2].read_text(encoding="utf-8")
    assert places[0].read_text(encoding="utf-8").count("\n") == 1 + 6 * len(measured.rows)
    assert measured.why in places[2].read_text(encoding="utf-8")


def test_what_points_at_the_flaw_beats_what_does_not(inspector, classified):
    """An explainer that knows the masks is measured as perfect, its opposite as hopeless."""
    from flawscope.imaging.read import read_mask
    from flawscope.runtime.explain import Explainer, contract, maps
    from flawscope.runtime.explain.contract import Explainers as Registry

    masks = {s.path: s.mask_path for s in read_manifest(classified.data)}

    def truth(shown):
        return np.zeros((len(shown.canvases), *shown.known.preprocess.size_hw), np.float32)

    def told(image: Image, heat: np.ndarray) -> np.ndarray:
        where = masks[image.path]
        known = read_mask(where) if where else np.zeros(image.size_hw, bool)
        return np.where(known, 2.0, 0.0).astype(np.float32)

    def against(image: Image, heat: np.ndarray) -> np.ndarray:
        return np.float32(2.0) - told(image, heat)

    registry = Registry()
    for name, whole in (("truth", told), ("against", against)):
        registry.enter(Explainer(name, truth, "For a test.", whole=whole, audit=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "explainers", registry)
        patch.setattr(maps, "explainers", registry)
        patch.setattr(maps, "limit_of", lambda one, bundle, calibration: _Limit(1.0))
        found = measure(inspector, EvaluateSettings(classified.data), ExplainSettings(("truth", "against")))
    best, worst = found.rows["truth"], found.rows["against"]
    assert best["aupro_30"].value == pytest.approx(1.0) and best["iou"].value == pytest.approx(1.0)
    assert best["pointing"].value == 1.0 and best["dark"].value == 1.0
    assert worst["pointing"].value == 0.0 and worst["dark"].value == 0.0 and worst["iou"].value < 0.1
    assert found.best == "truth"


class _Limit:
    def __init__(self, value: float) -> None:
        self.value = value


def test_seen_parts_and_good_ones_alone_are_refused(inspector, classified, tmp_path):
    samples = read_manifest(classified.data)
    taught = [replace(s, role=None) for s in samples if s.role == "fit"]
    write_manifest(tmp_path / "taught.jsonl", taught)
    with pytest.raises(LeakError):
        measure(inspector, EvaluateSettings(tmp_path / "taught.jsonl"), ExplainSettings())
    write_manifest(tmp_path / "good.jsonl", [s for s in samples if s.role == "test" and s.is_good])
    with pytest.raises(DataError, match="no bad part"):
        measure(inspector, EvaluateSettings(tmp_path / "good.jsonl"), ExplainSettings())
    with pytest.raises(UsageError, match="no explainer named"):
        measure(inspector, EvaluateSettings(classified.data), ExplainSettings(("camera",)))


def test_without_masks_insertion_less_deletion_decides():
    none = Metric(None, reason="no flaw is marked")
    rows = {
        name: {"aupro_30": none, "insertion": Metric(put_in), "deletion": Metric(removed)}
        for name, put_in, removed in (("a", 0.9, 0.5), ("b", 0.8, 0.2))
    }
    best, why = choose(rows)
    assert best == "b" and "insertion less deletion" in why
    nothing = {"a": {"aupro_30": none, "insertion": none, "deletion": none}}
    assert choose(nothing)[0] == ""


def test_a_blurred_picture_says_nothing_of_small_places(classified):
    path = next(s.path for s in read_manifest(classified.data) if s.role == "test")
    pixels = read(path).pixels
    calm = blur(pixels, 1 / 8)
    assert calm.shape == pixels.shape and calm.std() < 0.5 * pixels.std()
    assert calm.std() < blur(pixels, 1 / 32).std() < pixels.std()
    assert abs(float(calm.mean()) - float(pixels.mean())) < 8


class _Sharp:
    """An inspector that calls everything without fine detail odd."""

    def __init__(self, inspector: Inspector, highest: float) -> None:
        self.calibration = SimpleNamespace(scores=np.array([0.1, 0.2, highest]))
        self.scorer = self
        self.preprocess = inspector.scorer.preprocess

    def __call__(self, image: Image) -> tuple[SimpleNamespace]:
        return (SimpleNamespace(score=1.0 if np.diff(image.pixels.astype(int), axis=1).std() < 2 else 0.2),)


def test_where_a_blur_is_odd_a_good_photograph_stands_in(inspector, classified):
    good = [s for s in read_manifest(classified.data) if s.role == "test" and s.is_good]
    found = stand_in(_Sharp(inspector, highest=0.3), good)
    assert found.good is not None and found.words.startswith("a good photograph")
    used_to_it = stand_in(_Sharp(inspector, highest=1.0), good)
    assert used_to_it.good is None and "1/" in used_to_it.words
    assert stand_in(inspector, []).good is None
    pixels = read(good[-1].path).pixels[10:, 5:] // 2 + 20
    fitted = found(pixels)
    assert fitted.shape == pixels.shape and fitted.dtype == np.uint8
    np.testing.assert_allclose(fitted.mean((0, 1)), pixels.mean((0, 1)), atol=2)
    np.testing.assert_allclose(fitted.std((0, 1)), pixels.std((0, 1)), atol=2)
    flat = np.full((9, 9, 3), 7, np.uint8)
    np.testing.assert_array_equal(like(flat, pixels)[0, 0], np.rint(pixels.mean((0, 1))))
