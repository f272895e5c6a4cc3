"""Batches of episodes, drawn in worker processes; which batch is which depends on seed and step alone."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flawscope.core.rng import derive
from flawscope.pretraining.settings import Course
from flawscope.synth.episodes import episodes


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """The batches from a step to the end, in order."""

    def __init__(self, course: Course, *, start: int) -> None:
        self._course = course
        self._start = start

    def __len__(self) -> int:
        return max(0, self._course.steps - self._start)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Draw one batch: pixels uint8 (E, K, H, W, 3) and masks bool (E, D, H, W)."""
        step, course = self._start + index, self._course
        difficulty = course.curriculum.at(step / course.steps)
        drawn = episodes(derive(course.seed, "episodes", step), course.layout_at(step), difficulty=difficulty)
        return torch.from_numpy(drawn.pixels), torch.from_numpy(drawn.masks)


def supply(course: Course, *, start: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches from step `start` on, drawn by so many processes; 0 draws in this one."""
    loader = DataLoader(
        Batches(course, start=start),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        worker_init_fn=_alone if workers else None,
    )
    return iter(loader)


def _alone(_: int) -> None:
    """Give a worker one thread: there are as many workers as there should be threads."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
