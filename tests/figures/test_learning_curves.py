"""Error through training: what is drawn is what was measured."""

import numpy as np
import pytest

from rdl_cli.figures.learning_curves import Curve, draw_learning_curves

RNG = np.random.default_rng(2)


def curve(name: str, seeds: int = 3, epochs: int = 10, last: float = 0.02) -> Curve:
    course = last + 0.5 * np.exp(-np.arange(epochs)) + RNG.uniform(0, 0.002, (seeds, epochs))
    return Curve(name, course / 2, course)


def test_draw_learning_curves_shows_means_in_percent_and_ranges():
    one = curve("RDL")
    for axes, errors in zip(
        draw_learning_curves([one]).axes, (one.training, one.validation), strict=True
    ):
        line = axes.lines[0]
        assert list(line.get_xdata()) == list(range(1, 11))
        assert line.get_ydata() == pytest.approx(100 * errors.mean(0))
        vertices = axes.collections[0].get_paths()[0].vertices
        assert vertices[:, 1].min() == pytest.approx(100 * errors.min()) and vertices[
            :, 1
        ].max() == pytest.approx(100 * errors.max())


def test_draw_learning_curves_writes_the_last_validation_error(legible):
    one = Curve("RDL", np.full((2, 3), 0.5), np.array([[0.5, 0.1, 0.02], [0.5, 0.1, 0.04]]))
    words = legible(
        draw_learning_curves([one, Curve("Baseline", one.training[:1], one.validation[:1])])
    )
    assert "RDL  3.00 ± 1.41" in words and "Baseline  2.00" in words


def test_draw_learning_curves_names_the_errors(legible):
    words = " ".join(legible(draw_learning_curves([curve("RDL")])))
    assert "training" in words and "validation" in words and "test" not in words


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_draw_learning_curves_spreads_methods_that_end_together(count, epochs, legible):
    figure = draw_learning_curves([curve(f"Method {k}", epochs=epochs) for k in range(count)])
    legible(figure)
    colours = [line.get_color() for line in figure.axes[1].lines if line.get_marker() == "None"]
    assert len(set(colours)) == count


def test_draw_learning_curves_takes_methods_of_different_lengths(legible):
    figure = draw_learning_curves([curve("long", epochs=12), curve("short", epochs=4)])
    assert [
        len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "None"
    ] == [12, 4]
    legible(figure)


@pytest.mark.parametrize(
    "errors", [np.zeros((2, 5)), np.ones((1, 5)), np.array([[0.9, 0.01, 0, 0, 0]])]
)
def test_draw_learning_curves_takes_no_error(errors, legible):
    axes = draw_learning_curves([Curve("RDL", errors, errors)]).axes[0]
    low, high = axes.get_ylim()
    assert low <= 100 * errors.min() and 100 * errors.max() <= high
    legible(axes.figure)
