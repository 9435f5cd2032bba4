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
    """Huber error of relative Euclidean distances, and of angles between triples of images.

    Two terms, with δ = 1: means over all n² pairs and all n³ triples, including an image with
    itself. The default weights are RepDistiller's for classification; the paper's for metric
    learning are 1 : 2.
    """

    min_images = 3

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
    ):
        super().__init__("rkd", context, 1.0)
        check_weight("rkd", distance_weight=distance_weight, angle_weight=angle_weight)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def compare(self, match: LayerMatch, student: Reps, comparison_batch: Batch) -> dict[str, Term]:
        teacher = self.teacher_layer(match, student, comparison_batch)
        a, b = euclidean(student, student), euclidean(teacher, teacher)
        distance_error = F.smooth_l1_loss(divide_by_mean(a), divide_by_mean(b))
        angle_error = F.smooth_l1_loss(angle_cosines(a), angle_cosines(b))
        return {
            "rkd-distance": Term(distance_error, self.distance_weight),
            "rkd-angle": Term(angle_error, self.angle_weight),
        }


def divide_by_mean(distances: Distances) -> Distances:
    """Return distances over the mean of the nonzero ones; the gradient passes through the mean."""
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1)


def angle_cosines(distances: Distances) -> Tensor:
    """Return the cosine of the angle at j between i and k, as [j, i, k], from distances alone.

    0 if i or k coincides with j. By the law of cosines in n³ numbers; from the differences of all
    pairs it would take n² times the number of units.
    """
    nonzero = distances > 0
    inverse = torch.where(nonzero, 1 / torch.where(nonzero, distances, 1), 0)
    squares = distances.square()
    inner = (squares[:, :, None] + squares[:, None, :] - squares[None]) / 2
    return inner * inverse[:, :, None] * inverse[:, None, :]
