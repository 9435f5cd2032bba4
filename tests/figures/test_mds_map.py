"""Maps: points where they were put, one scale for both directions, a bar that measures it."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.lines import Line2D

from rdl_cli.figures.mds_map import LayerPath, draw_mds_map
from rdl_cli.figures.style import line_styles

RNG = np.random.default_rng(6)
LANDMARKS = {"pixels": np.array([-1.0, 0.0]), "labels": np.array([1.0, 0.0])}


def track(
    name: str, layers: tuple[str, ...] = ("pool1", "pool2", "fc"), seeds: int = 1
) -> LayerPath:
    course = np.stack(
        [np.linspace(-0.5, 0.5, len(layers)), np.full(len(layers), RNG.uniform(0.2, 0.8))], 1
    )
    return LayerPath(name, layers, course + RNG.normal(0, 0.02, (seeds, len(layers), 2)))


def test_draw_mds_map_shows_paths_and_numbers_of_layers(legible):
    one = track("RDL")
    figure = draw_mds_map([one], LANDMARKS, "1 − r")
    (axes,) = figure.axes
    assert axes.lines[2].get_xydata() == pytest.approx(one.points[0])
    numbers = {text.get_text(): text.xy for text in axes.texts}
    for k, point in enumerate(one.points[0]):
        assert numbers[str(k + 1)] == pytest.approx(point)
    for name, point in LANDMARKS.items():
        assert numbers[name] == pytest.approx(point)
    assert {"RDL", "pool1", "pool2", "fc", "pixels", "labels", "1 − r"} <= set(
        legible(figure, apart=False)
    )


def test_draw_mds_map_shows_faint_seeds_and_their_mean(legible):
    one = track("RDL", seeds=3)
    figure = draw_mds_map([one, track("Baseline")], LANDMARKS, "caption")
    lines = figure.axes[0].lines
    faint = [line for line in lines if line.get_alpha()]
    assert np.stack([line.get_xydata() for line in faint]) == pytest.approx(one.points)
    assert lines[2 + len(faint)].get_xydata() == pytest.approx(one.points.mean(0))
    assert all(same_color(line.get_color(), line_styles(1)[0].colour) for line in faint)
    assert "caption. Faint: single seeds" in legible(figure, apart=False)


@pytest.mark.parametrize("stretch", [(1, 1), (1, 0.01), (0.01, 1), (1e-3, 1e-3), (40, 90)])
def test_draw_mds_map_has_one_scale_and_its_bar(stretch, legible):
    path = track("RDL")
    marks = {name: point * stretch for name, point in LANDMARKS.items()}
    figure = draw_mds_map([LayerPath("RDL", path.layers, path.points * stretch)], marks, "1 − r")
    words = legible(figure, apart=False)
    (axes,) = figure.axes
    (x0, y0), (x1, y1), (x2, y2) = axes.transData.transform([(0, 0), (1, 0), (0, 1)]) / figure.dpi
    assert x1 - x0 == pytest.approx(y2 - y0) and y1 == pytest.approx(y0) and x2 == pytest.approx(x0)
    (bar,) = (line for line in figure.get_children() if isinstance(line, Line2D))
    inches = np.ptp(bar.get_xdata()) * figure.get_figwidth()
    length = float(words[words.index("1 − r") - 1])
    assert inches == pytest.approx(length * (x1 - x0)) and 0.2 < inches <= 0.81


def test_draw_mds_map_has_one_key_for_all_layers(legible):
    words = legible(
        draw_mds_map([track("net"), track("resnet", ("fc", "layer4"))], LANDMARKS, ""), apart=False
    )
    assert [word for word in words if word in ("pool1", "pool2", "fc", "layer4")] == [
        "pool1",
        "pool2",
        "fc",
        "layer4",
    ]
    assert words.count("3") == 2 and words.count("4") == 1


def test_draw_mds_map_takes_ten_networks_and_points_in_one_place(legible):
    legible(
        draw_mds_map([track(f"Method {k}", seeds=2) for k in range(10)], LANDMARKS, "word " * 40),
        apart=False,
    )
    nowhere = {name: np.zeros(2) for name in LANDMARKS}
    legible(
        draw_mds_map([LayerPath("RDL", ("fc",), np.zeros((1, 1, 2)))], nowhere, ""), apart=False
    )
