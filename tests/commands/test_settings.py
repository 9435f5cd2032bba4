"""What options say."""

import pytest

from rdl_cli.commands.plot.plot_data import LayerSelection
from rdl_cli.commands.settings import ExportSettings, StudentSettings, split_commas


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a,b", "c"], ["a", "b", "c"]),
        (["a, b,"], ["a", "b"]),
        ([" a b "], ["a b"]),
        (["", ","], []),
        ([], []),
    ],
)
def test_words_are_separated_by_commas_or_repeated(texts, found):
    assert (
        split_commas(texts)
        == ExportSettings(layers=texts).layer_names()
        == LayerSelection(texts).patterns
        == found
    )


def test_shares_take_a_trailing_comma():
    assert StudentSettings(grad_fraction=["rsa=0.1, kd=.2,"]).grad_fractions() == {
        "rsa": 0.1,
        "kd": 0.2,
    }
