"""Variations for teaching: small, seeded, of the same form, and only those that are allowed."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.core.rng import derive
from flawscope.imaging.augment import FLIPS, Augmentation, vary

STILL = Augmentation(flips="none", light=0.0, shift=0.0)


@pytest.fixture
def picture() -> np.ndarray:
    """A picture without any symmetry, uint8 (40, 60, 3)."""
    return np.random.default_rng(0).integers(40, 200, (40, 60, 3)).astype(np.uint8)


def several(picture: np.ndarray, augmentation: Augmentation, count: int = 24) -> list[np.ndarray]:
    return [vary(picture, augmentation, derive(5, "view", i)) for i in range(count)]


def test_a_variation_has_the_same_form_and_leaves_the_photograph_alone(picture: np.ndarray) -> None:
    before = picture.copy()
    for varied in several(picture, Augmentation("both", 0.5, 0.2)):
        assert varied.shape == picture.shape and varied.dtype == np.uint8 and varied.flags.c_contiguous
        assert not np.shares_memory(varied, picture)
    assert (picture == before).all()


def test_the_same_seed_gives_the_same_variation_and_another_gives_another(picture: np.ndarray) -> None:
    first, again = (vary(picture, Augmentation(), derive(1, "a")) for _ in range(2))
    other = vary(picture, Augmentation(), derive(2, "a"))
    assert (first == again).all() and (first != other).any()


def test_nothing_allowed_changes_nothing(picture: np.ndarray) -> None:
    assert all((varied == picture).all() for varied in several(picture, STILL))


@pytest.mark.parametrize("flips", FLIPS)
def test_only_the_flips_that_are_allowed_happen(picture: np.ndarray, flips: str) -> None:
    known = {
        "as it is": picture,
        "horizontal": picture[:, ::-1],
        "vertical": picture[::-1],
        "both": picture[::-1, ::-1],
    }
    seen = set()
    for varied in several(picture, Augmentation(flips, 0.0, 0.0)):
        seen |= {name for name, expected in known.items() if (varied == expected).all()}
    allowed = {"none": set(), "horizontal": {"horizontal"}, "vertical": {"vertical"}}
    assert seen == {"as it is"} | allowed.get(flips, {"horizontal", "vertical", "both"})


def test_shifts_stay_within_their_bound_and_mirror_the_border(picture: np.ndarray) -> None:
    wide = np.pad(picture, ((4, 4), (6, 6), (0, 0)), mode="symmetric")
    places = set()
    for varied in several(picture, Augmentation("none", 0.0, 0.1)):
        found = [
            (y - 4, x - 6)
            for y in range(9)
            for x in range(13)
            if (wide[y : y + 40, x : x + 60] == varied).all()
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 5


def test_light_changes_within_its_bound(picture: np.ndarray) -> None:
    means = [float(varied.mean()) for varied in several(picture, Augmentation("none", 0.1, 0.0))]
    assert max(means) <= picture.mean() * 1.1 + 1 and min(means) >= picture.mean() * 0.9 - 1
    assert max(means) - min(means) > 0.1 * picture.mean()
    spreads = [
        float(varied.std() / varied.mean()) for varied in several(picture, Augmentation("none", 0.1, 0))
    ]
    usual = picture.std() / picture.mean()
    assert max(spreads) / usual > 1.03 and min(spreads) / usual < 0.97
    assert max(spreads) / usual < 1.12


def test_settings_out_of_bounds_are_refused() -> None:
    for wrong in ({"flips": "diagonal"}, {"light": -0.1}, {"light": 2.0}, {"shift": 0.6}):
        with pytest.raises(ValueError, match="is"):
            Augmentation(**wrong)  # type: ignore[arg-type]
