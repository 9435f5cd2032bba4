import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import match_names, select_names

NAMES = ["conv1", "pool1", "pool2", "block.0", "block[0]", "logits"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["pool1"], ["pool1"]),
        (["pool*"], ["pool1", "pool2"]),
        (["logits", "pool*"], ["logits", "pool1", "pool2"]),
        (["pool*", "pool1", "*1"], ["pool1", "pool2", "conv1"]),
        (["block[0]"], ["block[0]"]),  # a name before a glob, which would match none
        (["block.?"], ["block.0"]),
        (["*"], NAMES),
        ([], []),
    ],
)
def test_select_names_keeps_the_order_of_the_patterns(patterns, expected):
    assert select_names(patterns, NAMES) == expected


def test_select_names_is_case_sensitive():
    with pytest.raises(UserError, match=r"there is no layer `Pool1`; did you mean `pool1`\?"):
        select_names(["Pool1"], NAMES)


def test_select_names_refuses_a_pattern_without_a_match():
    with pytest.raises(UserError, match=r"there is no region `poll\*`; did you mean `pool") as e:
        select_names(["pool1", "poll*"], iter(NAMES), "region")
    assert all(name in (e.value.hint or "") for name in NAMES)


def test_match_names_returns_none_without_a_match():
    assert match_names("x*", NAMES) == [] and match_names("pool?", iter(NAMES)) == NAMES[1:3]
