"""Similarity-preserving distillation (Tung & Mori 2019)."""

from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.kernels import Kernel
from rdl_cli.rsa.normalization import normalize
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("sp")
class Sp(KernelObjective):
    """Squared differences between the images' inner products, each image's scaled to length one, mean over the n² pairs.

    Blind to the features' scale and rotation, but not to a common offset. The weight is RepDistiller's.
    """

    def __init__(self, setting: ObjectiveContext, *, weight: float = 3000.0):
        super().__init__("sp", setting, weight)

    def loss(self, mine: Kernel, theirs: Kernel) -> Scalar:
        return (normalize(mine) - normalize(theirs)).square().mean()
