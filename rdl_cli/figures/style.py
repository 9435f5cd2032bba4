"""The style of all figures: fonts for print, colours that differ in lightness too, markers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import cycle, islice
from math import floor, log10
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

P = ParamSpec("P")
T = TypeVar("T")

LETTER, LINE = 0.062, 0.13  # inches of a name beside a curve
TEXT, GREY, MISSING = "#1a1a1a", "#6b6b6b", "#d9d9d9"

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a `$` in a name of a stimulus is a `$`
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7.5,
    "text.color": TEXT,
    "axes.edgecolor": GREY,
    "axes.labelcolor": TEXT,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}

COLOURS = ("#000000", "#d55e00", "#332288", "#56b4e9", "#009e73", "#e8b100", "#9b2f76", "#999999")
"""Lightness (CIE L*) 0, 54, 22, 70, 58, 75, 38, 63.

They differ for every kind of colour vision, and on a grey printer."""

MARKERS = ("o", "s", "D", "^", "v", "p", "h", "P")


CLASS_COLOURS = (
    "#332288",
    "#999933",
    "#117733",
    "#88ccee",
    "#882255",
    "#44aa99",
    "#aa4499",
    "#ddcc77",
    "#cc6677",
    "#dddddd",
)
"""Tol's muted scheme, alternating dark and light: neighbours differ on a grey printer too."""


class LineStyle(NamedTuple):
    """The colour and marker of one method."""

    colour: str
    marker: str

    @property
    def text_colour(self) -> str:
        """Return the colour of text on this one."""
        return "black" if luminance(self.colour) > 0.3 else "white"


def line_styles(count: int) -> list[LineStyle]:
    """Return styles; from the ninth on a colour is used again, with another marker."""
    markers = [MARKERS[(i + i // len(COLOURS)) % len(MARKERS)] for i in range(count)]
    return [
        LineStyle(colour, marker)
        for colour, marker in zip(islice(cycle(COLOURS), count), markers, strict=True)
    ]


def luminance(colour: str) -> float:
    """Return the relative luminance of an sRGB colour, 0 (black) to 1 (white); IEC 61966-2-1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@dataclass(frozen=True)
class FigureStyle:
    """A user's wishes for a figure; they win over `STYLE`.

    Args:
        width: in inches; the figure's own if None.
        settings: matplotlib's rcParams, such as those of a matplotlibrc.
    """

    width: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


PLAIN = FigureStyle()
"""The style without a user's wishes."""


def apply_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Return the function, run under `STYLE`; a user's own settings are restored afterwards.

    The keyword `style`, a FigureStyle, wins over `STYLE`.
    """

    @wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        style = kwargs.get("style")
        own = style.settings if isinstance(style, FigureStyle) else {}
        with matplotlib.rc_context(STYLE | dict(own)):
            return draw(*args, **kwargs)

    return draw_in_style


def spread_labels(positions: Sequence[float], gap: float) -> list[float]:
    """Return positions at least `gap` apart, in the same order and as near as possible.

    For labels beside curves.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    blocks: list[tuple[float, list[int]]] = []  # center, members
    for i in order:
        center, members = positions[i], [i]
        while blocks and center - blocks[-1][0] < gap * (len(members) + len(blocks[-1][1])) / 2:
            before, others = blocks.pop()
            members = others + members
            center = (before * len(others) + center * (len(members) - len(others))) / len(members)
        blocks.append((center, members))
    spread = [0.0] * len(positions)
    for center, members in blocks:
        for rank, i in enumerate(members):
            spread[i] = center + gap * (rank - (len(members) - 1) / 2)
    return spread


def format_error_axis(axes: Axes, percent: np.ndarray) -> None:
    """Make an axis of errors logarithmic down to the smallest one, and linear from there to 0."""
    least = float(percent[percent > 0].min(initial=100))
    low, high = least * 0.8, percent.max(initial=1) * 1.15
    has_zero = bool((percent <= 0).any())
    axes.set_yscale("symlog", linthresh=least, linscale=0.5)
    axes.set_ylim(0 if has_zero else low, high)
    ticks = log_ticks(least if has_zero else low, high)
    axes.yaxis.set_major_locator(FixedLocator([0.0, *ticks] if has_zero else ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def round_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Return two to six round numbers between two bounds."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10.0 ** floor(log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5.5)
    if whole:
        step = max(1.0, round(step))
    first = np.ceil(low / step - 1e-9) * step
    return [float(np.round(t, 12)) + 0.0 for t in np.arange(first, high + step * 1e-6, step)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two bounds for a logarithmic axis, at least three."""
    steps = [np.arange(1, 10, step) for step in (1.0, 0.5, 0.25, 0.1)]
    for factors in ((1,), (1, 3), (1, 2, 5), *steps):
        powers = range(floor(log10(low)), floor(log10(high)) + 1)
        ticks = [float(f * 10.0**p) for p in powers for f in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks
    return round_ticks(low, high)


def label_line_ends(
    axes: Axes, names: Sequence[str], ends: Sequence[tuple[float, float]], gap: float
) -> None:
    """Write the names beside the ends of their curves, spread, with a dotted line to each end."""
    heights = axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 1]
    for style, name, end, height in zip(
        line_styles(len(names)), names, ends, spread_labels(heights.tolist(), gap), strict=True
    ):
        line = {
            "arrowstyle": "-",
            "color": style.colour,
            "linewidth": 0.8,
            "linestyle": ":",
            "shrinkA": 1,
            "shrinkB": 4,
            "relpos": (0, 0.5),
        }
        axes.annotate(
            name,
            end,
            (1.09, height),
            textcoords="axes fraction",
            va="center",
            arrowprops=line,
            annotation_clip=False,
        )
