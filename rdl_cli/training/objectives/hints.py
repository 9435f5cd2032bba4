"""FitNets' hints (Romero et al. 2014): the first epochs teach a hidden layer to predict the teacher's, the others the task."""

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
    """Mean squared error of a linear prediction of the teacher's layer from the student's, in a first stage of its own.

    For `epochs` epochs, a tenth of all where it is not said, this alone teaches; then the student goes on to the task
    and every other objective, and the error is only logged. FitNets' code sums squares over channels and takes half: C/2 times
    this. Its regressor has the teacher's nonlinearity; that of McClure & Kriegeskorte 2016 is linear, and so is this.
    """

    def __init__(
        self, setting: ObjectiveContext, *, weight: float = 1.0, epochs: int | None = None
    ):
        super().__init__("hints", setting, weight)
        if epochs is not None and epochs < 1:
            raise UserError(f"`hints` has epochs={epochs}; its first stage takes one at least")
        self.epochs = epochs
        self.regressors = nn.ModuleList(
            regressor(match, *self.shapes[match]) for match in self.matches
        )

    def check(self, epochs: int, images: int) -> None:
        if self._first_stage(epochs) >= epochs > 0:
            raise UserError(
                f"the first stage of `hints` takes {self._first_stage(epochs)} of the {epochs} epochs and leaves none for the task",
                hint="train for more epochs, or say fewer: hints:epochs=N",
            )

    def is_exclusive(self, progress: Progress) -> bool:
        return progress.epoch < self._first_stage(progress.epochs)

    def _first_stage(self, epochs: int) -> int:
        return self.epochs or max(1, epochs // 10)

    def terms(self, step: StepContext) -> dict[str, Term]:
        if self.is_exclusive(step.progress):
            return super().terms(step)
        with torch.no_grad():
            return {name: term._replace(weight=0.0) for name, term in super().terms(step).items()}

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        predict = self.regressors[self.matches.index(match)]
        predicted = predict(mine.to(next(predict.parameters()).dtype))
        return {
            self.family: Term(
                F.mse_loss(predicted, self.teacher_layer(match, predicted, comparison_batch)),
                self.weight,
            )
        }


def regressor(match: LayerMatch, mine: tuple[int, ...], theirs: tuple[int, ...]) -> nn.Module:
    """A linear map with bias from a layer's shape to the teacher's: a convolution where both have space, else a matrix.

    Of as many tokens as the teacher's each is mapped by the same matrix.

    The convolution is 1 × 1 where the sizes agree; where the student's picture is larger, its kernel is what shrinks one to the
    other without padding, as in FitNets. UserError where the teacher's has space that the student's lacks.
    """
    if len(theirs) == 1:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(mine), theirs[0]))
    if len(mine) == len(theirs) == 2 and mine[0] == theirs[0]:  # a transformer's tokens
        return nn.Linear(mine[1], theirs[1])
    if len(mine) == len(theirs) == 3 and mine[1] >= theirs[1] and mine[2] >= theirs[2]:
        return nn.Conv2d(mine[0], theirs[0], (mine[1] - theirs[1] + 1, mine[2] - theirs[2] + 1))
    raise UserError(
        f"`hints` cannot predict the teacher's `{match.teacher}` of shape {theirs} from the student's `{match.student}` of shape {mine}",
        hint="match a layer of the student that is at least as high and wide, or a layer of the teacher without space",
    )
