"""What a training run on drawn chips leaves, as the tests see it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flawscope.core.types import GOOD, Role, Sample

if TYPE_CHECKING:
    from flawscope.flows.train import Trained

# real photographs and weights, which are not part of the project
SHARED = Path(os.environ.get("FLAWSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
# a run of two seconds
SMALL: dict[str, Any] = {"budget": 96, "settings": {"bank": 100, "candidates": 2000}}


@dataclass(frozen=True)
class World:
    """Drawn chips, and a training run on them."""

    data: Path
    run: Path
    trained: Trained

    @property
    def model(self) -> Path:
        """The bundle's file."""
        return self.run / "model.flaw"

    def pictures(self, pattern: str = "test/*/*.png") -> list[Path]:
        """The photographs that a pattern matches, sorted."""
        return sorted(self.data.glob(pattern))


def with_roles(folder: Path) -> list[Sample]:
    """Return chips of `write_chips(good=30, bad=24)` dealt for a classifier: 30 good and 12 bad to teach
    from, 4 and 4 to choose by, 12 good to calibrate with, 8 and 8 to test."""
    good = sorted(folder.glob("test/good/*.png"))
    bad = sorted((path for path in folder.glob("test/*/*.png") if path.parent.name != GOOD), key=_number)
    dealt = [(path, Role.FIT) for path in sorted(folder.glob("train/good/*.png"))]
    dealt += zip(good, [Role.SELECT] * 4 + [Role.CALIBRATE] * 12 + [Role.TEST] * 8, strict=True)
    dealt += zip(bad, [Role.FIT] * 12 + [Role.SELECT] * 4 + [Role.TEST] * 8, strict=True)
    samples = []
    for path, role in dealt:
        label = path.parent.name
        mask = folder / "ground_truth" / label / f"{path.stem}_mask.png"
        name = path.relative_to(folder).as_posix()
        marked = mask.as_posix() if mask.is_file() else None
        samples.append(Sample(name, path.as_posix(), label, mask_path=marked, role=role))
    return samples


def _number(path: Path) -> str:
    return path.stem.split("_")[-1]
