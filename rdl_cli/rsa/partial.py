"""Partial RSA and variance partitioning: similarity beyond that of other representations.

RDMs are compared as vectors of distances, by Pearson's or Spearman's correlation. All pairs must be
measured. In float64.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import center
from rdl_cli.rsa.measures import Measure, pearson, spearman
from rdl_cli.rsa.normalization import normalize, ranks

MAX_PREDICTORS = 8
"""All subsets of the predictors are fitted: 255 for eight."""


def partial_features(
    measure: Measure, values: Num[Tensor, "k p"], controls: Num[Tensor, "c p"]
) -> Float[Tensor, "k p"]:
    """Return unit vectors whose inner products are partial correlations.

    Args:
        measure: `pearson`, or `spearman`, for which all RDMs are ranked first.
        values: RDMs to compare.
        controls: RDMs to partial out.

    Raises:
        UserError: the measure is no correlation, or some pairs were not measured.
    """
    return normalize(_residuals(_prepare(measure, values), _prepare(measure, controls)))


def partial_correlation(
    measure: Measure,
    a: Num[Tensor, "k p"],
    b: Num[Tensor, "m p"],
    controls: Num[Tensor, "c p"],
) -> Float[Tensor, "k m"]:
    """Return the correlation of RDMs after the controls were regressed out of both.

    Args:
        measure: `pearson` or `spearman`.
        a, b: RDMs to compare.
        controls: RDMs to partial out.

    Raises:
        UserError: the measure is no correlation, or some pairs were not measured.

    Example:
        >>> x, y, z = torch.randn(3, 45, generator=torch.Generator().manual_seed(0))
        >>> r = partial_correlation(pearson, (x + 9 * z)[None], (y + 9 * z)[None], z[None])
        >>> abs(r.item()) < 0.3 < pearson(x + 9 * z, y + 9 * z).item()
        True
    """
    return partial_features(measure, a, controls) @ partial_features(measure, b, controls).T


class VariancePartition(NamedTuple):
    """The variance of a target RDM that predictor RDMs explain, alone and together.

    Args:
        total: R² of all predictors.
        unique: what each predictor adds to all others.
        common: by subset of predictors (their positions): the part that exactly these share. The
            parts of all subsets add up to `total`; shared parts may be negative (suppression).
    """

    total: float
    unique: tuple[float, ...]
    common: dict[tuple[int, ...], float]


def partition_variance(
    measure: Measure, target: Num[Tensor, " p"], predictors: Num[Tensor, "k p"]
) -> VariancePartition:
    """Return how predictors share the explained variance of a target (commonality analysis).

    R² is that of a linear regression of the target's distances, or ranks, with an intercept.

    Args:
        measure: `pearson`, or `spearman`, for which all RDMs are ranked first.
        target: the RDM to explain.
        predictors: at most eight RDMs.

    Raises:
        UserError: the measure is no correlation, there are too many predictors, or some pairs
            were not measured.

    Example:
        >>> x, y = torch.randn(2, 45, generator=torch.Generator().manual_seed(0))
        >>> parts = partition_variance(pearson, x, torch.stack([x, y]))
        >>> round(parts.total, 6), round(sum(parts.common.values()), 6)
        (1.0, 1.0)
    """
    k = len(predictors)
    if k > MAX_PREDICTORS:
        raise UserError(
            f"variance partitioning takes up to {MAX_PREDICTORS} predictors; there are {k}",
            hint="name fewer --layers",
        )
    y = _prepare(measure, target[None])
    x = _prepare(measure, predictors)
    variance = y.square().sum()
    subsets = [subset for size in range(1, k + 1) for subset in combinations(range(k), size)]
    explained: dict[tuple[int, ...], float] = {(): 0.0}
    for subset in subsets:
        residual = _residuals(y, x[list(subset)]).square().sum()
        explained[subset] = float(1 - residual / variance) if variance > 0 else 0.0
    everything = tuple(range(k))
    # explained without the others, by how much exactly `subset` shares: Möbius inversion
    rest = {s: explained[everything] - explained[_without(everything, s)] for s in subsets}
    common: dict[tuple[int, ...], float] = {}
    for subset in subsets:
        smaller = [part for part in common if set(part) < set(subset)]
        common[subset] = rest[subset] - sum(common[part] for part in smaller)
    unique = tuple(common[(i,)] for i in range(k))
    return VariancePartition(explained[everything], unique, common)


def _prepare(measure: Measure, values: Num[Tensor, "k p"]) -> Float[Tensor, "k p"]:
    """Return distances, or their ranks, minus their mean."""
    function = getattr(measure, "func", measure)
    if function not in (pearson, spearman):
        raise UserError(
            "partial correlations are of Pearson's r or Spearman's ρ", hint="--measure spearman"
        )
    if missing := int(values.isnan().sum()):
        raise UserError(
            f"partial RSA needs every distance; {missing:,} were not measured",
            hint="average subjects (REGION@mean), or leave stimuli out",
        )
    return center(ranks(values) if function is spearman else values.double(), 1)


def _residuals(y: Float[Tensor, "k p"], x: Float[Tensor, "c p"]) -> Float[Tensor, "k p"]:
    """Return centered rows y minus their least-squares fit by centered rows x; rounding is 0."""
    u, s, _ = torch.linalg.svd(normalize(x).T, full_matrices=False)
    basis = u[:, s > 1e-10 * s.amax()]  # equal predictors span one direction
    residual = center(y - (y @ basis) @ basis.T, 1)
    noise = 1e-10 * y.abs().amax(1, keepdim=True)
    return torch.where(residual.abs().amax(1, keepdim=True) > noise, residual, 0)


def _without(everything: tuple[int, ...], subset: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i in everything if i not in subset)
