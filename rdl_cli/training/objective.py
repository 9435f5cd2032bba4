"""The interface of objectives: modules that turn a step's layers into weighted loss terms."""

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
    """The position of a step in training; epochs and steps count from 0."""

    epoch: int
    epochs: int
    step: int
    steps: int


class Term(NamedTuple):
    """One term of the loss: its value, which is logged unweighted, and its weight in the loss.

    `grad_fraction` is the term's fraction of the gradient norm, measured in the first step of an
    epoch.
    """

    value: Scalar
    weight: float
    grad_fraction: float = 0.0


class LayerMatch(NamedTuple):
    """A layer of the student and the layer of the teacher that it follows."""

    student: str
    teacher: str


class StepContext(NamedTuple):
    """The data of one training step.

    `comparison_batch` holds the images that are compared with the target, often the batch itself.
    `reps` are the student's layers for the comparison batch.
    """

    batch: Batch
    logits: Logits
    comparison_batch: Batch
    reps: dict[str, Reps]
    progress: Progress
    rng: torch.Generator


class ObjectiveContext(NamedTuple):
    """The arguments from which an objective is made, besides its own options.

    `shapes` are those of the student's layers for one image. `calibration` is a sample of the
    training images, on which the size of the teacher's distances is measured.
    """

    matches: tuple[LayerMatch, ...]
    target: Target | None
    shapes: dict[str, tuple[int, ...]]
    classes: int
    calibration: Batch
    seeds: Seeds


class Objective(nn.Module):
    """Base class of all objectives, which add their terms to the loss.

    Parameters of an objective (heads, regressors) train with the student and are not exported.
    `grad_fraction`, if set, is the fraction of the gradient norm that its terms get in the first
    step; it determines their weight. `student_distances` names, by match, the distance of the
    student's RDM, if the objective compares RDMs.
    """

    grad_fraction: float | None = None

    def __init__(self, layers: tuple[str, ...], target: Target | None = None):
        super().__init__()
        self.layers = layers
        self.target = target
        self.student_distances: dict[LayerMatch, str] = {}

    @classmethod
    def select_matches(cls, matches: tuple[LayerMatch, ...]) -> tuple[LayerMatch, ...]:
        """Return the matches of --match that this objective uses: all by default."""
        return matches

    def check(self, epochs: int, images: int) -> None:
        """Raise UserError if the objective cannot train for `epochs` with `images` a step."""

    def is_exclusive(self, progress: Progress) -> bool:
        """Return True if only this objective has a weight in this epoch (a first stage)."""
        return False

    def warning(self, images: int) -> str | None:
        """Return a note to log before training with `images` a step, or None."""
        return None

    def terms(self, step: StepContext) -> dict[str, Term]:
        """Return the step's terms by name, `family/layer`."""
        raise NotImplementedError


def decay_weight(weight: float, progress: Progress, decay: str) -> float:
    """Return the weight in this epoch.

    `linear` is α_e = α_0 (1 − e/E) with epochs e from 0 (McClure & Kriegeskorte 2016, §2.2).
    """
    return weight * (1 - progress.epoch / progress.epochs) if decay == "linear" else weight
