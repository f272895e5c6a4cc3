"""What is asked of features: patches on a defect lie farther from the nearest good patch than all others do.

The embedding is that of the feature-bank methods: each level at unit length, averaged three by three, laid
side by side on the finest grid. Nearest neighbours are looked for without gradients; only the patches that
matter (those on defects, the oddest good ones) are compared with them. Three terms:

- rank: every patch on a defect above every odd good patch of the same product, good photographs included,
  each of which is compared with the others;
- photograph: the oddest place of a defective photograph above that of each good one;
- material: a good patch is nearer to its own product than to the others of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flawscope.pretraining.settings import Terms


@dataclass(frozen=True, eq=False)
class Outcome:
    """The loss of a batch and how far it has come."""

    loss: Tensor
    ranked: float  # share of pairs in the right order
    separated: float  # share of defective photographs odder than a good one
    parts: dict[str, float]


class Objective(nn.Module):
    """The loss over the levels of a batch of episodes, with its learnt scale."""

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.terms = terms
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, levels: list[Tensor], masks: Tensor) -> Outcome:
        """Return the loss of levels (E * K, C, h, w), finest first, and masks bool (E, D, H, W) of the last D
        photographs of each episode."""
        episodes, defective = masks.shape[:2]
        features = embedded(levels)
        photographs, channels = features.shape[0] // episodes, features.shape[1]
        grid = features.shape[2] * features.shape[3]
        laid = features.flatten(2).transpose(1, 2).reshape(episodes, photographs, grid, channels)
        on, off = positions(masks, features.shape[2], covered=self.terms.covered)
        scale = self.log_scale.exp()
        losses: dict[str, list[Tensor]] = {"rank": [], "photograph": []}
        ranked, separated = [], []
        for number in range(episodes):
            found = self._ranked(laid[number], on[number], off[number], photographs - defective, scale)
            if found is None:
                continue
            for name, value in zip(losses, found[:2], strict=True):
                losses[name].append(value)
            ranked.append(found[2])
            separated.append(found[3])
        material = self._material(laid, off, photographs - defective)
        total = self.terms.material * material
        parts = {"material": float(material.detach())}
        for name, values in losses.items():
            if values:
                mean = torch.stack(values).mean()
                total = total + getattr(self.terms, name) * mean
                parts[name] = float(mean.detach())
        return Outcome(
            total,
            float(torch.stack(ranked).mean()) if ranked else 0.5,
            float(torch.stack(separated).mean()) if separated else 0.5,
            parts,
        )

    def _ranked(
        self, laid: Tensor, on: Tensor, off: Tensor, good: int, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Return the rank and photograph terms of one episode (K, grid, C) and their shares of right pairs;
        None where it shows no defect."""
        photographs, grid, channels = laid.shape
        if not bool(on.any()):
            return None
        owner = torch.arange(photographs, device=laid.device).repeat_interleave(grid)
        flat = laid.reshape(-1, channels)
        keys = flat[: good * grid : 2]
        with torch.no_grad():
            closeness = flat @ keys.T - 0.5 * (keys * keys).sum(1)
            own = owner[:, None] == owner[: good * grid : 2][None]
            best, nearest = closeness.masked_fill(own, -1e9).max(1)
            oddness = (flat * flat).sum(1) - 2 * best
        is_on = torch.cat([torch.zeros(good * grid, dtype=torch.bool, device=laid.device), on.reshape(-1)])
        is_off = torch.cat([torch.ones(good * grid, dtype=torch.bool, device=laid.device), off.reshape(-1)])
        marred = is_on.nonzero()[:, 0]
        if len(marred) > self.terms.marred:
            marred = marred[torch.randperm(len(marred), device=laid.device)[: self.terms.marred]]
        candidates = is_off.nonzero()[:, 0]
        odd = candidates[oddness[candidates].topk(min(self.terms.odd, len(candidates))).indices]
        high, low = (_distance(flat[chosen], keys[nearest[chosen]]) for chosen in (marred, odd))
        gap = high[:, None] - low[None]
        rank = functional.softplus(scale * (self.terms.margin - gap)).mean()
        tops = self._tops(oddness, is_on, is_off, good, grid)
        tops_high, tops_low = (_distance(flat[chosen], keys[nearest[chosen]]) for chosen in tops)
        apart = tops_high[:, None] - tops_low[None]
        photograph = functional.softplus(scale * (self.terms.margin - apart)).mean()
        return rank, photograph, (gap > 0).float().mean(), (apart > 0).float().mean()

    def _tops(
        self, oddness: Tensor, is_on: Tensor, is_off: Tensor, good: int, grid: int
    ) -> tuple[Tensor, Tensor]:
        """Return the oddest position on the defects of each defective photograph, and the oddest of each good
        one."""
        at = oddness.reshape(-1, grid)
        on, off = is_on.reshape(-1, grid), is_off.reshape(-1, grid)
        base = torch.arange(len(at), device=oddness.device) * grid
        high = (at.masked_fill(~on, -1e9).argmax(1) + base)[on.any(1)]
        low = (at.masked_fill(~off, -1e9).argmax(1) + base)[:good]
        return high, low

    def _material(self, laid: Tensor, off: Tensor, good: int) -> Tensor:
        """Return how badly good patches of the last photographs know their own product."""
        episodes, _, _, channels = laid.shape
        if episodes < 2:
            return laid.sum() * 0
        keys = laid[:, :good].reshape(episodes, -1, channels)
        keys = keys[:, torch.randperm(keys.shape[1], device=laid.device)[:128]]
        queries = laid[:, good:].reshape(episodes, -1, channels)
        chosen = torch.randperm(queries.shape[1], device=laid.device)[:64]
        queries, counts = queries[:, chosen], off.reshape(episodes, -1)[:, chosen].reshape(-1)
        closeness = queries.reshape(-1, channels) @ keys.reshape(-1, channels).T * 12.5
        per_product = torch.logsumexp(closeness.reshape(len(closeness), episodes, -1), 2)
        truth = torch.arange(episodes, device=laid.device).repeat_interleave(len(chosen))
        wrong = functional.cross_entropy(per_product, truth, reduction="none")
        return (wrong * counts).sum() / counts.sum().clamp_min(1)


