"""What every registered explainer keeps to, on a bundle taught from good parts and on a classifier's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import flawscope
from flawscope.core.errors import BundleError, UsageError
from flawscope.core.types import Fit, Image, Verdict
from flawscope.data.manifest import read_manifest
from flawscope.imaging.preprocess import MapMerger, to_canvases
from flawscope.imaging.read import read
from flawscope.imaging.resample import to_grid
from flawscope.runtime.explain import Explaining, Known, Shown, explainers, with_nearest
from flawscope.runtime.explain.contract import all_levels
from flawscope.runtime.explain.limits import limit_of
from flawscope.runtime.explain.maps import bare_maps, merged
from flawscope.runtime.explain.nearest import features_at
from flawscope.runtime.inspector import Inspector

NAMES = tuple(one.name for one in explainers)
every_explainer = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", params=["classifier", "one-class"])
def inspector(request: pytest.FixtureRequest) -> Inspector:
    fixture = "classified" if request.param == "classifier" else "split_world"
    return Inspector.open(request.getfixturevalue(fixture).model, threads=1)


@pytest.fixture(scope="module")
def known(inspector: Inspector) -> Known:
    return Known.of(inspector.bundle, inspector.scorer.session)


@pytest.fixture
def one(name: str, known: Known) -> Any:
    if known.lacks(explainers[name]):
        pytest.skip(f"{name} does not work with this bundle")
    return explainers[name]


@pytest.fixture(scope="module")
def picture() -> Image:
    """A picture of another shape than the canvas, so that there is padding."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 128, 3), np.uint8)
    noise[20:30, 40:60] = 255
    return Image(noise)


def bad_samples(world: Any) -> list[Any]:
    return [s for s in read_manifest(world.data) if s.role == "test" and s.is_bad]


def shown(known: Known, one: Any, image: Image, target: int) -> Shown:
    canvases = to_canvases(image, known.preprocess)
    names = known.output_names((one,))
    outputs = known.session.run(canvases.pixels, canvases.content_xyxy, names=names) if names else {}
    return Shown(image, canvases, outputs, target, known)


@every_explainer
def test_maps_are_as_large_as_the_verdicts_and_finite(known, one, inspector, picture):
    mapped = bare_maps(known, picture, (one,))
    heat = mapped.maps[one.name]
    assert heat.dtype == np.float32 and np.isfinite(heat).all()
    assert heat.shape == mapped.raw.map.shape
    assert mapped.target == (1 if known.classes else 0)
    assert one.summary.endswith(".")


@every_explainer
def test_several_canvases_give_what_each_gives_alone(known, one, picture):
    other = Image(np.ascontiguousarray(picture.pixels[::-1]))
    alone = [one.explain(shown(known, one, image, 1)) for image in (picture, other)]
    canvases = [to_canvases(image, known.preprocess) for image in (picture, other)]
    together = replace(
        canvases[0],
        pixels=np.concatenate([each.pixels for each in canvases]),
        content_xyxy=np.concatenate([each.content_xyxy for each in canvases]),
        windows_xyxy=np.concatenate([each.windows_xyxy for each in canvases]),
    )
    names = known.output_names((one,))
    outputs = known.session.run(together.pixels, together.content_xyxy, names=names) if names else {}
    both = one.explain(Shown(picture, together, outputs, 1, known))
    for i in range(2):
        largest = float(np.abs(alone[i]).max())
        np.testing.assert_allclose(both[i], alone[i][0], rtol=1e-3, atol=1e-3 * max(largest, 1e-3))


@every_explainer
def test_padding_neither_shows_nor_matters(known, one, picture):
    """The canvas has bars above and below; whatever stands there, the map is the same, and has no bars."""
    first = shown(known, one, picture, 1)
    top, bottom = int(first.canvases.content_xyxy[0, 1]), int(first.canvases.content_xyxy[0, 3])
    assert 0 < top < bottom < known.preprocess.size_hw[0]
    pixels = first.canvases.pixels.copy()
    pixels[:, :top], pixels[:, bottom:] = 255, 0
    filled = replace(first.canvases, pixels=pixels)
    names = known.output_names((one,))
    outputs = known.session.run(pixels, filled.content_xyxy, names=names) if names else {}
    maps = []
    for case in (first, Shown(picture, filled, outputs, 1, known)):
        merger = MapMerger(known.preprocess, picture.size_hw)
        merger.add(to_grid(one.explain(case).astype(np.float32), known.preprocess.size_hw), case.canvases)
        maps.append(merger.result())
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-4 * max(float(maps[0].max()), 1e-3))
    assert maps[0].shape == (bottom - top, known.preprocess.size_hw[1])


