"""Representations as points in the plane, the layers of each network joined by a path, as in Figs. 4 and 6."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdl_cli.figures.style import GREY, TEXT, LineStyle, apply_style, line_styles

WIDTH = 7.0  # inches: two columns of a journal
LOWEST, HIGHEST = 2.4, 5.5  # of the map
KEY, BELOW, LINE = 1.5, 0.48, 0.16  # to the right of it, below it, a line of the key
LETTER = 0.066


@dataclass(frozen=True, eq=False)
class LayerPath:
    """Where the layers of a network lie, first to last: `points` (seeds, layers, 2)."""

    name: str
    layers: tuple[str, ...]
    points: np.ndarray


@apply_style
def draw_mds_map(
    tracks: Sequence[LayerPath], landmarks: dict[str, np.ndarray], said: str
) -> Figure:
    """A path through the layers of each network; `landmarks` (2,) such as pixels and labels are single named points.

    The numbers in the markers are those of the layers in the key. Of several seeds each has a faint path, and the marked one
    goes through their mean. Only distances mean anything, so there are no axes but a bar, and `said` tells what it measures.
    """
    layers = list(dict.fromkeys(layer for track in tracks for layer in track.layers))
    points = np.concatenate(
        [track.points.reshape(-1, 2) for track in tracks]
        + [np.reshape(list(landmarks.values()), (-1, 2))]
    )
    low, high = points.min(0), points.max(0)
    margin = 0.07 * max(high - low) or 1.0
    wide, tall = high - low + 2 * margin
    room = WIDTH - KEY - 0.2
    map_height = min(max(room * tall / wide, LOWEST), HIGHEST)
    height = map_height + BELOW
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.1 / WIDTH, BELOW / height, room / WIDTH, map_height / height))
    axes.set_axis_off()
    axes.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        aspect="equal",
    )
    for name, (x, y) in landmarks.items():
        axes.plot(x, y, "*", color=TEXT, markersize=9, zorder=4)
        axes.annotate(name, (x, y), (0, -7), textcoords="offset points", ha="center", va="top")
    chosen = line_styles(len(tracks))
    for i, (look, track) in enumerate(zip(chosen, tracks, strict=True)):
        _draw(axes, track, look, layers, above=3 + i / len(tracks))
    _key(figure, tracks, chosen, layers)
    _bar(
        figure,
        min(room / wide, map_height / tall),
        said + (". Faint: single seeds" if any(len(track.points) > 1 for track in tracks) else ""),
    )
    return figure


def _draw(
    axes: Axes, track: LayerPath, look: LineStyle, layers: Sequence[str], above: float
) -> None:
    if len(track.points) > 1:
        for points in track.points:
            axes.plot(
                *points.T,
                color=look.colour,
                linewidth=0.6,
                alpha=0.35,
                marker=look.marker,
                markersize=2.5,
                markeredgewidth=0,
            )
    mean = track.points.mean(0)
    axes.plot(*mean.T, color=look.colour, linewidth=1.4, zorder=2.5)
    size, lift = {"^": (11, -1.2), "v": (11, 1.2)}.get(
        look.marker, (8.5, 0)
    )  # a triangle's room for a number is off its centre
    for layer, (x, y) in zip(track.layers, mean, strict=True):
        axes.plot(
            x,
            y,
            look.marker,
            color=look.colour,
            markersize=size,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=above,
        )
        how: dict[str, Any] = {
            "color": look.on_it,
            "fontsize": 5.5,
            "ha": "center",
            "va": "center_baseline",
            "zorder": above,
        }
        axes.annotate(
            str(layers.index(layer) + 1), (x, y), (0, lift), textcoords="offset points", **how
        )


def _bar(figure: Figure, inches: float, said: str) -> None:
    """A bar of a round length, up to 0.8 inches, and beside it what it measures; `inches` is the size of 1."""
    power = 10.0 ** np.floor(np.log10(0.8 / inches))
    length = max(step * power for step in (1, 2, 5) if step * power <= 0.8 / inches)
    height = figure.get_figheight()
    y = 0.19 / height
    x = np.array([0.1, 0.1 + length * inches])
    figure.add_artist(Line2D(x / WIDTH, [y, y], color=TEXT, linewidth=1.5, solid_capstyle="butt"))
    figure.text(x.mean() / WIDTH, y + 0.05 / height, f"{length:g}", ha="center", va="bottom")
    left = x[1] + 0.15
    figure.text(left / WIDTH, y, fill(said, int((WIDTH - left) / LETTER)), va="center", color=GREY)


def _key(
    figure: Figure, tracks: Sequence[LayerPath], chosen: Sequence[LineStyle], layers: Sequence[str]
) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            markersize=6.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            linewidth=1.4,
        )
        for look in chosen
    ]
    height = figure.get_figheight()
    how: dict[str, Any] = {
        "frameon": False,
        "borderaxespad": 0,
        "borderpad": 0,
        "loc": "upper left",
    }
    x, y = 1 - KEY / WIDTH, 1 - 0.15 / height
    figure.add_artist(
        figure.legend(handles, [track.name for track in tracks], bbox_to_anchor=(x, y), **how)
    )
    numbers = [
        Line2D(
            [], [], linestyle="", marker=f"${i + 1}$", color=TEXT, markersize=4.5, markeredgewidth=0
        )
        for i in range(len(layers))
    ]
    figure.legend(
        numbers, list(layers), bbox_to_anchor=(x, y - (0.2 + LINE * len(tracks)) / height), **how
    )
