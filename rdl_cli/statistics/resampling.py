"""How far off a comparison of RDMs may be (bootstrap), and whether two RDMs are related at all (permutation).

Here live the draws; what is computed from each is the caller's function of row numbers, so no measure is written twice.
"""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rdl_cli.statistics.intervals import Interval

Rows = NDArray[np.intp]
Values = NDArray[np.float64]
Statistic = Callable[[Rows, Rows], Values | float]
"""`function(subjects, stimuli) -> value or array of values`, both given by row number, repeated as they were drawn."""


class Bootstrap(NamedTuple):
    """The statistic under draws of subjects, of stimuli, and of the same two at once: `draws ...` each, NaN where not drawn over."""

    estimate: Values
    subjects: Values
    stimuli: Values
    both: Values


def resample(square: Values, stimuli: Rows) -> Values:
    """RDMs `... n n` of a draw of stimuli, condensed, `... p`; a pair of an image with itself is NaN: its zero is no measurement."""
    drawn = np.where(stimuli[:, None] == stimuli[None], np.nan, square[..., stimuli[:, None], stimuli[None]])
    return drawn[..., *np.triu_indices(len(stimuli), 1)]


def bootstrap(statistic: Statistic, n_subjects: int, n_stimuli: int, draws: int, rng: np.random.Generator) -> Bootstrap:
    """The statistic over draws with replacement, of rows of whatever there is more than one of.

    Every draw of stimuli holds three different ones at least, as rsatoolbox has it. One subject (a network) is never drawn over.
    """
    assert n_stimuli >= 3, f"{n_stimuli} stimuli can't be drawn with 3 different ones"
    all_subjects, all_stimuli = np.arange(n_subjects), np.arange(n_stimuli)
    estimate = np.asarray(statistic(all_subjects, all_stimuli), dtype=float)
    found = np.full((3, draws, *estimate.shape), np.nan)
    for k in range(draws):
        subjects, stimuli = rng.integers(n_subjects, size=n_subjects), rng.integers(n_stimuli, size=n_stimuli)
        while len(np.unique(stimuli)) < 3:
            stimuli = rng.integers(n_stimuli, size=n_stimuli)
        found[1, k] = statistic(all_subjects, stimuli)
        if n_subjects > 1:
            found[0, k] = statistic(subjects, all_stimuli)
            found[2, k] = statistic(subjects, stimuli)
    return Bootstrap(estimate, *found)


def variance(boot: Bootstrap, n_subjects: int, n_stimuli: int) -> Values:
    """The variance of the estimate over new subjects and new stimuli (new stimuli only, where there is one subject).

    Drawing both at once counts the measurement noise three times; the three variances together put it right (Schütt et al. 2023,
    eLife 12: e82566, in rsatoolbox's form for small samples), between the larger of the single ones and the naive one.
    """
    by_subject, by_stimulus, naive = (each.var(0, ddof=1) for each in boot[1:])
    stimulus = n_stimuli / (n_stimuli - 1) * by_stimulus
    if n_subjects == 1:
        return stimulus
    subject = n_subjects / (n_subjects - 1) * by_subject
    product = n_subjects / (n_subjects - 1) * n_stimuli / (n_stimuli - 1)
    corrected = subject + stimulus - product * (naive - by_subject - by_stimulus)
    return np.minimum(np.maximum(corrected, np.maximum(subject, stimulus)), naive)


def interval(boot: Bootstrap, n_subjects: int, n_stimuli: int, level: float = 0.95) -> Interval:
    """One estimate with Student's interval of the corrected variance; degrees of freedom: the fewer of subjects and stimuli, minus 1."""
    assert boot.estimate.ndim == 0, f"an interval is for one value, not for {boot.estimate.shape}"
    fewer = n_stimuli if n_subjects == 1 else min(n_subjects, n_stimuli)
    half = float(stdtrit(fewer - 1, (1 + level) / 2)) * sqrt(variance(boot, n_subjects, n_stimuli))
    return Interval(float(boot.estimate), float(boot.estimate) - half, float(boot.estimate) + half)


class Relatedness(NamedTuple):
    """The statistic, how probable one so large is among unrelated RDMs, and what it was for each order of the stimuli tried."""

    estimate: float
    p: float
    null: Values


def permutation(statistic: Callable[[Rows], float], n_stimuli: int, draws: int, rng: np.random.Generator) -> Relatedness:
    """The one-sided test of relatedness of Nili et al. 2014: one RDM's stimuli are shuffled, rows and columns together.

    `statistic(order)` must grow with similarity. p counts the true order among the shuffled ones, so it is never 0.
    """
    estimate = float(statistic(np.arange(n_stimuli)))
    null = np.array([statistic(rng.permutation(n_stimuli)) for _ in range(draws)], dtype=float)
    return Relatedness(estimate, float((1 + (null >= estimate).sum()) / (1 + draws)), null)
