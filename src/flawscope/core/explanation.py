"""What explains a verdict, as data: a map on an absolute scale, its regions, and what they are compared with.

A map's values are divided by a limit, so that 1.0 is the limit and a good part stays dark: the same value
means the same on every photograph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flawscope.core.types import Array, Json, Region

ANOMALY = "anomaly"  # what is explained where there are no classes


@dataclass(frozen=True)
class ExplainLimit:
    """The value of an explainer's map from which on a place counts, and what it rests on."""

    value: float  # above 0
    parts: int  # good parts behind it
    role: str  # calibrate; fit where the good parts had been taught; none where it rests on no maps
    words: str  # one sentence for people

    def __post_init__(self) -> None:
        if not 0 < self.value < float("inf"):
            raise ValueError(f"a limit is above 0 and finite, not {self.value}")

    def to_json(self) -> Json:
        """Return the limit as JSON."""
        return {"value": self.value, "parts": self.parts, "role": self.role, "words": self.words}

    @classmethod
    def from_json(cls, values: Json) -> ExplainLimit:
        """Read what `to_json` wrote."""
        return cls(float(values["value"]), int(values["parts"]), str(values["role"]), str(values["words"]))


@dataclass(frozen=True)
class Peak:
    """A place where a map is highest around: in pixels of the photograph, with the value there."""

    x: int
    y: int
    value: float  # 1.0 is the limit

    def to_json(self) -> Json:
        """Return the peak as JSON."""
        return {"x": self.x, "y": self.y, "value": self.value}


@dataclass(frozen=True)
class NearestNormal:
    """A good patch of the training images that a region resembles most, and where it lies there."""

    image: str  # the training image's name
    box_xyxy: tuple[int, int, int, int]  # of the patch, in that image's pixels
    size_hw: tuple[int, int]  # of that image
    distance: float  # between the features, 0 and up
    similarity: float  # cosine, -1 to 1
    thumbnail: int  # its place among the bundle's thumbnails; -1: left out

    def to_json(self) -> Json:
        """Return the patch as JSON."""
        return {
            "image": self.image,
            "box_xyxy": list(self.box_xyxy),
            "size_hw": list(self.size_hw),
            "distance": self.distance,
            "similarity": self.similarity,
            "thumbnail": None if self.thumbnail < 0 else self.thumbnail,
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a part was judged as it was, by one explainer."""

    explainer: str
    target: str  # the class that is explained; "anomaly" where there are no classes
    map: Array  # float32 (h, w) over the whole photograph, in limits; not in the JSON
    limit: ExplainLimit
    size_hw: tuple[int, int]  # of the photograph
    regions: tuple[Region, ...] = ()  # above 1.0; peaks and means in limits
    peaks: tuple[Peak, ...] = ()  # highest first
    nearest: tuple[tuple[NearestNormal, ...], ...] = ()  # for each region in turn; empty: not looked for
    words: tuple[str, ...] = field(default_factory=tuple)  # sentences for people

    def to_json(self) -> Json:
        """Return everything but the map as JSON."""
        regions = []
        for number, region in enumerate(self.regions):
            values = region.to_json(contour=True)
            if number < len(self.nearest):
                values["nearest"] = [normal.to_json() for normal in self.nearest[number]]
            regions.append(values)
        return {
            "explainer": self.explainer,
            "target": self.target,
            "limit": self.limit.to_json(),
            "highest": float(self.map.max()),
            "regions": regions,
            "peaks": [peak.to_json() for peak in self.peaks],
            "words": list(self.words),
        }
