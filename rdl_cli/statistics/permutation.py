"""The permutation test: are two RDMs or kernels related at all?"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PermutationResult(NamedTuple):
    """The statistic, its one-sided p, and its values under permutation."""

    estimate: float
    p: float
    null: NDArray[np.float64]


def permutation_test(
    statistic: Callable[[NDArray[np.intp]], float],
    n_stimuli: int,
    n_resamples: int,
    rng: np.random.Generator,
) -> PermutationResult:
    """Return the one-sided test of relatedness of Nili et al. 2014.

    The stimuli of one RDM are permuted, rows and columns together. p counts the true order among
    the permutations, so it is never 0.

    Args:
        statistic: `function(order)`, which grows with similarity.
        n_stimuli: number of stimuli.
        n_resamples: number of permutations.
        rng: draws them.
    """
    estimate = float(statistic(np.arange(n_stimuli)))
    null = np.array([statistic(rng.permutation(n_stimuli)) for _ in range(n_resamples)])
    p = float((1 + (null >= estimate).sum()) / (1 + n_resamples))
    return PermutationResult(estimate, p, null.astype(float))
