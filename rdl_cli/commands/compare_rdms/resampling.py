"""Comparisons over other stimuli and subjects: intervals, differences, permutation tests."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isinf

import numpy as np
import torch
from numpy.typing import NDArray

from rdl_cli.commands.console import progress
from rdl_cli.rsa.condensed import to_square
from rdl_cli.rsa.measures import Measure, measure_traits
from rdl_cli.rsa.pairwise import feature_products, measure_features, pairwise_measure
from rdl_cli.rsa.partial import partial_features
from rdl_cli.statistics.jackknife import (
    Rows,
    SimilarityDifference,
    SimilarityInterval,
    compare_similarities,
    kept_stimuli,
    mean_similarity,
    similarity_interval,
)
from rdl_cli.statistics.permutation import permutation_test

MAX_DELETIONS = 100
"""Stimuli are left out one by one; of more than this, in so many groups."""

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

    def select(self, stimuli: Rows) -> Matrix:
        """Return the measure over some of the stimuli, each at most once, (m, m)."""
        values = self._square[:, stimuli[:, None], stimuli[None]]
        if self.are_rdms:
            values = values[:, *np.triu_indices(len(stimuli), 1)]
        tensor = torch.from_numpy(values).to(self.values.device)
        m = len(self.values)
        return self._compute(tensor[:m], tensor[m:] if len(tensor) > m else None).cpu().numpy()

    def shuffle(self, order: Rows) -> Matrix:
        """Return the measure between the true order (rows) and another one (columns), (m, m)."""
        at = torch.from_numpy(order)
        if self._features is not None:
            shuffled = self._features[:, at[:, None], at[None]]
            products = feature_products(self._features, shuffled)
            # a square RDM holds each pair twice
            return (products / 2 if self.are_rdms else products).cpu().numpy()
        mixed = self._square[:, order[:, None], order[None]]
        if self.are_rdms:
            mixed = mixed[:, *np.triu_indices(len(order), 1)]
        assert len(mixed) == len(self.values), "partial correlations have features"
        others = torch.from_numpy(mixed).to(self.values.device)
        return pairwise_measure(self.measure, self.values, others).cpu().numpy()

    def estimate_seconds(self, n_resamples: int) -> float:
        """Return about how long the intervals and so many permutations take, from one of each."""
        rows = np.arange(self.n_stimuli)
        self.shuffle(rows)  # warm up
        start = time.perf_counter()
        self.shuffle(rows)
        middle = time.perf_counter()
        self.select(rows[1:])
        deletions = min(self.n_stimuli, MAX_DELETIONS)
        return n_resamples * (middle - start) + deletions * (time.perf_counter() - middle)


@dataclass(frozen=True, eq=False)
class SubjectBlock:
    """Two layers as rows and columns of the matrix of all subjects.

    Args:
        first, second: the subjects of each layer.
        shared: whether both are of the same subjects.
        second_subjects: who the subjects of the second layer are; () for one RDM.
    """

    first: Rows
    second: Rows
    shared: bool
    second_subjects: tuple[tuple[str, str], ...] = ()

    @property
    def n_subjects(self) -> int:
        """The smaller number of subjects, of the layers that have several; else 1."""
        return min((len(rows) for rows in (self.first, self.second) if len(rows) > 1), default=1)

    def mean(self, matrix: Matrix) -> float:
        """Return the mean over all pairs of subjects."""
        return float(self.select(matrix).mean())

    def select(self, matrix: Matrix) -> Matrix:
        """Return the rows and columns of the two layers, (..., first, second)."""
        return matrix[..., self.first[:, None], self.second[None]]

    def minimum(self, matrix: NDArray[np.int64]) -> int:
        """Return the minimum over all pairs of subjects."""
        return int(matrix[np.ix_(self.first, self.second)].min())


class JackknifedBlocks:
    """The similarities of pairs of layers, with intervals and tests over stimuli and subjects.

    Args:
        blocks: pairs of layers, by their positions.
        resampled: their measure.
        seed: draws groups of stimuli to delete, if there are more than MAX_DELETIONS.
    """

    def __init__(
        self,
        blocks: Mapping[tuple[int, int], SubjectBlock],
        resampled: ResampledMeasure,
        seed: int,
    ):
        self._blocks = blocks
        self._bounds = measure_traits(resampled.measure).bounds
        rng = np.random.default_rng(seed)
        selections = kept_stimuli(resampled.n_stimuli, MAX_DELETIONS, rng)
        deleted = []
        with progress(len(selections), "leaving stimuli out") as bar:
            for rows in selections:
                deleted.append(resampled.select(rows))
                bar.advance()
        matrices = np.stack(deleted)
        self._similarities = {
            key: mean_similarity(
                block.select(resampled.matrix), block.select(matrices), block.shared
            )
            for key, block in blocks.items()
        }

    def interval(self, key: tuple[int, int]) -> SimilarityInterval:
        """Return the 95 % interval of a similarity, within the bounds of the measure."""
        similarity = self._similarities[key]
        low, high = self._bounds
        if isinf(high) and similarity.estimate <= low:  # a distance of 0 has no logarithm
            return similarity_interval(similarity, (-inf, inf))
        return similarity_interval(similarity, self._bounds)

    def test_difference(self, key: tuple[int, int], other: tuple[int, int]) -> SimilarityDifference:
        """Return the similarity of one pair minus that of another with the same first layer.

        Subjects of the first layer are the same in both; so are those of the second layers if
        these have the same subjects. Other subjects are independent.
        """
        minuend, subtrahend = self._similarities[key], self._similarities[other]
        a, b = list(subtrahend.by_subject), list(minuend.by_subject)
        one, two = self._blocks[key], self._blocks[other]
        same_second = (one.second_subjects, len(one.second)) == (
            two.second_subjects,
            len(two.second),
        )
        n_paired = len(a) if same_second and len(a) == len(b) else int(len(one.first) > 1)
        rest_a, rest_b = a[n_paired:], b[n_paired:]
        # a group that is not shared is compared with zeros
        a = [*a[:n_paired], *rest_a, *map(np.zeros_like, rest_b)]
        b = [*b[:n_paired], *map(np.zeros_like, rest_a), *rest_b]
        return compare_similarities(
            subtrahend._replace(by_subject=tuple(a)),
            minuend._replace(by_subject=tuple(b)),
            same_subjects=True,
            bounds=self._bounds,
        )


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
            return permutation_test(
                lambda order: compute_means(order.astype(np.int64).tobytes())[k],
                n,
                n_resamples,
                np.random.default_rng(seed),
            ).p

        return [test(k) for k in range(len(blocks))]
