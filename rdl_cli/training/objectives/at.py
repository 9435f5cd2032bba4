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
    """Mean squared difference between attention maps, over images and positions.

    An image's map is its mean square over channels, scaled to length one, so the numbers of
    channels may differ. If the sizes differ, the larger map is averaged down to the smaller one.
    The default weight is RepDistiller's.
    """

    def __init__(self, context: ObjectiveContext, *, weight: float = 1000.0):
        super().__init__("at", context, weight)
        for match, (student, teacher) in self.shapes.items():
            if len(student) != 3 or len(teacher) != 3:
                raise UserError(
                    f"`at` compares maps; the student's `{match.student}` has the shape {student},"
                    f" the teacher's `{match.teacher}` {teacher}",
                    hint="match layers of channels, height and width",
                )

    def loss(self, student: Reps, teacher: Reps) -> Scalar:
        size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
        return (attention_map(student, size) - attention_map(teacher, size)).square().mean()


def attention_map(reps: Reps, size: tuple[int, int]) -> Tensor:
    """Return each image's attention over the p positions of a size, `n c h w -> n p`, length 1."""
    return normalize(F.adaptive_avg_pool2d(reps, size).square().mean(1).flatten(1))
