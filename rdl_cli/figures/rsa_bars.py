"""Similarity of layers to brain regions, with intervals and noise ceilings (Nili et al. 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdl_cli.figures.style import (
    GREY,
    LETTER,
    LINE,
    MISSING,
    PLAIN,
    FigureStyle,
    LineStyle,
    apply_style,
    line_styles,
)

Kind = Literal["bars", "lines"]

PANEL, GAP, LEFT, ABOVE = 1.9, 0.28, 0.5, 0.45  # inches
MAX_WIDTH = 7.0
BAR = 0.24
"""Inches of a bar and its gap."""


@dataclass(frozen=True)
class Similarity:
    """The similarity of a layer to a region, with its 95 % interval, None without resamples."""

    source: str
    layer: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RegionPanel:
    """A region's similarities, its noise ceiling (lower, upper) and its number of subjects."""

    region: str
    similarities: tuple[Similarity, ...]
    ceiling: tuple[float, float] | None
    n_subjects: int


@apply_style
def draw_rsa(
    panels: Sequence[RegionPanel],
    measure: str,
    kind: Kind = "bars",
    note: str = "",
    style: FigureStyle = PLAIN,
) -> Figure:
    """Return a figure with a panel for each region; a source has one colour in all of them.

    Args:
        panels: the regions.
        measure: the label of the axis.
        kind: bars side by side, or a line through the layers of each source.
        note: below the panels.
        style: a user's wishes.
    """
    layers = list(dict.fromkeys(s.layer for panel in panels for s in panel.similarities))
    sources = list(dict.fromkeys(s.source for panel in panels for s in panel.similarities))
    looks = dict(zip(sources, line_styles(len(sources)), strict=True))
    n_bars = max(len(panel.similarities) for panel in panels)
    natural = max(0.9, BAR * n_bars + 0.2 if kind == "bars" else 0.45 * len(layers))
    room = (style.width or MAX_WIDTH) - LEFT - 0.1 - GAP * (len(panels) - 1)
    panel_width = room / len(panels)
    if not style.width:
        panel_width = min(natural, panel_width)
    width = max(LEFT + 0.1 + panel_width * len(panels) + GAP * (len(panels) - 1), 2.6)
    names = [layer if len(layers) > 1 or kind == "lines" else "" for layer in layers]
    below = 0.2 + LETTER * max(map(len, names))
    caption = fill(note, int((width - 0.2) / LETTER))
    keys = sources if len(sources) > 1 else []
    foot = LINE * (1 + caption.count("\n")) + LINE * 1.3 * len(keys) + 0.1
    height = ABOVE + PANEL + below + foot
    figure = Figure(figsize=(width, height))
    limits = _limits(panels)
    for k, panel in enumerate(panels):
        x = LEFT + k * (panel_width + GAP)
        axes = figure.add_axes(
            (x / width, (below + foot) / height, panel_width / width, PANEL / height)
        )
        _draw_panel(axes, panel, layers, looks, kind)
        axes.set_ylim(*limits)
        subjects = f"\n{panel.n_subjects} subjects" if panel.n_subjects > 1 else ""
        axes.set_title(panel.region + subjects, loc="left")
        if k == 0:
            axes.set_ylabel(measure)
        else:
            axes.tick_params(labelleft=False)
    for k, source in enumerate(keys):
        y = (foot - LINE * 1.3 * (k + 0.7)) / height
        look = looks[source]
        figure.text(0.1 / width, y, "■", color=look.colour, va="center")
        figure.text(0.25 / width, y, source, va="center")
    figure.text(0.1 / width, 0.06 / height, caption, color=GREY)
    return figure


def _limits(panels: Sequence[RegionPanel]) -> tuple[float, float]:
    values = [
        value
        for panel in panels
        for s in panel.similarities
        for value in (s.value, s.low, s.high)
        if value is not None
    ]
    values += [bound for panel in panels for bound in panel.ceiling or ()]
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.05 * (high - low) or 0.1
    return (low - margin if low < 0 else 0.0), high + margin


def _draw_panel(
    axes: Axes,
    panel: RegionPanel,
    layers: Sequence[str],
    looks: dict[str, LineStyle],
    kind: Kind,
) -> None:
    if panel.ceiling:
        axes.axhspan(*panel.ceiling, color=MISSING, linewidth=0, zorder=0)
        axes.annotate(
            "noise ceiling",
            (0, panel.ceiling[1]),
            (2, 1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=GREY,
            fontsize=6,
        )
    axes.axhline(0, color=GREY, linewidth=0.6)
    positions = _positions(panel, layers, list(looks), kind)
    for source, look in looks.items():
        rows = [k for k, s in enumerate(panel.similarities) if s.source == source]
        x = np.array([positions[k] for k in rows])
        chosen = [panel.similarities[k] for k in rows]
        values = np.array([s.value for s in chosen])
        if kind == "bars":
            axes.bar(x, values, 0.8, color=look.colour, alpha=0.55, linewidth=0)
        else:
            axes.plot(x, values, f"{look.marker}-", color=look.colour, linewidth=1.2, markersize=4)
        for at, s in zip(x, chosen, strict=True):
            if s.low is not None and s.high is not None:
                colour = "#1a1a1a" if kind == "bars" else look.colour
                axes.plot([at, at], [s.low, s.high], color=colour, linewidth=0.9)
    names = [s.layer for s in panel.similarities]
    if kind == "lines":
        axes.set_xticks(range(len(layers)), layers, rotation=90)
        axes.set_xlim(-0.5, len(layers) - 0.5)
    else:
        shown = names if len(layers) > 1 else [""] * len(names)
        axes.set_xticks(positions, shown, rotation=90)
        axes.set_xlim(-0.7, max(positions, default=0) + 0.7)
    axes.tick_params(axis="x", length=0)


def _positions(
    panel: RegionPanel, layers: Sequence[str], sources: Sequence[str], kind: Kind
) -> list[float]:
    """Return the place of each similarity: that of its layer, or one bar after another.

    Bars of one source stand together, with a gap behind them.
    """
    if kind == "lines":
        return [float(layers.index(s.layer)) for s in panel.similarities]
    return [k + 0.6 * sources.index(s.source) for k, s in enumerate(panel.similarities)]
