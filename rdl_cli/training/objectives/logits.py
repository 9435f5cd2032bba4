"""Mimicking logits (Ba & Caruana 2014)."""

from rdl_cli.core.tensor_types import Logits, Scalar
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext
from rdl_cli.training.objectives.kd import LogitObjective


@OBJECTIVES.register("logits")
class Mimicry(LogitObjective):
    """Half the squared distance between the student's logits and the teacher's, mean over images."""

    def __init__(self, setting: ObjectiveContext, *, weight: float = 1.0):
        super().__init__("logits", setting, weight)

    def loss(self, mine: Logits, theirs: Logits) -> Scalar:
        return (mine - theirs).square().sum(1).mean() / 2
