"""Randomness from names, and names from content: the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core import digest
from flawscope.core.rng import derive

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_stream_is_fixed_for_all_time():
    """Splits and synthetic parts are reproduced from their seeds: these numbers must never change."""
    assert derive(0, "split").integers(0, 1000, 5).tolist() == [35, 207, 528, 481, 656]
    assert derive(7, "part", 3).integers(0, 1000, 5).tolist() == [486, 854, 713, 281, 879]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.lists(st.text() | st.integers(), max_size=3))
def test_seed_and_names_decide_alone(seed, names):
    assert derive(seed, *names).random() == derive(seed, *names).random()
    assert derive(seed, *names).random() != derive(seed + 1, *names).random()
    assert derive(seed, *names).random() != derive(seed, *names, "more").random()


def test_streams_do_not_touch_the_global_one():
    state = np.random.get_state()[1].copy()
    derive(0, "a").random(10)
    assert (np.random.get_state()[1] == state).all()


def test_a_stream_is_not_that_of_a_joined_name():
    assert derive(0, "a", "b").random() != derive(0, "ab").random()


def test_bytes_and_files_have_the_sha256(tmp_path):
    content = b"flaw" * 100_000
    path = tmp_path / "a"
    path.write_bytes(content)
    assert digest.of_bytes(content) == digest.of_file(path) == hashlib.sha256(content).hexdigest()


@given(json_values)
def test_the_order_of_keys_does_not_matter_and_values_do(value):
    table = {"a": value, "b": 1}
    assert digest.of_value(table) == digest.of_value(dict(reversed(table.items())))
    assert digest.of_value(table) != digest.of_value(table | {"b": 2})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_what_json_cannot_hold_has_no_digest(value):
    with pytest.raises((TypeError, ValueError)):
        digest.of_value(value)


def test_an_array_is_its_type_its_shape_and_its_values():
    values = np.arange(12, dtype=np.int32)
    same = np.repeat(values, 2)[::2]  # another layout in memory
    assert digest.of_array(values) == digest.of_array(same)
    others = [values.reshape(3, 4), values.astype(np.uint32), values[::-1], values.astype(np.int64)]
    assert len({digest.of_array(other) for other in [values, *others]}) == 5
