"""Styles differ without colour, and labels beside curves do not overlap."""

from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rdl_cli.figures.style import (
    CLASS_COLOURS,
    COLOURS,
    MARKERS,
    PLAIN,
    STYLE,
    FigureStyle,
    apply_style,
    line_styles,
    log_ticks,
    luminance,
    round_ticks,
    spread_labels,
)


def lightness(colour: str) -> float:
    """CIE L*, 0 to 100."""
    y = luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_luminance_is_that_of_the_standard():
    assert [luminance(c) for c in ("black", "white", "#ff0000", "#00ff00")] == pytest.approx(
        [0, 1, 0.2126, 0.7152]
    )
    assert luminance("#808080") == pytest.approx(0.2159, abs=1e-4)


def test_colours_differ_on_a_grey_printer():
    assert min(abs(lightness(a) - lightness(b)) for a, b in combinations(COLOURS[:4], 2)) > 15
    assert min(abs(lightness(a) - lightness(b)) for a, b in combinations(COLOURS, 2)) > 3.5
    assert max(map(lightness, COLOURS)) < 80, "a line on white needs some darkness"
    assert (
        min(
            abs(lightness(a) - lightness(b))
            for a, b in pairwise((*CLASS_COLOURS, CLASS_COLOURS[0]))
        )
        > 15
    )


def test_line_styles_differ():
    many = line_styles(len(COLOURS) * len(MARKERS))
    assert len(set(many)) == len(many)
    assert (
        len({style.marker for style in line_styles(8)})
        == len({style.colour for style in line_styles(8)})
        == 8
    )


@pytest.mark.parametrize("style", line_styles(8))
def test_line_styles_have_a_readable_text_colour(style):
    """Contrast as WCAG defines it, at least 3:1 as for large type."""
    pair = sorted([luminance(style.colour), luminance(style.text_colour)])
    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.3))
def test_spread_labels_moves_no_further_than_needed(positions, gap):
    spread = spread_labels(positions, gap)
    order = np.argsort(positions, kind="stable")
    steps = np.diff(np.array(spread)[order])
    assert (steps >= gap - 1e-9).all()
    assert sum(spread) == pytest.approx(sum(positions))
    if (np.diff(np.sort(positions)) >= gap).all():
        assert spread == pytest.approx(positions)


def test_apply_style_restores_the_settings():
    before = dict(matplotlib.rcParams)
    size = apply_style(lambda: Figure().text(0, 0, "x").get_fontsize())()
    assert (
        size == STYLE["font.size"] != matplotlib.rcParams["font.size"]
        and dict(matplotlib.rcParams) == before
    )


@pytest.mark.parametrize("low,high", [(0, 1), (0.17, 0.93), (3, 3.001), (0, 12345), (-2, 7)])
def test_round_ticks_are_two_to_six_numbers_within_the_bounds(low, high):
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert low - 1e-9 <= min(ticks) and max(ticks) <= high + 1e-9


@pytest.mark.parametrize("low,high", [(0.3, 40), (20, 90), (8.1, 9.4), (0.011, 0.013), (1, 1e6)])
def test_log_ticks_are_at_least_three(low, high):
    ticks = log_ticks(low, high)
    assert len(ticks) >= 3 and all(low <= tick <= high for tick in ticks)


def test_apply_style_lets_a_users_style_win():
    @apply_style
    def size(style: FigureStyle = PLAIN) -> float:
        return matplotlib.rcParams["font.size"]

    assert size() == STYLE["font.size"]
    assert size(style=FigureStyle(settings={"font.size": 11})) == 11
