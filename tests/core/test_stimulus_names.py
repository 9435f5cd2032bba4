"""Names of stimuli match by one rule: equal, or equal without folders and image suffix."""

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.stimulus_names import find_names, match_stimuli, shorten_name


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("face.png", "face"),
        ("a/b/face.JPEG", "face"),
        ("a\\face.tif", "face"),
        ("001.Albatross", "001.Albatross"),
        ("001.Albatross.png", "001.Albatross"),
        ("v1.2", "v1.2"),
        (".png", ".png"),
        ("a\u0308", "\u00e4"),
    ],
)
def test_shorten_name_cuts_folders_and_image_suffixes_only(name, short):
    assert shorten_name(name) == short


def test_find_names_prefers_equal_names_and_leaves_ambiguous_ones():
    assert find_names(["a", "b.png", "c"], ["b", "a", "a.png"]) == [1, 0, -1]
    assert find_names(["a"], ["x/a.png", "y/a.png"]) == [-1]
    assert find_names(["y/a.png"], ["x/a.png", "y/a.png"]) == [1]


def test_match_stimuli_names_what_is_missing_or_repeated():
    with pytest.raises(UserError, match="1 of 2 stimuli have no image of their name: c"):
        match_stimuli(["a", "c"], ["a", "b"], "image")
    with pytest.raises(UserError, match="two stimuli match the image `a`"):
        match_stimuli(["a", "a.png"], ["a", "b"], "image")
