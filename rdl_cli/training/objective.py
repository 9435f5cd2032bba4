"""What an objective is: a module that turns one step's taps into named, weighted terms."""

from typing import NamedTuple

import torch
from torch import nn

from rdl_cli.core.registry import Registry
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Logits, Reps, Scalar
from rdl_cli.training.targets import Target

OBJECTIVES = Registry("objective", home="rdl_cli.training.objectives")
"""A member is a subclass of `Objective`; its keyword-only arguments are its options."""


class Progress(NamedTuple):
    """Where training stands; epochs and steps count from 0."""

    epoch: int
    epochs: int
    step: int
    steps: int


class Term(NamedTuple):
    """A part of the loss. The value is logged unweighted; the weight is what it counts in the loss.

    `share` is that of the gradient's norm, which the module measures in the first step of an epoch.
    """

    value: Scalar
    weight: float
    grad_fraction: float = 0.0


class LayerMatch(NamedTuple):
    """A layer of the student and the layer of the teacher that it is to follow."""

    student: str
    teacher: str


class StepContext(NamedTuple):
    """All that one step knows. `comparison_batch` are the images compared with the target (often the batch itself); `reps` are theirs."""

    batch: Batch
    logits: Logits
    comparison_batch: Batch
    reps: dict[str, Reps]
    progress: Progress
    rng: torch.Generator


class ObjectiveContext(NamedTuple):
    """What an objective is made from, beside its own options."""

    matches: tuple[LayerMatch, ...]
    target: Target | None
    shapes: dict[str, tuple[int, ...]]
    classes: int
    calibration: Batch
    """A sample of the images that training will show, to measure a target's size on."""
    seeds: Seeds


class Objective(nn.Module):
    """Adds its terms to the loss. Parameters of its own (heads, regressors) train with the student and never leave with it.

    `share`, where it is set, is the part of the gradient's norm that its terms are to have in the first step; it sets their weight.
    """

    grad_fraction: float | None = None

    def __init__(self, layers: tuple[str, ...], target: Target | None = None):
        super().__init__()
        self.layers = layers
        self.target = target

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """The matches that it takes of those that --match names: all, unless a family says otherwise."""
        return matches

    def check(self, epochs: int, images: int) -> None:
        """UserError where it can't teach in so many epochs, with steps that compare so many images; asked before training."""

    def is_exclusive(self, progress: Progress) -> bool:
        """Whether in this epoch only this objective teaches, and the task and all others are silent (a first stage)."""
        return False

    def warning(self, images: int) -> str | None:
        """What a person should know before training of steps that compare so many images; None where there is nothing."""
        return None

    def terms(self, step: StepContext) -> dict[str, Term]:
        """The step's terms by name, `family/layer`."""
        raise NotImplementedError


def decay_weight(weight: float, progress: Progress, decay: str) -> float:
    """The weight in this epoch: `linear` is α_e = α_0 (1 − e/E) with epochs e from 0 (McClure & Kriegeskorte 2016, §2.2)."""
    return weight * (1 - progress.epoch / progress.epochs) if decay == "linear" else weight
