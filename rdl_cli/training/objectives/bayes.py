"""Bayesian comparison of representations as a loss (Schütt 2024, arXiv 2411.08739)."""

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
    """Distance between the distributions of random linear readouts of two layers.

    `measure` is `jsd` in bits, `tv`, or `skl` in nats. It is invariant to rotation and scale, with
    `center=stimuli` also to a common offset. `jsd` and `tv` are means over draws, new in every
    step, and the gradient passes through the draws. Both are near 1 and nearly flat for very
    different layers; a larger noise `b` (here 0.1, for measuring 0.01) or `skl` (exact, unbounded)
    helps. In float64.
    """

    def __init__(
        self,
        context: ObjectiveContext,
        *,
        weight: float = 1.0,
        measure: Literal["jsd", "tv", "skl"] = "jsd",
        b: float = 0.1,
        a: float | None = None,
        center: Centering = "none",
        samples: int = 256,
    ):
        super().__init__("bayes", context, weight, center)
        check_samples(samples)
        prior_variance_share(1, b, a)  # raises UserError
        self.measure, self.b, self.a, self.samples = measure, b, a, samples
        self.rng = torch.Generator()

    def terms(self, step: StepContext) -> dict[str, Term]:
        self.rng = step.rng
        return super().terms(step)

    def loss(self, student: Kernel, teacher: Kernel) -> Scalar:
        p, q = (prior_variance(kernel, b=self.b, a=self.a) for kernel in (student, teacher))
        scales = log_scales(p, q)
        if self.measure == "skl":
            return symmetric_kl(scales).to(student.dtype)
        estimate = jensen_shannon_divergence if self.measure == "jsd" else total_variation
        return estimate(log_ratios(scales, self.samples, self.rng)).to(student.dtype)
