"""Maps of points keep proportions, within the chart."""

import numpy as np
import pytest

from rdl_cli.report.maps import Path, draw_map


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.array([[0, 0], [1, 0], [2, 0.0]])])
def test_draw_map_draws_coinciding_and_collinear_points_within_the_chart(points):
    chart = draw_map("", [Path(list("abc"), points, 0, list("abc"))])
    assert all(0 <= m.x <= chart.width and 0 <= m.y <= chart.height for m in chart.marks)


def test_draw_map_keeps_proportions():
    points = np.array([[0.0, 0], [2, 0], [0, 1]])
    a, b, c = draw_map("", [Path((), points, 0, list("abc"))]).marks
    assert b.x - a.x == pytest.approx(2 * (a.y - c.y))
