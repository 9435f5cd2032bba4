"""Bayesian comparison as a loss: how well a linear readout could tell the student's layer from the teacher's (Schütt 2024)."""

from typing import Literal

import torch

from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.bayes import (
    check_samples,
    jensen_shannon_divergence,
    log_ratios,
    log_scales,
    prior_variance,
    prior_variance_share,
    symmetric_kl,
    total_variation,
)
from rdl_cli.rsa.kernels import Centering, Kernel
from rdl_cli.training.layer_objectives import KernelObjective
from rdl_cli.training.objective import OBJECTIVES, ObjectiveContext, StepContext, Term


@OBJECTIVES.register("bayes")
class Bayes(KernelObjective):
    """The distance between what random linear readouts of the two layers say of the batch: `jsd` in bits, `tv`, or `skl` in nats.

    Blind to rotation and scale, with `center=stimuli` to a common offset too. `jsd` and `tv` are means over draws, new in
    every step, through which the gradient passes; they are near 1 and nearly flat where the layers are far apart, which a
    larger noise `b` (here 0.1, for measuring 0.01) or `skl` (exact, unbounded) makes good. In float64.
    """

    def __init__(
        self,
        setting: ObjectiveContext,
        *,
        weight: float = 1.0,
        measure: Literal["jsd", "tv", "skl"] = "jsd",
        b: float = 0.1,
        a: float | None = None,
        center: Centering = "none",
        samples: int = 256,
    ):
        super().__init__("bayes", setting, weight, center)
        check_samples(samples)
        prior_variance_share(1, b, a)
        self.measure, self.b, self.a, self.samples = measure, b, a, samples
        self.rng = torch.Generator()

    def terms(self, step: StepContext) -> dict[str, Term]:
        self.rng = step.rng
        return super().terms(step)

    def loss(self, mine: Kernel, theirs: Kernel) -> Scalar:
        p, q = (prior_variance(kernel, b=self.b, a=self.a) for kernel in (mine, theirs))
        scales = log_scales(p, q)
        if self.measure == "skl":
            return symmetric_kl(scales).to(mine.dtype)
        of_draws = jensen_shannon_divergence if self.measure == "jsd" else total_variation
        return of_draws(log_ratios(scales, self.samples, self.rng)).to(mine.dtype)
