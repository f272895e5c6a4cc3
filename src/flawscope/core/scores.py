"""Scores with the role of the samples they come from, so that no use gets scores meant for another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.errors import LeakError
from flawscope.core.types import GOOD, Array, Role, Sample


@dataclass(frozen=True, eq=False)
class ScoreSet:
    """Scores and map maxima of samples that all have one role.

    `out_of_fold` says that the samples were taught, but that each was scored by models that had not seen it;
    only then may samples of the role FIT serve for CALIBRATE.
    """

    role: Role
    scores: Array  # float64 (n,)
    maxima: Array  # float64 (n,), the same images' map maxima
    labels: tuple[str | None, ...]
    sample_ids: tuple[str, ...]
    part_keys: tuple[str, ...]  # photographs of one part share theirs
    out_of_fold: bool = False

    def __post_init__(self) -> None:
        n = len(self.sample_ids)
        if not (self.scores.shape == self.maxima.shape == (n,)):
            raise ValueError(f"{n} samples need as many scores and maxima, not {self.scores.shape}")
        if not (len(self.labels) == len(self.part_keys) == n):
            raise ValueError("samples, labels and part keys differ in number")
        if not (np.isfinite(self.scores).all() and np.isfinite(self.maxima).all()):
            raise ValueError("scores must be finite; leave out what could not be judged")
        if len(set(self.sample_ids)) != n:
            raise ValueError("a sample is scored twice")
        if self.out_of_fold and self.role is not Role.CALIBRATE:
            raise ValueError("scores out of fold serve for calibration only")

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        scores: Sequence[float] | Array,
        *,
        maxima: Sequence[float] | Array,
        role: Role,
        out_of_fold: bool = False,
    ) -> ScoreSet:
        """Put samples and their scores together. Raises LeakError where a sample has another role."""
        allowed = {None, role} | ({Role.FIT} if out_of_fold else set())
        for sample in samples:
            if sample.role not in allowed:
                raise LeakError(
                    f"Sample {sample.id} serves for {sample.role}",
                    expected=f"samples that serve for {role}",
                    found=f"role {sample.role}",
                    remedy="Split the data again, or give the scores to what they are meant for",
                )
        return cls(
            role=role,
            scores=np.asarray(scores, np.float64),
            maxima=np.asarray(maxima, np.float64),
            labels=tuple(sample.label for sample in samples),
            sample_ids=tuple(sample.id for sample in samples),
            part_keys=tuple(sample.part_key for sample in samples),
            out_of_fold=out_of_fold,
        )

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def is_good(self) -> Array:
        """Which samples are labelled good: bool (n,)."""
        return np.array([label == GOOD for label in self.labels], np.bool_)

    @property
    def is_bad(self) -> Array:
        """Which samples are labelled with a defect: bool (n,). Samples without label are neither."""
        return np.array([label is not None and label != GOOD for label in self.labels], np.bool_)

    @property
    def weights(self) -> Array:
        """How much each image counts, so that every part counts once: float64 (n,)."""
        counts = Counter(self.part_keys)
        return np.array([1.0 / counts[key] for key in self.part_keys], np.float64)

    def require(self, role: Role, *, use: str) -> None:
        """Raise LeakError unless these scores come from samples of `role`; `use` names who asks."""
        if self.role is not role:
            raise LeakError(
                f"{use} got scores of samples that serve for {self.role}",
                expected=f"samples that serve for {role}",
                found=f"{len(self)} samples with the role {self.role}",
                remedy=f"Hand in the scores of the {role} samples",
            )
