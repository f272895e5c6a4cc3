"""Nearest normals: which good patches a region resembles most, and whence they come.

For each region, the features at its peak are compared with the bundle's references. What is found is the best
that good parts have to offer for that place: the region differs most from this good part, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flawscope.core.explanation import Explanation, NearestNormal
from flawscope.core.types import Array, Image, Region
from flawscope.imaging.places import positions
from flawscope.imaging.preprocess import iter_canvases
from flawscope.runtime.explain.contract import FEATURES, Known, all_levels
from flawscope.runtime.reading import TILE_BATCH
from flawscope.runtime.references import References

REGIONS = 5  # of an explanation, the highest first, that are compared
PATCHES = 3  # good patches a region


def with_nearest(known: Known, image: Image, explanation: Explanation) -> Explanation:
    """Return the explanation with the nearest good patches of its highest regions and a sentence of each; as
    it is where there are no regions, or no references in the bundle. Runs the graph once more."""
    references = known.references
    if references is None or FEATURES not in known.session.output_names or not explanation.regions:
        return explanation
    regions = explanation.regions[:REGIONS]
    points = [peak_of(region, explanation.map, image.size_hw) for region in regions]
    found = features_at(known, image, points)
    nearest = tuple(_nearest(references, vector) for vector in found)
    usual = references.usual_distance
    sentences = tuple(
        _sentence(number, region, normals, usual)
        for number, (region, normals) in enumerate(zip(regions, nearest, strict=True), 1)
    )
    return replace(explanation, nearest=nearest, words=(*explanation.words, *sentences))


def peak_of(region: Region, heat: Array, size_hw: tuple[int, int]) -> tuple[float, float]:
    """Return where a region's peak lies, relative to the photograph: (x, y), 0..1."""
    height, width = heat.shape
    left, top, right, bottom = region.box_xyxy
    rows = slice(top * height // size_hw[0], max(-(-bottom * height // size_hw[0]), 1))
    columns = slice(left * width // size_hw[1], max(-(-right * width // size_hw[1]), 1))
    inside = heat[rows, columns]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(columns.start + column + 0.5) / width, float(rows.start + row + 0.5) / height


def features_at(known: Known, image: Image, points: Sequence[tuple[float, float]]) -> list[Array]:
    """Return the features at places of a photograph, each float32 (C,); of several tiles that show a place,
    those of the tile in whose middle it lies most."""
    names = known.output_names_of(FEATURES)
    height, width = image.size_hw
    best: list[tuple[float, Array | None]] = [(np.inf, None)] * len(points)
    for canvases in iter_canvases(image, known.preprocess, batch=TILE_BATCH):
        windows = canvases.windows_xyxy / np.array([width, height, width, height])
        away = np.array([[_away(window, point) for point in points] for window in windows])
        if not (away < np.array([distance for distance, _ in best])).any():
            continue
        outputs = known.session.run(canvases.pixels, canvases.content_xyxy, names=names)
        features = all_levels(outputs)
        grid_hw = (features.shape[2], features.shape[3])
        boxes = positions(canvases, grid_hw, known.preprocess.size_hw).boxes_xyxy
        for number, (x, y) in enumerate(points):
            canvas = int(away[:, number].argmin())
            if away[canvas, number] < best[number][0]:
                middles = (boxes[canvas, ..., :2] + boxes[canvas, ..., 2:]) / 2
                gaps = np.square((middles - (x, y)) * (width, height)).sum(-1)
                row, column = np.unravel_index(int(gaps.argmin()), gaps.shape)
                best[number] = (float(away[canvas, number]), features[canvas, :, row, column])
    return [vector for _, vector in best if vector is not None]


def _away(window: Array, point: tuple[float, float]) -> float:
    """Return how far a place lies from a window's middle, in half windows; infinite outside it."""
    left, top, right, bottom = window.tolist()
    x, y = point
    if not (left <= x <= right and top <= y <= bottom):
        return float("inf")
    across, down = abs(2 * x - left - right) / (right - left), abs(2 * y - top - bottom) / (bottom - top)
    return float(max(across, down))


def _nearest(references: References, vector: Array) -> tuple[NearestNormal, ...]:
    normals = []
    for place, distance, cosine in zip(*references.nearest(vector, PATCHES), strict=True):
        owner = int(references.images[place])
        height, width = references.sizes_hw[owner].tolist()
        left, top, right, bottom = references.boxes_xyxy[place].tolist()
        normals.append(
            NearestNormal(
                image=references.names[owner],
                box_xyxy=(
                    round(left * width),
                    round(top * height),
                    max(round(right * width), round(left * width) + 1),
                    max(round(bottom * height), round(top * height) + 1),
                ),
                size_hw=(height, width),
                distance=float(distance),
                similarity=float(cosine),
                thumbnail=owner if references.thumbnails[owner] else -1,
            )
        )
    return tuple(normals)


def _sentence(number: int, region: Region, normals: Sequence[NearestNormal], usual: float) -> str:
    first = normals[0]
    left, top, right, bottom = region.box_xyxy
    x, y = (first.box_xyxy[0] + first.box_xyxy[2]) // 2, (first.box_xyxy[1] + first.box_xyxy[3]) // 2
    farther = (
        f", {first.distance / usual:.1f} times as far as good patches are from each other" if usual else ""
    )
    return (
        f"Region {number}, at ({(left + right) // 2}, {(top + bottom) // 2}), is most like {first.image} at "
        f"({x}, {y}){farther}: it differs most from this good part, here."
    )
