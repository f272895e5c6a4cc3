"""Building blocks that several networks share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, as in ResNet-18 (He et al. 2016); `scale` 2 halves each side,
    1 keeps it, 0.5 doubles it (a transposed convolution, as in the decoder of reverse distillation)."""

    def __init__(self, channels_in: int, channels: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Sequential(_scaled(channels_in, channels, scale, side=3), nn.BatchNorm2d(channels))
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.shortcut: nn.Module = nn.Identity()
        if scale != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                _scaled(channels_in, channels, scale, side=1), nn.BatchNorm2d(channels)
            )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, h, w)."""
        inner = self.second(functional.relu(self.first(values)))
        return functional.relu(inner + self.shortcut(values))


def _scaled(channels_in: int, channels: int, scale: float, *, side: int) -> nn.Module:
    if scale < 1:
        return nn.ConvTranspose2d(channels_in, channels, 2, stride=2, bias=False)
    return nn.Conv2d(channels_in, channels, side, stride=int(scale), padding=side // 2, bias=False)


def stage(channels_in: int, channels: int, *, scale: float = 1.0, blocks: int = 2) -> nn.Sequential:
    """Return so many residual blocks, the first of which changes the scale."""
    first = Residual(channels_in, channels, scale=scale)
    return nn.Sequential(first, *(Residual(channels, channels) for _ in range(blocks - 1)))


def stem(channels: int) -> nn.Sequential:
    """Return the beginning of a ResNet: from pixels to stride 4."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def mean_shown(values: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the mean of maps (N, h, w) over what shows judged picture, `share` (N, H, W) being brought to
    their grid."""
    weights = to_grid(share[:, None], (values.shape[1], values.shape[2]))[:, 0]
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def channel_means(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean of each channel of maps (N, C, h, w): (N, C). `weights` is (N, 1, h, w)."""
    return (values * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


class ChannelMoments:
    """Running mean and deviation of channels over what shows judged picture, in double precision."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._sum = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: torch.Tensor, share: torch.Tensor) -> None:
        """Add maps (N, C, h, w), `share` (N, H, W) being brought to their grid."""
        values = values.double()
        weights = to_grid(share[:, None].double(), (values.shape[2], values.shape[3]))
        self._weight += float(weights.sum())
        self._sum = self._sum + (values * weights).sum((0, 2, 3))
        self._squares = self._squares + (values.square() * weights).sum((0, 2, 3))

    def figures(self, *, least: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation, the latter `least` at least: float32 (1, C, 1, 1) each."""
        mean = self._sum / max(self._weight, 1e-6)
        variance = self._squares / max(self._weight, 1e-6) - mean.square()
        deviation = variance.clamp_min(least**2).sqrt()
        return mean.float().view(1, -1, 1, 1), deviation.float().view(1, -1, 1, 1)


def to_grid(values: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bring maps (N, C, h, w) to a grid: averaged where it is coarser, interpolated where it is finer."""
    if values.shape[2:] == size_hw:
        return values
    if size_hw[0] < values.shape[2]:
        return functional.adaptive_avg_pool2d(values, size_hw)
    return functional.interpolate(values, size=size_hw, mode="bilinear", align_corners=False)


def cosine_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return 1 - cosine similarity of two maps (N, C, h, w), position by position: (N, h, w), 0 to 2."""
    return 1 - functional.cosine_similarity(first, second, dim=1, eps=1e-6)
