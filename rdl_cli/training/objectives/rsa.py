"""Representational similarity analysis as a loss: one minus how alike two RDMs are, so no unit of the teacher's matters."""

from typing import Literal

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Condensed, Reps, Scalar
from rdl_cli.rsa import measures as similarity
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.layer_objectives import RdmObjective
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Term


@OBJECTIVES.register("rsa")
class Rsa(RdmObjective):
    """One minus Pearson's r between the RDMs: blind to the scale of either, and to an offset common to all pairs.

    `distance` measures the student, and the teacher too where its activations are stored; otherwise its RDM's own is used.
    `pairs=reliable` lets each pair count by how well a brain's subjects agree on it, one over the variance.
    """

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        weight: float = 1.0,
        distance: str | None = None,
        pairs: Literal["equal", "reliable"] = "equal",
    ):
        super().__init__("rsa", setting, weight, distance)
        self.reliable: BrainTarget | None = None
        if pairs == "reliable":
            if not isinstance(self.teacher, BrainTarget):
                raise UserError(
                    "`rsa:pairs=reliable` asks how subjects agree, and this teacher has none",
                    hint="leave it out",
                )
            self.reliable = self.teacher
            for match in self.matches:
                self.reliable.weights(
                    match.teacher, self.teacher.calibration
                )  # an error belongs here, not into the first step

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        if self.reliable is None:
            return super().compare(match, mine, comparison_batch)
        weights = self.reliable.weights(match.teacher, comparison_batch)[
            condensed_pairs(len(mine), mine.device)
        ]
        return {
            self.family: Term(
                1 - weighted_pearson(*self.rdms(match, mine, comparison_batch), weights),
                self.weight,
            )
        }

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.pearson(mine, theirs)


def weighted_pearson(mine: Condensed, theirs: Condensed, weights: Condensed) -> Scalar:
    """Pearson's r between RDMs whose pairs count differently; those whose target is NaN count nothing."""
    weights = torch.where(theirs.isnan(), 0, weights.to(mine.dtype))
    total = weights.sum().clamp_min(torch.finfo(mine.dtype).tiny)
    a, b = (
        weights.sqrt() * (x - (weights * x).sum() / total) for x in (mine, theirs.nan_to_num(0))
    )
    return similarity.cosine(a, b)


@OBJECTIVES.register("cosine")
class Cosine(RdmObjective):
    """One minus the cosine between the RDMs: blind to scale, not to an offset, for distances whose zero means something (crossnobis)."""

    def __init__(
        self, setting: ObjectiveContext, *, weight: float = 1.0, distance: str | None = None
    ):
        super().__init__("cosine", setting, weight, distance)

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.cosine(mine, theirs)


@OBJECTIVES.register("whitened")
class Whitened(RdmObjective):
    """One minus the cosine between the RDMs that accounts for their entries' correlated noise (Diedrichsen et al. 2020).

    For squared Euclidean RDMs it is one minus linear CKA, from distances alone.
    """

    def __init__(
        self, setting: ObjectiveContext, *, weight: float = 1.0, distance: str | None = None
    ):
        super().__init__("whitened", setting, weight, distance)

    def loss(self, mine: Condensed, theirs: Condensed) -> Scalar:
        return 1 - similarity.whitened_cosine(mine, theirs)
