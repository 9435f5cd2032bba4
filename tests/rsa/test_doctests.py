"""The examples in the docstrings of `rdl_cli.rsa` give what they show."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import rdl_cli.rsa

torch.set_num_threads(1)
MODULES = [module.name for module in pkgutil.iter_modules(rdl_cli.rsa.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_doctests_pass(name):
    module = importlib.import_module(f"rdl_cli.rsa.{name}")
    results = doctest.testmod(module, extraglobs={"torch": torch, "np": np})
    assert results.failed == 0


def test_doctests_exist():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(f"rdl_cli.rsa.{name}") for name in MODULES]
    assert sum(bool(test.examples) for m in modules for test in finder.find(m)) >= 25
