"""RDMs as pictures, sorted by class: a row for each network, a column for each layer, as in Figs. 1 and 3."""

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

from rdl_cli.figures.style import CLASS_COLOURS, GREY, MISSING, apply_style

Scale = Literal["rank", "panel", "layer"]

WIDTH = 7.0  # inches: two columns of a journal
SMALLEST, LARGEST = 0.7, 2.4  # a panel's side
NARROWEST = 3.2
GAP, NAME, TITLE, BAR = 0.12, 0.3, 0.2, 0.42
LETTER, LINE = 0.058, 0.12
STRIP = 0.035
LEVELS = 64  # of shade: more are not told apart, and make a file a quarter larger


@dataclass(frozen=True, eq=False)
class Panel:
    """One RDM: `values` (p,) in condensed order, NaN = not measured.

    `classes` (n,) have equal ones side by side, or are empty; `distance` is in words, or empty where it needs none.
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
    before: Panel | None = None,
    after: Panel | None = None,
    scale: Scale = "rank",
    about: str = "",
) -> Figure:
    """The RDMs of every row, layers from left to right; `before` (pixels) and `after` (labels) stand once, at the sides.

    What the shades mean stands below them, and `about` behind that.

    Dark is near, light is far, grey was not measured. `rank` replaces each distance by its rank among those of its RDM, from
    0 to 1, as is the custom of the field (Nili 2014): it shows order, not size. `panel` draws each RDM from 0 to its largest
    distance; `layer` from 0 to the largest of its column, so that sizes can be compared between networks.
    """
    columns = max(len(row.panels) for row in rows)
    beside = [panel for panel in (before, after) if panel]
    shown = [panel for row in rows for panel in row.panels]
    ticks = 0.1 + LETTER * max(
        len(name) for panel in shown + beside for name in (*panel.classes, "")
    )
    name = NAME if any(row.name for row in rows) else 0.0
    fixed = name + ticks + GAP * (columns - 1) + len(beside) * (GAP + ticks) + GAP
    side = min(max((WIDTH - fixed) / (columns + len(beside)), SMALLEST), LARGEST)
    alike = len({tuple(panel.name for panel in row.panels) for row in rows}) == 1
    same_classes = len({row.panels[0].classes for row in rows}) == 1
    step = side + (GAP if alike else TITLE + 0.06) + (0 if same_classes else ticks)
    width = max(fixed + side * (columns + len(beside)), NARROWEST)
    said = fill(". ".join(filter(None, (_said(shown + beside, scale), about))), int(width / LETTER))
    sheet = _Page(
        width, TITLE + step * (len(rows) - 1) + side + ticks + BAR + LINE * (1 + said.count("\n"))
    )

    highest = {id(panel): _highest(rows, panel, scale) for panel in shown + beside}
    middle = TITLE + step * (len(rows) - 1) / 2
    x = ticks
    if before:
        _draw(
            sheet.square(x, middle, side),
            before,
            before.name,
            highest[id(before)],
            left=True,
            below=True,
        )
        x += side + GAP + ticks
    x += name
    for r, row in enumerate(rows):
        y = TITLE + r * step
        sheet.write(
            x - ticks - 0.04,
            y + side / 2,
            fill(row.name, max(8, int(side / LETTER))),
            rotation=90,
            ha="right",
            va="center",
        )
        for c, panel in enumerate(row.panels):
            title = panel.name if r == 0 or not alike else ""
            below = r == len(rows) - 1 or not same_classes
            _draw(
                sheet.square(x + c * (side + GAP), y, side),
                panel,
                title,
                highest[id(panel)],
                left=c == 0,
                below=below,
            )
    if after:
        _draw(
            sheet.square(x + columns * (side + GAP) + ticks, middle, side),
            after,
            after.name,
            highest[id(after)],
            left=True,
            below=True,
        )
    _bar(sheet, said)
    return sheet.figure


class _Page:
    """A figure on which things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def square(self, x: float, y: float, side: float) -> Axes:
        return self.box(x, y, side, side)

    def box(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes(
            (
                x / self.width,
                1 - (y + height) / self.height,
                width / self.width,
                height / self.height,
            )
        )

    def write(self, x: float, y: float, text: str, **how: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, **how)


def to_shades(values: np.ndarray, highest: float | None = None) -> np.ndarray:
    """Distances (p,) as shades from 0 to 1: of 0 (or the lowest, where some are negative) to the highest, or by rank where that is None.

    Equal distances have equal ranks.
    """
    if highest is None:
        values = rankdata(values, nan_policy="omit")
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    else:
        low, high = min(0.0, np.nanmin(values, initial=0.0)), highest
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.0)


def _highest(rows: Sequence[Row], panel: Panel, scale: Scale) -> float | None:
    """The distance that is drawn lightest in a panel; None where ranks are drawn."""
    if scale == "rank":
        return None
    columns = [
        [row.panels[c] for row in rows if c < len(row.panels)]
        for c in range(max(len(row.panels) for row in rows))
    ]
    sharing = (
        next((column for column in columns if any(each is panel for each in column)), [panel])
        if scale == "layer"
        else [panel]
    )
    return float(np.nanmax(np.concatenate([each.values for each in sharing]), initial=0.0))


def _draw(
    axes: Axes, panel: Panel, title: str, highest: float | None, left: bool, below: bool
) -> None:
    square = squareform(to_shades(panel.values, highest), checks=False)
    colours = matplotlib.colormaps["viridis"].resampled(LEVELS).with_extremes(bad=MISSING)
    axes.imshow(
        square, cmap=colours, vmin=0, vmax=1, interpolation="none", aspect="auto"
    )  # a pixel a distance in every file
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
    away, thick = 0.02 / inches, STRIP / inches
    for i, (start, stop) in enumerate(pairwise(ends)):
        look: dict[str, Any] = {
            "color": CLASS_COLOURS[i % len(CLASS_COLOURS)],
            "clip_on": False,
            "linewidth": 0,
        }
        if left:
            axes.axhspan(start, stop, -away - thick, -away, **look)
        if below:
            axes.axvspan(start, stop, -away - thick, -away, **look)
    if left:
        axes.set_yticks(middles, names)
    if below:
        axes.set_xticks(middles, names, rotation=90 if max(map(len, names), default=0) > 2 else 0)


def _bar(sheet: _Page, text: str) -> None:
    length = min(2.6, sheet.width - 1)
    axes = sheet.box(
        (sheet.width - length) / 2,
        sheet.height - BAR - LINE * (1 + text.count("\n")) + 0.14,
        length,
        0.08,
    )
    axes.imshow(np.linspace(0, 1, 256)[None], cmap="viridis", aspect="auto", extent=(0, 1, 0, 1))
    axes.spines[:].set_visible(False)
    axes.set(xticks=[0, 1], yticks=[])
    axes.set_xticklabels(["0, near", "1, far"])
    axes.tick_params(length=0)
    axes.set_xlabel(text, labelpad=1, color=GREY)


def _said(panels: Sequence[Panel], scale: Scale) -> str:
    """What the shades mean."""
    names = list(dict.fromkeys(panel.distance for panel in panels if panel.distance))
    what = " or ".join(names)
    how = {
        "rank": f"rank of the {what} within each RDM",
        "panel": f"{what} ÷ the largest of its RDM",
        "layer": f"{what} ÷ the largest of its column",
    }[scale]
    return how + (
        "; grey: not measured" if any(np.isnan(panel.values).any() for panel in panels) else ""
    )
