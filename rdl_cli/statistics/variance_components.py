"""The variance of a mean over two crossed factors: units (seeds, teachers, subjects) × images.

Both factors are random: the mean is meant for other units and other images. One-way variances
each contain the residual's noise once, so their sum minus that noise is the variance
(Schütt et al. 2023 have the same three terms for subjects × stimuli).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr


class UnitPart(NamedTuple):
    """The part of units (seeds, teachers or subjects) in the variance of a mean.

    Args:
        variance: variance of the units' means over their number.
        dof: number of units minus 1.
        noise: the share of the residual (units × images) in it.
        floor: the least it can be: the noise, or the variance of seeds within teachers.
    """

    variance: float
    dof: int
    noise: float
    floor: float


class CrossedVariance(NamedTuple):
    """The variance of a mean over units × images: the sum of two parts."""

    image: float
    unit: float
    dof: float


def unit_part(
    means: NDArray[np.float64], within: float = 0.0, slack: float = 0.0
) -> UnitPart | None:
    """Return the units' part in the variance of the mean of `means`; None for one unit.

    Args:
        means: (units, images).
        within: variance of the mean from draws within units, a lower bound of the part.
        slack: added to the noise.
    """
    units, n = means.shape
    if units == 1:
        return None
    by_unit = means.mean(1)
    residual = means - means.mean(0) - by_unit[:, None] + by_unit.mean()
    noise = float(np.square(residual).sum()) / ((units - 1) * (n - 1) * units * n) + slack
    return UnitPart(float(by_unit.var(ddof=1)) / units, units - 1, noise, max(noise, within))


def crossed_variance(
    image_variance: float, image_dof: float, parts: Sequence[UnitPart | None]
) -> CrossedVariance:
    """Return the variance of a mean over units × images with its degrees of freedom.

    Welch and Satterthwaite's degrees of freedom, with two changes for few units; both are tuned
    by simulation (docs/statistics.md). A unit variance above its noise weighs 1 + 4/dof times as
    much, for it may be small by chance: otherwise the level reaches .08 with 3 units. One variance
    of two units leaves at most 2 degrees of freedom: otherwise the level reaches .10.

    Args:
        image_variance: one-way variance of the mean over images, which contains the noise.
        image_dof: its degrees of freedom.
        parts: one for each independent group of units; None for a group of one unit.
    """
    known = [part for part in parts if part is not None]
    floor = sum(part.floor for part in known)
    image = max(0.0, image_variance - sum(part.noise for part in known))
    unit = max(sum(part.variance for part in known), floor)
    weights = [
        part.variance + 4 / part.dof * max(0.0, part.variance - part.floor) for part in known
    ]
    spread = image_variance**2 / image_dof
    spread += sum(w**2 / part.dof for w, part in zip(weights, known, strict=True))
    dof = (image + max(sum(weights), floor)) ** 2 / spread
    if sum(part.dof == 1 for part in known) == 1:
        dof = min(dof, 2.0)
    return CrossedVariance(image, unit, dof)


def t_test_p(t: float, dof: float) -> float:
    """Return the two-sided p of Student's t."""
    return float(2 * stdtr(dof, -abs(t)))
