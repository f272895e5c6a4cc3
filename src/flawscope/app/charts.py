"""Charts that the server draws: histograms and Paretos as SVG, each bar a link to the parts behind it.

Every chart is drawn twice, for wide and for narrow pages, so that its words keep their size; the style sheet
shows one. Numbers come from the context that the JSON twin shows too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from flawscope.core.types import Array, Json

WIDE, NARROW = 1000.0, 380.0
_ROW, _LOW_ROW = 92.0, 68.0  # of few series, and of many
_HEAD = 46.0  # room for the labels of both limits
_SIDE = 12.0
_FOOT = 30.0
BINS = 40


@dataclass(frozen=True)
class Axis:
    """A horizontal axis: the range that it shows and where it lies on the drawing."""

    low: float
    high: float
    left: float
    width: float

    def x(self, value: float) -> float:
        """Return the place of a value, held at the ends."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.left + self.width * min(max(share, 0.0), 1.0)


def score_bins(series: Mapping[str, Array], limits: Sequence[float | None], *, bins: int = BINS) -> Json:
    """Return edges and counts of several series of scores over one axis, as JSON.

    Limits and the first series stay readable: what lies far beyond them is gathered in the last bin, which
    `gathered` says. Without any score there are no bins.
    """
    known = [float(limit) for limit in limits if limit is not None]
    values = [one for one in series.values() if len(one)]
    if not values:
        return {"edges": [], "counts": {name: [] for name in series}, "gathered": False}
    pooled = np.concatenate(values)
    low, high = min(float(pooled.min()), *known, np.inf), max(float(pooled.max()), *known, -np.inf)
    settled = max([float(values[0].max()), *known])
    cap = settled + 1.2 * (settled - low)
    gathered = settled > low and high > cap
    high = cap if gathered else high
    margin = 0.02 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, bins + 1)
    counts = {
        name: np.histogram(np.minimum(one, edges[-1]), edges)[0].tolist() for name, one in series.items()
    }
    return {"edges": edges.tolist(), "counts": counts, "gathered": gathered}


def histogram(
    chart: Json,
    *,
    names: Mapping[str, str],
    title: str,
    write: Callable[[float], str],
    href: Callable[[str, float, float], str] | None = None,
    marks: Sequence[tuple[str, float | None, str]] = (),
) -> Markup:
    """Return a row of bars for each named series of `score_bins`, wide and narrow.

    `write` words a score; `href` gives a bar's link from series and edges; `marks` are vertical lines:
    (css class, score, words).
    """
    return Markup("").join(
        _histogram(chart, names, title, write, href, marks, width=width, css=css)
        for width, css in ((WIDE, "wide-only"), (NARROW, "narrow-only"))
    )


