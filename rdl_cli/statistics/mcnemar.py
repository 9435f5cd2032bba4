"""McNemar's test: do two models err on the same images equally often?

The table's rows are model A right or wrong, its columns model B right or wrong:

                   B right       B wrong
    A right     both_right        only_a
    A wrong         only_b       neither

Only the images that one model alone gets right count. Without a difference each of them is a toss of a fair coin.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr


class McNemar(NamedTuple):
    """How many images fall into each cell of the table, and how surprising the two that differ are (two-sided p)."""

    both_right: int
    only_a: int
    only_b: int
    neither: int
    exact: float
    mid_p: float


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> McNemar:
    """The test for two models on the same images, from whether each image was classified rightly, `n` and `n`."""
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    assert a.shape == b.shape and a.ndim == 1, f"the two models answer for {a.shape} and {b.shape} images"
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    return McNemar(both, only_a, only_b, len(a) - both - only_a - only_b, exact(only_a, only_b), mid_p(only_a, only_b))


def exact(only_a: int, only_b: int) -> float:
    """The exact two-sided p, the test of McClure & Kriegeskorte 2016: twice the binomial tail, at most 1."""
    return min(1.0, 2 * _tail(min(only_a, only_b), only_a + only_b))


def mid_p(only_a: int, only_b: int) -> float:
    """The exact p minus the probability of the very counts seen: less conservative, as Fagerland, Lydersen & Laake 2013 advise."""
    fewer, n = min(only_a, only_b), only_a + only_b
    return min(1.0, _tail(fewer, n) + _tail(fewer - 1, n))  # 2 P(X <= k) - P(X = k), without its cancellation


def _tail(k: int, n: int) -> float:
    """P(at most k of n tosses are heads)."""
    return float(bdtr(k, n, 0.5)) if k >= 0 else 0.0
