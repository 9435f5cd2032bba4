"""Means over an epoch, and error rates."""

import math

import pytest
import torch
from loops import make_fabric

from rdl_cli.core.errors import Diverged
from rdl_cli.training.metrics import EpochTotals, error_rate
from rdl_cli.training.objective import Term

LOGITS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])


def test_error_rate_counts_the_wrong_argmax():
    assert error_rate(LOGITS, torch.tensor([0, 0, 0, 0])) == 0.5


def test_epoch_totals_are_unweighted_means_and_ignore_images_without_a_label():
    totals = EpochTotals(torch.device("cpu"))
    for step, value in enumerate((1.0, 4.0)):
        labels = torch.tensor([0, 0, -1, -1])
        totals.add(step, LOGITS, labels, {"task": Term(torch.tensor(value), 0.5)})
    row = totals.to_row(0, make_fabric())
    assert row == {"train/task": 2.5, "train_error": 0.5, "weight/task": 0.5}


def test_epoch_totals_name_the_first_terms_that_are_not_finite():
    totals = EpochTotals(torch.device("cpu"))
    for step, bad in enumerate((1.0, math.inf, math.nan)):
        terms = {"task": Term(torch.tensor(1.0), 1.0), "rdl/fc": Term(torch.tensor(bad), 1.0)}
        totals.add(step, LOGITS, torch.zeros(4), terms)
    with pytest.raises(Diverged, match="not finite: `rdl/fc` in epoch 3, step 2"):
        totals.to_row(2, make_fabric())
