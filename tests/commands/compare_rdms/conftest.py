"""Fixtures of comparisons; the tests of this folder can import comparisons.py."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from comparisons import N, noisy, store, subjects


@pytest.fixture
def network(tmp_path):
    return store(tmp_path / "net.h5", {"one": noisy(1).reshape(N, 3, 2), "two": noisy(2)})


@pytest.fixture
def brain(tmp_path):
    names = tuple("abcde")
    layers = {
        "V1": (subjects(5, 10), names, "correlation"),
        "IT": (subjects(5, 20), names, "correlation"),
        "model": (subjects(1, 30), (), "mse"),
    }
    return store(
        tmp_path / "brain.h5", layers | {"ape": (subjects(2, 40), ("x", "y"), "correlation")}
    )
