"""`rdl plot stimuli` of a brain with images, and of one with gaps."""

import numpy as np
import pytest

from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.plot.stimuli import plot_stimuli
from rdl_cli.core.errors import UserError


def test_plot_stimuli_draws_a_thumbnail_for_each_stimulus_and_says_n(brain_store, tmp_path):
    settings = HeatmapSettings(layers=["V4"], device="cpu")
    figure = plot_stimuli([brain_store], [tmp_path / "s.png"], settings)
    (axes,) = figure.axes
    assert len(axes.images) == 40
    caption = " ".join(text.get_text() for text in figure.texts)
    assert "40 stimuli" in caption and "Stress-1" in caption


def test_plot_stimuli_refuses_missing_distances(synthetic_brain, tmp_path):
    rdm = synthetic_brain.rdm.copy()
    rdm[:3] = np.nan
    store = synthetic_brain.write(tmp_path / "gaps.h5", {"IT": rdm[None]})
    with pytest.raises(UserError, match="3 distances of `IT` were not measured"):
        plot_stimuli([store], [tmp_path / "s.png"], HeatmapSettings(layers=["IT"], device="cpu"))
    assert not (tmp_path / "s.png").exists()
