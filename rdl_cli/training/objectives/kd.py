"""Knowledge distillation (Hinton, Vinyals & Dean 2015)."""

import torch.nn.functional as F

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Logits, Scalar
from rdl_cli.networks.hooks import LOGITS
from rdl_cli.training.layer_objectives import ActivationObjective
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext


class LogitObjective(ActivationObjective):
    """Compares what two networks return, class by class; UserError where their classes differ."""

    only = LayerMatch(LOGITS, LOGITS)

    def __init__(self, family: str, setting: ObjectiveContext, weight: float):
        super().__init__(family, setting, weight)
        for match, (mine, theirs) in self.shapes.items():
            if mine != theirs:
                raise UserError(
                    f"the student's `{match.student}` has the shape {mine}, the teacher's `{match.teacher}` {theirs}; `{family}` compares them "
                    "unit by unit",
                    hint="geometries need no equal shapes: use `rdl`, `rsa` or `cka`",
                )


@OBJECTIVES.register("kd")
class Kd(LogitObjective):
    """How far the student's softened class probabilities are from the teacher's: T² KL(softmax(z_t/T) ‖ softmax(z_s/T)), mean over images.

    The factor T² keeps the gradient's size over temperatures; for large T the loss becomes that of the centred logits'
    squares. With the defaults of RepDistiller the task counts 0.1.
    """

    def __init__(self, setting: ObjectiveContext, *, weight: float = 0.9, temperature: float = 4.0):
        super().__init__("kd", setting, weight)
        if temperature <= 0:
            raise UserError(
                f"`kd` has temperature={temperature}; it divides the logits and must be above 0"
            )
        self.temperature = temperature

    def loss(self, mine: Logits, theirs: Logits) -> Scalar:
        soft, teacher = (F.log_softmax(z / self.temperature, dim=1) for z in (mine, theirs))
        return self.temperature**2 * F.kl_div(soft, teacher, log_target=True, reduction="batchmean")
