"""Incremental teaching: what a method keeps to learn more good parts without the old photographs.

A method that can has `learn`, which returns its graph with a state, and `grow`, which takes a state and new
samples. States are arrays under names, of a size that does not grow with the number of photographs. The
projection of the first teaching stays; `unexplained` says by how much more it loses of new parts than of
those it was made for, and `refuse_strangers` ends the teaching where that is too much.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.types import Array, Sample
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import PLACE_IMAGES, FeatureStore, Moments, evenly
from flawscope.methods.places import Places
from flawscope.runtime.references import npz_bytes

State = Mapping[str, Array]
Lost = Callable[[Array], Array]  # vectors float32 (n, C) to what the projection loses of each, float32 (n,)

LOOKED_AT = 100  # photographs whose loss is kept
MOST_LOST = 2.0  # times what is lost of nine in ten taught photographs: more is another product or light
_USUAL = 0.9


@dataclass(frozen=True, eq=False)
class Learnt:
    """A graph, and what must be kept to go on from it."""

    model: Any  # onnx.ModelProto
    state: State


class Teachable(Protocol):
    """A method that learns further good parts without the old ones."""

    def learn(self, data: FitData, context: FitContext) -> Learnt:
        """Learn from `data`; the graph is the one that `fit` returns."""

    def grow(self, state: State, data: FitData, context: FitContext) -> Learnt:
        """Learn the good parts of `data` as well. Raises DataError where the projection does not explain
        them, and for a state that does not fit."""


def to_bytes(state: State) -> bytes:
    """Return a state as an NPZ file; the same state gives the same bytes."""
    return npz_bytes(dict(state))


def from_bytes(content: bytes) -> State:
    """Return the state that `to_bytes` wrote. Raises DataError for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError("The teaching state cannot be read", found=str(error)) from error


def losses(samples: Sequence[Sample], store: FeatureStore, lost: Lost) -> Array:
    """Return the mean loss of each of at most LOOKED_AT photographs, evenly spread, float32 (n,)."""
    chosen = [samples[i] for i in evenly(len(samples), most=LOOKED_AT)]
    sums, counts = np.zeros(len(chosen)), np.zeros(len(chosen))
    for index, vectors, shown in store.stream(chosen):
        if shown.any():
            found = lost(vectors[shown].astype(np.float32))
            sums[index] += float(found.sum())
            counts[index] += len(found)
    return np.asarray(sums / np.maximum(counts, 1), np.float32)


def honest_losses(
    samples: Sequence[Sample], store: FeatureStore, lost_by: Callable[[Moments], Lost]
) -> Array:
    """Return what each of at most LOOKED_AT photographs loses through a projection that was made for others:
    each half of them, by part, through that of the other half, float32 (n,). Of few photographs a projection
    explains its own far better than any new one."""
    chosen = [samples[i] for i in evenly(len(samples), most=LOOKED_AT)]
    parts = sorted({sample.part_key for sample in chosen})
    halves = [[s for s in chosen if parts.index(s.part_key) % 2 == side] for side in (0, 1)]
    if not halves[1]:  # a single part can only be compared with itself
        halves[1] = halves[0]
    found = []
    for side in (0, 1):
        moments = Moments(store.channels)
        for _, vectors, shown in store.stream(halves[1 - side]):
            moments.add(vectors[shown])
        if moments.count:
            found.append(losses(halves[side], store, lost_by(moments)))
    return np.concatenate(found) if found else np.ones(1, np.float32)


def outside(mean: Array, basis: Array, weights: Array) -> Lost:
    """Return the squared length of what lies outside an orthonormal basis (C, k), of vectors less their mean
    (C,), channels weighted by `weights` (C,)."""

    def lost(vectors: Array) -> Array:
        centred = (vectors - mean) * weights
        kept = centred @ basis
        energy = np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", kept, kept)
        return np.asarray(np.maximum(energy, 0))

    return lost


def unexplained(taught: Array, new: Array) -> float:
    """Return how many times as much the projection loses of the median new photograph as at most of nine in
    ten taught ones (the worst of all may be an odd one)."""
    return float(np.median(new) / max(float(np.quantile(taught, _USUAL)), 1e-12))


def refuse_strangers(taught: Array, new: Array, samples: Sequence[Sample]) -> None:
    """Raise DataError where the projection that was made for the taught photographs does not explain the new
    ones. What is usual stays that of the first teaching, so that it cannot creep."""
    times = unexplained(taught, new)
    if times > MOST_LOST:
        chosen = [samples[i] for i in evenly(len(samples), most=LOOKED_AT)]
        worst = chosen[int(new.argmax())].id
        raise DataError(
            f"The features kept by this bundle do not explain the new parts, {worst} least of all",
            expected=f"at most {MOST_LOST:g} times what is lost of nine in ten taught parts",
            found=f"{times:.1f} times, in the middle of {len(new)} photographs",
            remedy="Another product, view or light? Train a bundle of its own, or train anew on old and new "
            "parts together",
            code="unexplained",
        )


def place_share(old: int, new: int) -> int:
    """Return of how many new photographs places are measured, so that they count beside the old ones as if
    all had been there from the start."""
    together = old + new
    return new if together <= PLACE_IMAGES else max(1, round(PLACE_IMAGES * new / together))


def places_state(places: Places) -> dict[str, Array]:
    """Return the sums of usual distances."""
    return {"place_count": places.count, "place_sum": places.sum, "place_squares": places.squares}


def places_from(state: State, *, grid_hw: tuple[int, int], room: int) -> Places:
    """Return the sums that a state holds, as if of at most `room` photographs. Raises DataError where they
    are of another grid."""
    count = state["place_count"]
    if count.shape != grid_hw:
        raise DataError("The teaching state does not fit", expected=str(grid_hw), found=str(count.shape))
    share = min(1.0, room / max(float(count.max()), 1e-9))
    places = Places(grid_hw)
    places.count = count * share
    places.sum = state["place_sum"] * share
    places.squares = state["place_squares"] * share
    return places


def moments_state(moments: Moments) -> dict[str, Array]:
    """Return running moments; of the symmetric products the upper half."""
    return {
        "moment_count": np.array([moments.count], np.int64),
        "moment_sum": moments.sum,
        "moment_products": upper(moments.products),
    }


def moments_from(state: State) -> Moments:
    """Return the moments that a state holds."""
    moments = Moments(len(state["moment_sum"]))
    moments.count = int(state["moment_count"][0])
    moments.sum = state["moment_sum"].copy()
    moments.products = whole(state["moment_products"], len(moments.sum))
    return moments


def upper(products: Array) -> Array:
    """Return the upper triangles of symmetric matrices (..., k, k) as (..., k (k + 1) / 2)."""
    rows, columns = np.triu_indices(products.shape[-1])
    return np.asarray(products[..., rows, columns])


def whole(triangles: Array, size: int) -> Array:
    """Return the symmetric matrices float64 (..., size, size) of which `upper` returned the triangles."""
    rows, columns = np.triu_indices(size)
    products = np.zeros((*triangles.shape[:-1], size, size))
    products[..., rows, columns] = triangles
    products[..., columns, rows] = triangles
    return products


def photographs(state: State) -> int:
    """Return of how many photographs a state was made."""
    return int(state["photographs"][0])
