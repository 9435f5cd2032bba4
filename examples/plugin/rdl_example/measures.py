"""A measure of similarity between RDMs."""

from torch import Tensor


def concordance(a: Tensor, b: Tensor) -> Tensor:
    """Return Lin's concordance of two RDMs (Lin 1989): 1 only if all distances are equal.

    RDMs come in condensed order. Pairs that either has not measured (NaN) are left out.
    """
    measured = ~(a.isnan() | b.isnan())
    a, b = a[measured], b[measured]
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    spread = a.var(correction=0) + b.var(correction=0) + (a.mean() - b.mean()).square()
    return 2 * covariance / spread
