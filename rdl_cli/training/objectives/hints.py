"""FitNets' hints (Romero et al. 2014): a first stage that predicts a teacher's hidden layer."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Reps
from rdl_cli.training.layer_objectives import ActivationObjective
from rdl_cli.training.objective import (
    OBJECTIVES,
    LayerMatch,
    ObjectiveContext,
    Progress,
    StepContext,
    Term,
)


@OBJECTIVES.register("hints")
class Hints(ActivationObjective):
    """Mean squared error of a linear prediction of the teacher's layer, in a first stage.

    For `epochs` epochs, by default a tenth of all, only this objective trains. Then the task and
    the other objectives train, and the error is only logged. FitNets' code sums squares over
    channels and halves them, which is C/2 times this. Its regressor has the teacher's
    nonlinearity; that of McClure & Kriegeskorte 2016 is linear, as here.
    """

    def __init__(
        self, context: ObjectiveContext, *, weight: float = 1.0, epochs: int | None = None
    ):
        super().__init__("hints", context, weight)
        if epochs is not None and epochs < 1:
            raise UserError(f"`hints` has epochs={epochs}; its first stage needs at least 1")
        self.epochs = epochs
        self.regressors = nn.ModuleList(
            make_regressor(match, *self.shapes[match]) for match in self.matches
        )

    def check(self, epochs: int, images: int) -> None:
        """Raise UserError if the first stage leaves no epoch for the task."""
        first_stage = self._count_first_epochs(epochs)
        if first_stage >= epochs > 0:
            raise UserError(
                f"the first stage of `hints` takes {first_stage} of the {epochs} epochs and leaves"
                " none for the task",
                hint="train for more epochs, or pass fewer: hints:epochs=N",
            )

    def is_exclusive(self, progress: Progress) -> bool:
        return progress.epoch < self._count_first_epochs(progress.epochs)

    def _count_first_epochs(self, epochs: int) -> int:
        return self.epochs or max(1, epochs // 10)

    def terms(self, step: StepContext) -> dict[str, Term]:
        if self.is_exclusive(step.progress):
            return super().terms(step)
        with torch.no_grad():
            return {name: term._replace(weight=0.0) for name, term in super().terms(step).items()}

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        regressor = self.regressors[self.matches.index(match)]
        predicted = regressor(student.to(next(regressor.parameters()).dtype))
        teacher = self.teacher_layer(match, predicted, comparison_batch)
        return {self.family: Term(F.mse_loss(predicted, teacher), self.weight)}


def make_regressor(
    match: LayerMatch, student: tuple[int, ...], teacher: tuple[int, ...]
) -> nn.Module:
    """Return a linear map with bias from one layer shape to another.

    A convolution if both have height and width: 1 × 1 for equal sizes, else without padding and
    with the kernel that reduces the student's size to the teacher's, as in FitNets. A
    transformer's tokens, if equally many, share one matrix. All others get a matrix.

    UserError if the teacher's height or width is larger than the student's.
    """
    if len(teacher) == 1:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(student), teacher[0]))
    if len(student) == len(teacher) == 2 and student[0] == teacher[0]:
        return nn.Linear(student[1], teacher[1])
    if len(student) == len(teacher) == 3 and student[1] >= teacher[1] and student[2] >= teacher[2]:
        kernel = (student[1] - teacher[1] + 1, student[2] - teacher[2] + 1)
        return nn.Conv2d(student[0], teacher[0], kernel)
    raise UserError(
        f"`hints` cannot predict the teacher's `{match.teacher}` of shape {teacher} from the"
        f" student's `{match.student}` of shape {student}",
        hint="match a student layer that is at least as high and wide, or a teacher layer of units",
    )
