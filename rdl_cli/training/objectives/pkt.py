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
    """How far each image's distribution of cosine similarities to the others is from the teacher's (Kullback-Leibler).

    As in RepDistiller the mean is over all n² pairs, not over n images, hence the large weight.
    """

    least = 2

    def __init__(self, setting: ObjectiveContext, *, weight: float = 30000.0):
        super().__init__("pkt", setting, weight)

    def loss(self, mine: Reps, theirs: Reps) -> Scalar:
        p, q = similarities(theirs), similarities(mine)
        tiny = 1e-7
        return (p * ((p + tiny) / (q + tiny)).log()).mean()


def similarities(reps: Reps) -> Tensor:
    """(1 + cosine) / 2 of all pairs, each row over its sum."""
    shares = (inner_products(normalize(flatten_rows(reps))) + 1) / 2
    return shares / shares.sum(1, keepdim=True)
