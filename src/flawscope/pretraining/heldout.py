"""Held-out generators: drawn products and defects that no episode is made of, to choose by.

Episodes come from `materials`, `assemblies` and `blemishes`. The chips of the demo and the textures and
painters of `textures` and `defects` share none of that code (only light, lens and sensor are drawn alike), so
that a recipe that does better on them has learnt something else than its own drawings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from flawscope.core.rng import derive
from flawscope.pretraining.networks import normalised
from flawscope.pretraining.probe import Levels, Pictures, Protocol, probe
from flawscope.synth import chips, defects, textures
from flawscope.synth.materials import log_uniform
from flawscope.synth.parts import PACKAGES, design_of, lot_of
from flawscope.synth.photographs import photographed, random_conditions


@dataclass(frozen=True)
class Drawn:
    """How many products are drawn, and how many pictures of each."""

    textures: int = 9
    chips: int = 3
    good: int = 20
    tested: int = 24  # half of them with a defect
    side: int = 160  # pixels
    seed: int = 90_001


@dataclass(frozen=True)
class Judgement:
    """Means over the products, and the products one by one."""

    image: float
    pixel: float
    images: dict[str, float]
    pixels: dict[str, float]


def judge(levels_of: Levels, drawn: Drawn, *, protocol: Protocol | None = None) -> Judgement:
    """Probe features on every held-out product."""
    protocol = protocol or Protocol(bank=1000, candidates=8000)
    images, pixels = {}, {}
    for name, pictures in held_out(drawn).items():
        found = probe(levels_of, pictures, protocol)
        if found.image is not None and found.pixel is not None:
            images[name], pixels[name] = found.image, found.pixel
    return Judgement(float(np.mean([*images.values()])), float(np.mean([*pixels.values()])), images, pixels)


def held_out(drawn: Drawn) -> dict[str, Pictures]:
    """Draw the held-out products."""
    products = {f"texture {i}": _textured(drawn, i) for i in range(drawn.textures)}
    return products | {f"chips {PACKAGES[i % len(PACKAGES)]}": _chips(drawn, i) for i in range(drawn.chips)}


def levels_of(network: nn.Module) -> Levels:
    """Return what gives a network's levels, on the CPU, as a probe asks for them."""
    network.eval()

    def given(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [np.asarray(level) for level in network(normalised(torch.from_numpy(pixels)[None]))]

    return given


def _textured(drawn: Drawn, number: int) -> Pictures:
    rng = derive(drawn.seed, "texture", number)
    side = drawn.side
    sheet = textures.random_texture(rng, (3 * side, 3 * side))
    sheet = sheet.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8) if rng.random() < 0.5 else sheet
    softened = log_uniform(rng, 0.15, 1.0)  # most surfaces have little contrast
    mean = sheet.mean((0, 1))
    sheet = np.clip(mean + (sheet - mean) * softened, 0, 255).astype(np.uint8)
    conditions = random_conditions(rng)

    def piece() -> np.ndarray:
        top, left = rng.integers(0, 2 * side, 2)
        return np.asarray(sheet[top : top + side, left : left + side])

    good = [photographed(rng, piece() / np.float32(255), conditions) for _ in range(drawn.good)]
    tested, masks = [], []
    for index in range(drawn.tested):
        pixels, mask = piece(), np.zeros((side, side), bool)
        if index % 2:
            painter = list(defects.PAINTERS.values())[rng.integers(len(defects.PAINTERS))]
            wish = defects.Wish(side * side * log_uniform(rng, 0.0006, 0.006), log_uniform(rng, 4, 24))
            marked = painter(pixels, rng, wish=wish)
            pixels, mask = marked.pixels, marked.mask
        tested.append(photographed(rng, pixels / np.float32(255), conditions))
        masks.append(mask)
    return _pictures(good, tested, masks)


def _chips(drawn: Drawn, number: int) -> Pictures:
    design = design_of(drawn.seed + number, package=PACKAGES[number % len(PACKAGES)])
    lot = lot_of(design, drawn.seed + number, number=0)
    size_hw = (drawn.side, drawn.side * 4 // 3 // 16 * 16)

    conditions = random_conditions(derive(drawn.seed, "conditions", number))

    def chip(index: int, defect: str | None) -> chips.Drawn:
        seed = drawn.seed + number
        drawn_one = chips.draw_chip(seed, size_hw, lot=lot, index=index, defect=defect, severity=0.0)
        light = derive(seed, "light", index)
        return replace(drawn_one, pixels=photographed(light, drawn_one.pixels / np.float32(255), conditions))

    good = [chip(index, None).pixels for index in range(drawn.good)]
    kinds = [
        chips.DEFECTS[index // 2 % len(chips.DEFECTS)] if index % 2 else None for index in range(drawn.tested)
    ]
    tested = [chip(1000 + index, kind) for index, kind in enumerate(kinds)]
    masks = [np.zeros(size_hw, bool) if one.mask is None else one.mask for one in tested]
    return _pictures(good, [one.pixels for one in tested], masks)


def _pictures(good: list[np.ndarray], tested: list[np.ndarray], masks: list[np.ndarray]) -> Pictures:
    marked = np.stack(masks)
    return Pictures(np.stack(good), np.stack(tested), np.asarray(marked.any((1, 2))), marked)
