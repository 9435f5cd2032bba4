"""How every figure looks: type for print, colours that differ in lightness too, and a marker for each."""

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import cycle, islice
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

P = ParamSpec("P")
T = TypeVar("T")

LETTER, LINE = 0.062, 0.13  # inches, of a name beside a curve
TEXT, GREY, MISSING = "#1a1a1a", "#6b6b6b", "#d9d9d9"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is the same on every machine
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
"""Lightness (CIE L*) 0, 54, 22, 70, 58, 75, 38, 63: apart for every kind of colour vision, and on a grey printer."""

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
"""Tol's muted scheme in an order that alternates between dark and light, so that neighbours differ on a grey printer as well."""


class LineStyle(NamedTuple):
    colour: str
    marker: str

    @property
    def on_it(self) -> str:
        """The colour of writing on this one."""
        return "black" if luminance(self.colour) > 0.3 else "white"


def line_styles(count: int) -> list[LineStyle]:
    """So many looks; from the ninth on a colour comes again, with another marker."""
    turned = [MARKERS[(i + i // len(COLOURS)) % len(MARKERS)] for i in range(count)]
    return [
        LineStyle(colour, marker)
        for colour, marker in zip(islice(cycle(COLOURS), count), turned, strict=True)
    ]


def luminance(colour: str) -> float:
    """Relative luminance, 0 (black) to 1 (white), of an sRGB colour (IEC 61966-2-1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def apply_style(make: Callable[P, T]) -> Callable[P, T]:
    """A figure's function, run under `STYLE`; a user's own settings come back afterwards."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(STYLE):
            return make(*args, **kwargs)

    return made


def spread_labels(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near as can be to those wanted, in their order, at least `gap` from each other: for labels beside curves."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    blocks: list[tuple[float, list[int]]] = []  # centre, members
    for i in order:
        centre, members = wanted[i], [i]
        while blocks and centre - blocks[-1][0] < gap * (len(members) + len(blocks[-1][1])) / 2:
            before, others = blocks.pop()
            members = others + members
            centre = (before * len(others) + centre * (len(members) - len(others))) / len(members)
        blocks.append((centre, members))
    found = [0.0] * len(wanted)
    for centre, members in blocks:
        for place, i in enumerate(members):
            found[i] = centre + gap * (place - (len(members) - 1) / 2)
    return found


def format_error_axis(axes: Axes, percent: np.ndarray) -> None:
    """Errors from bottom to top: logarithmic down to the smallest that occurs, and linear from there to 0."""
    least = float(percent[percent > 0].min(initial=100))
    axes.set_yscale("symlog", linthresh=least, linscale=0.5)
    axes.set_ylim(0 if (percent <= 0).any() else least * 0.8, percent.max(initial=1) * 1.15)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least, subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def label_line_ends(
    axes: Axes, names: Sequence[str], ends: Sequence[tuple[float, float]], gap: float
) -> None:
    """The names beside the ends of their curves, moved apart where these end together, each with a dotted line to its own."""
    heights = axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 1]
    for look, name, end, height in zip(
        line_styles(len(names)), names, ends, spread_labels(heights.tolist(), gap), strict=True
    ):
        line = {
            "arrowstyle": "-",
            "color": look.colour,
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
