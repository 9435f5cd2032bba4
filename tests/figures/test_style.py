"""Looks that stay apart without colour, and labels that stay apart beside curves."""

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
    STYLE,
    apply_style,
    line_styles,
    luminance,
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


def test_no_two_looks_are_the_same():
    many = line_styles(len(COLOURS) * len(MARKERS))
    assert len(set(many)) == len(many)
    assert (
        len({look.marker for look in line_styles(8)})
        == len({look.colour for look in line_styles(8)})
        == 8
    )


@pytest.mark.parametrize("look", line_styles(8))
def test_writing_on_a_look_can_be_read(look):
    """Contrast as WCAG defines it, at least 3:1 as for large type."""
    pair = sorted([luminance(look.colour), luminance(look.on_it)])
    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.3))
def test_labels_move_apart_and_no_further_than_needed(wanted, gap):
    found = spread_labels(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    steps = np.diff(np.array(found)[order])
    assert (steps >= gap - 1e-9).all()
    assert sum(found) == pytest.approx(sum(wanted))
    if (np.diff(np.sort(wanted)) >= gap).all():
        assert found == pytest.approx(wanted)


def test_a_styled_figure_leaves_the_settings_as_they_were():
    before = dict(matplotlib.rcParams)
    size = apply_style(lambda: Figure().text(0, 0, "x").get_fontsize())()
    assert (
        size == STYLE["font.size"] != matplotlib.rcParams["font.size"]
        and dict(matplotlib.rcParams) == before
    )
