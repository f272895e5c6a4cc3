"""References of good parts for a bundle: picked from what the graph sees on taught good photographs.

One run of the graph on at most a hundred photographs, spread evenly over those taught. Of each, a share of
its positions are candidates; the ones that cover all candidates best are kept (farthest point first), as many
as two thirds of the budget hold. Small pictures of the photographs that they come from take the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.rng import derive
from flawscope.core.types import Array, Preprocess, Sample
from flawscope.imaging.places import positions
from flawscope.imaging.write import encode, thumbnail
from flawscope.methods.coreset import farthest_first
from flawscope.methods.features import evenly, quota
from flawscope.runtime.explain.contract import FEATURES, all_levels, level_names
from flawscope.runtime.reading import Loaded, read_ahead
from flawscope.runtime.references import References
from flawscope.runtime.session import GraphSession

MEGABYTE = 1_000_000
_IMAGES = 100
_VECTORS = 2000  # more hardly cover better
_FOR_VECTORS = 2 / 3  # of the budget
_CANDIDATES = 12_000
_CANDIDATE_BYTES = 48 << 20
_SEARCH_DIMENSIONS = 64  # farthest points are looked for in a random projection
_THUMBNAIL_PX = 160  # longer side
_HEADS = 2500  # bytes of an NPZ file of seven empty arrays, rounded up
_LARGEST = 60_000.0  # what half precision holds, rounded down


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Good patches of one photograph that may become references."""

    vectors: Array  # float16 (n, C)
    boxes_xyxy: Array  # float32 (n, 4), relative to the photograph


def pick_references(
    samples: Sequence[Sample],
    session: GraphSession,
    preprocess: Preprocess,
    *,
    megabytes: float,
    seed: int,
    progress: Progress,
) -> References | None:
    """Return references of good samples that were taught within a budget of `megabytes`; None where the
    budget is 0 or the graph gives no features. Raises ImageError for a photograph that cannot be read."""
    if megabytes <= 0 or FEATURES not in session.output_names or not samples:
        return None
    chosen = [samples[i] for i in evenly(len(samples), most=_IMAGES)]
    found: list[_Candidates] = []
    pictures: list[Array] = []
    sizes: list[tuple[int, int]] = []
    wanted = _CANDIDATES
    with progress.stage("Picking references", len(chosen)) as stage:
        for loaded in read_ahead([sample.path for sample in chosen], preprocess):
            image = loaded.required()
            rng = derive(seed, "references", chosen[loaded.index].id)
            take = quota(len(chosen), wanted=wanted)
            one = _of_image(loaded, session, preprocess, take=take, rng=rng)
            wanted = min(wanted, max(1, _CANDIDATE_BYTES // max(2 * one.vectors.shape[1], 1)))
            found.append(one)
            pictures.append(thumbnail(image.pixels, _THUMBNAIL_PX))
            sizes.append(image.size_hw)
            stage.advance()
    vectors = np.concatenate([one.vectors for one in found])
    if not len(vectors):
        return None
    owners = np.repeat(np.arange(len(found)), [len(one.vectors) for one in found])
    boxes = np.concatenate([one.boxes_xyxy for one in found])
    # the arrays' heads and the names count as well
    budget = (
        int(megabytes * MEGABYTE)
        - _HEADS
        - sum(len(sample.id.encode(errors="surrogatepass")) + 12 for sample in chosen)
    )
    each = 2 * vectors.shape[1] + 20  # bytes of a vector with its place
    count = min(_VECTORS, len(vectors), int(budget * _FOR_VECTORS) // each)
    if count < 1:
        return None
    picked = np.sort(farthest_first(_searched(vectors, seed), count))
    kept, images = np.unique(owners[picked], return_inverse=True)
    left = budget - count * each
    thumbnails = []
    for owner in kept.tolist():
        content = encode(pictures[owner], ".jpg")
        content = content if len(content) <= left else b""
        left -= len(content)
        thumbnails.append(content)
    return References(
        vectors=vectors[picked],
        images=images.astype(np.int32),
        boxes_xyxy=boxes[picked].astype(np.float32),
        names=tuple(chosen[owner].id for owner in kept.tolist()),
        sizes_hw=np.array([sizes[owner] for owner in kept.tolist()], np.int32),
        thumbnails=tuple(thumbnails),
    )


def _of_image(
    loaded: Loaded,
    session: GraphSession,
    preprocess: Preprocess,
    *,
    take: int,
    rng: np.random.Generator,
) -> _Candidates:
    """Return at most `take` random positions of one photograph that lie on it, at most twice as many in
    memory however many tiles it has."""
    names = level_names(session.output_names)
    kept: list[tuple[Array, Array, Array]] = []  # a random key, the vector, the box
    for canvases in loaded.chunks(preprocess):
        features = all_levels(session.run(canvases.pixels, canvases.content_xyxy, names=names))
        grid_hw = (features.shape[2], features.shape[3])
        where = positions(canvases, grid_hw, preprocess.size_hw, area=preprocess.area)
        vectors, boxes = features.transpose(0, 2, 3, 1)[where.shown], where.boxes_xyxy[where.shown]
        keys = rng.random(len(vectors))
        first = np.argsort(keys)[:take]
        limited = np.clip(vectors[first], -_LARGEST, _LARGEST).astype(np.float16)
        kept = _first([*kept, (keys[first], limited, boxes[first])], take)
    ((_, vectors, boxes),) = kept
    return _Candidates(vectors, boxes)


def _first(kept: list[tuple[Array, Array, Array]], take: int) -> list[tuple[Array, Array, Array]]:
    """Return the `take` entries with the lowest keys as one."""
    keys, vectors, boxes = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.argsort(keys, kind="stable")[:take]
    return [(keys[order], vectors[order], boxes[order])]


def _searched(vectors: Array, seed: int) -> Array:
    """Return vectors as they are searched for far ones: float32, few dimensions."""
    points = vectors.astype(np.float32)
    if points.shape[1] <= _SEARCH_DIMENSIONS:
        return points
    rng = derive(seed, "references", "projection")
    return points @ rng.standard_normal((points.shape[1], _SEARCH_DIMENSIONS)).astype(np.float32)
