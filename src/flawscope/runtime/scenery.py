"""What the scene of the calibration looked like, kept in a bundle: light, colour, focus, position, layout.

Of each photograph of the reference a few numbers, and one small median picture of them all. A photograph on
the line is measured the same way, so that decision/drift.py can tell a lamp, a lens, a fixture or another
layout from flaws. A flaw covers little of the picture: the median grey level, the ratio of two bands of
detail, the shift of the whole and the agreement without the places that differ most hardly notice it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Array, Image
from flawscope.data.audit.facts import SIDE
from flawscope.data.audit.framing import eased, most_alike
from flawscope.data.audit.looking import look_at
from flawscope.data.audit.usual import log_pictures
from flawscope.runtime.references import npz_bytes

NAMES = ("light", "red", "blue", "sharpness", "right", "down", "agreement")
FEWEST = 8  # photographs that tell what is usual
_FIXED_VIEW = 0.5  # median agreement of the reference with its median picture, from which places are told
_SLOWLY = SIDE / 8  # px of the small picture
_FURTHEST = 0.3  # of a side: a larger shift is no registration


@dataclass(frozen=True, eq=False)
class Scenery:
    """The looks of the photographs that calibrated (or were taught, where all teach)."""

    values: Array  # float32 (n, 7), in the order of NAMES; NaN where not known
    template: Array  # float16 (SIDE, SIDE), the median picture as logarithms
    role: str  # of the photographs

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(NAMES):
            raise ValueError(f"looks are (n, {len(NAMES)}), not {self.values.shape}")
        if self.template.shape != (SIDE, SIDE):
            raise ValueError(f"the median picture is ({SIDE}, {SIDE}), not {self.template.shape}")

    @property
    def by_name(self) -> dict[str, Array]:
        """The values of each measure that is known, float64 (n,)."""
        columns = {name: self.values[:, i].astype(np.float64) for i, name in enumerate(NAMES)}
        return {name: column for name, column in columns.items() if np.isfinite(column).any()}

    @property
    def fixed_view(self) -> bool:
        """Whether the photographs show one arrangement, so that places can be told."""
        return "agreement" in self.by_name

    def measure(self, image: Image) -> dict[str, float]:
        """Return how a photograph looks, by name; position and layout only where the view is fixed."""
        found = _measured(image, self.template.astype(np.float32))
        return found if self.fixed_view else {name: found[name] for name in NAMES[:4]}

    def to_bytes(self) -> bytes:
        """Return the member's content; the same scenery gives the same bytes."""
        role = np.frombuffer(self.role.encode(), np.uint8)
        return npz_bytes({"values": self.values, "template": self.template, "role": role})

    @classmethod
    def from_bytes(cls, content: bytes) -> Scenery:
        """Read what `to_bytes` wrote. Raises ValueError or KeyError for anything else."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(arrays["values"], arrays["template"], arrays["role"].tobytes().decode())


def scenery_of(images: Sequence[tuple[Mapping[str, float], Array]], *, role: str) -> Scenery | None:
    """Put together what `small_look` gave for each photograph; None for too few of them."""
    if len(images) < FEWEST:
        return None
    pictures = log_pictures(np.stack([small for _, small in images]))
    template = np.median(pictures, axis=0).astype(np.float16)
    values = np.full((len(images), len(NAMES)), np.nan, np.float32)
    for row, (look, _) in enumerate(images):
        placed = _placed(template.astype(np.float32), pictures[row])
        for column, name in enumerate(NAMES):
            values[row, column] = {**look, **placed}[name]
    if not np.median(values[:, -1]) >= _FIXED_VIEW:
        values[:, 4:] = np.nan
    return Scenery(values, template, role)


def small_look(image: Image) -> tuple[dict[str, float], Array]:
    """Return light, colour and sharpness of a photograph and its small grey picture, uint8 (SIDE, SIDE)."""
    look, small = look_at(image, bits=8)
    known = (look.light_log, look.red_log, look.blue_log, look.sharpness_log)
    return dict(zip(NAMES[:4], known, strict=True)), small


def _measured(image: Image, template: Array) -> dict[str, float]:
    look, small = small_look(image)
    return look | _placed(template, log_pictures(small[None])[0])


def _placed(template: Array, picture: Array) -> dict[str, float]:
    """Return how far a picture lies from the median one, as shares of the sides, and how well they agree once
    it is moved back; no number where one of them shows nothing."""
    one, other = eased(_free_of_light(template)), eased(_free_of_light(picture))
    if one.std() < 1e-3 or other.std() < 1e-3:
        return dict.fromkeys(NAMES[4:], math.nan)
    window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(one * window, other * window)
    best = most_alike(one, other)
    shift = (0.0, 0.0)
    if max(abs(right), abs(down)) < _FURTHEST * SIDE:
        matrix = np.array([[1, 0, -right], [0, 1, -down]], np.float32)
        back = np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
        moved = most_alike(one, eased(_free_of_light(back)))
        if moved >= best - 0.02:
            best, shift = max(best, moved), (right / SIDE, down / SIDE)
    return {"right": shift[0], "down": shift[1], "agreement": best}


def _free_of_light(picture: Array) -> Array:
    """Return a log picture without what varies slowly over it: a lamp from the side is no other layout."""
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), _SLOWLY))
