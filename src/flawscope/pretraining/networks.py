"""Trunks that can be pretrained: two levels, of stride 8 and 16, from normalised pixels.

`resnet` is ResNet-18 up to its third stage, with timm's names of weights (He et al. 2016). `plain` is a
stack of 3x3 convolutions whose side branches are folded away before use (RepVGG, Ding et al. 2021). `mobile`
is made of inverted bottlenecks (MobileNetV2, Sandler et al. 2018). `width` scales the channels, so that their
times can be brought to one.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from flawscope.pretraining.settings import MEAN, STD, Architecture


class Trunk(nn.Module):
    """Stages of a network; the last two give the levels."""

    def __init__(self, stages: list[nn.Module], channels: tuple[int, int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the levels of normalised pixels (N, 3, H, W), finest first."""
        levels = []
        for stage in self.stages:
            pixels = stage(pixels)
            levels.append(pixels)
        return levels[-2:]


class Folding(nn.Module):
    """A 3x3 convolution with a 1x1 branch and, where shapes allow, an identity; `folded` gives the one
    convolution that does the same."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.point = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.same = nn.BatchNorm2d(after) if before == after and stride == 1 else None

    def forward(self, value: Tensor) -> Tensor:
        """Return the sum of the branches behind a ReLU."""
        total = self.wide(value) + self.point(value)
        if self.same is not None:
            total = total + self.same(value)
        return functional.relu(total)

    def folded(self) -> nn.Module:
        """Return a convolution and a ReLU that do what the branches do in use."""
        convolution = self.wide[0]
        assert isinstance(convolution, nn.Conv2d)
        kernel, bias = _scaled(convolution.weight, self.wide[1])
        point, offset = _scaled(functional.pad(self.point[0].weight, [1] * 4), self.point[1])
        kernel, bias = kernel + point, bias + offset
        if self.same is not None:
            unit = torch.zeros_like(convolution.weight)
            unit[range(len(unit)), range(len(unit)), 1, 1] = 1
            unit, offset = _scaled(unit, self.same)
            kernel, bias = kernel + unit, bias + offset
        one = nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, convolution.stride, 1)
        one.weight.data, one.bias.data = kernel, bias
        return nn.Sequential(one, nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; with a shortcut where shapes allow."""

    def __init__(self, before: int, after: int, *, stride: int, expansion: int = 4) -> None:
        super().__init__()
        wide = before * expansion
        self.body = nn.Sequential(
            *(nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            *(nn.BatchNorm2d(wide), nn.ReLU(inplace=True)),
            *(nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after)),
        )
        self.shortcut = before == after and stride == 1

    def forward(self, value: Tensor) -> Tensor:
        """Return the bottleneck's outcome."""
        out: Tensor = self.body(value)
        return value + out if self.shortcut else out


def resnet(width: float) -> nn.Module:
    """Return ResNet-18 up to its third stage; its width is fixed."""
    if width != 1:
        raise ValueError(f"a resnet's width is 1, not {width}")
    trunk = timm.create_model("resnet18", pretrained=False, features_only=True, out_indices=(2, 3))
    assert isinstance(trunk, nn.Module)
    return trunk


def plain(width: float) -> nn.Module:
    """Return a stack of foldable 3x3 convolutions."""
    first, second, third, fourth = (8 * max(1, round(w * width / 8)) for w in (32, 64, 128, 224))
    return Trunk(
        [
            _stem(first),
            nn.Sequential(Folding(first, second, stride=2), Folding(second, second, stride=1)),
            nn.Sequential(
                Folding(second, third, stride=2), *(Folding(third, third, stride=1) for _ in range(3))
            ),
            nn.Sequential(
                Folding(third, fourth, stride=2), *(Folding(fourth, fourth, stride=1) for _ in range(3))
            ),
        ],
        (third, fourth),
    )


def mobile(width: float) -> nn.Module:
    """Return a stack of inverted bottlenecks, with a ReLU behind each level."""
    first, second, third, fourth = (8 * max(1, round(w * width / 8)) for w in (32, 48, 96, 160))

    def stage(before: int, after: int, count: int) -> nn.Module:
        rest = (Bottleneck(after, after, stride=1) for _ in range(count - 1))
        return nn.Sequential(Bottleneck(before, after, stride=2), *rest, nn.ReLU())

    stages = [_stem(first), stage(first, second, 2), stage(second, third, 4), stage(third, fourth, 4)]
    return Trunk(stages, (third, fourth))


BUILDERS = {"resnet": resnet, "plain": plain, "mobile": mobile}


def _stem(channels: int) -> nn.Module:
    """Return the first convolution, of stride 2; foldable branches on three channels would gain nothing."""
    convolution = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def build(architecture: Architecture) -> nn.Module:
    """Return a network with random weights. Raises ValueError for an unknown name."""
    if architecture.name not in BUILDERS:
        raise ValueError(f"an architecture is one of {', '.join(BUILDERS)}, not {architecture.name!r}")
    return BUILDERS[architecture.name](architecture.width)


def early(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the stages before the two levels."""
    if isinstance(network, Trunk):
        return [weight for stage in network.stages[:-2] for weight in stage.parameters()]
    return [
        weight for name, weight in network.named_parameters() if not name.startswith(("layer2", "layer3"))
    ]


def folded(network: nn.Module) -> nn.Module:
    """Replace every foldable block of a network in use by its one convolution, in place; return it."""
    for name, child in list(network.named_children()):
        if isinstance(child, Folding):
            setattr(network, name, child.folded())
        else:
            folded(child)
    return network


def normalised(pixels: Tensor) -> Tensor:
    """Return pixels uint8 (..., H, W, 3) as float32 (N, 3, H, W), channels last in memory."""
    flat = pixels.flatten(0, -4).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values, device=flat.device)[:, None, None] * 255 for values in (MEAN, STD))
    return ((flat - mean) / std).contiguous(memory_format=torch.channels_last)


def _scaled(kernel: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a kernel and a bias that hold a batch norm behind a convolution without one."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (kernel * scale[:, None, None, None]).detach(), (norm.bias - norm.running_mean * scale).detach()
