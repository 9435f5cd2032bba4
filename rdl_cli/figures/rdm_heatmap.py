"""RDM heatmaps sorted by class: a row per network, a column per layer, as in Figs. 1 and 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from textwrap import fill
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from rdl_cli.figures.style import CLASS_COLOURS, GREY, MISSING, PLAIN, FigureStyle, apply_style

Scale = Literal["rank", "panel", "layer"]

WIDTH = 7.0  # inches: two columns of a journal
MIN_SIDE, MAX_SIDE = 0.7, 2.4  # of a panel
MIN_WIDTH = 3.2
GAP, NAME, TITLE, BAR = 0.12, 0.3, 0.2, 0.42
LETTER, LINE = 0.058, 0.12
STRIP = 0.035
LEVELS = 64  # of shade: more look the same and make a file a quarter larger


@dataclass(frozen=True, eq=False)
class Panel:
    """One RDM to draw.

    Args:
        name: of the layer or region.
        values: distances (p,) in condensed order; NaN is not measured.
        classes: of the n stimuli, equal ones side by side; may be empty.
        distance: in words; empty if it needs none.
    """

    name: str
    values: np.ndarray
    classes: tuple[str, ...]
    distance: str


class Row(NamedTuple):
    """A network or brain, and its layers or regions."""

    name: str
    panels: tuple[Panel, ...]


@apply_style
def draw_heatmaps(
    rows: Sequence[Row],
    pixels: Panel | None = None,
    labels: Panel | None = None,
    scale: Scale = "rank",
    note: str = "",
    style: FigureStyle = PLAIN,
) -> Figure:
    """Return a figure of the RDMs of every row, layers from left to right.

    Dark is near, light is far, grey was not measured. The meaning of the shades is printed below.

    Args:
        rows: networks and brains with their panels.
        pixels, labels: RDMs that are drawn once, left and right of the rows.
        scale: `rank` replaces each distance by its rank within its RDM, from 0 to 1, as is the
            custom of the field (Nili et al. 2014): it shows order, not size. `panel` draws each RDM
            from 0 to its largest distance, `layer` from 0 to the largest of its column, so that
            sizes can be compared between networks.
        note: printed behind the meaning of the shades.
        style: a user's wishes.
    """
    columns = max(len(row.panels) for row in rows)
    sides = [panel for panel in (pixels, labels) if panel]
    panels = [panel for row in rows for panel in row.panels] + sides
    ticks = 0.1 + LETTER * max(len(name) for panel in panels for name in (*panel.classes, ""))
    name_width = NAME if any(row.name for row in rows) else 0.0
    fixed = name_width + ticks + GAP * (columns - 1) + len(sides) * (GAP + ticks) + GAP
    side = min(max(((style.width or WIDTH) - fixed) / (columns + len(sides)), MIN_SIDE), MAX_SIDE)
    same_layers = len({tuple(panel.name for panel in row.panels) for row in rows}) == 1
    same_classes = len({row.panels[0].classes for row in rows}) == 1
    step = side + (GAP if same_layers else TITLE + 0.06) + (0 if same_classes else ticks)
    width = max(fixed + side * (columns + len(sides)), MIN_WIDTH)
    caption = ". ".join(filter(None, (_describe_shades(panels, scale), note)))
    caption = fill(caption, int(width / LETTER))
    lines = 1 + caption.count("\n")
    page = _Page(width, TITLE + step * (len(rows) - 1) + side + ticks + BAR + LINE * lines)

    lightest = {id(panel): _lightest_distance(rows, panel, scale) for panel in panels}
    middle = TITLE + step * (len(rows) - 1) / 2
    x = ticks
    if pixels:
        _draw_panel(page.square(x, middle, side), pixels, pixels.name, lightest[id(pixels)])
        x += side + GAP + ticks
    x += name_width
    for r, row in enumerate(rows):
        y = TITLE + r * step
        name = fill(row.name, max(8, int(side / LETTER)))
        page.write(x - ticks - 0.04, y + side / 2, name, rotation=90, ha="right", va="center")
        for c, panel in enumerate(row.panels):
            _draw_panel(
                page.square(x + c * (side + GAP), y, side),
                panel,
                panel.name if r == 0 or not same_layers else "",
                lightest[id(panel)],
                left=c == 0,
                below=r == len(rows) - 1 or not same_classes,
            )
    if labels:
        right = x + columns * (side + GAP) + ticks
        _draw_panel(page.square(right, middle, side), labels, labels.name, lightest[id(labels)])
    _draw_colour_bar(page, caption)
    return page.figure


class _Page:
    """A figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def square(self, x: float, y: float, side: float) -> Axes:
        return self.box(x, y, side, side)

    def box(self, x: float, y: float, width: float, height: float) -> Axes:
        bottom = 1 - (y + height) / self.height
        return self.figure.add_axes(
            (x / self.width, bottom, width / self.width, height / self.height)
        )

    def write(self, x: float, y: float, text: str, **options: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)