def _histogram(
    chart: Json,
    names: Mapping[str, str],
    title: str,
    write: Callable[[float], str],
    href: Callable[[str, float, float], str] | None,
    marks: Sequence[tuple[str, float | None, str]],
    *,
    width: float,
    css: str,
) -> Markup:
    edges = chart["edges"]
    shown = [name for name in names if sum(chart["counts"].get(name, ()))]
    if len(edges) < 2 or not shown:
        return Markup("")
    axis = Axis(edges[0], edges[-1], _SIDE, width - 2 * _SIDE)
    tall = _ROW if len(shown) <= 2 else _LOW_ROW
    bottom = _HEAD + tall * len(shown)
    parts = [
        _bars(chart, name, names[name], axis, top=_HEAD + tall * row, tall=tall, href=href, write=write)
        for row, name in enumerate(shown)
    ]
    parts += [_mark(axis, one, bottom=bottom, line=line) for line, one in enumerate(marks)]
    parts.append(_scale(axis, bottom, write=write, wanted=max(3, int(width // 130))))
    return Markup(
        '<svg class="chart {css}" viewBox="0 0 {w} {h}" role="group" aria-label="{title}" data-low="{low}" '
        'data-high="{high}" data-left="{left}" data-span="{span}">{body}</svg>'
    ).format(
        css=css,
        w=f"{width:g}",
        h=f"{bottom + _FOOT:g}",
        title=title,
        low=repr(axis.low),
        high=repr(axis.high),
        left=f"{axis.left:g}",
        span=f"{axis.width:g}",
        body=Markup("").join(parts),
    )


def _bars(
    chart: Json,
    name: str,
    title: str,
    axis: Axis,
    *,
    top: float,
    tall: float,
    href: Callable[[str, float, float], str] | None,
    write: Callable[[float], str],
) -> Markup:
    edges, counts = chart["edges"], chart["counts"][name]
    most, floor = max(counts), top + tall - 4
    parts = [
        Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            f"{axis.left:g}", f"{floor:g}", f"{axis.left + axis.width:g}", f"{floor:g}"
        )
    ]
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if not count:
            continue
        height = max(2.0, (tall - 28) * count / most)
        x, wide = axis.x(left), axis.x(right) - axis.x(left)
        last = right == edges[-1] and chart["gathered"]
        tip = f"{title}: {count} · {write(left)} {'+' if last else '– ' + write(right)}"
        bar = Markup(
            '<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
        ).format(
            name, f"{x + 0.5:.1f}", f"{floor - height:.1f}", f"{max(wide - 1, 1):.1f}", f"{height:.1f}", tip
        )
        link = href(name, left, right if not last else float("inf")) if href is not None else ""
        parts.append(Markup('<a href="{}" aria-label="{}">{}</a>').format(link, tip, bar) if link else bar)
    label = f"{title} ({sum(counts)})"
    parts.append(
        Markup('<text class="row-label" x="{}" y="{}">{}</text>').format(axis.left, f"{top + 16:g}", label)
    )
    return Markup("").join(parts)


def _mark(axis: Axis, mark: tuple[str, float | None, str], *, bottom: float, line: int) -> Markup:
    css, value, words = mark
    if value is None:
        return Markup("")
    x, y = axis.x(value), 15.0 + 18 * line
    far = x > axis.left + axis.width / 2
    return Markup(
        '<g class="mark" data-mark="{css}">'
        '<line class="limit {css}" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
        '<text class="limit-label" x="{at}" y="{y}" text-anchor="{anchor}">{words}</text></g>'
    ).format(
        css=css,
        x=f"{x:.1f}",
        top=f"{y - 12:g}",
        bottom=f"{bottom:g}",
        at=f"{x + (-6 if far else 6):.1f}",
        y=f"{y:g}",
        anchor="end" if far else "start",
        words=words,
    )


def _scale(axis: Axis, bottom: float, *, write: Callable[[float], str], wanted: int) -> Markup:
    parts = []
    for value in round_values(axis.low, axis.high, wanted=wanted):
        x = f"{axis.x(value):.1f}"
        parts.append(
            Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
                x, bottom - 4, x, bottom + 2
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, bottom + 18, write(value))
        )
    return Markup("").join(parts)


def round_values(low: float, high: float, *, wanted: int) -> list[float]:
    """Return about `wanted` round values (steps of 1, 2 or 5 times a power of ten) within a range."""
    span = high - low
    if not span > 0 or not np.isfinite(span):
        return [low]
    rough = span / wanted
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [
        round(float(step * k), 10) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    ]


def pareto(rows: Sequence[Json], *, title: str, write: Callable[[float], str]) -> Markup:
    """Return horizontal bars, largest first: rows with `name`, `count`, `share` (0 to 1) and `href`."""
    if not rows:
        return Markup("")
    most, height = max(row["count"] for row in rows), 34.0
    parts = []
    for number, row in enumerate(rows):
        y = height * number
        parts.append(
            Markup(
                '<a href="{href}"><rect class="bar" x="126" y="{y}" width="{w}" height="20"/>'
                '<text x="118" y="{t}" text-anchor="end">{name}</text>'
                '<text class="here-label" x="{e}" y="{t}">{count}</text></a>'
            ).format(
                href=row["href"],
                y=f"{y + 6:g}",
                t=f"{y + 21:g}",
                w=f"{max(2.0, 190.0 * row['count'] / most):.1f}",
                e=f"{132 + max(2.0, 190.0 * row['count'] / most):.1f}",
                name=row["name"][:18],
                count=write(row["count"]),
            )
        )
    return Markup(
        '<svg class="chart pareto" viewBox="0 0 380 {}" role="group" aria-label="{}">{}</svg>'
    ).format(f"{height * len(rows):g}", title, Markup("").join(parts))


def stacked(
    buckets: Sequence[Json], *, names: Mapping[str, str], title: str, write: Callable[[str], str]
) -> Markup:
    """Return a bar for each span of time, its parts stacked by verdict, each bar a link to them; wide and
    narrow. Spans have `from`, `to`, `href`, and a count for each of `names` (from the bottom up)."""
    if not buckets:
        return Markup("")
    most = max(sum(one[name] for name in names) for one in buckets) or 1
    return Markup("").join(
        _stacked(buckets, names, title, write, width=width, css=css, most=most)
        for width, css in ((400.0, "wide-only"), (NARROW, "narrow-only"))
    )


def _stacked(
    buckets: Sequence[Json],
    names: Mapping[str, str],
    title: str,
    write: Callable[[str], str],
    *,
    width: float,
    css: str,
    most: int,
) -> Markup:
    high, bottom = 150.0, 168.0
    step = min(width / len(buckets), 48.0)
    parts = [
        Markup('<line class="axis" x1="0" y1="{0}" x2="{1}" y2="{0}"/>').format(f"{bottom:g}", f"{width:g}")
    ]
    for number, one in enumerate(buckets):
        y, bars = bottom, []
        for name in names:
            height = high * one[name] / most
            y -= height
            if one[name]:
                bars.append(
                    Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"/>').format(
                        name,
                        f"{step * number + 1:.1f}",
                        f"{y:.1f}",
                        f"{max(step - 2, 1):.1f}",
                        f"{height:.1f}",
                    )
                )
        tip = f"{write(one['from'])}: " + ", ".join(f"{words} {one[name]}" for name, words in names.items())
        parts.append(
            Markup('<a href="{}" aria-label="{}"><title>{}</title>{}</a>').format(
                one["href"], tip, tip, Markup("").join(bars)
            )
        )
    ends = [(0.0, "start", buckets[0])]
    if len(buckets) > 1:
        ends.append(
            (min(step * len(buckets), width), "end" if step * len(buckets) > 200 else "start", buckets[-1])
        )
    for x, anchor, one in ends:
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
                f"{x:g}", f"{bottom + 18:g}", anchor, write(one["from"])
            )
        )
    return Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>').format(
        css, f"{width:g}", f"{bottom + 26:g}", title, Markup("").join(parts)
    )