@every_explainer
def test_tiles_are_merged_as_the_verdicts_map_is(known, one):
    height, width = known.preprocess.size_hw
    large = np.random.default_rng(1).integers(0, 256, (height + 40, 2 * width, 3), np.uint8)
    image = Image(large)
    tiled = replace(known, preprocess=replace(known.preprocess, fit=Fit.TILES))
    found = merged(tiled, image, (one,), target=1)[one.name]
    assert found.shape == large.shape[:2]
    canvases = to_canvases(image, tiled.preprocess)
    assert len(canvases) > 2
    merger = MapMerger(tiled.preprocess, image.size_hw)
    maps = one.explain(shown(tiled, one, image, 1)).astype(np.float32)
    merger.add(to_grid(maps, tiled.preprocess.size_hw), canvases)
    wanted = merger.result() if one.whole is None else one.whole(image, merger.result())
    largest = max(float(np.abs(wanted).max()), 1e-3)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * largest)


@every_explainer
def test_good_parts_stay_dark_at_the_rate_of_the_limit(name, classified):
    """On the very parts that the limit was measured on, at most alpha of them, and one, show anything."""
    inspector = Inspector.open(classified.model, threads=1)
    explaining = Explaining(inspector, (name,), always=True)
    good = [s for s in read_manifest(classified.data) if s.role == "calibrate"]
    limit = explaining.limit(explaining.wanted[0])
    maxima = [float(explaining.maps(read(s.path)).maps[name].max()) for s in good]
    lit = sum(value > limit.value for value in maxima)
    assert lit <= 0.1 * (len(good) + 1)
    if not explainers[name].audit:
        assert (limit.role, limit.parts) == ("calibrate", len(good))


@every_explainer
def test_an_ok_part_is_not_explained_unless_asked_for(name, classified):
    inspector = Inspector.open(classified.model, threads=1)
    good = [s for s in read_manifest(classified.data) if s.role == "fit" and s.is_good]
    image = next(image for image in (read(s.path) for s in good) if inspector(image).verdict == "OK")
    quiet = Explaining(inspector, (name,))(image)
    assert quiet.inspection.verdict is Verdict.OK and quiet.explanations == ()
    (asked,) = Explaining(inspector, (name,), always=True)(image).explanations
    assert asked.explainer == name and asked.target == "defect"


def test_the_verdict_is_that_of_inspecting(inspector, known, picture):
    names = tuple(name for name in known.working() if not explainers[name].audit)
    explained = Explaining(inspector, names, always=True)(picture)
    plain = inspector(picture)
    assert explained.inspection.verdict == plain.verdict
    assert explained.inspection.score == pytest.approx(plain.score, rel=1e-6)
    np.testing.assert_array_equal(explained.inspection.map, plain.map)
    assert [one.explainer for one in explained.explanations] == list(names)


def test_what_cannot_be_judged_is_not_explained(inspector):
    dark = Image(np.zeros((96, 128, 3), np.uint8))
    explained = Explaining(inspector, ("anomaly",), always=True)(dark)
    assert explained.inspection.error is not None and explained.explanations == ()


def test_regions_and_peaks_are_told_in_limits(classified):
    inspector = Inspector.open(classified.model, threads=1)
    explaining = Explaining(inspector, ("cam", "anomaly"), always=True)
    image = read(bad_samples(classified)[0].path)
    # a tenth of the limit, so that there is something to see whatever the classifier has learnt
    limits = {
        name: replace(limit, value=limit.value / 10)
        for name, limit in inspector.bundle.contents.explain_limits.items()
    }
    contents = replace(inspector.bundle.contents, explain_limits=limits)
    eager = Inspector(replace(inspector.bundle, contents=contents), inspector.scorer)
    explained = Explaining(eager, ("cam",), always=True)(image).explanations[0]
    bare = explaining.maps(image).maps["cam"]
    np.testing.assert_allclose(explained.map, bare / limits["cam"].value, rtol=1e-5)
    assert explained.regions and all(region.peak > 1 for region in explained.regions)
    assert explained.peaks[0].value == pytest.approx(float(explained.map.max()))
    x, y = explained.peaks[0].x, explained.peaks[0].y
    boxes = [region.box_xyxy for region in explained.regions]
    assert any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)
    values = with_nearest(explaining.known, image, explained).to_json()
    assert values["regions"][0]["nearest"][0]["image"].startswith("train/good/")
    assert "differs most from this good part, here" in values["words"][1]
    assert values["highest"] == pytest.approx(float(explained.map.max()))


