"""Comparisons done again for other stimuli and other subjects: draws for intervals, shuffled stimuli for p."""

import time
from collections.abc import Sequence
from functools import cache, lru_cache
from math import lcm

import numpy as np
import torch
from numpy.typing import NDArray

from rdl_cli.commands.console import progress
from rdl_cli.rsa.condensed import to_square
from rdl_cli.rsa.measures import Measure
from rdl_cli.rsa.pairwise import feature_products, measure_features, pairwise_measure
from rdl_cli.statistics.intervals import Interval
from rdl_cli.statistics.resampling import (
    Bootstrap,
    Rows,
    bootstrap,
    interval,
    permutation,
    resample,
)

Matrix = NDArray[np.float64]


class ResampledMeasure:
    """The measure between all RDMs (`m p`) or kernels (`m n n`), each subject's own: as they are, drawn anew, and shuffled."""

    def __init__(self, measure: Measure, values: torch.Tensor, rdms: bool):
        self.measure, self.values, self.rdms = measure, values, rdms
        self.all: Matrix = pairwise_measure(measure, values).cpu().numpy()
        self._square = (to_square(values) if rdms else values).cpu().numpy()
        known = measure_features(measure, values)
        self._features = to_square(known) if rdms and known is not None else known

    def drawn(self, stimuli: Rows) -> Matrix:
        """Over a draw of stimuli. A pair of one stimulus with itself counts in no RDM; a kernel holds it twice."""
        if not self.rdms:
            values = torch.from_numpy(self._square[:, stimuli[:, None], stimuli[None]])
        else:
            values = torch.from_numpy(resample(self._square, stimuli))
            if (
                self._features is not None
            ):  # no gaps but the pairs of a stimulus with itself, which all share
                values = values[:, ~values[0].isnan()]
        return pairwise_measure(self.measure, values.to(self.values.device)).cpu().numpy()

    def shuffled(self, order: Rows) -> Matrix:
        """Each with the true order of its stimuli (rows) and each in another order (columns)."""
        at = torch.from_numpy(order)
        if self._features is not None:
            found = feature_products(self._features, self._features[:, at[:, None], at[None]])
            return (
                (found / 2 if self.rdms else found).cpu().numpy()
            )  # a square RDM holds each pair twice
        mixed = (
            resample(self._square, order)
            if self.rdms
            else self._square[:, order[:, None], order[None]]
        )
        return (
            pairwise_measure(
                self.measure, self.values, torch.from_numpy(mixed).to(self.values.device)
            )
            .cpu()
            .numpy()
        )

    def seconds(self, draws: int) -> float:
        """About how long so many draws of stimuli and as many orders will take: measured on one, after one to warm up."""
        n = len(self._square[0])
        rows: Rows = np.random.default_rng(0).integers(n, size=n)
        self.drawn(rows)
        start = time.perf_counter()
        self.drawn(rows)
        return 2 * draws * (time.perf_counter() - start)


class SubjectBlock:
    """Two layers in the matrix of all subjects, as rows and columns. `shared`: both are of the same subjects.

    `fewer` is how many subjects the side with fewer has, of those with several.
    """

    def __init__(self, mine: Rows, theirs: Rows, shared: bool):
        self.student, self.teacher, self.shared = mine, theirs, shared
        self.fewer = min((len(side) for side in (mine, theirs) if len(side) > 1), default=1)

    def value(self, matrix: Matrix, subjects: Rows | None = None) -> float:
        """The mean over all pairs of subjects, or over those drawn.

        One draw of numbers serves blocks of any size: each side takes as many as it has subjects, modulo how many it has, which
        `numbers` divides by; its own, unless both are of the same subjects.
        """
        if subjects is None:
            return float(matrix[np.ix_(self.student, self.teacher)].mean())
        a, b = len(self.student), len(self.teacher)
        first = subjects[:a] % a
        second = first if self.shared else subjects[a : a + b] % b
        return float(matrix[np.ix_(self.student[first], self.teacher[second])].mean())


def bootstrap_intervals(
    blocks: Sequence[SubjectBlock], compared: ResampledMeasure, n: int, draws: int, seed: int
) -> list[Interval]:
    """The 95 % interval of each block over other stimuli, and over other subjects where there are several."""
    sizes = {len(side) for block in blocks for side in (block.student, block.teacher)}
    numbers = 2 * lcm(*sizes) if max(sizes) > 1 else 1
    with progress(
        1 + draws * (3 if numbers > 1 else 1),
        f"drawing stimuli{' and subjects' if numbers > 1 else ''}",
    ) as ticker:

        @lru_cache(
            maxsize=1
        )  # a draw of stimuli is asked for twice: with all subjects, and with a draw of them
        def drawn(stimuli: bytes) -> Matrix:
            return compared.drawn(np.frombuffer(stimuli, np.int64).copy())

        def statistic(subjects: Rows, stimuli: Rows) -> Matrix:
            ticker.advance()
            everything = (stimuli == np.arange(n)).all()
            matrix = compared.all if everything else drawn(stimuli.astype(np.int64).tobytes())
            return np.array(
                [block.value(matrix, subjects if numbers > 1 else None) for block in blocks]
            )

        boot = bootstrap(statistic, numbers, n, draws, np.random.default_rng(seed))
    return [
        interval(Bootstrap(*(each[..., k] for each in boot)), block.fewer, n)
        for k, block in enumerate(blocks)
    ]


def permutation_p_values(
    blocks: Sequence[SubjectBlock],
    compared: ResampledMeasure,
    n: int,
    draws: int,
    seed: int,
    sign: int,
) -> list[float]:
    """p of each block: how probable so large a value (so small, for `sign` -1) is where stimuli have nothing to do with each other."""
    with progress(draws, "shuffling stimuli") as ticker:

        @cache  # every block is tested on the same orders
        def values(order: bytes) -> Matrix:
            ticker.advance()
            matrix = compared.shuffled(np.frombuffer(order, np.int64).copy())
            return np.array([sign * block.value(matrix) for block in blocks])

        def tested(k: int) -> float:
            return permutation(
                lambda order: values(order.astype(np.int64).tobytes())[k],
                n,
                draws,
                np.random.default_rng(seed),
            ).p

        return [tested(k) for k in range(len(blocks))]
