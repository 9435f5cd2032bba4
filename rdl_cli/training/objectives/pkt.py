"""Probabilistic knowledge transfer (Passalis & Tefas 2018)."""

from torch import Tensor

from rdl_cli.core.tensor_types import Reps, Scalar
from rdl_cli.rsa.distances import flatten_rows
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.normalization import normalize
from rdl_cli.training.layer_objectives import ActivationObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("pkt")
class Pkt(ActivationObjective):
    """Kullback-Leibler divergence between distributions of cosine similarities to other images.

    The mean is over all n² pairs, not over n images, as in RepDistiller; hence the large weight.
    """

    min_images = 2

    def __init__(self, context: ObjectiveContext, *, weight: float = 30000.0):
        super().__init__("pkt", context, weight)

    def loss(self, student: Reps, teacher: Reps) -> Scalar:
        p, q = neighbour_probabilities(teacher), neighbour_probabilities(student)
        tiny = 1e-7
        return (p * ((p + tiny) / (q + tiny)).log()).mean()


def neighbour_probabilities(reps: Reps) -> Tensor:
    """Return (1 + cosine) / 2 of all pairs, each row divided by its sum, `n n`."""
    similarities = (inner_products(normalize(flatten_rows(reps))) + 1) / 2
    return similarities / similarities.sum(1, keepdim=True)
