"""A run is as long as it was asked to be."""

import pytest
import torch

from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.commands.train.plan import EVALUATIONS, TrainingPlan
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import Split

SPLIT = Split(
    torch.zeros(1000, 1, 2, 2, dtype=torch.uint8),
    torch.arange(1000) % 10,
    torch.arange(1000),
    tuple("0123456789"),
)


@pytest.mark.parametrize("batch_size", [10, 100, 1000])
@pytest.mark.parametrize("steps", [1, 2, 49, 50, 51, 101, 997, 1500])
def test_the_steps_are_exactly_those_asked_for_and_the_last_epoch_has_some(
    steps: int, batch_size: int
) -> None:
    plan = TrainingPlan.of(TrainingSettings(steps=steps, batch_size=batch_size), SPLIT, Seeds(0))
    assert plan.total == steps
    assert (plan.epochs - 1) * plan.steps < steps <= plan.epochs * plan.steps
    assert plan.epochs <= max(EVALUATIONS, steps // (1000 // batch_size) + 1)


def test_epochs_are_passes() -> None:
    plan = TrainingPlan.of(TrainingSettings(epochs=3, batch_size=300), SPLIT, Seeds(0))
    assert (plan.epochs, plan.steps, plan.total) == (3, 3, 9)
