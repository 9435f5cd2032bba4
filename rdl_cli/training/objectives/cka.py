"""Centred kernel alignment as a loss (Kornblith et al. 2019; Dapello et al. 2023)."""

from typing import Literal

from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.kernels import Kernel
from rdl_cli.rsa.measures import cka, cka_debiased
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext


@OBJECTIVES.register("cka")
class Cka(KernelObjective):
    """One minus linear CKA: blind to rotation, scale and a common offset of the activations.

    `estimator=debiased` for batches smaller than layers are wide: there the biased CKA of unrelated noise is near 1. `log=true`
    takes the logarithm, as Dapello et al. do; its floor is log 1e-6, for it would fall for ever as CKA nears 1.
    """

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        weight: float = 1.0,
        estimator: Literal["biased", "debiased"] = "biased",
        log: bool = False,
    ):
        super().__init__("cka", setting, weight, center="stimuli")
        self.estimator, self.log = estimator, log
        self.least = 4 if estimator == "debiased" else 2

    def loss(self, mine: Kernel, theirs: Kernel) -> Scalar:
        measure = cka if self.estimator == "biased" else cka_debiased
        apart = 1 - measure(mine, theirs)
        return apart.clamp_min(1e-6).log() if self.log else apart
