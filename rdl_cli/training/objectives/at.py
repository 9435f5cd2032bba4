"""Attention transfer (Zagoruyko & Komodakis 2017)."""

import torch.nn.functional as F
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Reps, Scalar
from rdl_cli.rsa.normalization import normalize
from rdl_cli.training.layer_objectives import ActivationObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("at")
class At(ActivationObjective):
    """Squared differences between maps of where activity is strong, mean over images and positions.

    An image's map is its mean square over channels, scaled to length one, so the numbers of channels may differ. Where
    the sizes do, the activations of the larger are averaged down to the smaller. The weight is RepDistiller's.
    """

    def __init__(self, setting: ObjectiveContext, *, weight: float = 1000.0):
        super().__init__("at", setting, weight)
        for match, (mine, theirs) in self.shapes.items():
            if len(mine) != 3 or len(theirs) != 3:
                raise UserError(
                    f"`at` compares maps; the student's `{match.student}` has the shape {mine}, the teacher's `{match.teacher}` {theirs}",
                    hint="match layers of channels, height and width",
                )

    def loss(self, mine: Reps, theirs: Reps) -> Scalar:
        size = min(mine.shape[2], theirs.shape[2]), min(mine.shape[3], theirs.shape[3])
        return (attention(mine, size) - attention(theirs, size)).square().mean()


def attention(reps: Reps, size: tuple[int, int]) -> Tensor:
    """Where each image's activity is strong, `n c h w -> n p`, at a size of p positions; of length one."""
    return normalize(F.adaptive_avg_pool2d(reps, size).square().mean(1).flatten(1))
