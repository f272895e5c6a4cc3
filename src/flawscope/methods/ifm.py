"""Inverse feature matching: a fine-tuned classifier that is heard where no good part looks alike.

After the name of the method in J. Comput. Design Eng. 11(3), 2024, of which the authors describe a classifier
on an efficient backbone, inverse feature matching and masking. What they released is a class activation map
(the explainer `ifm-cam`); what the name says is built here. A network is taught good from bad on two of its
levels side by side, which see finer than its last one. A bank of normal features of this taught network is
kept. Each position's features are matched against it, the match is inverted (1 - the best cosine similarity)
and measured against what good parts show at that place; what exceeds the usual, weighted by the evidence for
a defect, is a further sign under the head. Its weight, and the probabilities, are found on SELECT. So
verdict, map and evidence all rest on both: `evidence` still adds up to the answer.

The product's foreground, by which the authors mask, needs a flood fill, which a graph has not: it is masked
where a map is explained (`ifm-cam`, `ifm-bank`), and not in the score. To leave a background out of the
score, give `--roi`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.finetune import NetworkConfig

TRAINABLE = ("head", "last_stage", "all")


@dataclass(frozen=True)
class IfmConfig(NetworkConfig):
    """Settings of ifm."""

    trainable: str = setting(
        "head",
        choices=TRAINABLE,
        help="head trains how features are weighed, last_stage what leads from stride 8 to 16 too, all the "
        "whole network; beyond head the backbone needs weights, such as mobilenetv2_100.",
    )
    views: int = setting(
        4,
        unit="views a photograph",
        low=1,
        high=64,
        help="The photograph and variations of it that the frozen part looks at once: more forgives changes "
        "of light and place, and takes longer to teach.",
    )
    bank: int = setting(
        1000,
        unit="positions",
        low=16,
        high=20_000,
        help="Normal features kept: more remembers rarer ones and takes longer a verdict.",
        search=Span(250, 4000, ratio=True),
    )


@register(
    "ifm",
    kind=Kind.SUPERVISED,
    extra="train",
    summary="A fine-tuned classifier heard where no good part looks alike: shows where and tells why.",
    paper="J. Comput. Design Eng. 11(3), 2024",
)
class Ifm:
    """A classifier and the features that good parts have."""

    Config = IfmConfig

    def __init__(self, config: IfmConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train on labelled photographs, choose the bank, find the rule; return the graph."""
        from flawscope.methods.deep import ifm

        return ifm.fit(self._config, data, context)
