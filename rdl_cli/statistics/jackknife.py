"""Intervals and tests for similarities of representations, over other stimuli × other subjects.

The jackknife recomputes a similarity without each stimulus in turn. Its pseudo-values turn the
similarity into a mean over stimuli, for each subject. So its variance is that of a mean over two
crossed factors, as for methods over images × seeds. No stimulus occurs twice, which inflates the
bootstrap of kernels, and nothing is random (docs/statistics.md compares the two).
"""

from math import atanh, exp, isinf, log, sqrt, tanh
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rdl_cli.statistics.variance_components import crossed_variance, image_part, t_test_p, unit_part

LARGEST = 1 - 1e-15  # identical representations have similarity 1 up to rounding

Rows = NDArray[np.intp]
Values = NDArray[np.float64]


class Similarity(NamedTuple):
    """A mean similarity and its pseudo-values.

    Args:
        estimate: the mean over subjects, or over pairs of subjects.
        by_stimulus: (g,) pseudo-values of the estimate.
        by_subject: (subjects, g) pseudo-values for each independent group of several subjects.
    """

    estimate: float
    by_stimulus: Values
    by_subject: tuple[Values, ...]


class SimilarityInterval(NamedTuple):
    """A similarity with its 95 % interval.

    Args:
        estimate, low, high: the value and its interval.
        standard_error: over other stimuli, and other subjects if there are several.
        dof: its degrees of freedom.
        subjects: the number of subjects in the smallest group of several; 1 if the interval is
            over stimuli only. The interval of 2 subjects has at most 2 degrees of freedom.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    dof: float
    subjects: int


class SimilarityDifference(NamedTuple):
    """The difference of two similarities, B's minus A's; two-sided p, the rest as above."""

    difference: float
    low: float
    high: float
    standard_error: float
    dof: float
    subjects: int
    p: float


def kept_stimuli(n: int, most: int, rng: np.random.Generator) -> list[Rows]:
    """Return the stimuli that remain after each deletion.

    Args:
        n: number of stimuli, at least 4.
        most: the largest number of deletions. If n is larger, random groups of about n/most
            stimuli are deleted in place of single ones.
        rng: draws the groups.

    Example:
        >>> [rows.tolist() for rows in kept_stimuli(4, 100, np.random.default_rng(0))]
        [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    """
    assert n >= 4 and most >= 4, f"{n} stimuli in at most {most} groups are too few for a jackknife"
    order = np.arange(n) if n <= most else rng.permutation(n)
    everything = np.arange(n)
    return [np.setdiff1d(everything, group) for group in np.array_split(order, min(n, most))]


def mean_similarity(full: Values, deleted: Values, same_subjects: bool = False) -> Similarity:
    """Return the mean similarity between the subjects of two representations.

    Args:
        full: (a, b) similarity of each subject's RDM or kernel of one with each of the other. A
            network has one.
        deleted: (g, a, b) the same for the stimuli of each of `kept_stimuli`.
        same_subjects: whether the a and the b are the same subjects, in one order.
    """
    g = len(deleted)
    pseudo = full - (g - 1) * (deleted - deleted.mean(0))
    total, rows, columns = pseudo.mean((1, 2)), pseudo.mean(2).T, pseudo.mean(1).T
    groups = [rows + columns - total] if same_subjects else [rows, columns]
    return Similarity(float(full.mean()), total, tuple(x for x in groups if len(x) > 1))


def similarity_interval(
    similarity: Similarity, bounds: tuple[float, float] = (-1.0, 1.0)
) -> SimilarityInterval:
    """Return the similarity with its interval, which stays within the bounds.

    The interval is symmetric on Fisher's z scale: atanh of the value scaled to -1 … 1, or its
    logarithm if there is no upper bound.

    Args:
        similarity: from `mean_similarity`.
        bounds: the range of the measure; (0, inf) for a distance without an upper bound.
    """
    estimate, by_stimulus, by_subject = similarity
    variance = crossed_variance(image_part(by_stimulus), [unit_part(x) for x in by_subject])
    se, dof = sqrt(variance.image + variance.unit), variance.dof
    subjects = min((len(x) for x in by_subject), default=1)
    z, slope = _to_line(estimate, bounds)
    half = float(stdtrit(dof, 0.975)) * se * slope if se > 0 else 0.0
    low, high = (_from_line(end, bounds) for end in (z - half, z + half))
    return SimilarityInterval(estimate, low, high, se, dof, subjects)


def compare_similarities(
    a: Similarity,
    b: Similarity,
    *,
    same_subjects: bool,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> SimilarityDifference:
    """Return the difference of two similarities over the same stimuli, with its interval and p.

    The test is joint over stimuli and subjects.

    Args:
        a, b: from `mean_similarity`, with the same deletions.
        same_subjects: whether the subjects in a are those in b, in one order; otherwise they are
            independent.
        bounds: the range of the measure, as in `similarity_interval`.
    """
    if same_subjects:
        by_subject = tuple(y - x for x, y in zip(a.by_subject, b.by_subject, strict=True))
    else:
        by_subject = (*(-x for x in a.by_subject), *b.by_subject)
    parts = Similarity(b.estimate - a.estimate, b.by_stimulus - a.by_stimulus, by_subject)
    span = bounds[1] - bounds[0]
    result = similarity_interval(parts, (-span, span))
    z, slope = _to_line(result.estimate, (-span, span))
    scale = result.standard_error * slope
    p = t_test_p(z / scale, result.dof) if scale > 0 else float(result.estimate == 0)
    return SimilarityDifference(*result, p)


def _to_line(value: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the value on Fisher's z scale, and the slope of the scale there."""
    low, high = bounds
    if isinf(high):
        return (value, 1.0) if isinf(low) else (log(value - low), 1 / (value - low))
    y = min(max(2 * (value - low) / (high - low) - 1, -LARGEST), LARGEST)
    return atanh(y), 2 / (high - low) / (1 - y**2)


def _from_line(z: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if isinf(high):
        return z if isinf(low) else low + exp(z)
    return low + (high - low) * (tanh(z) + 1) / 2
