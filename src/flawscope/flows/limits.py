"""Scores of good parts into calibrations: one for everything and, of several products, one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from flawscope.core.scores import ScoreSet
from flawscope.core.types import Calibration, Role, Sample
from flawscope.decision.calibration import calibrate, parts_needed
from flawscope.decision.costs import Choice, with_choice
from flawscope.flows.data import ALL
from flawscope.flows.settings import TrainSettings


@dataclass(frozen=True, eq=False)
class Scored:
    """Good samples that were not taught (`out_of_fold`: not by the model that scored them)."""

    samples: Sequence[Sample]
    values: Sequence[float]
    maxima: Sequence[float]
    out_of_fold: bool = False

    def of(self, product: str) -> Scored:
        """Return those of one product."""
        chosen = [i for i, sample in enumerate(self.samples) if sample.product == product]
        return Scored(
            [self.samples[i] for i in chosen],
            [self.values[i] for i in chosen],
            [self.maxima[i] for i in chosen],
            self.out_of_fold,
        )

    @property
    def parts(self) -> int:
        """How many parts they show."""
        return len({sample.part_key for sample in self.samples})


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What the limits rest on, and what people should know of it."""

    calibration: Calibration
    by_product: Mapping[str, Calibration] = field(default_factory=dict)
    choice_words: str = ""  # of a limit chosen by cost
    warnings: tuple[str, ...] = ()


def calibrations(good: Scored, settings: TrainSettings, *, split_digest: str) -> Calibrated:
    """Return the calibration of all good samples and, where one model serves several products, that of each
    product whose good parts suffice to say NG at the wished rate. Raises as `calibrate` does."""

    def made(scored: Scored) -> Calibration:
        return calibrate(
            ScoreSet.of(
                scored.samples,
                np.asarray(scored.values, np.float64),
                maxima=np.asarray(scored.maxima, np.float64),
                role=Role.CALIBRATE,
                out_of_fold=scored.out_of_fold,
            ),
            alpha=settings.alpha,
            review_alpha=settings.review_alpha,
            split_digest=split_digest,
        )

    products = sorted({sample.product for sample in good.samples})
    if settings.product != ALL or len(products) < 2:
        return Calibrated(made(good))
    needed = parts_needed(settings.alpha)
    by_product = {product: good.of(product) for product in products}
    enough = {product: made(some) for product, some in by_product.items() if some.parts >= needed}
    return Calibrated(
        made(good),
        enough,
        warnings=tuple(
            f"{product} has {some.parts} good parts that calibrate, and {needed} are needed for limits of "
            "its own: those of all products together serve for it."
            for product, some in by_product.items()
            if product not in enough
        ),
    )


def with_cost(calibrated: Calibrated, choice: Choice) -> Calibrated:
    """Return limits moved by cost. A cost is weighed over all products, so that none keeps limits of its
    own."""
    warnings = calibrated.warnings
    if calibrated.by_product:
        warnings = ("The limit by cost holds for all products together: none has limits of its own.",)
    moved = with_choice(calibrated.calibration, choice)
    return replace(calibrated, calibration=moved, by_product={}, choice_words=choice.words, warnings=warnings)