def embedded(levels: list[Tensor]) -> Tensor:
    """Return levels (N, C, h, w), finest first, as one embedding float32 (N, sum of C, h, w) on the finest
    grid."""
    return torch.cat(by_level(levels), 1)


def by_level(levels: list[Tensor]) -> list[Tensor]:
    """Return the embedding's part of each level, (N, C, h, w) on the finest grid."""
    size = levels[0].shape[-2:]
    laid = []
    for level in levels:
        value = functional.normalize(level.float(), dim=1)
        value = functional.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
        if value.shape[-2:] != size:
            value = functional.interpolate(value, size=size, mode="bilinear", align_corners=False)
        laid.append(value)
    return laid


def positions(masks: Tensor, side: int, *, covered: float) -> tuple[Tensor, Tensor]:
    """Return which positions (E, D, side * side) lie on a defect and which lie off any, from masks bool
    (E, D, H, W); between them nothing is asked. The best covered position of a photograph lies on its
    defect however small that is."""
    flat = masks.flatten(0, 1)[:, None].float()
    share = functional.adaptive_avg_pool2d(flat, side).flatten(1)
    touched = functional.adaptive_max_pool2d(flat, side).flatten(1)
    most = share.max(1, keepdim=True).values
    on = (share > covered) | ((share >= 0.6 * most) & (most > 0))
    shape = (*masks.shape[:2], side * side)
    return on.reshape(shape), (touched == 0).reshape(shape)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).square().sum(1) + 1e-4).sqrt()