def test_nearest_normals_of_a_taught_part_are_its_own_patches(inspector, known):
    """The features at a reference's own place are the reference."""
    references = known.references
    assert references is not None
    folder = inspector.bundle.path.parent
    paths = {s.id: s.path for s in read_manifest(folder / "manifest.jsonl")}
    for place in np.linspace(0, len(references.vectors) - 1, 7).astype(int):
        name = references.names[references.images[place]]
        image = read(paths[name])
        assert image.size_hw == tuple(references.sizes_hw[references.images[place]])
        left, top, right, bottom = references.boxes_xyxy[place].tolist()
        (vector,) = features_at(known, image, [((left + right) / 2, (top + bottom) / 2)])
        length = float(np.linalg.norm(vector))
        np.testing.assert_allclose(vector, references.vectors[place], rtol=2e-3, atol=2e-3 * length)
        found, distances, cosines = references.nearest(vector, 3)
        assert distances[0] <= 2e-3 * length + 1e-6 and cosines[0] > 0.999
        assert len({int(references.images[i]) for i in found}) == 3
        assert (np.diff(distances) >= 0).all()


def test_what_a_bundle_lacks_is_said_with_what_works(split_world):
    inspector = Inspector.open(split_world.model, threads=1)
    with pytest.raises(UsageError, match=r"output evidence.*These work: anomaly, occlusion"):
        Explaining(inspector, ("cam",))
    with pytest.raises(UsageError, match=r"no explainer named 'camm'.*Did you mean 'cam'"):
        Explaining(inspector, ("camm",))
    with pytest.raises(UsageError, match="learnt from good parts alone"):
        Explaining(inspector, ("anomaly",), target="scratch")


def test_a_class_that_is_no_bad_one_is_refused(classified):
    inspector = Inspector.open(classified.model, threads=1)
    for name in ("good", "scrach"):
        with pytest.raises(UsageError, match="one of defect"):
            Explaining(inspector, ("cam",), target=name)
    assert Explaining(inspector, ("cam",), target="defect").known.classes == ("good", "defect")


def test_of_several_classes_the_likeliest_bad_one_is_explained(classified, tmp_path):
    settings = {"method": "linear", "budget": 96, "settings": {"views": 1, "classes": "all", "penalty": 0.1}}
    data = classified.data
    trained = flawscope.train(data, out=tmp_path / "run", settings=settings, threads=1)
    inspector = Inspector.open(trained.bundle.path, threads=1)
    names = inspector.bundle.contents.classes
    assert len(names) > 3
    explaining = Explaining(inspector, ("cam", "gradcam"), always=True)
    for sample in bad_samples(classified)[:3]:
        image = read(sample.path)
        explained = explaining(image)
        shares = dict(explained.inspection.probabilities)
        del shares["good"]
        likeliest = max(shares, key=shares.get)
        assert [one.target for one in explained.explanations] == [likeliest] * 2
        mapped = explaining.maps(image)
        assert names[mapped.target] == likeliest
        named = Explaining(inspector, ("cam",), target=names[-1]).maps(image)
        assert named.target == len(names) - 1
        same = names[-1] == likeliest
        assert np.array_equal(named.maps["cam"], mapped.maps["cam"]) == same


def test_a_bundle_without_limits_says_so(classified):
    inspector = Inspector.open(classified.model, threads=1)
    contents = replace(inspector.bundle.contents, explain_limits={})
    bundle = replace(inspector.bundle, contents=contents)
    with pytest.raises(BundleError, match="no limit for cam"):
        limit_of(explainers["cam"], bundle, inspector.calibration)


def test_the_head_stands_in_the_graph_as_it_is_used(classified):
    inspector = Inspector.open(classified.model, threads=1)
    known = Known.of(inspector.bundle, inspector.scorer.session)
    assert known.head is not None
    golden = inspector.bundle.contents.golden
    names = known.output_names_of("features", "evidence")
    outputs = known.session.run(golden.pixels, golden.content_xyxy, names=names)
    built = np.einsum("kc,nchw->nkhw", known.head.weight, all_levels(outputs))
    built += known.head.bias[:, None, None]
    np.testing.assert_allclose(built, outputs["evidence"], atol=1e-3)
