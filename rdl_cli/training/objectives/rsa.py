"""Representational similarity analysis as a loss: one minus the similarity of two RDMs."""

from typing import Literal

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Condensed, Reps, Scalar
from rdl_cli.rsa import measures
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.layer_objectives import RdmObjective
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Term


@OBJECTIVES.register("rsa")
class Rsa(RdmObjective):
    """One minus Pearson's r between the RDMs: invariant to the scale and offset of either.

    `distance` measures the student, and also the teacher if its activations are stored; otherwise
    the teacher's RDM is used as it is. `pairs=reliable` weighs each pair by how well a brain's
    subjects agree on it: one over the variance.
    """

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        weight: float = 1.0,
        distance: str | None = None,
        pairs: Literal["equal", "reliable"] = "equal",
    ):
        super().__init__("rsa", context, weight, distance)
        self.brain: BrainTarget | None = None
        if pairs == "reliable":
            if not isinstance(self.teacher, BrainTarget):
                raise UserError(
                    "`rsa:pairs=reliable` needs the RDMs of subjects, and this teacher has none",
                    hint="leave it out",
                )
            self.brain = self.teacher
            for match in self.matches:  # raises UserError now, not in the first step
                self.brain.reliability_weights(match.teacher, self.sample)

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        if self.brain is None:
            return super().compare(match, student, comparison_batch)
        square = self.brain.reliability_weights(match.teacher, comparison_batch)
        weights = square[condensed_pairs(len(student), student.device)]
        rdms = self.measure_rdms(match, student, comparison_batch)
        return {self.family: Term(1 - weighted_pearson(*rdms, weights), self.weight)}

    def loss(self, student: Condensed, teacher: Condensed) -> Scalar:
        return 1 - measures.pearson(student, teacher)


def weighted_pearson(student: Condensed, teacher: Condensed, weights: Condensed) -> Scalar:
    """Return Pearson's r between RDMs with weighted pairs; pairs where the teacher is NaN get 0."""
    weights = torch.where(teacher.isnan(), 0, weights.to(student.dtype))
    total = weights.sum().clamp_min(torch.finfo(student.dtype).tiny)
    a, b = (
        weights.sqrt() * (x - (weights * x).sum() / total) for x in (student, teacher.nan_to_num(0))
    )
    return measures.cosine(a, b)


@OBJECTIVES.register("cosine")
class Cosine(RdmObjective):
    """One minus the cosine between the RDMs: invariant to scale, not to an offset.

    For distances with a meaningful zero, such as crossnobis.
    """

    def __init__(
        self, context: ObjectiveContext, *, weight: float = 1.0, distance: str | None = None
    ):
        super().__init__("cosine", context, weight, distance)

    def loss(self, student: Condensed, teacher: Condensed) -> Scalar:
        return 1 - measures.cosine(student, teacher)


@OBJECTIVES.register("whitened")
class Whitened(RdmObjective):
    """One minus the whitened cosine between the RDMs (Diedrichsen et al. 2020).

    It accounts for the correlated noise of their entries. For squared Euclidean RDMs it is one
    minus linear CKA, from distances alone.
    """

    def __init__(
        self, context: ObjectiveContext, *, weight: float = 1.0, distance: str | None = None
    ):
        super().__init__("whitened", context, weight, distance)

    def loss(self, student: Condensed, teacher: Condensed) -> Scalar:
        return 1 - measures.whitened_cosine(student, teacher)
