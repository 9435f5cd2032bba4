"""Maps of stimuli: every stimulus at its point, thumbnails or dots, classes named once."""

import numpy as np
import pytest

from rdl_cli.figures.stimulus_map import StimulusMap, draw_stimulus_maps
from rdl_cli.figures.style import FigureStyle

POINTS = np.array([[0.0, 0], [2, 0], [1, 1], [0, 3]])
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
CLASSES = ("face", "face", "house", "house")


def test_draw_stimulus_maps_centers_each_thumbnail_at_its_point():
    (axes,) = draw_stimulus_maps([StimulusMap("IT", POINTS, CLASSES, IMAGES)], "4 stimuli").axes
    extents = np.array([image.get_extent() for image in axes.images])
    centers = np.stack([extents[:, :2].mean(1), extents[:, 2:].mean(1)], 1)
    assert np.allclose(centers, POINTS)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left <= extents[:, 0].min() and right >= extents[:, 1].max()
    assert bottom <= extents[:, 2].min() and top >= extents[:, 3].max()


def test_draw_stimulus_maps_without_images_draws_dots_and_names_classes_once():
    maps = [StimulusMap(name, POINTS, CLASSES, None) for name in ("IT", "EVC")]
    figure = draw_stimulus_maps(maps, "4 stimuli")
    for axes in figure.axes:
        assert np.allclose(axes.collections[0].get_offsets(), POINTS)
        assert len(set(map(tuple, axes.collections[0].get_facecolors()))) == 2
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("face") == texts.count("house") == 1 and "4 stimuli" in texts


@pytest.mark.parametrize("count", [1, 3, 4])
def test_draw_stimulus_maps_keeps_panels_square_within_the_width(count):
    maps = [StimulusMap("IT", POINTS, (), None)] * count
    figure = draw_stimulus_maps(maps, "", style=FigureStyle(width=3.5))
    width, height = figure.get_size_inches()
    assert width == 3.5
    for axes in figure.axes:
        box = axes.get_position()
        assert box.width * width == pytest.approx(box.height * height)
        assert box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0 and box.y1 <= 1
