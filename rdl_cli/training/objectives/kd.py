"""Knowledge distillation (Hinton, Vinyals & Dean 2015)."""

import torch.nn.functional as F

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Logits, Scalar
from rdl_cli.networks.hooks import LOGITS
from rdl_cli.training.layer_objectives import ActivationObjective
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext


class LogitObjective(ActivationObjective):
    """Compares the logits of two networks, class by class. UserError if their shapes differ."""

    default_match = LayerMatch(LOGITS, LOGITS)

    def __init__(self, family: str, context: ObjectiveContext, weight: float):
        super().__init__(family, context, weight)
        for match, (student, teacher) in self.shapes.items():
            if student != teacher:
                raise UserError(
                    f"the student's `{match.student}` has the shape {student}, the teacher's"
                    f" `{match.teacher}` {teacher}; `{family}` compares them unit by unit",
                    hint="geometries need no equal shapes: use `rdl`, `rsa` or `cka`",
                )


@OBJECTIVES.register("kd")
class Kd(LogitObjective):
    """Divergence of softened class probabilities, T² KL(softmax(z_t/T) ‖ softmax(z_s/T)).

    The mean over images. T² keeps the size of the gradient over temperatures; for large T the loss
    approaches the squared difference of centred logits. RepDistiller combines these defaults with
    a task weight of 0.1.
    """

    def __init__(self, context: ObjectiveContext, *, weight: float = 0.9, temperature: float = 4.0):
        super().__init__("kd", context, weight)
        if temperature <= 0:
            raise UserError(f"`kd` has temperature={temperature}; it must be above 0")
        self.temperature = temperature

    def loss(self, student: Logits, teacher: Logits) -> Scalar:
        log_p, log_q = (F.log_softmax(z / self.temperature, dim=1) for z in (student, teacher))
        kl = F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
        return self.temperature**2 * kl
