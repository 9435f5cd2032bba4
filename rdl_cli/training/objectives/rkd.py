"""Relational knowledge distillation (Park et al. 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rdl_cli.core.tensor_types import Batch, Distances, Reps
from rdl_cli.rsa.distances import euclidean
from rdl_cli.training.layer_objectives import ActivationObjective, check_weight
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, ObjectiveContext, Term


@OBJECTIVES.register("rkd")
class Rkd(ActivationObjective):
    """How far relative Euclidean distances and the angles between triples of images are from the teacher's, as two terms.

    Both are Huber's error (δ = 1), the mean over all n² pairs and all n³ triples, an image with itself included. The weights
    are RepDistiller's for classification; the paper's for metric learning are 1 : 2.
    """

    least = 3

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
    ):
        super().__init__("rkd", setting, 1.0)
        check_weight("rkd", distance_weight=distance_weight, angle_weight=angle_weight)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def compare(self, match: LayerMatch, mine: Reps, comparison_batch: Batch) -> dict[str, Term]:
        theirs = self.teacher_layer(match, mine, comparison_batch)
        a, b = euclidean(mine, mine), euclidean(theirs, theirs)
        return {
            "rkd-distance": Term(F.smooth_l1_loss(relative(a), relative(b)), self.distance_weight),
            "rkd-angle": Term(F.smooth_l1_loss(cosines(a), cosines(b)), self.angle_weight),
        }


def relative(distances: Distances) -> Distances:
    """Distances over the mean of those that are not 0; the gradient passes through that mean."""
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1)


def cosines(distances: Distances) -> Tensor:
    """The cosine of the angle at j between i and k, as [j, i, k], from distances alone; 0 where i or k is where j is.

    The law of cosines needs n³ numbers; the differences of all pairs would need n² times the number of units.
    """
    apart = distances > 0
    inverse = torch.where(apart, 1 / torch.where(apart, distances, 1), 0)
    squares = distances.square()
    inner = (squares[:, :, None] + squares[:, None, :] - squares[None]) / 2
    return inner * inverse[:, :, None] * inverse[:, None, :]
