"""Distillation from normalized logits: their softened classes, and their geometry."""

import math

import torch.nn.functional as F

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Logits, Reps
from rdl_cli.rsa.distances import center
from rdl_cli.rsa.normalization import normalize
from rdl_cli.training.layer_objectives import check_weight
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Term
from rdl_cli.training.objectives.kd import LogitObjective


@OBJECTIVES.register("skd")
class Skd(LogitObjective):
    """Divergence of the classes' probabilities, and error of the Gram matrix, of normalized logits.

    Each image's logits are centered and scaled to standard deviation 1, so that the student need
    not match the teacher's confidence (Sun et al. 2024, CVPR). The divergence is that of `kd`.
    The Gram matrix holds the cosines between images; its error is the mean square over the n²
    pairs (as Tung & Mori 2019 do for features).
    """

    min_images = 2

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        weight: float = 1.0,
        gram_weight: float = 1.0,
        temperature: float = 2.0,
    ):
        super().__init__("skd", context, weight)
        check_weight("skd", gram_weight=gram_weight)
        if temperature <= 0:
            raise UserError(f"`skd` has temperature={temperature}; it must be above 0")
        self.gram_weight, self.temperature = gram_weight, temperature

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        teacher = self.teacher_layer(match, student, comparison_batch)
        s, t = (self._normalize(z) for z in (student, teacher))
        scale = math.sqrt(s.shape[1]) / self.temperature
        log_p, log_q = (F.log_softmax(scale * z, dim=1) for z in (s, t))
        kl = F.kl_div(log_p, log_q, log_target=True, reduction="batchmean")
        gram = (s @ s.T - t @ t.T).square().mean()
        return {
            "skd": Term(self.temperature**2 * kl, self.weight),
            "skd-gram": Term(gram, self.gram_weight),
        }

    @staticmethod
    def _normalize(logits: Logits) -> Logits:
        """Return each image's centered logits with length 1."""
        return normalize(center(logits, 1))
