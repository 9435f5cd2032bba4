"""How long is trained, on which images: settings turned into splits, epochs and steps."""

import math
from dataclasses import dataclass

import torch

from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.subsets import labelled_subset

EVALUATIONS = 50
"""With --max-steps an epoch is at least a fiftieth of them: a pass over 100 labelled images is one step, and would be validated each time."""


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained on what, for how long."""

    labelled: Split
    unlabelled: Split | None
    epochs: int
    steps: int  # in an epoch
    total: int
    """Steps in all: the last epoch is shorter where they are no multiple."""

    @classmethod
    def of(cls, settings: TrainingSettings, train: Split, seeds: Seeds) -> "TrainingPlan":
        labelled, unlabelled = train, None
        if settings.train_size is not None:
            rows = labelled_subset(train, settings.train_size, seeds("labelled"))
            labelled = train.at(rows)
            if settings.use_unlabelled and len(rows) < len(train):
                rest = torch.ones(len(train), dtype=torch.bool)
                rest[rows] = False
                unlabelled = train.at(rest.nonzero().flatten())
        return cls(
            labelled, unlabelled, *count_steps(settings, max(len(labelled), len(unlabelled or ())))
        )

    @property
    def ids(self) -> torch.Tensor:
        return (
            self.labelled.ids
            if self.unlabelled is None
            else torch.cat([self.labelled.ids, self.unlabelled.ids])
        )


def count_steps(settings: TrainingSettings, images: int) -> tuple[int, int, int]:
    """Epochs, steps in an epoch and steps in all; an epoch passes over so many images, the more of labelled and unlabelled ones."""
    once = max(1, images // settings.batch_size)
    if settings.max_steps is None:
        return settings.epochs, once, settings.epochs * once
    epochs = math.ceil(settings.max_steps / max(once, math.ceil(settings.max_steps / EVALUATIONS)))
    return epochs, math.ceil(settings.max_steps / epochs), settings.max_steps
