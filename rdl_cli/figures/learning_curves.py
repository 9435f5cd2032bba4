"""Error through training, as in Figs. 2 and 5: each method's mean over seeds and their range."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rdl_cli.figures.style import (
    GREY,
    LETTER,
    LINE,
    PLAIN,
    FigureStyle,
    LineStyle,
    apply_style,
    format_error_axis,
    label_line_ends,
    line_styles,
)

WIDTH, HEIGHT = 7.0, 2.9  # inches: two columns of a journal
LEFT, BELOW, ABOVE, BETWEEN = 0.5, 0.62, 0.25, 0.3
CAPTION = (
    "Lines: mean of up to {seeds} seeds. Bands: lowest to highest."
    " ±: standard deviation between seeds."
)
CAPTION_LETTER = 0.058


@dataclass(frozen=True, eq=False)
class Curve:
    """A method's error rates (not percent) after each epoch, both (seeds, epochs)."""

    name: str
    training: np.ndarray
    validation: np.ndarray


@apply_style
def draw_learning_curves(methods: Sequence[Curve], style: FigureStyle = PLAIN) -> Figure:
    """Return a figure of training error beside validation error.

    Each method is named where its validation curve ends, with that value. The axis is logarithmic
    down to the smallest error, and linear from there to 0. There is no test error: test images are
    read once, after the last epoch.
    """
    full_width = style.width or WIDTH
    seeds = max(len(method.validation) for method in methods)
    caption = CAPTION.format(seeds=seeds) if seeds > 1 else ""
    caption = fill(caption, int((full_width - LEFT) / CAPTION_LETTER))
    below = BELOW + LINE * caption.count("\n")
    height = HEIGHT + below - BELOW
    figure = Figure(figsize=(full_width, height))
    names = [_name_with_error(method) for method in methods]
    width = (full_width - LEFT - BETWEEN - 0.45 - LETTER * max(map(len, names))) / 2
    box = {
        "bottom": below / height,
        "top": 1 - ABOVE / height,
        "left": LEFT / full_width,
        "right": (LEFT + BETWEEN + 2 * width) / full_width,
    }
    grid = figure.add_gridspec(1, 2, wspace=BETWEEN / width, **box)
    training = figure.add_subplot(grid[0])
    validation = figure.add_subplot(grid[1], sharey=training)
    validation.tick_params(labelleft=False)
    values = [100 * part for method in methods for part in (method.training, method.validation)]
    format_error_axis(training, np.concatenate([part.ravel() for part in values]))
    for line, method in zip(line_styles(len(methods)), methods, strict=True):
        _draw_curve(training, 100 * method.training, line)
        _draw_curve(validation, 100 * method.validation, line)
    is_narrow = width < LETTER * len("validation, after each epoch")
    training.set_title("training" if is_narrow else "training, during each epoch", loc="left")
    title = "validation" if is_narrow else "validation, after each epoch"
    validation.set_title(title, loc="left")
    training.set_ylabel("error (%), logarithmic")
    for axes in (training, validation):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
        axes.set_axisbelow(True)
    ends = [(m.validation.shape[1], 100 * m.validation[:, -1].mean()) for m in methods]
    label_line_ends(validation, names, ends, gap=LINE / (height - below - ABOVE))
    figure.text(LEFT / full_width, 0.08 / height, caption, color=GREY)
    return figure


def _draw_curve(axes: Axes, percent: np.ndarray, style: LineStyle) -> None:
    epochs = np.arange(1, percent.shape[1] + 1)
    mean = percent.mean(0)
    if len(percent) > 1:
        low, high = percent.min(0), percent.max(0)
        axes.fill_between(epochs, low, high, color=style.colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, mean, color=style.colour, linewidth=1.2, solid_capstyle="round")
    axes.plot(
        epochs[-1:],
        mean[-1:],
        style.marker,
        color=style.colour,
        markersize=4,
        clip_on=False,
        zorder=3,
    )


def _name_with_error(method: Curve) -> str:
    """Return the method's name and its last validation error in percent."""
    last = 100 * method.validation[:, -1]
    spread = f" ± {last.std(ddof=1):.2f}" if len(last) > 1 else ""
    return f"{method.name}  {last.mean():.2f}{spread}"
