"""`rdl plot rsa` of a brain: values, ceilings, n, and regions that are not known."""

import pytest

from rdl_cli.commands.plot.rsa import plot_rsa
from rdl_cli.commands.plot.rsa_settings import RsaSettings
from rdl_cli.core.errors import UserError

SMALL = {"n_resamples": 0, "device": "cpu"}


def test_plot_rsa_draws_the_layers_below_the_ceiling_of_each_region(brain_store, tmp_path):
    out = tmp_path / "rsa.svg"
    figure = plot_rsa([brain_store], [out], RsaSettings(**SMALL))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "IT\n5 subjects"
    assert "noise ceiling" in [text.get_text() for text in axes.texts]
    assert "40 stimuli" in [text.get_text() for text in figure.texts]
    assert out.stat().st_size > 1000


def test_plot_rsa_without_a_region_asks_for_one(brain_store, tmp_path):
    with pytest.raises(UserError, match="none of V4, IT@mean has several subjects"):
        plot_rsa(
            [brain_store], [tmp_path / "r.png"], RsaSettings(layers=["V4", "IT@mean"], **SMALL)
        )
