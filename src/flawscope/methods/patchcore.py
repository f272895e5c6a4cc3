"""PatchCore: a bank of good patches; the distance to the nearest one is the anomaly.

Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022. Where we depart: levels are
brought to one length, each position's or on average; vectors are reduced to principal components; the cover
is chosen among a sample of patches in a random projection (as there), by exact block-greedy search; the score
is the mean of the oddest positions, without re-weighting, so that map and score have one scale; and each
place's distance is divided by what good parts usually show there, measured against the patches of other parts
(borders and printed places are less regular than others).
"""

from __future__ import annotations

from collections.abc import Mapping
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
from flawscope.methods.teaching import (
    Learnt,
    Lost,
    State,
    honest_losses,
    losses,
    outside,
    photographs,
    place_share,
    places_from,
    places_state,
    refuse_strangers,
)

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
        return self._graph(remember(data.fit, self._config, context), context)

    def learn(self, data: FitData, context: FitContext) -> Learnt:
        """Do as `fit` does, and keep what is needed to go on."""
        memory = remember(data.fit, self._config, context)
        store = context.features(self._config.embedding)
        lost = honest_losses(data.fit, store, lambda some: _window(some, self._config, store).lost)
        return Learnt(self._graph(memory, context), memory.state(lost, photographs=len(data.fit)))

    def grow(self, state: State, data: FitData, context: FitContext) -> Learnt:
        """Choose the bank anew among the patches remembered and those of new parts, which count as many."""
        config, store = self._config, context.features(self._config.embedding)
        window = Window.of(state)
        known = photographs(state)
        refuse_strangers(state["lost"], losses(data.fit, store, window.lost), data.fit)
        patches, owners, _ = _collect(data.fit, store, context, candidates=config.candidates)
        old = state["bank"].astype(np.float32)
        if old.shape[1] != window.matrix.shape[1] or patches.shape[1] != len(window.mean):
            raise DataError("The teaching state does not fit", found=f"{old.shape}, {patches.shape}")
        together = np.concatenate([old, window.reduced(patches)])
        givers = np.concatenate([np.full(len(old), -1, np.int32), owners])
        with context.progress.stage("Choosing patches", 1) as stage:
            picked = farthest_first(_searched(together, context.seed), config.bank)
            stage.advance()
        bank = together[picked].astype(np.float16).astype(np.float32)
        new = place_share(known, len(data.fit))
        places = places_from(state, grid_hw=store.geometry.grid_hw, room=max(PLACE_IMAGES - new, 1))
        few = tuple(data.fit[i] for i in evenly(len(data.fit), most=new))
        keys = {sample.part_key: number for number, sample in enumerate(data.fit)}
        owned = np.array([-1 if g < 0 else keys[data.fit[g].part_key] for g in givers[picked]])
        _measure(places, few, store, context, window=window, bank=bank, owned=owned, keys=keys)
        memory = Memory(window, bank, places, config.by_place)
        return Learnt(
            self._graph(memory, context), memory.state(state["lost"], photographs=known + len(data.fit))
        )

    def _graph(self, memory: Memory, context: FitContext) -> Any:
        where = context.features(self._config.embedding).geometry
        window = memory.window
        graph = GraphBuilder()
        image, content = canvas_input(graph, context.preprocess, context.backbone)
        maps = level_maps(graph, image, context.backbone, self._config.embedding)
        query = projected(graph, maps, where, matrix=window.matrix, offset=window.offset)  # (N, k, P)
        give_projected(graph, query, window.matrix.shape[1], where)
        distance = distances(graph, query, content, memory=memory, where=where)
        finish(graph, distance, content, self._config.ending(context.preprocess, where.grid_hw))
        return graph.model()


@dataclass(frozen=True, eq=False)
class Window:
    """Through what features are looked at."""

    matrix: Array  # float32 (C, k), from features to what is compared
    offset: Array  # float32 (k,)
    mean: Array  # float32 (C,), of good features
    weights: Array  # float32 (C,), of the channels

    def reduced(self, vectors: Array) -> Array:
        """Return what is compared of vectors (n, C): float32 (n, k)."""
        return np.asarray(vectors.astype(np.float32) @ self.matrix + self.offset)

    @property
    def lost(self) -> Lost:
        """What the projection loses of vectors."""
        basis = np.linalg.qr(self.matrix / np.maximum(self.weights, 1e-12)[:, None])[0]
        return outside(self.mean, basis, self.weights)

    @classmethod
    def of(cls, state: State) -> Window:
        """Return the window that a state holds."""
        return cls(*(state[name].astype(np.float32) for name in ("matrix", "offset", "mean", "weights")))


