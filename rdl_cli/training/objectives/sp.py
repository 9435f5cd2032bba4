"""Similarity-preserving distillation (Tung & Mori 2019)."""

from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.kernels import Kernel
from rdl_cli.rsa.normalization import normalize
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("sp")
class Sp(KernelObjective):
    """Mean squared difference between the images' inner products, over the n² pairs.

    Each image's products are scaled to length one. Invariant to the features' scale and rotation,
    not to a common offset. The default weight is RepDistiller's.
    """

    def __init__(self, context: ObjectiveContext, *, weight: float = 3000.0):
        super().__init__("sp", context, weight)

    def loss(self, student: Kernel, teacher: Kernel) -> Scalar:
        return (normalize(student) - normalize(teacher)).square().mean()
