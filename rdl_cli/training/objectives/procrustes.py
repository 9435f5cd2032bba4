"""Procrustes similarities as losses (Williams et al. 2021; Harvey et al. 2024)."""

import math

import torch

from rdl_cli.core.tensor_types import Batch, Reps, Scalar
from rdl_cli.rsa.kernel_measures import factor_kernel, procrustes_cosine
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Term


@OBJECTIVES.register("bures")
class Bures(KernelObjective):
    """One minus the Bures similarity: invariant to rotation, scale and a common offset.

    The nuclear norm weighs all directions that two layers share alike, where `cka` weighs the
    largest most. Its gradient is bounded.
    """

    def __init__(self, context: ObjectiveContext, *, weight: float = 1.0):
        super().__init__("bures", context, weight, center="stimuli")

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        kernel = self.teacher.kernel(match.teacher, comparison_batch, self.center)
        teacher = factor_kernel(kernel).to(student.dtype)
        cosine = procrustes_cosine(student.flatten(1), teacher)
        return {self.family: Term(self.loss_of_cosine(cosine), self.weight)}

    def loss_of_cosine(self, cosine: Scalar) -> Scalar:
        return 1 - cosine


@OBJECTIVES.register("procrustes")
class Procrustes(Bures):
    """The Procrustes angle, 0 to 1 (1 is a right angle): one minus the angular similarity.

    Invariant as `bures`. The angle is a metric, so its gradient does not vanish near the teacher.
    """

    def __init__(self, context: ObjectiveContext, *, weight: float = 1.0):
        super(Bures, self).__init__("procrustes", context, weight, center="stimuli")

    def loss_of_cosine(self, cosine: Scalar) -> Scalar:
        # the slope of arccos is infinite at 1, which rounding alone reaches
        largest = 1 - 8 * torch.finfo(cosine.dtype).eps
        angle = torch.arccos(cosine.clamp(max=largest))
        return torch.where(cosine < largest, 2 / math.pi * angle, 0 * cosine)
