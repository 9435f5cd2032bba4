"""Regression of logits (Ba & Caruana 2014)."""

from rdl_cli.core.tensor_types import Logits, Scalar
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext
from rdl_cli.training.objectives.kd import LogitObjective


@OBJECTIVES.register("logits")
class LogitRegression(LogitObjective):
    """Half the squared distance between the student's and the teacher's logits, over images."""

    def __init__(self, context: ObjectiveContext, *, weight: float = 1.0):
        super().__init__("logits", context, weight)

    def loss(self, student: Logits, teacher: Logits) -> Scalar:
        return (student - teacher).square().sum(1).mean() / 2
