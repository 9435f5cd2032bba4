"""What options say."""

import pytest

from rdl_cli.commands.plot.plot_data import Wanted
from rdl_cli.commands.settings import Export, Student, words


@pytest.mark.parametrize(
    ("texts", "found"),
    [(["a,b", "c"], ["a", "b", "c"]), (["a, b,"], ["a", "b"]), ([" a b "], ["a b"]), (["", ","], []), ([], [])],
)
def test_words_are_separated_by_commas_or_repeated(texts, found):
    assert words(texts) == Export(layers=texts).layer_names() == Wanted(texts).patterns == found


def test_shares_take_a_trailing_comma():
    assert Student(share=["rsa=0.1, kd=.2,"]).shares() == {"rsa": 0.1, "kd": 0.2}
