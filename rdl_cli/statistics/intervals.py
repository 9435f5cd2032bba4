"""Confidence intervals for an error rate and for the difference of two on the same images."""

from math import sqrt
from typing import NamedTuple

from scipy.special import betaincinv, ndtri


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def wilson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Return the proportion of hits with Wilson's score interval (1927).

    It stays in [0, 1] and covers well at rates near 0.

    Args:
        hits, n: number of hits, and of images.
        level: confidence level.

    Example:
        >>> [round(100 * x, 2) for x in wilson(49, 10_000)]
        [0.49, 0.37, 0.65]
    """
    assert 0 <= hits <= n and n > 0, f"{hits} of {n} images is no proportion"
    z2 = float(ndtri((1 + level) / 2)) ** 2
    middle, half = hits + z2 / 2, sqrt(z2) * sqrt(hits * (n - hits) / n + z2 / 4)
    low = (middle - half) / (n + z2) if hits > 0 else 0.0  # rounding leaves 1e-19 in place of 0
    high = (middle + half) / (n + z2) if hits < n else 1.0
    return Interval(hits / n, low, high)


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Return the proportion of hits with the exact interval of Clopper & Pearson 1934.

    It covers at least its level at every rate. Wilson's covers .84 to .93 at some rates below 3
    expected hits.

    Args:
        hits, n: number of hits, and of images.
        level: confidence level.

    Example:
        >>> [round(100 * x, 2) for x in clopper_pearson(49, 10_000)]
        [0.49, 0.36, 0.65]
    """
    assert 0 <= hits <= n and n > 0, f"{hits} of {n} images is no proportion"
    low = float(betaincinv(hits, n - hits + 1, (1 - level) / 2)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, (1 + level) / 2)) if hits < n else 1.0
    return Interval(hits / n, low, high)


def newcombe(
    both_right: int, only_a: int, only_b: int, neither: int, level: float = 0.95
) -> Interval:
    """Return the difference of two accuracies on the same images, A's minus B's, with its interval.

    It equals B's error rate minus A's. Method 10 of Newcombe 1998 (Statistics in Medicine 17:
    2635): two Wilson intervals, combined with the continuity-corrected correlation φ.

    Args:
        both_right, only_a, only_b, neither: numbers of images by who is right.
        level: confidence level.

    Example:
        >>> [round(x, 4) for x in newcombe(36, 12, 2, 0)]
        [0.2, 0.0569, 0.3404]
    """
    n = both_right + only_a + only_b + neither
    a, b = wilson(both_right + only_a, n, level), wilson(both_right + only_b, n, level)
    right = (both_right + only_a) * (both_right + only_b)
    product = right * (only_b + neither) * (only_a + neither)
    excess = both_right * neither - only_a * only_b
    phi = (max(excess - n / 2, 0) if excess > 0 else excess) / sqrt(product) if product else 0.0
    below = _newcombe_limit(a.estimate - a.low, b.high - b.estimate, phi)
    above = _newcombe_limit(a.high - a.estimate, b.estimate - b.low, phi)
    difference = (only_a - only_b) / n
    return Interval(difference, difference - below, difference + above)


def _newcombe_limit(x: float, y: float, phi: float) -> float:
    return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))
