"""A further term of pretraining, tried and left out: telling whole photographs from spoilt ones.

From a spoilt photograph the features are told that the moving average of the weights sees in the whole one.
With blocks hidden, this is masked-patch prediction with features for aims (data2vec, Baevski et al. 2022);
with none hidden, it is self-distillation under changed light (BYOL, Grill et al. 2020). A small head behind
each level tells; it is thrown away afterwards. `benchmarks/backbone_recipe.py` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flawscope.pretraining.networks import normalised

_HEAD = 256  # channels inside a head


@dataclass(frozen=True)
class Foretelling:
    """How a photograph is spoilt, and how much the term weighs."""

    weight: float = 0.5
    hidden: float = 0.4  # share of the blocks; 0: the light alone is changed
    block: int = 32  # pixels, its side
    photographs: int = 2  # of each product


class Foreteller(nn.Module):
    """The heads, and the loss."""

    def __init__(self, network: nn.Module, settings: Foretelling) -> None:
        super().__init__()
        self.settings = settings
        with torch.no_grad():
            device = next(network.parameters()).device
            levels = network.eval()(torch.zeros(1, 3, 64, 64, device=device))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(level.shape[1], _HEAD, 1), nn.GELU(), nn.Conv2d(_HEAD, level.shape[1], 1))
            for level in levels
        )

    def forward(self, network: nn.Module, average: nn.Module, pixels: Tensor) -> Tensor:
        """Return the term: how badly the features of pixels uint8 (E, K, H, W, 3), the first few of each
        product, are told (one less the mean cosine)."""
        some = pixels[:, : self.settings.photographs].flatten(0, 1)
        with torch.no_grad():
            aims = average.eval()(normalised(some))
        hidden = self._blocks(some)
        told = network(normalised(_spoilt(some, hidden)))
        losses = []
        for head, level, aim in zip(self.heads, told, aims, strict=True):
            cosine = functional.cosine_similarity(head(level.float()), aim.float(), dim=1)
            share = functional.adaptive_avg_pool2d(hidden[:, None].float(), level.shape[-2:])[:, 0]
            asked = (share > 0.5) if self.settings.hidden else torch.ones_like(share, dtype=torch.bool)
            losses.append(1 - cosine[asked].mean())
        return self.settings.weight * torch.stack(losses).mean()

    def _blocks(self, pixels: Tensor) -> Tensor:
        """Return which pixels are hidden, bool (N, H, W)."""
        count, height, width = pixels.shape[:3]
        block = self.settings.block
        coarse = torch.rand(count, -(-height // block), -(-width // block), device=pixels.device)
        fine = coarse.repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :height, :width]
        return fine < self.settings.hidden


def _spoilt(pixels: Tensor, hidden: Tensor) -> Tensor:
    """Return photographs under another light and with noise, hidden pixels at the photograph's mean."""
    value = pixels.float()
    shape = (len(pixels), 1, 1, 1)
    device = pixels.device
    gain = 1 + 0.3 * (2 * torch.rand(shape, device=device) - 1)
    tint = 1 + 0.06 * (2 * torch.rand((len(pixels), 1, 1, 3), device=device) - 1)
    value = value * gain * tint + 4 * torch.randn(value.shape, device=device)
    value = torch.where(hidden[..., None], value.mean((1, 2), keepdim=True), value)
    return value.clamp(0, 255).round().to(torch.uint8)
