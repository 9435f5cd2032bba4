"""Centered kernel alignment as a loss (Kornblith et al. 2019; Dapello et al. 2023)."""

from typing import Literal

from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.kernel_measures import cka, cka_debiased
from rdl_cli.rsa.kernels import Kernel
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("cka")
class Cka(KernelObjective):
    """One minus linear CKA: invariant to rotation, scale and a common offset of activations.

    `estimator=debiased` is for batches smaller than the layers are wide, where the biased CKA of
    unrelated noise is near 1. `log=true` takes the logarithm, as in Dapello et al.; its floor is
    log 1e-6, because the loss would be unbounded as CKA nears 1.
    """

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        weight: float = 1.0,
        estimator: Literal["biased", "debiased"] = "biased",
        log: bool = False,
    ):
        super().__init__("cka", context, weight, center="stimuli")
        self.estimator, self.log = estimator, log
        self.min_images = 4 if estimator == "debiased" else 2

    def loss(self, student: Kernel, teacher: Kernel) -> Scalar:
        measure = cka if self.estimator == "biased" else cka_debiased
        error = 1 - measure(student, teacher)
        return error.clamp_min(1e-6).log() if self.log else error
