"""Representations as points in the plane, a path through each network's layers (Figs. 4, 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdl_cli.figures.style import (
    GREY,
    PLAIN,
    TEXT,
    FigureStyle,
    LineStyle,
    apply_style,
    line_styles,
)

WIDTH = 7.0  # inches: two columns of a journal
MIN_HEIGHT, MAX_HEIGHT = 2.4, 5.5  # of the map
KEY, BELOW, LINE = 1.5, 0.48, 0.16  # right of the map, below it, a line of the key
LETTER = 0.066


@dataclass(frozen=True, eq=False)
class LayerPath:
    """The layers of a network, first to last: `points` (seeds, layers, 2)."""

    name: str
    layers: tuple[str, ...]
    points: np.ndarray


@apply_style
def draw_mds_map(
    paths: Sequence[LayerPath],
    landmarks: dict[str, np.ndarray],
    caption: str,
    style: FigureStyle = PLAIN,
) -> Figure:
    """Return a figure with a path through the layers of each network.

    The numbers in the markers are those of the layers in the key. With several seeds each has a
    faint path, and the marked one goes through their mean. Only distances have a meaning, so there
    are no axes but a bar.

    Args:
        paths: the networks.
        landmarks: single named points (2,), such as pixels and labels.
        caption: the meaning of the bar's length.
    """
    layers = list(dict.fromkeys(layer for path in paths for layer in path.layers))
    points = np.concatenate(
        [path.points.reshape(-1, 2) for path in paths]
        + [np.reshape(list(landmarks.values()), (-1, 2))]
    )
    low, high = points.min(0), points.max(0)
    margin = 0.07 * max(high - low) or 1.0
    x_range, y_range = high - low + 2 * margin
    width = style.width or WIDTH
    map_width = width - KEY - 0.2
    map_height = min(max(map_width * y_range / x_range, MIN_HEIGHT), MAX_HEIGHT)
    height = map_height + BELOW
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.1 / width, BELOW / height, map_width / width, map_height / height))
    axes.set_axis_off()
    axes.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        aspect="equal",
    )
    for name, (x, y) in landmarks.items():
        axes.plot(x, y, "*", color=TEXT, markersize=9, zorder=4)
        axes.annotate(name, (x, y), (0, -7), textcoords="offset points", ha="center", va="top")
    styles = line_styles(len(paths))
    for i, (line, path) in enumerate(zip(styles, paths, strict=True)):
        _draw_path(axes, path, line, layers, zorder=3 + i / len(paths))
    _draw_key(figure, paths, styles, layers)
    if any(len(path.points) > 1 for path in paths):
        caption += ". Faint: single seeds"
    _draw_bar(figure, min(map_width / x_range, map_height / y_range), caption)
    return figure


def _draw_path(
    axes: Axes, path: LayerPath, style: LineStyle, layers: Sequence[str], zorder: float
) -> None:
    if len(path.points) > 1:
        faint: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.35, "markersize": 2.5}
        for points in path.points:
            axes.plot(
                *points.T, color=style.colour, marker=style.marker, markeredgewidth=0, **faint
            )
    mean = path.points.mean(0)
    axes.plot(*mean.T, color=style.colour, linewidth=1.4, zorder=2.5)
    # a triangle's room for a number is off its center
    size, lift = {"^": (11, -1.2), "v": (11, 1.2)}.get(style.marker, (8.5, 0))
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.7}
    text: dict[str, Any] = {"fontsize": 5.5, "ha": "center", "va": "center_baseline"}
    for layer, (x, y) in zip(path.layers, mean, strict=True):
        axes.plot(x, y, style.marker, color=style.colour, markersize=size, zorder=zorder, **edge)
        number = str(layers.index(layer) + 1)
        offset: dict[str, Any] = {"xytext": (0, lift), "textcoords": "offset points"}
        axes.annotate(number, (x, y), color=style.text_colour, zorder=zorder, **offset, **text)


def _draw_bar(figure: Figure, inches: float, caption: str) -> None:
    """Draw a bar of a round length, up to 0.8 inches; `inches` is the size of 1."""
    power = 10.0 ** np.floor(np.log10(0.8 / inches))
    length = max(step * power for step in (1, 2, 5) if step * power <= 0.8 / inches)
    width, height = figure.get_size_inches()
    y = 0.19 / height
    x = np.array([0.1, 0.1 + length * inches])
    figure.add_artist(Line2D(x / width, [y, y], color=TEXT, linewidth=1.5, solid_capstyle="butt"))
    figure.text(x.mean() / width, y + 0.05 / height, f"{length:g}", ha="center", va="bottom")
    left = x[1] + 0.15
    caption = fill(caption, int((width - left) / LETTER))
    figure.text(left / width, y, caption, va="center", color=GREY)


def _draw_key(
    figure: Figure, paths: Sequence[LayerPath], styles: Sequence[LineStyle], layers: Sequence[str]
) -> None:
    """Draw the networks' names with their markers, and below them the layers' numbers."""
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linewidth": 1.4}
    lines = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=6.5, **edge)
        for style in styles
    ]
    numbers = [
        Line2D(
            [], [], linestyle="", marker=f"${i + 1}$", color=TEXT, markersize=4.5, markeredgewidth=0
        )
        for i in range(len(layers))
    ]
    width, height = figure.get_size_inches()
    box: dict[str, Any] = {
        "frameon": False,
        "borderaxespad": 0,
        "borderpad": 0,
        "loc": "upper left",
    }
    x, y = 1 - KEY / width, 1 - 0.15 / height
    names = [path.name for path in paths]
    figure.add_artist(figure.legend(lines, names, bbox_to_anchor=(x, y), **box))
    below = y - (0.2 + LINE * len(paths)) / height
    figure.legend(numbers, list(layers), bbox_to_anchor=(x, below), **box)
