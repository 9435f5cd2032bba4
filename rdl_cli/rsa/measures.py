"""Measures of similarity between representations: one function per measure, with its traits.

A measure compares two RDMs in condensed order or two kernels; `measure_traits` names which, and
`measure_input` computes it from representations. Leading dimensions of RDMs are compared one by
one. NaN is not measured: a pair that is NaN in either RDM counts in neither. A constant RDM has
similarity 0, never NaN. All but the rank measures pass gradients, so an objective is
`1 - measure(student, teacher)` and no formula is written twice.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from rdl_cli.core.registry import Registry
from rdl_cli.rsa.condensed import condensed_pairs, to_square
from rdl_cli.rsa.distances import subtract_mean
from rdl_cli.rsa.kernels import Centering, inner_products
from rdl_cli.rsa.normalization import (
    equalize_rounding,
    normalize,
    normalize_rms,
    ranks,
    stretched_ranks,
    zscore,
)

MEASURES = Registry("measure", home="rdl_cli.rsa")
"""Members are `function(a, b, *, options) -> scalar`. A user's own function compares RDMs."""

RDM = Num[Tensor, "*k p"]
Values = Float[Tensor, "*k"]
Measure = Callable[..., Tensor]


class MeasureTraits(NamedTuple):
    """What users of a measure must know of it.

    Args:
        input: what it compares.
        identity_value: its value for identical representations.
        normalize_for_mean: brings RDMs to one scale before they are averaged (noise ceiling).
        centering: how its kernels are centered unless its option `center` changes that.
        bayesian: kernels are covariances, without negative eigenvalues, and the value depends on
            `bayes.describe_settings`.
        bounds: the smallest and the largest possible value.
    """

    input: Literal["rdm", "kernel"] = "rdm"
    identity_value: float = 1.0
    normalize_for_mean: Callable[[Tensor], Tensor] | None = None
    centering: Centering = "none"
    bayesian: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)


_TRAITS: dict[Measure, MeasureTraits] = {}

ZSCORED, UNIT_RMS, RANKED = (
    MeasureTraits(normalize_for_mean=normalization, bounds=(-1.0, 1.0))
    for normalization in (zscore, normalize_rms, stretched_ranks)
)


def register_measure(name: str, traits: MeasureTraits) -> Callable[[Measure], Measure]:
    """Return a decorator that registers a measure with its traits."""

    def register(function: Measure) -> Measure:
        _TRAITS[function] = traits
        return MEASURES.register(name)(function)

    return register


def measure_traits(function: Measure) -> MeasureTraits:
    """Return the traits of a measure, with or without bound options."""
    traits = _TRAITS.get(getattr(function, "func", function), MeasureTraits())
    options: dict[str, Any] = getattr(function, "keywords", {})
    return traits._replace(centering=options.get("center", traits.centering))


