"""How far off a number may be: intervals for an error rate, for the difference of two, and for a mean over seeds."""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit


class Interval(NamedTuple):
    """An estimate between the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def wilson(hits: int, n: int, level: float = 0.95) -> Interval:
    """A share of n images with Wilson's score interval (1927), which is right for rates near 0 too and never leaves [0, 1]."""
    assert 0 <= hits <= n and n > 0, f"{hits} of {n} images is no share"
    z2 = float(ndtri((1 + level) / 2)) ** 2
    middle, half = hits + z2 / 2, sqrt(z2) * sqrt(hits * (n - hits) / n + z2 / 4)
    low = (middle - half) / (n + z2) if hits > 0 else 0.0  # exactly 0 and 1 at the ends, where rounding leaves 1e-19
    high = (middle + half) / (n + z2) if hits < n else 1.0
    return Interval(hits / n, low, high)


def newcombe(both_right: int, only_a: int, only_b: int, neither: int, level: float = 0.95) -> Interval:
    """The share that A gets right minus the share that B gets right, on the same images, with its interval.

    Method 10 of Newcombe 1998 (Statistics in Medicine 17: 2635): the two Wilson intervals squared and added, less what the models'
    agreement (φ, continuity-corrected) has them share. In error rates it is B's error minus A's.
    """
    n = both_right + only_a + only_b + neither
    a, b = wilson(both_right + only_a, n, level), wilson(both_right + only_b, n, level)
    product = (both_right + only_a) * (only_b + neither) * (both_right + only_b) * (only_a + neither)
    excess = both_right * neither - only_a * only_b
    phi = (max(excess - n / 2, 0) if excess > 0 else excess) / sqrt(product) if product else 0.0
    down = _apart(a.estimate - a.low, b.high - b.estimate, phi)
    up = _apart(a.high - a.estimate, b.estimate - b.low, phi)
    difference = (only_a - only_b) / n
    return Interval(difference, difference - down, difference + up)


def _apart(x: float, y: float, phi: float) -> float:
    return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def over_seeds(values: ArrayLike, level: float = 0.95) -> Interval:
    """A mean over independent runs with Student's interval: seeds are the sample, not images. One run has no interval (NaN)."""
    x = np.asarray(values, dtype=float)
    assert x.ndim == 1 and len(x) > 0, f"values of shape {x.shape} are no runs"
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stdtrit(len(x) - 1, (1 + level) / 2) * x.std(ddof=1) / sqrt(len(x)))
    return Interval(mean, mean - half, mean + half)
