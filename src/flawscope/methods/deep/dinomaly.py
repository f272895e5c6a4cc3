"""The bottleneck and the decoder of dinomaly, their training and their graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from flawscope.core.errors import ConfigError
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import cosine_distance
from flawscope.methods.deep.canvases import LevelBatches, load_canvases, load_levels
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Course, identity, run, seeded
from flawscope.methods.dinomaly import DinomalyConfig
from flawscope.methods.features import geometry
from flawscope.runtime.backbone import BackboneCard

_HEAD = 64  # channels of an attention head
_GROUPS = 2  # the loose constraint: so many sums of blocks are rebuilt, not each block
_EASY_GRADIENT = 0.1  # what is left of the gradient where rebuilding is easy
_MINING = 0.1  # of the course, over which the share of easy positions grows to its full size
_INITIAL = 0.01  # deviation of the linear layers' first weights


def fit(config: DinomalyConfig, data: FitData, context: FitContext) -> Any:
    """Train bottleneck and decoder on good parts and return the bundle's graph."""
    channels = token_channels(context.backbone.card)
    levels = load_levels(load_canvases(data.fit, context), context)
    with seeded(context.seed, "dinomaly"):
        rebuilder = Rebuilder(channels, depth=config.depth, noise=config.noise)
    run(
        Course(
            name="Teaching",
            objective=LooseLoss(rebuilder, config.hard_share),
            draw=LevelBatches(levels, config.training.batch, context.seed),
            settings=config.training,
            key=identity("dinomaly", config, data, context),
        ),
        context,
    )
    grid_hw = geometry(context.backbone, context.preprocess.size_hw).grid_hw
    return distance_graph(Head(Misfit(rebuilder), grid_hw), context, config, name="dinomaly")


def token_channels(card: BackboneCard) -> int:
    """Return the length of a token. Raises ConfigError unless the levels are blocks of one transformer."""
    kinds = {(level.stride, level.channels) for level in card.levels}
    if len(card.levels) < _GROUPS or len(kinds) > 1:
        listed = ", ".join(f"{level.name} (stride {level.stride})" for level in card.levels)
        raise ConfigError(
            f"dinomaly does not suit the backbone {card.name}",
            expected="patch tokens of several blocks of a vision transformer",
            found=listed,
            remedy="Give a plain vision transformer of timm, such as --backbone vit_small_patch14_dinov2",
        )
    return card.levels[0].channels


def fused(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the mean of each group of neighbouring blocks: those of the first half, and of the second."""
    middle = (len(values) + 1) // _GROUPS
    return [torch.stack(list(group)).mean(0) for group in (values[:middle], values[middle:])]


class Bottleneck(nn.Module):
    """A wide perceptron that drops values before, between and behind its layers."""

    def __init__(self, channels: int, noise: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(noise),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Dropout(noise),
            nn.Linear(4 * channels, channels),
            nn.Dropout(noise),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, P, C)."""
        return self.layers(tokens)


class LinearAttention(nn.Module):
    """Attention without a softmax, whose cost grows with the number of tokens and not with its square; it
    cannot focus, and so does not carry single tokens through."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(count for count in range(1, max(1, channels // _HEAD) + 1) if channels % count == 0)
        self.mixed = nn.Linear(channels, 3 * channels)
        self.joined = nn.Linear(channels, channels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, P, C)."""
        _, positions, channels = tokens.shape
        parts = self.mixed(tokens).reshape(-1, positions, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, P, C / heads)
        query, key = functional.elu(query) + 1, functional.elu(key) + 1
        # float32, also in mixed precision: these are sums over all positions
        with torch.autocast(tokens.device.type, enabled=False):
            query, key, value = query.float(), key.float(), value.float()
            total = query @ key.sum(2).unsqueeze(-1)  # (N, heads, P, 1)
            result = query @ (key.transpose(2, 3) @ value) / total
        return self.joined(result.transpose(1, 2).reshape(-1, positions, channels))


class DecoderBlock(nn.Module):
    """A transformer's block with linear attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(channels, eps=1e-8), LinearAttention(channels))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels, eps=1e-8),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, P, C)."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.perceptron(tokens)


class Rebuilder(nn.Module):
    """From the transformer's tokens to what a good part's would be."""

    def __init__(self, channels: int, *, depth: int, noise: float) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(channels, noise)
        self.decoder = nn.ModuleList(DecoderBlock(channels) for _ in range(depth))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL, a=-3 * _INITIAL, b=3 * _INITIAL)
                nn.init.zeros_(module.bias)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return each group's tokens (N, C, h, w) as they are, and as they are rebuilt."""
        _, channels, height, width = levels[0].shape
        tokens = torch.stack(list(levels)).mean(0).flatten(2).transpose(1, 2)  # (N, P, C)
        tokens = self.bottleneck(tokens)
        steps = []
        for block in self.decoder:
            tokens = block(tokens)
            steps.append(tokens)
        # the decoder's last blocks rebuild the encoder's first ones
        rebuilt = [each.transpose(1, 2).reshape(-1, channels, height, width) for each in fused(steps[::-1])]
        return fused(levels), rebuilt


class LooseLoss(nn.Module):
    """The loss: each picture's cosine distance over all judged positions and channels at once, averaged over
    the groups; where rebuilding is easy, hardly any gradient passes, so that the decoder does not learn to
    rebuild everything."""

    def __init__(self, rebuilder: Rebuilder, hard_share: float) -> None:
        super().__init__()
        self.rebuilder = rebuilder
        self.hard_share = hard_share
        self.progress = 0.0

    def forward(self, shares: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        shown = shares >= 0.5
        if not shown.any():
            shown = torch.ones_like(shown)
        easy = self.hard_share * min(1.0, self.progress / _MINING)
        losses = []
        for own, rebuilt in zip(*self.rebuilder(levels), strict=True):
            rebuilt = dampened(own, rebuilt.float(), shown, easy=easy)
            weight = shown[:, None].to(own.dtype)
            whole = functional.cosine_similarity(
                (own * weight).flatten(1), (rebuilt * weight).flatten(1), dim=1, eps=1e-6
            )
            losses.append((1 - whole)[shown.flatten(1).any(1)].mean())
        return torch.stack(losses).mean()


def dampened(own: torch.Tensor, rebuilt: torch.Tensor, shown: torch.Tensor, *, easy: float) -> torch.Tensor:
    """Return `rebuilt` (N, C, h, w) with the same values, but with a tenth of the gradient at the share
    `easy` of the shown positions (N, h, w) that are rebuilt best."""
    with torch.no_grad():
        distance = cosine_distance(own, rebuilt)
        limit = torch.quantile(distance[shown], easy)
        strength = torch.where(distance < limit, _EASY_GRADIENT, 1.0)[:, None]
    return rebuilt * strength + rebuilt.detach() * (1 - strength)


class Misfit(nn.Module):
    """The distances: 1 - cosine similarity of tokens and rebuilt tokens, averaged over the groups."""

    def __init__(self, rebuilder: Rebuilder) -> None:
        super().__init__()
        self.rebuilder = rebuilder

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        """Return distances (N, h, w)."""
        pairs = zip(*self.rebuilder(levels), strict=True)
        distances = [cosine_distance(own, rebuilt) for own, rebuilt in pairs]
        return torch.stack(distances).mean(0).clamp_min(0)