def to_shades(values: np.ndarray, lightest: float | None = None) -> np.ndarray:
    """Return distances (p,) as shades from 0 to 1.

    Args:
        values: distances; NaN stays NaN.
        lightest: the distance of shade 1; shade 0 is distance 0, or the lowest if some are
            negative. None gives ranks; equal distances have equal ranks.
    """
    if lightest is None:
        values = rankdata(values, nan_policy="omit")
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    else:
        low, high = min(0.0, np.nanmin(values, initial=0.0)), lightest
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.0)


def _lightest_distance(rows: Sequence[Row], panel: Panel, scale: Scale) -> float | None:
    """Return the distance drawn lightest in a panel; None if ranks are drawn."""
    if scale == "rank":
        return None
    shared = [panel]
    if scale == "layer":
        for c in range(max(len(row.panels) for row in rows)):
            column = [row.panels[c] for row in rows if c < len(row.panels)]
            if any(other is panel for other in column):
                shared = column
                break
    return float(np.nanmax(np.concatenate([other.values for other in shared]), initial=0.0))


def _draw_panel(
    axes: Axes,
    panel: Panel,
    title: str,
    lightest: float | None,
    left: bool = True,
    below: bool = True,
) -> None:
    """Draw an RDM, with a strip of class colours at its left and below it."""
    square = squareform(to_shades(panel.values, lightest), checks=False)
    colours = matplotlib.colormaps["viridis"].resampled(LEVELS).with_extremes(bad=MISSING)
    # a pixel for each distance in every file
    axes.imshow(square, cmap=colours, vmin=0, vmax=1, interpolation="none", aspect="auto")
    axes.set_title(title, pad=3)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=2 + 72 * STRIP)
    axes.set(xticks=[], yticks=[])
    if not panel.classes:
        return
    groups = [(name, len(list(members))) for name, members in groupby(panel.classes)]
    ends = np.cumsum([0] + [size for _, size in groups]) - 0.5
    inches = axes.get_position().height * axes.figure.get_figheight()  # type: ignore[union-attr]
    names = [name for name, _ in groups] if inches / len(groups) >= LINE * 0.75 else []
    middles = ((ends[1:] + ends[:-1]) / 2)[: len(names)]
    offset, thickness = 0.02 / inches, STRIP / inches
    for i, (start, stop) in enumerate(pairwise(ends)):
        style: dict[str, Any] = {
            "color": CLASS_COLOURS[i % len(CLASS_COLOURS)],
            "clip_on": False,
            "linewidth": 0,
        }
        if left:
            axes.axhspan(start, stop, -offset - thickness, -offset, **style)
        if below:
            axes.axvspan(start, stop, -offset - thickness, -offset, **style)
    if left:
        axes.set_yticks(middles, names)
    if below:
        axes.set_xticks(middles, names, rotation=90 if max(map(len, names), default=0) > 2 else 0)


def _draw_colour_bar(page: _Page, caption: str) -> None:
    length = min(2.6, page.width - 1)
    y = page.height - BAR - LINE * (1 + caption.count("\n")) + 0.14
    axes = page.box((page.width - length) / 2, y, length, 0.08)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap="viridis", aspect="auto", extent=(0, 1, 0, 1))
    axes.spines[:].set_visible(False)
    axes.set(xticks=[0, 1], yticks=[])
    axes.set_xticklabels(["0, near", "1, far"])
    axes.tick_params(length=0)
    axes.set_xlabel(caption, labelpad=1, color=GREY)


def _describe_shades(panels: Sequence[Panel], scale: Scale) -> str:
    """Return the meaning of the shades."""
    names = " or ".join(dict.fromkeys(panel.distance for panel in panels if panel.distance))
    meaning = {
        "rank": f"rank of the {names} within each RDM",
        "panel": f"{names} ÷ the largest of its RDM",
        "layer": f"{names} ÷ the largest of its column",
    }[scale]
    gaps = any(np.isnan(panel.values).any() for panel in panels)
    return meaning + ("; grey: not measured" if gaps else "")
