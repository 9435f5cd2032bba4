"""Agreement of subjects: the noise ceiling of a region, and the reliability of each distance."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.measures import Measure, measure_traits
from rdl_cli.rsa.normalization import zscore

SubjectRdms = Float[Tensor, "s p"]

MIN_VARIANCE = 0.1
"""Least variance of a distance over the mean variance.

With a few subjects some pairs agree by chance, and none is to count more than ten times."""


class NoiseCeiling(NamedTuple):
    """The mean similarity of a subject to the mean of the others, and to the mean of all."""

    lower: Tensor
    upper: Tensor


def noise_ceiling(measure: Measure, rdms: SubjectRdms) -> NoiseCeiling:
    """Return the noise ceiling of Nili et al. 2014: the true model's value is between the two.

    RDMs are averaged after the normalization that the measure names (z-scores, unit root mean
    square, ranks). For Kendall's τ mean ranks are a heuristic.

    Args:
        measure: a measure of RDMs.
        rdms: one RDM for each subject; NaN is not measured.

    Raises:
        UserError: there is one subject, or the measure compares kernels, whose mean is
            meaningless.

    Example:
        >>> from rdl_cli.rsa.measures import pearson
        >>> rdms = torch.tensor([[1.0, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5], [2, 1, 3, 5, 4, 6]])
        >>> [round(bound.item(), 3) for bound in noise_ceiling(pearson, rdms)]
        [0.854, 0.934]
    """
    traits = measure_traits(measure)
    if traits.input == "kernel":
        raise UserError(
            "a noise ceiling compares RDMs; this measure compares kernels",
            hint="choose pearson, spearman, rho-a, tau-a or cosine",
        )
    if len(rdms) < 2:
        raise UserError(
            f"a noise ceiling needs at least 2 subjects; there is {len(rdms)}",
            hint="compare without a ceiling",
        )
    normalized = traits.normalize_for_mean(rdms) if traits.normalize_for_mean else rdms
    to_others = [
        measure(torch.cat([normalized[:s], normalized[s + 1 :]]).nanmean(0), rdms[s])
        for s in range(len(rdms))
    ]
    return NoiseCeiling(torch.stack(to_others).mean(), measure(normalized.nanmean(0), rdms).mean())


def reliability(rdms: SubjectRdms) -> Float[Tensor, " p"]:
    """Return the weight of each pair: one over the variance of its distance across subjects.

    RDMs are z-scored first, so that geometries and not amplitudes disagree.

    Args:
        rdms: one RDM for each subject; NaN is not measured.

    Returns:
        Weights with mean 1 over pairs measured in two subjects or more; 0 elsewhere.

    Raises:
        UserError: there is one subject, or no pair was measured in two.
    """
    if len(rdms) < 2:
        raise UserError(
            f"reliability of distances needs at least 2 subjects; there is {len(rdms)}",
            hint="use pairs=equal",
        )
    normalized = zscore(rdms.double())
    n_measured = (~normalized.isnan()).sum(0)
    centered = normalized - normalized.nanmean(0)
    variance = centered.square().nan_to_num(0).sum(0) / (n_measured - 1).clamp_min(1)
    repeated = n_measured > 1
    if not repeated.any():
        raise UserError(
            f"reliability of distances is unknown: none of the {len(repeated):,} pairs of stimuli"
            f" was measured in 2 of the {len(rdms)} subjects",
            hint="use pairs=equal",
        )
    least = (MIN_VARIANCE * variance[repeated].mean()).clamp_min(1e-12)  # smaller is rounding
    weights = torch.where(repeated, 1 / variance.clamp_min(least), 0)
    return weights / weights[repeated].mean()
