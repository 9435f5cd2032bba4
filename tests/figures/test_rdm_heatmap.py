"""Heatmaps: the shades are the distances, and every RDM is in its row and column."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from rdl_cli.figures.rdm_heatmap import Panel, Row, draw_heatmaps, to_shades

RNG = np.random.default_rng(4)
DIGITS = tuple(str(k) for k in range(10) for _ in range(3))
OBJECTS = tuple(name for name in ("airplane", "automobile", "bird") for _ in range(4))


def panel(
    name: str, classes: tuple[str, ...] = DIGITS, values: np.ndarray | None = None, n: int = 30
) -> Panel:
    return Panel(
        name,
        pdist(RNG.normal(size=(len(classes) or n, 4))) if values is None else values,
        classes,
        "Euclidean distance",
    )


def pictures(figure) -> dict[str, np.ndarray]:
    """What is drawn in one panel, by title; the colour bar is not among them."""
    drawn = [axes for axes in figure.axes if axes.images and axes.get_xlabel() == ""]
    return {
        axes.get_title() or str(k): np.ma.filled(axes.images[0].get_array(), np.nan)
        for k, axes in enumerate(drawn)
    }


def test_to_shades_ranks_from_0_to_1_and_keeps_ties():
    values = np.array([3.0, 1, 1, 7, 5, 5])
    assert to_shades(values) == pytest.approx(np.array([1.5, 0, 0, 4.5, 3, 3]) / 4.5)
    many = RNG.gamma(2, size=190)
    assert spearmanr(many, to_shades(many)).statistic == pytest.approx(1)
    assert to_shades(np.exp(many)) == pytest.approx(to_shades(many))


def test_to_shades_divides_by_the_largest():
    assert to_shades(np.array([0.0, 1, 4]), lightest=4.0) == pytest.approx([0, 0.25, 1])
    assert to_shades(np.array([2.0, 1, 4]), lightest=8.0) == pytest.approx([0.25, 0.125, 0.5])
    assert to_shades(np.array([-1.0, 0, 3]), lightest=3.0) == pytest.approx(
        [0, 0.25, 1]
    )  # crossnobis distances may be negative


@pytest.mark.parametrize("lightest", [None, 2.0])
def test_to_shades_keeps_nan(lightest):
    shades = to_shades(np.array([1.0, np.nan, 2.0, 1.5, np.nan, 0.5]), lightest)
    assert (
        np.isnan(shades[[1, 4]]).all()
        and np.isfinite(shades[[0, 2, 3, 5]]).all()
        and np.nanmax(shades) == 1
    )


@pytest.mark.parametrize("values", [np.zeros(6), np.full(6, np.nan), np.full(6, 3.0)])
def test_draw_heatmaps_takes_constant_rdms(values):
    measured = np.where(np.isnan(squareform(values, checks=False)), np.nan, 0)
    largest = (
        np.where(measured + np.eye(4) == 0, 1.0, 0) if values[0] == 3 else measured
    )  # of sizes, 3 of 3 is the largest
    for scale, expected in (("rank", measured), ("panel", largest), ("layer", largest)):
        (shades,) = pictures(
            draw_heatmaps([Row("", (panel("x", (), values),))], scale=scale)
        ).values()
        np.testing.assert_array_equal(shades, expected)


def test_draw_heatmaps_puts_every_rdm_in_its_place(legible):
    layers = [panel("pool1"), panel("fc")]
    pixels, labels = panel("pixels"), panel("labels")
    figure = draw_heatmaps([Row("RDL", tuple(layers))], pixels, labels)
    drawn = pictures(figure)
    for one in (*layers, pixels, labels):
        assert drawn[one.name] == pytest.approx(squareform(to_shades(one.values), checks=False))
    left = {axes.get_title(): axes.get_position().x0 for axes in figure.axes}
    assert left["pixels"] < left["pool1"] < left["fc"] < left["labels"]
    words = legible(figure)
    assert "rank of the Euclidean distance within each RDM" in words


def test_draw_heatmaps_scales_layers_over_networks(legible):
    small, large = (pdist(RNG.normal(size=(30, 3))) * size for size in (1, 10))
    rows = [Row("Baseline", (panel("fc", values=small),)), Row("RDL", (panel("fc", values=large),))]
    above, below = pictures(draw_heatmaps(rows, scale="layer")).values()
    assert above == pytest.approx(squareform(small / large.max())) and below.max() == 1
    above, below = pictures(draw_heatmaps(rows, scale="panel")).values()
    assert above.max() == below.max() == 1
    assert {"Baseline", "RDL", "fc"} <= set(legible(draw_heatmaps(rows)))


@pytest.mark.parametrize(
    ("classes", "rows", "columns", "beside"),
    [
        (DIGITS, 6, 4, True),
        (OBJECTS, 3, 3, True),
        (OBJECTS, 2, 6, False),
        (DIGITS, 1, 1, False),
        ((), 1, 1, False),
        ((), 2, 2, True),
    ],
)
def test_draw_heatmaps_cuts_nothing_off(classes, rows, columns, beside, legible):
    sides = (panel("pixels", classes), panel("labels", classes)) if beside else ()
    grid = [
        Row(
            f"Method {r}" if rows > 1 else "",
            tuple(panel(f"layer{c}", classes) for c in range(columns)),
        )
        for r in range(rows)
    ]
    legible(draw_heatmaps(grid, *sides))


def test_draw_heatmaps_names_classes_beside_their_blocks(legible):
    figure = draw_heatmaps([Row("", (panel("IT", OBJECTS),))])
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "airplane",
        "automobile",
        "bird",
    ]
    assert list(axes.get_yticks()) == list(axes.get_xticks()) == [1.5, 5.5, 9.5]


def test_draw_heatmaps_names_no_hundred_classes():
    classes = tuple(f"class {k}" for k in range(100) for _ in range(2))
    assert not len(draw_heatmaps([Row("", (panel("fc", classes),))]).axes[0].get_yticks())


def test_draw_heatmaps_names_layers_and_classes_of_each_row(legible):
    words = legible(
        draw_heatmaps(
            [Row("brain", (panel("IT", OBJECTS),)), Row("network", (panel("fc"), panel("logits")))]
        )
    )
    assert {"IT", "fc", "logits", "bird", "9"} <= set(words) and words.count("bird") == 2


def test_draw_heatmaps_shows_missing_distances_in_grey(legible):
    values = pdist(RNG.normal(size=(30, 2)))
    values[3] = np.nan
    figure = draw_heatmaps([Row("", (panel("IT", values=values),))])
    assert np.isnan(pictures(figure)["IT"][0, 4]) and any(
        "grey: not measured" in word.replace("\n", " ") for word in legible(figure)
    )
