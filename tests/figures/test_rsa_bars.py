"""Bars or lines of similarity: heights, intervals, ceilings, one colour for a source."""

import numpy as np
import pytest

from rdl_cli.figures.rsa_bars import RegionPanel, Similarity, draw_rsa

PANELS = [
    RegionPanel(
        region,
        (
            Similarity("rdl", "pool1", 0.1, 0.0, 0.2),
            Similarity("rdl", "fc", 0.3, 0.2, 0.4),
            Similarity("task", "fc", -0.1, None, None),
        ),
        ceiling,
        n,
    )
    for region, ceiling, n in (("EVC", (0.3, 0.5), 15), ("IT", None, 1))
]


def test_draw_rsa_bars_have_the_heights_of_the_values():
    first, second = draw_rsa(PANELS, "spearman").axes
    heights = [bar.get_height() for bar in first.patches if bar.get_width() == pytest.approx(0.8)]
    assert sorted(heights) == [-0.1, 0.1, 0.3]
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] < -0.1 and first.get_ylim()[1] > 0.5


@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_draw_rsa_shows_intervals_where_they_are_known(kind):
    axes = draw_rsa(PANELS, "spearman", kind).axes[0]
    ends = [
        tuple(line.get_ydata())
        for line in axes.lines
        if len(line.get_xdata()) == 2 and np.ptp(line.get_xdata()) == 0
    ]
    assert sorted(ends) == [(0.0, 0.2), (0.2, 0.4)]


def test_draw_rsa_names_the_ceiling_the_subjects_and_a_source_once():
    figure = draw_rsa(PANELS, "spearman", note="92 stimuli")
    evc, it = figure.axes
    assert [text.get_text() for text in evc.texts] == ["noise ceiling"] and not it.texts
    assert evc.get_title(loc="left") == "EVC\n15 subjects" and it.get_title(loc="left") == "IT"
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("rdl") == texts.count("task") == 1 and "92 stimuli" in texts


def test_draw_rsa_lines_put_equal_layers_at_equal_places():
    axes = draw_rsa(PANELS, "spearman", "lines").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["pool1", "fc"]
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert [line.get_xdata().tolist() for line in lines] == [[0, 1], [1]]


def test_draw_rsa_is_as_wide_as_the_style():
    from rdl_cli.figures.style import FigureStyle

    assert draw_rsa(PANELS, "", style=FigureStyle(width=3.5)).get_figwidth() == 3.5
