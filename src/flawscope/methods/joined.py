"""A bank of good patches and a linear head, joined: any flaw is seen, and known ones are seen better.

The bank is patchcore's (Roth et al., CVPR 2022), taught from good parts; the head is linear's, taught from
good and bad ones. Each looks at the same features, once. The join is a calibrated rule with four numbers:
the log-odds of bad are the head's, scaled, plus an offset, plus a slope times the excess, the mean over the
picture of how far each position's distance to the bank exceeds what 98 % of good positions stay below. All
come from samples that neither has seen: SELECT, or folds of FIT where SELECT is too small. How much the two
signs count against each other is what ranks best there. The excess is a mean over positions, as the
evidence is: so the joined evidence still adds up to the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.progress import Silent
from flawscope.core.registry import Kind, register
from flawscope.core.types import Sample
from flawscope.data.splits import folds
from flawscope.methods.classifier import class_indices, enough_to_calibrate
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import Embedding, level_maps, projected
from flawscope.methods.frozen import FrozenConfig, TaughtHead, learn_head
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.methods.joining import Found, Linear, Rule, Signs, finish_joined, rule_of, weigh
from flawscope.methods.linear import logistic
from flawscope.methods.patchcore import Memory, PatchcoreConfig, distances, remember
from flawscope.methods.settings import NeighbourhoodConfig

_FOLDS = 5


@dataclass(frozen=True)
class JoinedConfig(NeighbourhoodConfig, FrozenConfig):
    """Settings of joined."""

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
        help="Of the bank: fewer is faster and forgets detail; 0 keeps all.",
        search=(64, 128, 192, 256),
    )

    @property
    def memory(self) -> PatchcoreConfig:
        """The settings of the bank."""
        return PatchcoreConfig(
            unit_levels=self.unit_levels,
            neighbourhood=self.neighbourhood,
            bank=self.bank,
            components=self.components,
        )


@register(
    "joined",
    kind=Kind.SUPERVISED,
    summary="patchcore and linear in one: many good parts, a few labelled flaws. Sees new flaws too.",
    paper="Roth et al., CVPR 2022; Platt, 1999",
)
class Joined:
    """A bank and a head, and the rule that joins them."""

    Config = JoinedConfig

    def __init__(self, config: JoinedConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Teach both, find the rule; return the graph."""
        config = self._config
        both = _teach(data, context, config)
        select = tuple(sample for sample in data.select if sample.label is not None)
        if enough_to_calibrate(class_indices(select, both.head.names)):
            rule = rule_of(select, _judge(select, both, context, config), names=both.head.names)
        else:
            rule = _by_folds(data, context, config, names=both.head.names)
        graph = GraphBuilder()
        signs = _looks(graph, both, context)
        ending = config.ending(context.preprocess, both.head.where.grid_hw)
        return finish_joined(graph, signs, taught=_linear(both), rule=rule, ending=ending)


@dataclass(frozen=True, eq=False)
class _Both:
    """A bank and a head on the same features."""

    memory: Memory
    head: TaughtHead


def _teach(data: FitData, context: FitContext, config: JoinedConfig) -> _Both:
    taught = learn_head(data, context, config, logistic, embedding=_embedding(config))
    good = tuple(sample for sample in data.fit if sample.is_good)
    return _Both(remember(good, config.memory, context), taught)


def _linear(both: _Both) -> Linear:
    weights, bias = both.head.head
    return Linear(weights, bias, both.head.names, both.head.where)


def _looks(graph: GraphBuilder, both: _Both, context: FitContext) -> Signs:
    """Append what both look at: the levels, and the distance of each position to the bank."""
    where, memory = both.head.where, both.memory
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    maps = level_maps(graph, image, context.backbone, both.head.embedding)
    query = projected(graph, maps, where, matrix=memory.window.matrix, offset=memory.window.offset)
    return Signs(tuple(maps), distances(graph, query, content, memory=memory, where=where), content)


def _judge(
    samples: tuple[Sample, ...], both: _Both, context: FitContext, config: JoinedConfig
) -> list[Found]:
    """Return what both say of samples that neither has seen."""
    graph = GraphBuilder()
    signs = _looks(graph, both, context)
    ending = config.ending(context.preprocess, both.head.where.grid_hw)
    return weigh(samples, graph, signs=signs, taught=_linear(both), ending=ending, context=context)


def _by_folds(data: FitData, context: FitContext, config: JoinedConfig, *, names: tuple[str, ...]) -> Rule:
    """Find the rule by samples of FIT, each judged by a bank and a head that had not seen it. Where some fold
    would leave no good or no bad sample to teach with, the head's own temperature stands and the bank, whose
    share nothing tells, is left out."""
    quiet = replace(context, progress=Silent())
    samples: list[Sample] = []
    found: list[Found] = []
    rounds = folds(data.fit, _FOLDS, context.seed)
    with context.progress.stage(f"Weighing both by {len(rounds)} folds", len(rounds)) as stage:
        for members in rounds:
            left_out = set(members)
            rest = tuple(sample for i, sample in enumerate(data.fit) if i not in left_out)
            held_out = tuple(data.fit[i] for i in members)
            known = {names[i] for i in class_indices(rest, names)}
            if known != set(names):
                alone = learn_head(data, quiet, config, logistic, embedding=_embedding(config))
                return Rule(alone.temperature, 0.0)
            both = _teach(FitData(rest), quiet, config)
            samples.extend(held_out)
            found.extend(_judge(held_out, both, quiet, config))
            stage.advance()
    return rule_of(samples, found, names=names)


def _embedding(config: JoinedConfig) -> Embedding:
    return Embedding(config.unit_levels, config.neighbourhood)
