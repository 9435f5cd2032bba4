"""Bring RDMs to one scale: z-scores, unit root mean square, ranks, unit length.

NaN is not measured and stays NaN.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor


def zscore(values: Float[Tensor, "*k p"]) -> Float[Tensor, "*k p"]:
    """Return RDMs of mean 0 and standard deviation 1, for means compared by Pearson's r."""
    centered = values - values.nanmean(-1, keepdim=True)
    return centered / centered.square().nanmean(-1, keepdim=True).sqrt()


def normalize_rms(values: Float[Tensor, "*k p"]) -> Float[Tensor, "*k p"]:
    """Return RDMs of root mean square 1, for means compared by the cosine."""
    return values / values.square().nanmean(-1, keepdim=True).sqrt()


def ranks(values: Num[Tensor, "*k p"]) -> Float[Tensor, "*k p"]:
    """Return the rank of each distance within its RDM, in float64. NaN has none and stays NaN.

    Args:
        values: RDMs in condensed order.

    Returns:
        Ranks from 1 on; ties share their mean rank. Where all distances are equal up to rounding,
        all are ties.

    Example:
        >>> ranks(torch.tensor([0.3, 0.1, float("nan"), 0.3])).tolist()
        [2.5, 1.0, nan, 2.5]
    """
    filled = (
        equalize_rounding(values.detach())
        .nan_to_num(nan=torch.inf)
        .reshape(math.prod(values.shape[:-1]), values.shape[-1])
    )
    order = _argsort_rows(filled)
    ordered = filled.gather(1, order)
    is_first = torch.ones_like(ordered, dtype=torch.bool)  # of several equal distances
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = is_first.flatten().cumsum(0) - 1
    size = group.bincount()
    mean_rank = (2 * size.cumsum(0) - size + 1).double() / 2  # counted through all rows
    before = torch.arange(len(filled), device=filled.device)[:, None] * filled.shape[1]
    ranked = torch.empty_like(ordered, dtype=torch.float64)
    ranked.scatter_(1, order, mean_rank.index_select(0, group).reshape(filled.shape) - before)
    return torch.where(values.isnan(), torch.nan, ranked.reshape(values.shape))


def stretched_ranks(values: Num[Tensor, "*k p"]) -> Float[Tensor, "*k p"]:
    """Return ranks from 1 to p, however many distances of an RDM were measured; for means.

    Ranks of complete RDMs stay as they are. Those of a subject with gaps would be too small: with a
    quarter to three quarters missing, 8 % of noise ceilings held the true RDM, and 100 % do so.

    Example:
        >>> stretched_ranks(torch.tensor([0.1, float("nan"), 0.2, 0.3, float("nan")])).tolist()
        [1.0, nan, 3.0, 5.0, nan]
    """
    n_measured = (~values.isnan()).sum(-1, keepdim=True)
    factor = (values.shape[-1] - 1) / (n_measured - 1).clamp_min(1)
    return 1 + (ranks(values) - 1) * factor


def normalize(x: Float[Tensor, "*k p"]) -> Float[Tensor, "*k p"]:
    """Return vectors of length 1 along the last dimension; zeros stay 0, with a finite gradient."""
    largest = x.detach().abs().amax(-1, keepdim=True)
    # at least one entry is ±1 now: no square underflows, whatever the unit
    x = x / torch.where(largest > 0, largest, 1)
    return x * x.square().sum(-1, keepdim=True).clamp_min(0.5).rsqrt()


def equalize_rounding(values: Num[Tensor, "*k p"]) -> Num[Tensor, "*k p"]:
    """Return RDMs whose distances are 0 if they differ by rounding alone."""
    if not values.is_floating_point() or values.shape[-1] == 0:
        return values
    low = values.nan_to_num(nan=torch.inf).amin(-1, keepdim=True)
    high = values.nan_to_num(nan=-torch.inf).amax(-1, keepdim=True)
    noise = 4 * torch.finfo(values.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.where((high - low <= noise) & ~values.isnan(), 0, values)


def _argsort_rows(values: Float[Tensor, "m p"]) -> Tensor:
    """Return the order of each row. NumPy sorts 500,000 numbers in 17 ms, PyTorch in 54 (CPU)."""
    return (
        torch.from_numpy(np.argsort(values.numpy(), axis=1))
        if values.device.type == "cpu"
        else values.argsort(1)
    )