@dataclass(frozen=True, eq=False)
class Memory:
    """What is kept of good parts."""

    window: Window
    bank: Array  # float32 (B, k)
    measured: Places  # distances that good parts showed at each place
    by_place: float

    @property
    def places(self) -> Array:
        """The distance that is usual at each place, float32 (h, w)."""
        return usual(self.measured, strength=self.by_place, deviations=_DEVIATIONS)

    def state(self, lost: Array, *, photographs: int) -> State:
        """Return what is needed to go on from here; what the graph holds in half precision is kept so."""
        window = self.window
        return {
            "matrix": window.matrix.astype(np.float16),
            "offset": window.offset,
            "mean": window.mean,
            "weights": window.weights,
            "bank": self.bank.astype(np.float16),
            "lost": lost,
            "photographs": np.array([photographs], np.int64),
            **places_state(self.measured),
        }


def remember(samples: tuple[Sample, ...], config: PatchcoreConfig, context: FitContext) -> Memory:
    """Choose the bank from good samples and measure what is usual at each place. Raises DataError where no
    patch is seen."""
    store = context.features(config.embedding)
    patches, owners, moments = _collect(samples, store, context, candidates=config.candidates)
    window = _window(moments, config, store)
    reduced = window.reduced(patches)
    with context.progress.stage("Choosing patches", 1) as stage:
        picked = farthest_first(_searched(reduced, context.seed), config.bank)
        stage.advance()
    bank = reduced[picked].astype(np.float16).astype(np.float32)
    places = Places(store.geometry.grid_hw)
    keys: dict[str, int] = {}
    for sample in samples:
        keys.setdefault(sample.part_key, len(keys))
    owned = np.array([keys[samples[owner].part_key] for owner in owners[picked]])
    few = tuple(samples[i] for i in evenly(len(samples), most=PLACE_IMAGES))
    _measure(places, few, store, context, window=window, bank=bank, owned=owned, keys=keys)
    return Memory(window, bank, places, config.by_place)


def _window(moments: Moments, config: PatchcoreConfig, store: FeatureStore) -> Window:
    """Return the projection that keeps most of the vectors that moments are of."""
    weights = None if config.unit_levels else balance(moments, store.geometry.channels)
    matrix, offset, _ = principal(moments, config.components, power=config.whitening, weights=weights)
    # what the bundle stores in half precision is what distances are measured with from here on
    matrix = matrix.astype(np.float16).astype(np.float32)
    scale = np.ones(store.channels) if weights is None else weights
    return Window(matrix, offset, moments.mean.astype(np.float32), scale.astype(np.float32))


def _searched(reduced: Array, seed: int) -> Array:
    """Return the random projection (n, 64) in which the cover is chosen."""
    direction = derive(seed, "patchcore", "projection").standard_normal(
        (reduced.shape[1], _SEARCH_DIMENSIONS)
    )
    if reduced.shape[1] <= _SEARCH_DIMENSIONS:
        return reduced
    return np.asarray(reduced @ direction.astype(np.float32))


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


def _measure(
    places: Places,
    samples: tuple[Sample, ...],
    store: FeatureStore,
    context: FitContext,
    *,
    window: Window,
    bank: Array,
    owned: Array,
    keys: Mapping[str, int],
) -> None:
    """Add each sample's distances to the patches that other parts gave to the bank; `owned` has each patch's
    part by its number in `keys`, -1 for none of these."""
    squares, across = np.einsum("ij,ij->i", bank, bank), np.ascontiguousarray(-2 * bank.T)
    products = np.empty((store.geometry.positions, len(bank)), np.float32)  # reused: the largest array
    with context.progress.stage("Measuring places", len(samples)) as stage:
        for index, vectors, shown in store.stream(samples):
            own = owned == keys[samples[index].part_key]
            if own.all():
                continue
            query = window.reduced(vectors)
            np.matmul(query, across, out=products)
            products += np.where(own, np.inf, squares)
            squared = products.min(1) + np.einsum("ij,ij->i", query, query)
            places.add(np.sqrt(np.maximum(squared, 0)), shown)
            stage.advance()
