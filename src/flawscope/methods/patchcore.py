"""PatchCore: a bank of good patches; the distance to the nearest one is the anomaly.

Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022. Where we depart: levels are
brought to one length, each position's or on average; vectors are reduced to principal components; the cover
is chosen among a sample of patches in a random projection (as there), by exact block-greedy search; the score
is the mean of the oddest positions, without re-weighting, so that map and score have one scale; and each
place's distance is divided by what good parts usually show there, measured against the patches of other parts
(borders and printed places are less regular than others).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.config import Span, setting
from flawscope.core.errors import DataError
from flawscope.core.registry import Kind, register
from flawscope.core.rng import derive
from flawscope.core.types import Array, Sample
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.coreset import farthest_first
from flawscope.methods.features import (
    PLACE_IMAGES,
    FeatureConfig,
    FeatureStore,
    Geometry,
    Moments,
    balance,
    evenly,
    give_projected,
    level_maps,
    principal,
    projected,
    quota,
)
from flawscope.methods.graph import GraphBuilder, canvas_input, finish, nearest, over_picture
from flawscope.methods.places import Places, usual

_DEVIATIONS = 3.0  # above the mean of good parts' distances at a place: the upper end of what is usual
_SEARCH_DIMENSIONS = 64  # of the random projection in which the cover is chosen


@dataclass(frozen=True)
class PatchcoreConfig(FeatureConfig):
    """Settings of patchcore."""

    bank: int = setting(
        2000,
        unit="patches",
        low=16,
        high=50_000,
        help="More remembers rarer good patches and takes longer a verdict.",
        search=Span(250, 8000, ratio=True),
    )
    components: int = setting(
        128,
        unit="numbers a patch",
        low=0,
        high=2048,
        help="Fewer is faster and forgets detail; 0 keeps all.",
        search=(64, 128, 192, 256),
    )
    whitening: float = setting(
        0.0,
        low=0,
        high=1,
        help="0 leaves components as they are, 1 gives rare directions the weight of common ones.",
        search=Span(0, 1),
    )
    by_place: float = setting(
        1.0,
        low=0,
        high=1,
        help="1 judges each place by what is usual there, 0 judges all places alike.",
        search=Span(0, 1),
    )
    candidates: int = setting(
        60_000,
        unit="patches",
        low=1000,
        high=2_000_000,
        help="Patches the bank is chosen from; more takes memory.",
    )


@register(
    "patchcore",
    kind=Kind.ONE_CLASS,
    summary="Remembers good patches; sees anything unlike all of them. The default: few parts, any flaw.",
    paper="Roth et al., CVPR 2022",
)
class Patchcore:
    """A bank of good patches."""

    Config = PatchcoreConfig

    def __init__(self, config: PatchcoreConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Choose the bank and measure what is usual at each place; return the graph."""
        memory = remember(data.fit, self._config, context)
        where = context.features(self._config.embedding).geometry
        graph = GraphBuilder()
        image, content = canvas_input(graph, context.preprocess, context.backbone)
        maps = level_maps(graph, image, context.backbone, self._config.embedding)
        query = projected(graph, maps, where, matrix=memory.matrix, offset=memory.offset)  # (N, k, P)
        give_projected(graph, query, memory.matrix.shape[1], where)
        distance = distances(graph, query, content, memory=memory, where=where)
        finish(graph, distance, content, self._config.ending(context.preprocess, where.grid_hw))
        return graph.model()


@dataclass(frozen=True, eq=False)
class Memory:
    """What is kept of good parts."""

    matrix: Array  # float32 (C, k), from features to what is compared
    offset: Array  # float32 (k,)
    bank: Array  # float32 (B, k)
    places: Array  # float32 (h, w), the distance that is usual at each place


