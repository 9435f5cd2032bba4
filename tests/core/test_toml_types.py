"""What a value of TOML can be taken for."""

from pathlib import Path
from typing import Literal

import pytest

from rdl_cli.core.toml_types import has_type, type_name


@pytest.mark.parametrize(
    ("kind", "good", "bad", "words"),
    [
        (int, [3], [True, 3.0, "3"], "a whole number"),
        (float, [3, 0.5], [True, "0.5", [0.5]], "a number"),
        (bool, [True], [1, "yes"], "true or false"),
        (str, ["a"], [3, ["a"]], "a text"),
        (Path | None, ["a"], [3], "a text"),
        (int | None, [3], [True, 3.5], "a whole number"),
        (list[str], [[], ["a"]], ["a", [3]], "a list of texts"),
        (list[Path], [["a"]], ["a"], "a list of texts"),
        (Literal["a", "b"], ["a"], ["c"], "'a' or 'b'"),
    ],
)
def test_values_fit_their_kind_and_no_other(kind, good, bad, words):
    assert all(has_type(value, kind) for value in good) and not any(
        has_type(value, kind) for value in bad
    )
    assert type_name(kind) == words