def measure_input(
    function: Measure,
    reps: Num[Tensor, "n *units"],
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return what the measure compares: the RDM of the representations, or their kernel.

    Args:
        function: a measure.
        reps: representations of n stimuli.
        distance: the distance of the RDM; a kernel needs none.

    Example:
        >>> from rdl_cli.rsa.distances import euclidean
        >>> measure_input(pearson, torch.tensor([[0.0], [1.0], [3.0]]), euclidean).tolist()
        [1.0, 3.0, 2.0]
    """
    traits = measure_traits(function)
    if traits.input == "rdm":
        assert distance is not None, "an RDM needs a distance"
        return distance(reps, reps)[condensed_pairs(len(reps), reps.device)]
    return inner_products(reps, traits.centering)


@register_measure("pearson", ZSCORED)
def pearson(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return Pearson's r between RDMs: insensitive to their scale and to a common offset.

    Args:
        a, b: RDMs in condensed order.

    Example:
        >>> round(pearson(torch.arange(1.0, 7), torch.tensor([1.0, 3, 2, 4, 6, 5])).item(), 4)
        0.8857
    """
    a, b, measured = _common_pairs(a, b)
    return _cosine(_subtract_mean(a, measured), _subtract_mean(b, measured))


@register_measure("cosine", UNIT_RMS)
def cosine(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return the cosine between RDMs: for distances with a meaningful zero (crossnobis).

    Args:
        a, b: RDMs in condensed order.

    Example:
        >>> round(cosine(torch.arange(1.0, 7), torch.tensor([1.0, 3, 2, 4, 6, 5])).item(), 4)
        0.978
    """
    a, b, _ = _common_pairs(a, b)
    return _cosine(a, b)


@register_measure("spearman", RANKED)
def spearman(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return Spearman's rank correlation between RDMs; ties share their mean rank. No gradient.

    Args:
        a, b: RDMs in condensed order.

    Example:
        >>> tied = torch.tensor([0.0, 0, 1, 1, 1, 1])
        >>> round(spearman(torch.arange(1.0, 7), tied).item(), 4)
        0.8281
    """
    a, b, measured = _rank_common_pairs(a, b)
    return _cosine(_subtract_mean(a, measured), _subtract_mean(b, measured))


@register_measure("rho-a", RANKED)
def rho_a(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return Spearman's ρ_a: its expectation if ties are broken at random. No gradient.

    It is right for models that predict ties: 12 Σ r_a r_b / (m³ - m) of centered ranks
    (rsatoolbox 0.3.2, `rho-a`).

    Args:
        a, b: RDMs in condensed order.

    Example:
        >>> tied = torch.tensor([0.0, 0, 1, 1, 1, 1])
        >>> round(rho_a(torch.arange(1.0, 7), tied).item(), 4)
        0.6857
    """
    a, b, measured = _rank_common_pairs(a, b)
    n = measured.sum(-1).double()
    return 12 * (_subtract_mean(a, measured) * _subtract_mean(b, measured)).sum(-1) / (n**3 - n)


@register_measure("tau-a", RANKED)
def tau_a(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return Kendall's τ_a: pairs of pairs in the same order minus those in the other, as a share.

    The choice of Nili et al. 2014 for models that predict ties. No gradient.

    Args:
        a, b: RDMs in condensed order.

    Example:
        >>> round(tau_a(torch.arange(1.0, 7), torch.tensor([1.0, 3, 2, 4, 6, 5])).item(), 4)
        0.7333
    """
    a, b, measured = _common_pairs(a.detach(), b.detach())
    flat = [x.reshape(-1, x.shape[-1]).cpu() for x in (a, b, measured)]
    values = [
        _tau_a(equalize_rounding(x[m]), equalize_rounding(y[m]))
        for x, y, m in zip(*flat, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=a.device).reshape(a.shape[:-1])


@register_measure("whitened-cosine", UNIT_RMS)
def whitened_cosine(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return the cosine weighted by the inverse noise covariance V of the distances.

    aᵀV⁻¹b / √(aᵀV⁻¹a · bᵀV⁻¹b), V = (CCᵀ)∘(CCᵀ), C the contrasts of pairs (Diedrichsen et al.
    2020). It equals linear CKA for squared Euclidean RDMs.

    Args:
        a, b: RDMs in condensed order.
    """
    return _cosine(*_whiten(*_common_pairs(a, b)))


@register_measure("whitened-correlation", ZSCORED)
def whitened_correlation(a: RDM, b: Num[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return the whitened cosine of RDMs minus their (unweighted) mean.

    Args:
        a, b: RDMs in condensed order.
    """
    a, b, measured = _common_pairs(a, b)
    return _cosine(*_whiten(_subtract_mean(a, measured), _subtract_mean(b, measured), measured))


def _common_pairs(
    a: Num[Tensor, "... p"], b: Num[Tensor, "... q"]
) -> tuple[Float[Tensor, "*k p"], Float[Tensor, "*k p"], Bool[Tensor, "*k p"]]:
    """Return both RDMs with 0 where either is NaN, and the pairs that both measured."""
    assert a.shape[-1] == b.shape[-1], (
        f"RDMs of {a.shape[-1]} and {b.shape[-1]} pairs are not over the same stimuli"
    )
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = torch.broadcast_tensors(a.to(dtype), b.to(dtype))
    measured = ~(a.isnan() | b.isnan())
    return torch.where(measured, a, 0), torch.where(measured, b, 0), measured


def _rank_common_pairs(
    a: Num[Tensor, "... p"], b: Num[Tensor, "... q"]
) -> tuple[Float[Tensor, "*k p"], Float[Tensor, "*k p"], Bool[Tensor, "*k p"]]:
    """Return as `_common_pairs`, with distances replaced by their ranks among common pairs."""
    a, b, measured = _common_pairs(a, b)
    ranked = [ranks(torch.where(measured, x, torch.nan)).nan_to_num(0) for x in (a, b)]
    return ranked[0], ranked[1], measured


def _subtract_mean(
    x: Float[Tensor, "*k p"], measured: Bool[Tensor, "*k p"]
) -> Float[Tensor, "*k p"]:
    """Return RDMs minus their mean over measured pairs."""
    mean = (x.sum(-1) / measured.sum(-1).clamp_min(1))[..., None]
    return subtract_mean(x, torch.where(measured, mean, 0), -1)


def _cosine(a: Float[Tensor, "*k p"], b: Float[Tensor, "*k p"]) -> Values:
    """Return the cosine that all these measures are; 0 if a side is all zeros."""
    return (normalize(a) * normalize(b)).sum(-1)


def _whiten(
    a: Float[Tensor, "*k p"], b: Float[Tensor, "*k p"], measured: Bool[Tensor, "*k p"]
) -> tuple[Float[Tensor, "*k m"], Float[Tensor, "*k m"]]:
    """Return -½D minus its best fit r_i + r_j over measured pairs and the diagonal, of both RDMs.

    It is HDH if all pairs are measured. The inner product of two of them is aᵀV⁻¹b up to a
    constant, V = (CCᵀ)∘(CCᵀ) being the noise covariance of the distances.
    """
    weights = to_square(measured.to(a.dtype))
    weights = weights + torch.eye(weights.shape[-1], dtype=a.dtype, device=a.device)
    # positive definite; _ex does not wait for the device
    factor = torch.linalg.cholesky_ex(weights.sum(-1).diag_embed() + weights).L

    def residual(values: Tensor) -> Tensor:
        half = -to_square(values) / 2
        fit = torch.cholesky_solve(half.sum(-1, keepdim=True), factor)
        return (weights * (half - fit - fit.mT)).flatten(-2)

    return residual(a), residual(b)


def _tau_a(a: Float[Tensor, " p"], b: Float[Tensor, " p"]) -> float:
    from scipy.stats import kendalltau  # takes half a second to import; most sessions need none

    untied = [len(a) * (len(a) - 1) / 2 - _count_tied(x) for x in (a, b)]
    if len(a) < 2 or min(untied) == 0:
        return 0.0
    tau_b = float(kendalltau(a.numpy(), b.numpy(), method="asymptotic").statistic)
    return tau_b * (untied[0] * untied[1]) ** 0.5 / (len(a) * (len(a) - 1) / 2)


def _count_tied(x: Float[Tensor, " p"]) -> float:
    """Return the number of pairs of equal values."""
    times = np.unique(x.numpy(), return_counts=True)[1].astype(np.float64)
    return float((times * (times - 1) / 2).sum())
