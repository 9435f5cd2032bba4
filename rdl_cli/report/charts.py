"""Charts as geometry: lines, marks and texts in pixels, which a template draws as inline SVG.

A chart is 340 pixels wide, so that one fits a telephone and three a screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rdl_cli.figures.style import log_ticks, round_ticks, spread_labels

WIDTH = 340.0
ROW, PAD, AXIS = 34.0, 8.0, 38.0
LETTER = 6.4
"""Mean width of a letter of 12 pixels."""
N_SERIES = 8
"""Series from the ninth on use a colour again."""


@dataclass(frozen=True)
class Line:
    """A path. `style` is a class of style.css."""

    points: Sequence[tuple[float, float]]
    style: str
    closed: bool = False

    @property
    def path(self) -> str:
        """The `d` attribute."""
        return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in self.points) + "Z" * self.closed


@dataclass(frozen=True)
class Mark:
    """A dot, bar or thumbnail that shows `tip` while the pointer or the focus is on it.

    `x`, `y` is the center of a dot or thumbnail, else the upper left corner.
    """

    shape: str
    x: float
    y: float
    tip: str
    style: str = ""
    width: float = 0.0
    height: float = 0.0
    stimulus: int | None = None


@dataclass(frozen=True)
class Label:
    """A text of a chart."""

    x: float
    y: float
    text: str
    style: str = ""
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    """A drawing of `width` × `height` pixels. Marks of thumbnails are of the stimulus set `set`."""

    title: str
    height: float
    lines: Sequence[Line]
    marks: Sequence[Mark]
    labels: Sequence[Label]
    stimuli: object = None
    width: float = WIDTH


@dataclass(frozen=True)
class Value:
    """A number with its interval, None where there is none."""

    value: float
    tip: str
    low: float | None = None
    high: float | None = None
    series: int = 0


@dataclass(frozen=True)
class Row:
    """A named row of a row chart: single values, and their mean or the only value."""

    name: str
    main: Value
    singles: Sequence[Value] = ()


def draw_rows(
    title: str,
    rows: Sequence[Row],
    x_label: str,
    bars: bool = False,
    band: tuple[float, float] | None = None,
    band_label: str = "noise ceiling",
) -> Chart:
    """Return a chart with a row for each name: dots or bars with intervals, beside a band.

    Args:
        title: for people who do not see the chart.
        rows: from top to bottom.
        x_label: the quantity and its unit.
        bars: draw bars from 0 in place of dots.
        band: a range that is shaded in all rows.
        band_label: written above the band.
    """
    values = [v for row in rows for v in (row.main, *row.singles)]
    known = [x for v in values for x in (v.value, v.low, v.high) if x is not None]
    known += list(band or ()) + ([0.0] if bars else [])
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.5
    low, high = (low if bars and low == 0 else low - margin), high + margin
    if not bars and low < 0 <= min(known):
        low = 0.0
    top = PAD + (16 if band else 0)
    height = top + ROW * len(rows) + AXIS

    def x(value: float) -> float:
        return PAD + (value - low) / (high - low) * (WIDTH - 2 * PAD)

    bottom = height - AXIS
    lines, labels, marks = [], [], []
    for tick in round_ticks(low, high):
        lines.append(Line([(x(tick), top), (x(tick), bottom)], "grid"))
        labels.append(Label(x(tick), bottom + 14, f"{tick:g}", "tick", "middle"))
    labels.append(Label(WIDTH / 2, bottom + 31, x_label, "axis", "middle"))
    if band:
        left, right = x(band[0]), max(x(band[1]), x(band[0]) + 1.5)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        lines.append(Line(corners, "band", closed=True))
        end = (left + right) / 2 > WIDTH / 2
        labels.append(
            Label(right if end else left, top - 4, band_label, "tick", "end" if end else "start")
        )
    for k, row in enumerate(rows):
        y = top + ROW * k + 23
        labels.append(Label(PAD, y - 10, shorten(row.name, WIDTH - 2 * PAD), "name"))
        style = series_class(row.main.series)
        if bars:
            left, right = sorted((x(0), x(row.main.value)))
            marks.append(Mark("bar", left, y - 5, row.main.tip, style, max(right - left, 1), 10))
        for single in row.singles:
            lines += _interval(single, x, y, "interval faint")
            marks.append(Mark("dot", x(single.value), y, single.tip, f"{style} faint", 3))
        lines += _interval(row.main, x, y, "interval" if bars else f"interval {style}")
        if not bars:
            marks.append(Mark("dot", x(row.main.value), y, row.main.tip, style, 5))
    return Chart(title, height, lines, marks, labels)


@dataclass(frozen=True, eq=False)
class Series:
    """A named curve: means over seeds at x, and their range."""

    name: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    series: int


def draw_curves(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    logarithmic: bool = False,
    y_range: tuple[float, float] | None = None,
) -> Chart:
    """Return a chart of curves named at their ends, with bands from lowest to highest.

    Args:
        title: for people who do not see the chart.
        series: the curves.
        x_label, y_label: the quantities and units.
        logarithmic: whether y is; values of 0 are drawn at the lower edge.
        y_range: the axis [default: that of the values].
    """
    height, top, left = 240.0, 28.0, 40.0
    names = [shorten(s.name, 110) for s in series]
    right = WIDTH - 12 - LETTER * max(map(len, names))
    bottom = height - AXIS
    lows = np.concatenate([s.low for s in series])
    low, high = y_range or (float(lows.min()), max(float(s.high.max()) for s in series))
    if logarithmic:
        low = float(lows[lows > 0].min(initial=high or 1)) * 0.9
        high = max(high, low * 1.5) * 1.1
    elif not y_range:
        low, high = min(0.0, low), (high * 1.05 or 1.0)
    first = min(float(s.x[0]) for s in series)
    last = max(float(s.x[-1]) for s in series)

    def x(value: float) -> float:
        return left + (value - first) / ((last - first) or 1) * (right - left)

    def y(value: float) -> float:
        if logarithmic:
            part = np.log(max(value, low) / low) / np.log(high / low)
        else:
            part = (value - low) / ((high - low) or 1)
        return bottom - float(part) * (bottom - top)

    lines, marks = [], []
    labels = [
        Label(4, 14, y_label, "axis"),
        Label((left + right) / 2, bottom + 31, x_label, "axis", "middle"),
    ]
    for tick in log_ticks(low, high) if logarithmic else round_ticks(low, high):
        lines.append(Line([(left, y(tick)), (right, y(tick))], "grid"))
        labels.append(Label(left - 5, y(tick) + 4, f"{tick:g}", "tick", "end"))
    for tick in round_ticks(first, last, whole=True):
        labels.append(Label(x(tick), bottom + 14, f"{tick:g}", "tick", "middle"))
    ends = spread_labels([y(s.mean[-1]) for s in series], 13)
    for s, name, end in zip(series, names, ends, strict=True):
        style = series_class(s.series)
        points = [(x(a), y(b)) for a, b in zip(s.x, s.mean, strict=True)]
        if (s.high > s.low).any():
            upper = [(x(a), y(b)) for a, b in zip(s.x, s.high, strict=True)]
            lower = [(x(a), y(b)) for a, b in zip(s.x, s.low, strict=True)]
            lines.append(Line(upper + lower[::-1], f"range {style}", closed=True))
        lines.append(Line(points, f"curve {style}"))
        for (px, py), a, b in zip(points, s.x, s.mean, strict=True):
            tip = f"{s.name}, {x_label} {a:g}: {b:.4g}"
            marks.append(Mark("dot", px, py, tip, f"{style} small", 2.5))
        labels.append(Label(right + 8, end + 4, name, f"name {style}"))
    return Chart(title, height, lines, marks, labels)


def series_class(series: int) -> str:
    """Return the class that gives a series its colour; -1 is the colour of text."""
    return f"s{series % N_SERIES}" if series >= 0 else "ink"


def shorten(text: str, pixels: float) -> str:
    """Return the text, cut with … to fit a width; its tip or table has all of it."""
    n = max(4, int(pixels / LETTER))
    return text if len(text) <= n else text[: n - 1] + "…"


def _interval(value: Value, x: "object", y: float, style: str) -> list[Line]:
    if value.low is None or value.high is None:
        return []
    return [Line([(x(value.low), y), (x(value.high), y)], style)]  # type: ignore[operator]


def group_ends(classes: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the runs of equal names, with their first position and the one behind their last."""
    starts = [k for k, name in enumerate(classes) if k == 0 or classes[k - 1] != name]
    return [(classes[a], a, b) for a, b in pairwise([*starts, len(classes)])]
