"""Error against the number of labelled images: what is drawn is what was measured."""

import numpy as np
import pytest

from rdl_cli.figures.label_efficiency import Line, draw_label_efficiency

RDL = Line("rdl", {100: np.array([0.03, 0.05]), 1000: np.array([0.02, 0.02])})
BASELINE = Line(
    "baseline", {100: np.array([0.1]), 1000: np.array([0.04]), 50_000: np.array([0.006])}
)


def test_draw_label_efficiency_shows_means_and_every_seed():
    axes = draw_label_efficiency([RDL]).axes[0]
    *points, line = axes.lines
    assert line.get_xdata() == pytest.approx([100, 1000]) and line.get_ydata() == pytest.approx(
        [4, 2]
    )
    assert sorted(float(y) for dots in points for y in dots.get_ydata()) == pytest.approx(
        [2, 2, 3, 5]
    )


def test_draw_label_efficiency_names_methods_and_numbers_of_labels(legible):
    words = legible(draw_label_efficiency([RDL, BASELINE]))
    assert {"rdl", "baseline", "100", "1,000", "50,000", "test error (%), logarithmic"} <= set(
        words
    )


def test_draw_label_efficiency_takes_no_error_and_one_number_of_labels(legible):
    legible(draw_label_efficiency([Line("kd", {100: np.array([0.0, 0.0])})]))
