"""How well the best possible model could do, given how much subjects differ."""

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Scalar
from rdl_cli.rsa.measures import Measure, measure_traits

SubjectRdms = Annotated[Tensor, "s p"]


class NoiseCeiling(NamedTuple):
    """The mean similarity of a subject to the mean of the other subjects, and to the mean of all: the true model lies between."""

    lower: Scalar
    upper: Scalar


def noise_ceiling(measure: Measure, rdms: SubjectRdms) -> NoiseCeiling:
    """The noise ceiling of Nili et al. 2014, for a measure of RDMs.

    RDMs are averaged after what suits the measure (z-scores, unit root mean square, ranks); for Kendall's τ mean ranks are a heuristic.
    NaN = not measured. UserError for one subject alone and for a measure of kernels, whose mean means nothing.
    """
    known = measure_traits(measure)
    if known.takes == "kernel":
        raise UserError(
            "a noise ceiling compares RDMs; this measure compares kernels",
            hint="choose pearson, spearman, rho-a, tau-a or cosine",
        )
    if len(rdms) < 2:
        raise UserError(
            f"a noise ceiling needs at least 2 subjects; there is {len(rdms)}",
            hint="compare without a ceiling",
        )
    suited = known.suit(rdms) if known.suit else rdms
    others = [
        measure(torch.cat([suited[:s], suited[s + 1 :]]).nanmean(0), rdms[s])
        for s in range(len(rdms))
    ]
    return NoiseCeiling(torch.stack(others).mean(), measure(suited.nanmean(0), rdms).mean())
