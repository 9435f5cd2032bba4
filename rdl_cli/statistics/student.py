"""Student's t-test over independent runs: are their differences zero on average? Seeds are the sample, not images."""

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr


def p_over_seeds(differences: ArrayLike) -> float:
    """The two-sided p of a mean difference over seeds; below 0.05 exactly where the 95 % interval of `over_seeds` leaves out zero.

    Where every seed differs by the same amount t has no spread to divide by: p is 0, or 1 if that amount is 0.
    """
    x = np.asarray(differences, dtype=float)
    assert x.ndim == 1 and len(x) > 1, f"differences of shape {x.shape} are not those of several runs"
    if np.ptp(x) == 0:  # equal to the bit, yet their standard deviation may come out as 1e-19
        return float(x[0] == 0)
    t = float(x.mean()) / (float(x.std(ddof=1)) / sqrt(len(x)))
    return float(2 * stdtr(len(x) - 1, -abs(t)))
