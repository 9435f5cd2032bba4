"""Stimuli as points in the plane, as far apart as an RDM's distances: thumbnails or dots."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdl_cli.figures.style import CLASS_COLOURS, GREY, LINE, PLAIN, FigureStyle, apply_style

WIDTH, MAX_SIDE, MIN_WIDTH = 7.0, 3.2, 2.6  # inches
GAP, TITLE, LETTER, THUMBNAIL = 0.15, 0.25, 0.058, 0.2


@dataclass(frozen=True, eq=False)
class StimulusMap:
    """The points (n, 2) of one RDM, the class of each stimulus and its image (n, h, w, 3).

    `classes` may be empty and `images` None.
    """

    name: str
    points: np.ndarray
    classes: tuple[str, ...]
    images: np.ndarray | None


@apply_style
def draw_stimulus_maps(
    maps: Sequence[StimulusMap], caption: str, style: FigureStyle = PLAIN
) -> Figure:
    """Return a figure with a map for each RDM, at most three in a row, all without axes."""
    width = style.width or WIDTH
    columns = min(len(maps), 3)
    side = min((width - GAP * (columns + 1)) / columns, MAX_SIDE)
    if not style.width:
        width = max(columns * side + GAP * (columns + 1), MIN_WIDTH)
    rows = -(-len(maps) // columns)
    with_dots = [m for m in maps if m.images is None]
    names = list(dict.fromkeys(name for m in with_dots for name in m.classes))
    colours = {name: CLASS_COLOURS[k % len(CLASS_COLOURS)] for k, name in enumerate(names)}
    caption = fill(caption, int((width - 2 * GAP) / LETTER))
    foot = LINE * (1.5 + caption.count("\n")) + LINE * 1.3 * len(names)
    height = rows * (side + TITLE) + foot + GAP
    figure = Figure(figsize=(width, height))
    for k, m in enumerate(maps):
        x = GAP + k % columns * (side + GAP)
        y = height - (k // columns + 1) * (side + TITLE)
        axes = figure.add_axes((x / width, y / height, side / width, side / height))
        _draw_map(axes, m, colours, side)
    for k, name in enumerate(names):
        y = (foot - LINE * 1.3 * (k + 0.6)) / height
        figure.text(GAP / width, y, "●", color=colours[name], va="center")
        figure.text((GAP + 0.15) / width, y, name, va="center")
    figure.text(GAP / width, 0.06 / height, caption, color=GREY)
    return figure


def _draw_map(axes: Axes, m: StimulusMap, colours: dict[str, str], side: float) -> None:
    axes.set_axis_off()
    axes.set_title(m.name, loc="left", pad=2)
    center = (m.points.min(0) + m.points.max(0)) / 2
    extent = float(np.ptp(m.points, axis=0).max()) or 1.0
    half = extent / 2 * (1 + 1.2 * THUMBNAIL / side)
    axes.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
    if m.images is None:
        shades = [colours[name] for name in m.classes] or [CLASS_COLOURS[0]] * len(m.points)
        axes.scatter(m.points[:, 0], m.points[:, 1], c=shades, s=12, linewidths=0)
        return
    edge = half * THUMBNAIL / side
    for (x, y), image in zip(m.points, m.images, strict=True):
        box = (x - edge, x + edge, y - edge, y + edge)
        axes.imshow(image, extent=box, interpolation="nearest", aspect="auto", zorder=2)
    axes.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
