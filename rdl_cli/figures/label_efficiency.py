"""Test error over the number of labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rdl_cli.figures.style import (
    GREY,
    LETTER,
    LINE,
    PLAIN,
    FigureStyle,
    apply_style,
    format_error_axis,
    label_line_ends,
    line_styles,
)

WIDTH, HEIGHT = 4.5, 2.9  # inches
LEFT, BELOW, ABOVE = 0.5, 0.62, 0.12


@dataclass(frozen=True, eq=False)
class Line:
    """A method's test error rates (not percent) of its seeds, by number of labelled images.

    The numbers are in ascending order.
    """

    name: str
    points: dict[int, np.ndarray]


@apply_style
def draw_label_efficiency(lines: Sequence[Line], style: FigureStyle = PLAIN) -> Figure:
    """Return a figure of test error over labelled images, both axes logarithmic.

    A line goes through the means over seeds; every seed is a faint point.
    """
    width = style.width or WIDTH
    figure = Figure(figsize=(width, HEIGHT))
    right = width - 0.35 - LETTER * max(len(line.name) for line in lines)
    axes = figure.add_axes(
        (LEFT / width, BELOW / HEIGHT, (right - LEFT) / width, (HEIGHT - BELOW - ABOVE) / HEIGHT)
    )
    axes.set_xscale("log")
    format_error_axis(
        axes, np.concatenate([100 * errors for line in lines for errors in line.points.values()])
    )
    for look, line in zip(line_styles(len(lines)), lines, strict=True):
        for count, errors in line.points.items():
            axes.plot(
                [count] * len(errors),
                100 * errors,
                look.marker,
                color=look.colour,
                markersize=2.5,
                alpha=0.4,
                markeredgewidth=0,
            )
        means = [100 * errors.mean() for errors in line.points.values()]
        axes.plot(
            list(line.points),
            means,
            f"{look.marker}-",
            color=look.colour,
            linewidth=1.2,
            markersize=4,
            clip_on=False,
        )
    counts = sorted({count for line in lines for count in line.points})
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("labelled images, logarithmic")
    axes.set_ylabel("test error (%), logarithmic")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    ends = [(max(line.points), 100 * float(line.points[max(line.points)].mean())) for line in lines]
    label_line_ends(axes, [line.name for line in lines], ends, gap=LINE / (HEIGHT - BELOW - ABOVE))
    seeds = max(len(errors) for line in lines for errors in line.points.values())
    figure.text(
        LEFT / width,
        0.08 / HEIGHT,
        f"Lines: mean of up to {seeds} seeds. Faint points: single seeds.",
        color=GREY,
    )
    return figure
