"""Geometry of charts: ticks, positions and names."""

import numpy as np
import pytest

from rdl_cli.report.charts import (
    Row,
    Series,
    Value,
    draw_curves,
    draw_rows,
    group_ends,
    shorten,
)


def test_draw_rows_places_a_larger_value_further_right():
    chart = draw_rows("", [Row("a", Value(1, "a")), Row("b", Value(2, "b"))], "x")
    first, second = chart.marks
    assert first.x < second.x and first.y < second.y


def test_draw_rows_bars_begin_at_zero_for_both_signs():
    rows = [Row("a", Value(-1, "a")), Row("b", Value(2, "b"))]
    negative, positive = draw_rows("", rows, "x", bars=True).marks
    assert negative.x + negative.width == pytest.approx(positive.x)
    assert positive.width == pytest.approx(2 * negative.width)


def test_draw_curves_with_a_logarithmic_axis_draws_zero_at_the_lower_edge():
    x = np.arange(1, 4)
    mean = np.array([10.0, 1.0, 0.0])
    chart = draw_curves("", [Series("m", x, mean, mean, mean, 0)], "epoch", "%", logarithmic=True)
    heights = [mark.y for mark in chart.marks]
    assert heights == sorted(heights) and np.isfinite(heights).all()


def test_group_ends_are_runs_of_equal_names():
    assert group_ends(["a", "a", "b", "a"]) == [("a", 0, 2), ("b", 2, 3), ("a", 3, 4)]


def test_shorten_keeps_short_texts():
    assert shorten("rdl", 100) == "rdl"
    assert shorten("x" * 100, 64) == "x" * 9 + "…"
