"""Episodes of pretraining: good photographs of one drawn product, and further ones with defects and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth import assemblies, blemishes
from flawscope.synth.photographs import Conditions, photographed, random_conditions

_LEAST = np.ones((2, 2), np.uint8)  # what must have changed: more than a line's smoothing


@dataclass(frozen=True)
class Layout:
    """How many episodes are drawn at once, how many photographs each has and how large they are."""

    episodes: int = 3
    good: int = 5
    defective: int = 3
    side: int = 128  # pixels
    room: float = 2.0  # side of the drawn materials, in pictures
    objects: float = 0.5  # share of products that are no plain surface
    unlike: float = 1.0  # how much photographs of one product differ by light, lens and sensor

    def at(self, side: int) -> Layout:
        """Return a layout of pictures of another side that takes about as long; products are two or more."""
        count = max(2, round(self.episodes * (self.side / side) ** 2))
        return replace(self, side=side, episodes=count, room=min(self.room, 1.7))


@dataclass(frozen=True, eq=False)
class Episodes:
    """Photographs of a few products, the good ones of each first."""

    pixels: np.ndarray  # uint8 (episodes, good + defective, side, side, 3)
    masks: np.ndarray  # bool (episodes, defective, side, side)


def episodes(rng: Generator, layout: Layout, *, difficulty: float) -> Episodes:
    """Draw episodes; `difficulty` (0..1) goes to the defects. A few of the defective photographs stay good.

    Each product has a ground of its own; the material of its parts, and what is foreign to it, come from the
    others, so that little is drawn in vain.
    """
    drawn = int(layout.side * layout.room)
    grounds = [assemblies.ground(rng, drawn) for _ in range(layout.episodes + 1)]
    made = [
        assemblies.product(rng, grounds[i], grounds[(i + 1) % len(grounds)], objects=layout.objects)
        for i in range(layout.episodes)
    ]
    pixels, masks = [], []
    for number in range(layout.episodes):
        foreign = made[number - 1] if layout.episodes > 1 else assemblies.texture(rng, grounds[-1])
        of_one = _episode(rng, made[number], foreign, layout, difficulty)
        pixels.append(of_one[0])
        masks.append(of_one[1])
    return Episodes(np.stack(pixels), np.stack(masks))


def _episode(
    rng: Generator,
    made: assemblies.Product,
    foreign: assemblies.Product,
    layout: Layout,
    difficulty: float,
) -> tuple[np.ndarray, np.ndarray]:
    side = layout.side
    conditions: Conditions = random_conditions(rng, strength=layout.unlike)
    if rng.random() < 0.3 * layout.unlike:  # dark and bright pieces of one kind
        conditions = replace(conditions, gain=rng.uniform(0.15, 0.35))
    photographs, masks = [], []
    for _ in range(layout.good):
        good = assemblies.scene(made, assemblies.pose(rng, made, side), side)
        photographs.append(photographed(rng, good, conditions))
    other = assemblies.scene(foreign, assemblies.pose(rng, foreign, side), side)
    for _ in range(layout.defective):
        scene, mask = _defective(rng, made, side, other, difficulty)
        photographs.append(photographed(rng, scene, conditions))
        masks.append(mask)
    return np.stack(photographs), np.stack(masks)


def _defective(
    rng: Generator, made: assemblies.Product, side: int, other: np.ndarray, difficulty: float
) -> tuple[np.ndarray, np.ndarray]:
    at = assemblies.pose(rng, made, side)
    scene = assemblies.scene(made, at, side)
    mask = np.zeros((side, side), bool)
    if rng.random() < 0.06:
        return scene, mask
    if made.parts and rng.random() < 0.4:
        parts = assemblies.spoiled(rng, made, least=0.25 - 0.18 * difficulty)
        if parts is not None:
            wrong = assemblies.scene(made, at, side, parts=parts)
            difference = np.abs(wrong - scene).mean(2)
            changed = difference > max(0.03, 0.25 * float(difference.max()))
            change = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, _LEAST) > 0
            if change.sum() >= 6:
                return wrong, change
    if rng.random() < 0.5:  # other material at the same tone and contrast: only its structure tells
        other = (other - other.mean((0, 1))) / (other.std() + 1e-3) * scene.std() + scene.mean((0, 1))
    for _ in range(int(rng.choice([1, 1, 2]))):
        for _ in range(4):
            marred, seen = blemishes.blemished(rng, scene, other, difficulty=difficulty)
            if seen.sum() >= 4:
                scene, mask = marred, mask | seen
                break
    return scene, mask
