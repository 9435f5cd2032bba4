"""Comparisons over resampled stimuli and subjects: intervals, differences, permutation tests."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import lcm, sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from rdl_cli.commands.console import progress
from rdl_cli.rsa.condensed import to_square
from rdl_cli.rsa.measures import Measure
from rdl_cli.rsa.pairwise import feature_products, measure_features, pairwise_measure
from rdl_cli.rsa.partial import partial_features
from rdl_cli.statistics.resampling import (
    Bootstrap,
    Rows,
    bootstrap,
    interval,
    permutation,
    resample,
    variance,
)

Matrix = NDArray[np.float64]


class ResampledMeasure:
    """A measure between all RDMs or kernels, one for each subject, over any rows of stimuli.

    Args:
        measure: a registered measure.
        values: RDMs `m p` or kernels `m n n`.
        are_rdms: which of them.
        controls: RDMs `c p` to partial out of the correlation.
    """

    def __init__(
        self,
        measure: Measure,
        values: torch.Tensor,
        are_rdms: bool,
        controls: torch.Tensor | None = None,
    ):
        self.measure, self.values, self.are_rdms = measure, values, are_rdms
        self.matrix: Matrix = self._compute(values, controls).cpu().numpy()
        everything = values if controls is None else torch.cat([values, controls])
        self._square = (to_square(everything) if are_rdms else everything).cpu().numpy()
        features = self._compute_features(values, controls)
        self._features = to_square(features) if are_rdms and features is not None else features

    def _compute(self, values: torch.Tensor, controls: torch.Tensor | None) -> torch.Tensor:
        if controls is None:
            return pairwise_measure(self.measure, values)
        return feature_products(partial_features(self.measure, values, controls))

    def _compute_features(
        self, values: torch.Tensor, controls: torch.Tensor | None
    ) -> torch.Tensor | None:
        if controls is None:
            return measure_features(self.measure, values)
        return partial_features(self.measure, values, controls)

    @property
    def n_stimuli(self) -> int:
        return self._square.shape[-1]

    def count_pairs(self) -> NDArray[np.int64]:
        """Return how many pairs of stimuli both of two RDMs have, (m, m)."""
        if not self.are_rdms:
            n = self.n_stimuli
            return np.full((len(self.values),) * 2, n * (n - 1) // 2)
        measured = (~self.values.isnan()).double()
        return (measured @ measured.mT).round().long().cpu().numpy()

    def resample(self, stimuli: Rows) -> Matrix:
        """Return the measure over stimuli drawn with replacement, (m, m).

        A pair of a stimulus with itself is left out of RDMs; a kernel contains it.
        """
        if not self.are_rdms:
            values = torch.from_numpy(self._square[:, stimuli[:, None], stimuli[None]])
        else:
            values = torch.from_numpy(resample(self._square, stimuli))
            if self._features is not None:  # the only gaps are those of stimuli drawn twice
                values = values[:, ~values[0].isnan()]
        values = values.to(self.values.device)
        m = len(self.values)
        controls = values[m:] if len(values) > m else None
        return self._compute(values[:m], controls).cpu().numpy()

    def shuffle(self, order: Rows) -> Matrix:
        """Return the measure between the true order (rows) and another one (columns), (m, m)."""
        at = torch.from_numpy(order)
        if self._features is not None:
            shuffled = self._features[:, at[:, None], at[None]]
            products = feature_products(self._features, shuffled)
            # a square RDM holds each pair twice
            return (products / 2 if self.are_rdms else products).cpu().numpy()
        if self.are_rdms:
            mixed = resample(self._square, order)
        else:
            mixed = self._square[:, order[:, None], order[None]]
        assert len(mixed) == len(self.values), "partial correlations have features"
        others = torch.from_numpy(mixed).to(self.values.device)
        return pairwise_measure(self.measure, self.values, others).cpu().numpy()

    def estimate_seconds(self, n_resamples: int) -> float:
        """Return about how long so many resamples and permutations take, from one of them."""
        rows: Rows = np.random.default_rng(0).integers(self.n_stimuli, size=self.n_stimuli)
        self.resample(rows)  # warm up
        start = time.perf_counter()
        self.resample(rows)
        return 2 * n_resamples * (time.perf_counter() - start)


@dataclass(frozen=True, eq=False)
class SubjectBlock:
    """Two layers as rows and columns of the matrix of all subjects.

    Args:
        first, second: the subjects of each layer.
        shared: whether both are of the same subjects.
    """

    first: Rows
    second: Rows
    shared: bool

    @property
    def n_subjects(self) -> int:
        """The smaller number of subjects, of the layers that have several; else 1."""
        return min((len(rows) for rows in (self.first, self.second) if len(rows) > 1), default=1)

    def mean(self, matrix: Matrix, subjects: Rows | None = None) -> float:
        """Return the mean over all pairs of subjects, or over those drawn.

        One draw of numbers serves blocks of any size: each layer takes as many as it has subjects,
        modulo this number, by which their range is divisible. Layers of the same subjects take the
        same numbers.
        """
        if subjects is None:
            return float(matrix[np.ix_(self.first, self.second)].mean())
        a, b = len(self.first), len(self.second)
        first = subjects[:a] % a
        second = first if self.shared else subjects[a : a + b] % b
        return float(matrix[np.ix_(self.first[first], self.second[second])].mean())

    def minimum(self, matrix: NDArray[np.int64]) -> int:
        """Return the minimum over all pairs of subjects."""
        return int(matrix[np.ix_(self.first, self.second)].min())


class DifferenceTest(NamedTuple):
    """The 95 % interval and two-sided p of a difference of similarities (Student's t).

    With several subjects it is over stimuli and subjects, else over stimuli.
    """

    low: float
    high: float
    p: float
    n_subjects: int


class BootstrappedBlocks:
    """The means of blocks over the same resamples of stimuli, and of subjects if there are several.

    Args:
        blocks: pairs of layers, by any key.
        resampled: their measure.
        n_resamples: how many resamples.
        seed: of the resamples.
    """

    def __init__(
        self,
        blocks: Mapping[tuple[int, int], SubjectBlock],
        resampled: ResampledMeasure,
        n_resamples: int,
        seed: int,
    ):
        self.blocks, self.n_stimuli = blocks, resampled.n_stimuli
        self._position = {key: k for k, key in enumerate(blocks)}
        self._means = _bootstrap(list(blocks.values()), resampled, n_resamples, seed)

    def interval(self, key: tuple[int, int], bounds: tuple[float, float]) -> tuple[float, float]:
        """Return the 95 % interval of a block's mean, within the bounds of the measure."""
        means = Bootstrap(*(part[..., self._position[key]] for part in self._means))
        _, low, high = interval(means, self.blocks[key].n_subjects, self.n_stimuli)
        return max(low, bounds[0]), min(high, bounds[1])

    def test_difference(self, key: tuple[int, int], other: tuple[int, int]) -> DifferenceTest:
        """Return the interval and p of one block's mean minus another's."""
        i, j = self._position[key], self._position[other]
        differences = Bootstrap(*(part[..., i] - part[..., j] for part in self._means))
        several = [n for n in (self.blocks[k].n_subjects for k in (key, other)) if n > 1]
        n_subjects = min(several, default=1)
        error = sqrt(float(variance(differences, n_subjects, self.n_stimuli)))
        dof = min(n_subjects, self.n_stimuli) - 1 if several else self.n_stimuli - 1
        value, half = float(differences.estimate), float(stdtrit(dof, 0.975)) * error
        p = float(2 * stdtr(dof, -abs(value) / error)) if error else float(value == 0)
        return DifferenceTest(value - half, value + half, p, n_subjects)


def _bootstrap(
    blocks: Sequence[SubjectBlock], resampled: ResampledMeasure, n_resamples: int, seed: int
) -> Bootstrap:
    sizes = {len(rows) for block in blocks for rows in (block.first, block.second)}
    numbers = 2 * lcm(*sizes) if max(sizes) > 1 else 1
    factors = "stimuli and subjects" if numbers > 1 else "stimuli"
    total = 1 + n_resamples * (3 if numbers > 1 else 1)
    n = resampled.n_stimuli
    with progress(total, f"resampling {factors}") as bar:
        # every draw of stimuli is used twice: with all subjects, and with a draw of them
        @lru_cache(maxsize=1)
        def resample_stimuli(stimuli: bytes) -> Matrix:
            return resampled.resample(np.frombuffer(stimuli, np.int64).copy())

        def compute_means(subjects: Rows, stimuli: Rows) -> Matrix:
            bar.advance()
            if (stimuli == np.arange(n)).all():
                matrix = resampled.matrix
            else:
                matrix = resample_stimuli(stimuli.astype(np.int64).tobytes())
            drawn = subjects if numbers > 1 else None
            return np.array([block.mean(matrix, drawn) for block in blocks])

        rng = np.random.default_rng(seed)
        return bootstrap(compute_means, numbers, n, n_resamples, rng)


def permutation_p_values(
    blocks: Sequence[SubjectBlock],
    resampled: ResampledMeasure,
    n_resamples: int,
    seed: int,
    sign: int,
) -> list[float]:
    """Return the p of each block: the probability of so large a value for unrelated stimuli.

    Args:
        blocks: pairs of layers.
        resampled: their measure.
        n_resamples: orders of the stimuli, the same for all blocks.
        seed: of the orders.
        sign: -1 for a measure that is small for similar representations.
    """
    n = resampled.n_stimuli
    with progress(n_resamples, "shuffling stimuli") as bar:

        @cache
        def compute_means(order: bytes) -> Matrix:
            bar.advance()
            matrix = resampled.shuffle(np.frombuffer(order, np.int64).copy())
            return np.array([sign * block.mean(matrix) for block in blocks])

        def test(k: int) -> float:
            return permutation(
                lambda order: compute_means(order.astype(np.int64).tobytes())[k],
                n,
                n_resamples,
                np.random.default_rng(seed),
            ).p

        return [test(k) for k in range(len(blocks))]
