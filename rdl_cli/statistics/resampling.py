"""The bootstrap over subjects × stimuli, until compare-rdms uses the jackknife."""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rdl_cli.statistics.intervals import Interval
from rdl_cli.statistics.permutation import permutation_test as permutation  # noqa: F401

Rows = NDArray[np.intp]
Values = NDArray[np.float64]
Statistic = Callable[[Rows, Rows], Values | float]
"""`function(subjects, stimuli) -> value or array of values`, both row numbers with repeats."""


class Bootstrap(NamedTuple):
    """The statistic over draws of subjects, of stimuli and of both; NaN if not drawn over."""

    estimate: Values
    subjects: Values
    stimuli: Values
    both: Values


def resample(square: Values, stimuli: Rows) -> Values:
    """Return condensed RDMs of a draw of stimuli; NaN for a stimulus with itself."""
    drawn = np.where(
        stimuli[:, None] == stimuli[None], np.nan, square[..., stimuli[:, None], stimuli[None]]
    )
    return drawn[..., *np.triu_indices(len(stimuli), 1)]


def bootstrap(
    statistic: Statistic, n_subjects: int, n_stimuli: int, draws: int, rng: np.random.Generator
) -> Bootstrap:
    """Return the statistic over draws with replacement, with at least 3 different stimuli."""
    assert n_stimuli >= 3, f"{n_stimuli} stimuli can't be drawn with 3 different ones"
    all_subjects, all_stimuli = np.arange(n_subjects), np.arange(n_stimuli)
    estimate = np.asarray(statistic(all_subjects, all_stimuli), dtype=float)
    found = np.full((3, draws, *estimate.shape), np.nan)
    for k in range(draws):
        subjects, stimuli = (
            rng.integers(n_subjects, size=n_subjects),
            rng.integers(n_stimuli, size=n_stimuli),
        )
        while len(np.unique(stimuli)) < 3:
            stimuli = rng.integers(n_stimuli, size=n_stimuli)
        found[1, k] = statistic(all_subjects, stimuli)
        if n_subjects > 1:
            found[0, k] = statistic(subjects, all_stimuli)
            found[2, k] = statistic(subjects, stimuli)
    return Bootstrap(estimate, *found)


def variance(boot: Bootstrap, n_subjects: int, n_stimuli: int) -> Values:
    """Return the variance over subjects and stimuli (Schütt et al. 2023, small-sample form)."""
    by_subject, by_stimulus, naive = (each.var(0, ddof=1) for each in boot[1:])
    stimulus = n_stimuli / (n_stimuli - 1) * by_stimulus
    if n_subjects == 1:
        return stimulus
    subject = n_subjects / (n_subjects - 1) * by_subject
    product = n_subjects / (n_subjects - 1) * n_stimuli / (n_stimuli - 1)
    corrected = subject + stimulus - product * (naive - by_subject - by_stimulus)
    return np.minimum(np.maximum(corrected, np.maximum(subject, stimulus)), naive)


def interval(boot: Bootstrap, n_subjects: int, n_stimuli: int, level: float = 0.95) -> Interval:
    """Return Student's interval; as many dof as the fewer of subjects and stimuli, minus 1."""
    assert boot.estimate.ndim == 0, f"an interval is for one value, not for {boot.estimate.shape}"
    fewer = n_stimuli if n_subjects == 1 else min(n_subjects, n_stimuli)
    half = float(stdtrit(fewer - 1, (1 + level) / 2)) * sqrt(variance(boot, n_subjects, n_stimuli))
    return Interval(float(boot.estimate), float(boot.estimate) - half, float(boot.estimate) + half)
