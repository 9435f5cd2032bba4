"""McNemar's test: do two networks make equally many errors on the same images?

The table has network A in its rows and network B in its columns:

                   B right       B wrong
    A right     both_right        only_a
    A wrong         only_b       neither

Only images that exactly one network gets right count. Under the null hypothesis each of them
falls to A or to B with probability ½.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr


class McNemar(NamedTuple):
    """The numbers of images in the four cells, and two two-sided p.

    Args:
        both_right, only_a, only_b, neither: numbers of images by who is right.
        exact: the exact conditional p of McClure & Kriegeskorte 2016; conservative.
        mid_p: the mid-p, whose level is near its nominal one.
    """

    both_right: int
    only_a: int
    only_b: int
    neither: int
    exact: float
    mid_p: float


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> McNemar:
    """Return McNemar's test of two networks on the same images.

    Args:
        right_a, right_b: (n,) whether each image was classified correctly.

    Example:
        >>> mcnemar([True, True, False], [False, True, False])[:4]
        (1, 1, 0, 1)
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    assert a.shape == b.shape and a.ndim == 1, (
        f"the two networks have answers of shapes {a.shape} and {b.shape}"
    )
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    p_exact, p_mid = exact(only_a, only_b), mid_p(only_a, only_b)
    return McNemar(both, only_a, only_b, len(a) - both - only_a - only_b, p_exact, p_mid)


def exact(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p: twice the binomial tail, at most 1.

    Args:
        only_a, only_b: numbers of images that one network alone gets right.
    """
    return min(1.0, 2 * _tail(min(only_a, only_b), only_a + only_b))


def mid_p(only_a: int, only_b: int) -> float:
    """Return the exact p minus the probability of the observed counts.

    Recommended by Fagerland, Lydersen & Laake 2013 (BMC Med Res Methodol 13: 91).

    Args:
        only_a, only_b: numbers of images that one network alone gets right.
    """
    fewer, n = min(only_a, only_b), only_a + only_b
    # 2 P(X <= k) - P(X = k) without its cancellation
    return min(1.0, _tail(fewer, n) + _tail(fewer - 1, n))


def _tail(k: int, n: int) -> float:
    """Return P(at most k of n tosses are heads)."""
    return float(bdtr(k, n, 0.5)) if k >= 0 else 0.0
