"""A wrong name teaches the right one."""

import pytest

from rdl_cli.core.errors import MANY_NAMES, UserError, did_you_mean, unknown_name


@pytest.mark.parametrize(
    ("typed", "meant"), [("corelation", "correlation"), ("MSE", "mse"), ("eucl", "euclidean")]
)
def test_the_nearest_name_is_offered(typed: str, meant: str) -> None:
    assert (
        did_you_mean(typed, ["mse", "Euclidean", "correlation"]).lower()
        == f"; did you mean `{meant}`?"
    )


def test_nothing_is_offered_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["mse", "cosine"]) == ""
    assert did_you_mean("mse", []) == ""


def test_unknown_lists_what_there_is() -> None:
    error = unknown_name("distance", "corelation", ["mse", "correlation"])
    assert str(error) == "there is no distance `corelation`; did you mean `correlation`?"
    assert error.hint == "a distance is one of: correlation, mse"
    assert unknown_name("objective", "x", ["rdl"]).hint == "an objective is one of: rdl"
    assert unknown_name("layer", "x", []).hint is None
    assert unknown_name("layer", "x", ["y"], hint="rdl layers").hint == "rdl layers"


def test_very_many_names_are_not_all_listed() -> None:
    error = unknown_name("network", "resnet18", [f"net{i}" for i in range(500)] + ["resnet-18"])
    assert error.hint is not None
    assert error.hint.count("net") < 2 * MANY_NAMES
    assert "resnet-18" in error.hint
    assert error.hint.endswith("… (501 in all)")


def test_a_fact_and_its_hint() -> None:
    assert UserError("store holds 3 stimuli").hint is None
    assert UserError("store holds 3 stimuli", hint="export more").hint == "export more"
