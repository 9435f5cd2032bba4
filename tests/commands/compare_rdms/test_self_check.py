"""Copies of representations: the measures give what theory says."""

import numpy as np
import pytest
import torch
from comparisons import QUICK, store, subjects

from rdl_cli.commands.compare_rdms.self_check import INVARIANT_TO_OFFSET_OF_DISTANCES, self_check
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.rsa.measures import MEASURES, measure_traits


@pytest.mark.parametrize("name", MEASURES.names())
def test_self_check_of_copies_gives_what_theory_says(name, network, brain):
    spec = QUICK.get(name, name)
    sources = (
        [network] if measure_traits(MEASURES.find(name)).input == "kernel" else [network, brain]
    )
    for distance in ("mse", "correlation"):
        result = self_check(
            sources, CompareRdmsSettings(measure=[spec], distance=distance, device="cpu")
        )
        assert result.passed and result.as_dict()["passed"]
        checks = {(check.layer.rpartition("/")[2], check.copy): check for check in result.checks}
        assert all(checks["one", copy].expected is not None for copy in ("identical", "scaled"))
        if name in ("jsd", "skl"):
            assert checks["one", "offset"].expected is None and checks["one", "offset"].value > 0.01
    if measure_traits(MEASURES.find(name)).input == "rdm":
        assert (checks["V1", "offset"].expected is None) == (
            name not in INVARIANT_TO_OFFSET_OF_DISTANCES
        )
        assert (
            checks["one", "rotated"].expected is None
            and abs(checks["one", "rotated"].value - 1) > 1e-3
        )  # not blind: correlation


def test_self_check_can_fail(network, monkeypatch):
    monkeypatch.setattr(
        "rdl_cli.commands.compare_rdms.self_check.rotate",
        lambda reps, generator: reps * torch.arange(1, reps.shape[1] + 1),
    )
    result = self_check([network], CompareRdmsSettings(measure=["cka"], device="cpu"))
    assert not result.passed and {
        check.copy for check in result.checks if check.passed is False
    } == {"rotated"}


def test_self_check_of_ties_has_its_theory(tmp_path):
    path = store(tmp_path / "s.h5", {"x": (np.round(subjects(1, 3), 1), (), "mse")})
    result = self_check([path], CompareRdmsSettings(measure=["rho-a", "tau-a"], device="cpu"))
    assert result.passed and all(0.5 < check.expected < 1 for check in result.checks)
