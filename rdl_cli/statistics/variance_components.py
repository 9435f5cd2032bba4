"""The variance of a mean over two crossed factors: units (seeds, teachers, subjects) × images.

Both factors are random: the mean is meant for other units and other images. One-way variances
each contain the residual's noise once, so their sum minus that noise is the variance
(Schütt et al. 2023 have the same three terms for subjects × stimuli).
"""

from collections.abc import Sequence
from math import inf
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


class ImagePart(NamedTuple):
    """The one-way variance of a mean over images (or stimuli), noise included.

    Args:
        variance: variance of the images' means over their number.
        dof: degrees of freedom, which are few if the variance comes from few images.
    """

    variance: float
    dof: float


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


def image_part(by_image: NDArray[np.float64], slack: float = 0.0) -> ImagePart:
    """Return the one-way variance of the mean of `by_image`, (images,).

    A variance has 2n/(κ - 1) degrees of freedom, κ the kurtosis. That is about twice the number
    of images that the deviations d come from, (Σd²)² / Σd⁴; two are added for few images.

    Args:
        by_image: one value for each image, a mean over units.
        slack: added to the variance.
    """
    n = len(by_image)
    squares = np.square(by_image - by_image.mean())
    fourth = float(squares @ squares)
    effective = float(squares.sum()) ** 2 / fourth if fourth else 0.0
    variance = float(squares.sum()) / (n * (n - 1)) + slack
    return ImagePart(variance, min(n - 1, 2 * (effective + 1)))


def crossed_variance(
    image: ImagePart, parts: Sequence[UnitPart | None], *, alike: bool = True
) -> CrossedVariance:
    """Return the variance of a mean over units × images with its degrees of freedom.

    They are Welch and Satterthwaite's, made safe for few units (docs/statistics.md): a small
    variance may be small by chance. Without the two changes, levels of .05 come to .08 and .13.

    Args:
        image: the images' part.
        parts: one for each independent group of units; None for a group of one unit.
        alike: whether all units are of one kind (seeds and teachers are two).
    """
    known = [part for part in parts if part is not None]
    floor = sum(part.floor for part in known)
    of_images = max(0.0, image.variance - sum(part.noise for part in known))
    of_units = max(sum(part.variance for part in known), floor)
    weights = [part.variance + 4 / part.dof * _excess(part) for part in known]
    total = of_images + max(sum(weights), floor)
    if total == 0:
        return CrossedVariance(0.0, 0.0, image.dof)
    spread = sum(w**2 / part.dof for w, part in zip(weights, known, strict=True))
    dof = total**2 / (spread + image.variance**2 / image.dof)
    dof = min(dof, _most_dof(known, of_images + of_units, alike))
    return CrossedVariance(of_images, of_units, dof)


def _excess(part: UnitPart) -> float:
    """Return by how much units vary beyond their noise."""
    return max(0.0, part.variance - part.floor)


def _most_dof(parts: Sequence[UnitPart], total: float, alike: bool) -> float:
    """Return the most degrees of freedom if exactly one variance comes from two units.

    2 if no other units of their kind are known. Otherwise 2 over the share of the units in the
    total variance, where the two units count as varying at least as much as the others.
    """
    two = [part for part in parts if part.dof == 1]
    others = [part for part in parts if part.dof > 1]
    if len(two) != 1:
        return inf
    if not others or not alike:
        return 2.0
    guess = max(_excess(part) * (part.dof + 1) / 2 for part in others)
    varying = sum(map(_excess, others)) + max(_excess(two[0]), guess)
    return 2 * (total + guess) / varying if varying else inf


def t_test_p(t: float, dof: float) -> float:
    """Return the two-sided p of Student's t."""
    return float(2 * stdtr(dof, -abs(t)))
