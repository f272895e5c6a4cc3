"""The error tree: sentences, codes, and the way through a process border."""

from __future__ import annotations

import pickle

import pytest

from flawscope.core import errors
from flawscope.core.errors import FlawscopeError, ImageError, MissingExtraError
from flawscope.core.extras import require

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FlawscopeError) and kind is not FlawscopeError
]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_a_process_border(kind):
    error = kind("It broke", expected="peace", found="war", remedy="Try again", code="special")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error)
    assert (copy.subject, copy.expected, copy.found, copy.remedy, copy.code) == (
        "It broke",
        "peace",
        "war",
        "Try again",
        "special",
    )


def test_the_four_parts_become_sentences():
    assert str(ImageError("a.png is cut off.", expected="9 kB", found="3 kB.", remedy="Copy it again")) == (
        "a.png is cut off. Expected 9 kB. Found 3 kB. Copy it again."
    )
    assert str(ImageError("a.png is cut off")) == "a.png is cut off."


@pytest.mark.parametrize("kind", ALL)
def test_codes_are_stable_and_exit_codes_tell_the_branches_apart(kind):
    assert kind("x").code == kind.default_code != "error"
    assert 2 <= kind.exit_code <= 9
    branches = [branch for branch in ALL if FlawscopeError in branch.__bases__]
    assert len({branch.exit_code for branch in branches}) == len(branches)


def test_a_missing_extra_says_how_to_install_it():
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_module.inner", extra="train", purpose="Teaching a network")
    assert "Teaching a network needs no_such_module" in str(caught.value)
    assert 'pip install "flawscope[train]"' in str(caught.value)
    assert require("json.decoder", extra="train", purpose="x").__name__ == "json.decoder"