def remember(samples: tuple[Sample, ...], config: PatchcoreConfig, context: FitContext) -> Memory:
    """Choose the bank from good samples and measure what is usual at each place. Raises DataError where no
    patch is seen."""
    store = context.features(config.embedding)
    patches, owners, moments = _collect(samples, store, context, candidates=config.candidates)
    weights = None if config.unit_levels else balance(moments, store.geometry.channels)
    matrix, offset, _ = principal(moments, config.components, power=config.whitening, weights=weights)
    # what the bundle stores in half precision is what distances are measured with from here on
    matrix = matrix.astype(np.float16).astype(np.float32)
    reduced = patches.astype(np.float32) @ matrix + offset
    direction = derive(context.seed, "patchcore", "projection").standard_normal(
        (reduced.shape[1], _SEARCH_DIMENSIONS)
    )
    small = reduced if reduced.shape[1] <= _SEARCH_DIMENSIONS else reduced @ direction.astype(np.float32)
    with context.progress.stage("Choosing patches", 1) as stage:
        picked = farthest_first(small, config.bank)
        stage.advance()
    bank = reduced[picked].astype(np.float16).astype(np.float32)
    with_owners = (matrix, offset, bank, owners[picked])
    return Memory(
        matrix, offset, bank, _places(samples, store, context, with_owners, by_place=config.by_place)
    )


def distances(graph: GraphBuilder, query: str, content_xyxy: str, *, memory: Memory, where: Geometry) -> str:
    """Append the distance of each position's query (N, k, P) to its nearest good patch, in units of what is
    usual at its place: (N, h, w)."""
    distance = nearest(graph, query, memory.bank, positions=where.positions)
    distance = graph.add("Reshape", distance, graph.ints(0, *where.grid_hw))
    return graph.add("Div", distance, over_picture(graph, memory.places, content_xyxy, where.size_hw))


def _collect(
    samples: tuple[Sample, ...], store: FeatureStore, context: FitContext, *, candidates: int
) -> tuple[Array, Array, Moments]:
    """Return candidate patches float16 (n, C), the sample each comes from, and the moments of all patches."""
    take = quota(len(samples), wanted=candidates)
    moments = Moments(store.channels)
    kept: list[Array] = []
    owners: list[Array] = []
    with context.progress.stage("Teaching", len(samples)) as stage:
        last = -1
        for index, vectors, shown in store.stream(samples):
            shown_vectors = vectors[shown]
            moments.add(shown_vectors)
            rng = derive(context.seed, "patchcore", samples[index].id, len(kept))
            order = rng.permutation(len(shown_vectors))[:take]
            kept.append(shown_vectors[np.sort(order)])
            owners.append(np.full(len(order), index, np.int32))
            stage.advance(int(index != last))
            last = index
    if not moments.count:
        raise DataError("No patch of a good part was found", remedy="Check the region of interest")
    return np.concatenate(kept), np.concatenate(owners), moments


def _places(
    samples: tuple[Sample, ...],
    store: FeatureStore,
    context: FitContext,
    taught: tuple[Array, Array, Array, Array],
    *,
    by_place: float,
) -> Array:
    """Return the usual distance at each place, float32 (h, w): each image's distances are taken to the
    patches that other parts gave to the bank."""
    matrix, offset, bank, owners = taught
    squares, across = np.einsum("ij,ij->i", bank, bank), np.ascontiguousarray(-2 * bank.T)
    products = np.empty((store.geometry.positions, len(bank)), np.float32)  # reused: the largest array
    places = Places(store.geometry.grid_hw)
    parts = np.unique([sample.part_key for sample in samples], return_inverse=True)[1]
    givers = parts[owners]
    indices = evenly(len(samples), most=PLACE_IMAGES)
    with context.progress.stage("Measuring places", len(indices)) as stage:
        for index, vectors, shown in store.stream([samples[i] for i in indices]):
            own = givers == parts[indices[index]]
            if own.all():
                continue
            query = vectors.astype(np.float32) @ matrix + offset
            np.matmul(query, across, out=products)
            products += np.where(own, np.inf, squares)
            squared = products.min(1) + np.einsum("ij,ij->i", query, query)
            places.add(np.sqrt(np.maximum(squared, 0)), shown)
            stage.advance()
    return usual(places, strength=by_place, deviations=_DEVIATIONS)
