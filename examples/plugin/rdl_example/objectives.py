"""An objective that compares RDMs, so that a brain can be the teacher."""

from torch import Tensor

from rdl_cli.training.layer_objectives import RdmObjective
from rdl_cli.training.objective import ObjectiveContext


class Sammon(RdmObjective):
    """Squared differences of distances, each over the teacher's distance (Sammon 1969)."""

    def __init__(
        self, context: ObjectiveContext, *, weight: float = 1.0, distance: str | None = None
    ):
        super().__init__("sammon", context, weight, distance)

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the stress of two RDMs in condensed order."""
        measured = ~teacher.isnan()
        r, t = student[measured], teacher[measured].clamp_min(1e-6)
        return ((r - t).square() / t).sum() / t.sum()
