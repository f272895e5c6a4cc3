"""Vision transformers as trunks: the patch tokens of chosen blocks, laid out as maps of one stride.

Damm et al., AnomalyDINO, WACV 2025, compare patch tokens the way PatchCore compares a convolution's vectors.
Position embeddings are interpolated to the canvas by timm, inside the graph, so that its sides stay free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import RotaryEmbeddingDinoV3

from flawscope.methods.backbones import Tokens

_MIDDLE = 8  # blocks, as Dinomaly takes of twelve: the third to the tenth
_MIDDLE_SHARES = (2 / 12, 9 / 12)  # of the depth, where the first and the last of them stand


class TokenTrunk(torch.nn.Module):
    """A transformer up to the last block asked for; gives each block's patch tokens as (N, C, h, w)."""

    def __init__(self, model: Any, tokens: Tokens) -> None:
        super().__init__()
        self.model = model
        self.blocks = chosen(len(model.blocks), tokens)
        self.norm = (
            tokens is Tokens.LATE
        )  # the last block's tokens are used behind the final norm, others raw

    @property
    def stride(self) -> int:
        """Pixels a patch is wide."""
        return int(self.model.feature_info[0]["reduction"])

    @property
    def channels(self) -> int:
        """The length of a token."""
        return int(self.model.embed_dim)

    def forward(self, image: Any) -> list[Any]:
        """Return one map a block; class and register tokens take part in the attention and are left out."""
        maps: list[Any] = self.model.forward_intermediates(
            image, indices=list(self.blocks), norm=self.norm, stop_early=True, intermediates_only=True
        )
        return maps


def gives_tokens(trunk: Any) -> bool:
    """Tell whether timm's trunk of levels is a plain transformer: all levels of one stride, from blocks."""
    reductions = set(trunk.feature_info.reduction())
    model = getattr(trunk, "model", None)
    return len(reductions) == 1 and hasattr(model, "blocks") and hasattr(model, "forward_intermediates")


def chosen(depth: int, tokens: Tokens) -> tuple[int, ...]:
    """Return which of `depth` blocks are taken, ascending: the last, or those that Dinomaly takes of twelve,
    at the same share of the depth."""
    if tokens is Tokens.LATE:
        return (depth - 1,)
    first, last = (share * depth for share in _MIDDLE_SHARES)
    step = (last - first) / (_MIDDLE - 1)
    return tuple(sorted({min(depth - 1, int(first + step * i + 0.5)) for i in range(_MIDDLE)}))


def build(
    arch: str, tokens: Tokens, arch_kwargs: dict, *, pretrained: bool = False, file: str | None = None
) -> TokenTrunk:
    """Build the trunk of an architecture for which `gives_tokens` holds, for canvases of any size. `file`
    holds timm's published weights, where they are at hand already. Raises timm's errors."""
    model = timm.create_model(
        arch,
        pretrained=pretrained,
        num_classes=0,
        dynamic_img_size=True,
        pretrained_cfg_overlay={"file": file} if file else {},
        **arch_kwargs,
    )
    return TokenTrunk(model, tokens)


class _FreeRotation(torch.nn.Module):
    """DINOv3's rotary embedding with the grid's sides as values of the graph: timm's `float(side)` would
    write the exported canvas's sides into it."""

    def __init__(self, rope: Any) -> None:
        super().__init__()
        self._rope = rope

    def get_embed(self, shape: Sequence[Any]) -> Any:
        """Return sine and cosine for a grid of any (h, w)."""
        rope = self._rope
        sides = [torch.ones_like(torch.arange(side, dtype=torch.float32)) for side in shape]
        lengths = [ones.sum() for ones in sides]
        if rope.normalize_coords != "separate":
            extreme = torch.maximum if rope.normalize_coords == "max" else torch.minimum
            lengths = [extreme(*lengths)] * 2
        places = [
            (torch.cumsum(ones, 0) - 0.5 + rope.grid_offset) / length
            for ones, length in zip(sides, lengths, strict=True)
        ]
        grid = torch.stack(torch.meshgrid(places, indexing=rope.grid_indexing), dim=-1)
        sine, cosine = rope._get_pos_embed_from_coords((2.0 * grid - 1.0).flatten(0, -2))
        return torch.cat([sine, cosine], dim=-1)


def free_rotation(trunk: TokenTrunk) -> None:
    """Replace what would fix the canvas in the exported graph; what the trunk gives stays the same."""
    rope = getattr(trunk.model, "rope", None)
    if isinstance(rope, RotaryEmbeddingDinoV3) and rope.grid_indexing == "ij":
        trunk.model.rope = _FreeRotation(rope)
