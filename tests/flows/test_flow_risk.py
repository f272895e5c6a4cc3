"""Risk by the line's own inspector: one run, one score; the published score by the closed form; limits in
bundles, older ones included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import flawscope
from flawscope.core.errors import BundleError, DataError
from flawscope.core.types import Image, Verdict
from flawscope.decision.bands import risk_limits
from flawscope.decision.risk import rate, scaled
from flawscope.imaging.read import read
from flawscope.runtime.bundle import open_bundle, seal
from flawscope.runtime.explain import explainers
from flawscope.runtime.explain.closed import library_gradcam_plus_plus
from flawscope.runtime.explain.maps import Explaining
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.risk import BY_GRADCAM, BY_MAP, BY_PICTURE, Rater, limits_of, risk_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny.flaw"


@pytest.fixture(scope="module")
def labelled(golden_maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good parts, and 30 with a blob or a scratch."""
    folder = tmp_path_factory.mktemp("labelled") / "parts"
    golden_maker.write_parts(folder / "good", 40)
    for i in range(30):
        flaw = ("blob", "scratch")[i % 2]
        golden_maker.write_png(folder / flaw / f"{i:02d}.png", golden_maker.part(600 + i, flaw))
    return folder


@pytest.fixture(scope="module")
def linear(
    labelled: Path, tiny_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Inspector:
    """A classifier on them, letterboxed, with defects to choose by."""
    out = tmp_path_factory.mktemp("linear") / "run"
    settings = tiny_settings | {
        "method": "linear", "resplit": "50/30/20", "alpha": 0.1, "settings": {"views": 2}
    }  # fmt: skip
    trained = flawscope.train(labelled, out=out, settings=settings, threads=1)
    return Inspector.open(trained.bundle.path, threads=1)


def test_the_rating_rests_on_the_very_inspection(linear: Inspector, golden_maker: Any) -> None:
    for flaw in ("blob", "scratch", ""):
        image = Image(golden_maker.part(900, flaw))
        alone, photo = linear(image), Rater(linear)(image)
        found = photo.rated
        assert found.inspection.score == alone.score and found.inspection.verdict == alone.verdict
        assert alone.map is not None and alone.probabilities is not None and found.inspection.map is None
        heat = alone.map / np.float32(linear.thresholds.pixel)
        assert found.rating == rate(1 - alone.probabilities["good"], heat, np.ones(heat.shape, bool))
        assert found.rating is not None
        assert found.band == limits_of(linear).band(found.rating.risk) and found.region == BY_PICTURE


def test_qrs_is_the_share_of_the_published_map(linear: Inspector, golden_maker: Any) -> None:
    published = replace(explainers["gradcam++"], name="published", explain=library_gradcam_plus_plus)
    image = Image(golden_maker.part(901, "blob"))
    found = Rater(linear, threshold=0.6)(image)
    mapped = Explaining(linear, (published,)).maps(image)
    weights = scaled(mapped.maps["published"])
    assert found.rated.qrs == pytest.approx(float((weights > 0.6).mean()), abs=2e-3)
    assert found.rated.qrs_rests_on == BY_GRADCAM and found.weights is not None
    assert found.weights.min() == 0 and found.weights.max() == 1
    assert found.rated.over == (found.weights > 0.6).sum()


def test_a_larger_and_a_surer_flaw_has_the_higher_risk(linear: Inspector, golden_maker: Any) -> None:
    sound = golden_maker.part(902)
    risks = []
    for radius in (0, 4, 8):
        pixels = sound.copy()
        if radius:
            cv2.circle(pixels, (33, 34), radius, (250, 243, 230), -1)
        rated = risk_of(linear, Image(pixels))
        assert rated.rating is not None
        risks.append(rated.rating.risk)
    assert risks == sorted(risks) and risks[2] > risks[0] + 10


def test_padding_does_not_matter(linear: Inspector, golden_maker: Any) -> None:
    """The same part in a larger photograph of it: another scale, the same content within the letterbox."""
    pixels = golden_maker.part(903, "blob")
    double = np.asarray(cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    first, second = risk_of(linear, Image(pixels)), risk_of(linear, Image(double))
    assert first.rating is not None and second.rating is not None
    assert second.rating.risk == pytest.approx(first.rating.risk, abs=1)
    assert second.region_share == first.region_share == 1


def test_limits_stand_in_the_bundle_and_rest_on_select(linear: Inspector) -> None:
    own = linear.bundle.contents.risk_limits
    assert own is not None and limits_of(linear) == own
    derived = risk_limits(linear.calibration, classes=True)
    assert (own.medium, own.high) == (derived.medium, derived.high)
    assert "labelled defects" in own.rule or own == derived


def test_older_bundles_open_keep_their_identity_and_derive_their_limits(tmp_path: Path) -> None:
    bundle = open_bundle(GOLDEN)
    assert bundle.contents.risk_limits is None
    assert seal(tmp_path / "again.flaw", bundle.contents).id == bundle.id
    inspector = Inspector.open(GOLDEN, threads=1)
    limits = limits_of(inspector)
    assert "brings none" in limits.rule and limits.medium <= limits.high <= limits.critical
    rated = risk_of(inspector, GOLDEN.parent / "scratch.png")
    assert rated.rating is not None and rated.inspection.p_value is not None
    assert rated.qrs_rests_on == BY_MAP and rated.rating.factors[0].measured == 1 - rated.inspection.p_value
    resealed = seal(tmp_path / "new.flaw", replace(bundle.contents, risk_limits=limits))
    assert resealed.id != bundle.id and open_bundle(resealed.path).contents.risk_limits == limits


def test_what_cannot_be_read_or_judged_has_no_risk(
    linear: Inspector, golden_maker: Any, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    unread = risk_of(linear, tmp_path / "x.png")
    dark = risk_of(linear, Image(golden_maker.part(904, "dark")))
    for rated in (unread, dark):
        assert rated.rating is None and rated.band is None and rated.qrs is None
        assert rated.inspection.error is not None and rated.inspection.verdict is None
        assert rated.to_json()["risk"] is None


def test_a_product_outside_what_is_judged_is_refused(
    linear: Inspector, labelled: Path, tiny_settings: dict[str, Any], tmp_path: Path, golden_maker: Any
) -> None:
    roi = np.zeros((48, 64), np.uint8)
    roi[:, :32] = 255
    cv2.imwrite(str(tmp_path / "roi.png"), roi)
    settings = tiny_settings | {"roi": str(tmp_path / "roi.png")}
    trained = flawscope.train(labelled / "good", out=tmp_path / "run", settings=settings, threads=1)
    rater = Rater(Inspector.open(trained.bundle.path, threads=1))
    image = Image(golden_maker.part(905))
    share = rater(image).rated.region_share
    assert share == pytest.approx(0.5, abs=0.05)

    def right(size_hw: tuple[int, int]) -> np.ndarray:
        return np.broadcast_to(np.arange(size_hw[1]) > 0.7 * size_hw[1], size_hw).copy()

    with pytest.raises(DataError, match="shows no product to rate"):
        rater(image, place=right, place_words="coordinates given")


def test_a_map_without_a_scale_is_refused(tmp_path: Path) -> None:
    contents = open_bundle(GOLDEN).contents
    flat = replace(contents.calibration, maxima=np.zeros_like(contents.calibration.maxima))
    path = seal(tmp_path / "flat.flaw", replace(contents, calibration=flat)).path
    with pytest.raises(BundleError, match="no scale"):
        Rater(Inspector.open(path, threads=1))


def test_tiles_are_rated_as_one_photograph(
    labelled: Path, tiny_settings: dict[str, Any], tmp_path: Path, golden_maker: Any
) -> None:
    settings = tiny_settings | {
        "method": "linear", "resplit": "50/30/20", "alpha": 0.1, "settings": {"views": 2},
        "fit": "tiles", "size": [32, 32],
    }  # fmt: skip
    trained = flawscope.train(labelled, out=tmp_path / "run", settings=settings, threads=1)
    photo = Rater(Inspector.open(trained.bundle.path, threads=1))(Image(golden_maker.part(906, "blob")))
    assert photo.weights is not None and photo.heat is not None and photo.weights.shape == photo.heat.shape
    assert photo.rated.qrs_rests_on == BY_GRADCAM and photo.rated.rating is not None


def test_the_python_interface_gives_the_files_report(
    linear: Inspector, labelled: Path, tmp_path: Path
) -> None:
    report = flawscope.risk(linear, labelled, out=tmp_path / "o", settings={"threshold": 0.8})
    assert report.threshold == 0.8 and (tmp_path / "o" / "risk.xlsx").is_file()
    assert report.analysis.risk.auroc.value is not None and report.seen == 0
    assert all(one.rated.inspection.verdict in set(Verdict) for one in report.rated)
    ranked = [one.risk for one in report.ranked()]
    assert ranked == sorted(ranked, reverse=True)
    again = flawscope.risk(linear, labelled, settings={"threshold": 0.8})
    assert [one.to_json()["risk"] for one in again.rated] == [one.to_json()["risk"] for one in report.rated]
    image = read(report.rated[0].sample.path)
    assert risk_of(linear, image).rating == report.rated[0].rated.rating
