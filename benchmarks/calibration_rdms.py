"""Rows of calibration.py about similarities of RDMs and kernels."""

from collections.abc import Iterator
from math import nan

import numpy as np
import torch
from calibration_worlds import ALPHA, Row, share
from numpy.typing import NDArray
from scipy.special import stdtrit

from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.measures import MEASURES, measure_traits
from rdl_cli.statistics.jackknife import (
    Similarity,
    compare_similarities,
    kept_stimuli,
    mean_similarity,
    similarity_interval,
)
from rdl_cli.statistics.permutation import permutation_test

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]
LATENTS, UNITS = 6, 60


def network(rng: np.random.Generator, z: Matrix, latents: slice, noise: float = 0.5) -> Matrix:
    """Return responses of a network: some latent variables of the stimuli, and noise."""
    signal = z[:, latents]
    return np.hstack([signal, noise * rng.standard_normal((len(z), UNITS - signal.shape[1]))])


def subject(rng: np.random.Generator, z: Matrix, spread: float = 0.3, noise: float = 1.0) -> Matrix:
    """Return responses of a brain: all latent variables, weighted by the subject, and noise."""
    weights = np.eye(LATENTS) + spread * rng.standard_normal((LATENTS, LATENTS))
    return z @ weights + noise * rng.standard_normal((len(z), LATENTS))


class Compared:
    """A measure between networks and brains, for many selections of the stimuli at once."""

    def __init__(self, spec: str, first: list[Matrix], second: list[Matrix]):
        self.name, self.measure = spec, MEASURES.find(spec)
        self.bounds = measure_traits(self.measure).bounds
        self.rdms = measure_traits(self.measure).input == "rdm"
        self.n = len(first[0])
        self.sides = [
            torch.from_numpy(np.stack([x @ x.T for x in side])) for side in (first, second)
        ]
        self.full = self.compute(np.arange(self.n)[None])[0]

    def compute(self, rows: Rows) -> Matrix:
        """Return the measure for each selection, (g, n) -> (g, first, second)."""
        a, b = (self._select(kernels, torch.from_numpy(rows)) for kernels in self.sides)
        if self.rdms or "cka" in self.name:
            return self.measure(a[:, :, None], b[:, None]).numpy()
        return np.array(
            [[[self.measure(x, y) for y in q] for x in p] for p, q in zip(a, b, strict=True)]
        )

    def _select(self, kernels: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        values = kernels[:, at[:, :, None], at[:, None]].transpose(0, 1)
        if not self.rdms:
            return values
        i, j = condensed_pairs(at.shape[1])
        norms = values.diagonal(dim1=-2, dim2=-1)
        squared = norms[..., i] + norms[..., j] - 2 * values[..., i, j]
        twice = (at[:, i] == at[:, j])[:, None]  # no pair of a stimulus with itself in an RDM
        return squared.masked_fill(twice, nan) if twice.any() else squared

    def jackknife(self, groups: int = 1000) -> Matrix:
        return self.compute(np.stack(kept_stimuli(self.n, groups, np.random.default_rng(0))))

    def similarity(self, same_subjects: bool = False, groups: int = 1000) -> Similarity:
        return mean_similarity(self.full, self.jackknife(groups), same_subjects)

    def bootstrap(self, rng: np.random.Generator, draws: int) -> float:
        """Return the standard error for a network × subjects, in rsatoolbox's form."""
        subjects = self.full.shape[1]
        values = self.compute(rng.integers(self.n, size=(draws, self.n)))[:, 0]
        a = self.n / (self.n - 1)
        stimuli = values.mean(1).var(ddof=1)
        if subjects == 1:
            return float(np.sqrt(a * stimuli))
        who = rng.integers(subjects, size=(draws, subjects))
        both = np.take_along_axis(values, who, 1).mean(1).var(ddof=1)
        people = self.full[0][who].mean(1).var(ddof=1)
        b = subjects / (subjects - 1)
        total = b * people + a * stimuli - a * b * (both - people - stimuli)
        return float(np.sqrt(min(max(total, b * people, a * stimuli), both)))


def coverage_rows(
    spec: str,
    n: int,
    subjects: int,
    worlds: int,
    seed: int,
    draws: int = 0,
    groups: int = 1000,
) -> Iterator[Row]:
    """Yield the coverage of a network's similarity to a second network, or to several subjects."""
    rng = np.random.default_rng([seed, n, subjects])
    result, errors = [], []
    for _ in range(worlds):
        z = rng.standard_normal((n, LATENTS))
        others = [subject(rng, z) for _ in range(subjects)] if subjects > 1 else []
        others = others or [network(rng, z, slice(2, 6))]
        compared = Compared(spec, [network(rng, z, slice(0, 4))], others)
        result.append(similarity_interval(compared.similarity(groups=groups), compared.bounds))
        errors.append(compared.bootstrap(rng, draws) if draws else nan)
    values, ses = (
        np.array([getattr(x, f) for x in result]) for f in ("estimate", "standard_error")
    )
    truth, spread = float(values.mean()), float(values.std(ddof=1))
    design = f"{n} stimuli" + (f", {subjects} subjects" if subjects > 1 else "")
    design += f", {groups} groups" if groups < n else ""
    covered = [one.low <= truth <= one.high for one in result]
    width = float(np.mean([one.high - one.low for one in result]))

    def ratio_row(test: str, ratio: float) -> Row:
        error = ratio / (2 * worlds) ** 0.5
        return Row(test, spec, design, "SE over SD", nan, ratio, error, worlds)

    yield share("jackknife", spec, design, "coverage", covered, width)
    yield ratio_row("jackknife", float(ses.mean()) / spread)
    if draws:
        half = np.array(errors) * stdtrit((min(n, subjects) if subjects > 1 else n) - 1, 0.975)
        test = "bootstrap, rsatoolbox's form"
        covered = list(np.abs(values - truth) <= half)
        yield share(test, spec, design, "coverage", covered, float(2 * half.mean()))
        yield ratio_row(test, float(np.mean(errors)) / spread)


def several_rows(spec: str, same: bool, worlds: int, seed: int) -> Iterator[Row]:
    """Yield the coverage for two regions of the same 5 subjects, or of 5 and 4 others."""
    rng = np.random.default_rng([seed, same])
    result = []
    for _ in range(worlds):
        z = rng.standard_normal((25, LATENTS))
        first = [subject(rng, z) for _ in range(5)]
        if same:
            other = [x @ np.diag([1, 1, 1, 1, 0, 0]) for x in first]
            second = [x + rng.standard_normal(x.shape) for x in other]
        else:
            second = [subject(rng, z) for _ in range(4)]
        result.append(similarity_interval(Compared(spec, first, second).similarity(same)))
    truth = float(np.mean([one.estimate for one in result]))
    covered = [one.low <= truth <= one.high for one in result]
    width = float(np.mean([one.high - one.low for one in result]))
    design = f"25 stimuli, {'the same 5' if same else '5 and 4'} subjects"
    yield share("jackknife", spec, design, "coverage", covered, width)


def difference_rows(
    spec: str, n: int, subjects: int, differ: bool, worlds: int, seed: int
) -> Iterator[Row]:
    """Yield level or power of the test between two networks' similarities to a brain."""
    rng = np.random.default_rng([seed, n, subjects, differ])
    rejected, widths = [], []
    for _ in range(worlds):
        z = rng.standard_normal((n, LATENTS))
        brains = [subject(rng, z) for _ in range(subjects)]
        other = slice(4 if differ else 2, 6)
        networks = [network(rng, z, latents, 0.2) for latents in (slice(0, 4), other)]
        compared = Compared(spec, networks, brains)
        full, deleted = compared.full, compared.jackknife()
        a, b = (mean_similarity(full[k : k + 1], deleted[:, k : k + 1]) for k in range(2))
        test = compare_similarities(a, b, same_subjects=True, bounds=compared.bounds)
        rejected.append(test.p < ALPHA)
        widths.append(test.high - test.low)
    design = f"{n} stimuli, {subjects} subject{'s' if subjects > 1 else ''}"
    width = float(np.mean(widths))
    quantity = "power" if differ else "level"
    yield share("difference of similarities", spec, design, quantity, rejected, width)


def permutation_rows(spec: str, n: int, worlds: int, seed: int) -> Iterator[Row]:
    """Yield the level of the permutation test for unrelated representations."""
    rng = np.random.default_rng([seed, n, *spec.encode()])
    rejected = []
    for _ in range(worlds):
        x, y = rng.standard_normal((n, 6)), rng.standard_normal((n, 20))

        def statistic(order: Rows, x: Matrix = x, y: Matrix = y) -> float:
            return float(Compared(spec, [x[order]], [y]).full[0, 0])

        rejected.append(permutation_test(statistic, n, 39, rng).p <= ALPHA)
    yield share("permutation test", spec, f"{n} stimuli", "level", rejected)


def rdm_rows(seed: int, scale: float) -> Iterator[Row]:
    """Yield all rows of this file; `scale` multiplies the numbers of worlds."""
    torch.set_num_threads(1)
    many, some = (max(20, int(scale * n)) for n in (600, 300))
    for spec in ("pearson", "spearman", "whitened-cosine", "cka", "cka-debiased"):
        for n in (15, 30, 60):
            yield from coverage_rows(spec, n, 1, many if n < 60 else some, seed, 60)
    for spec in ("tau-a", "hellinger", "procrustes", "jsd:samples=500"):
        yield from coverage_rows(spec, 30, 1, some, seed, 0 if "jsd" in spec else 60)
    for spec in ("spearman", "cka-debiased"):
        yield from coverage_rows(spec, 60, 1, some, seed, groups=20)
    for subjects in (2, 3, 4, 8, 15):
        for spec in ("pearson", "spearman", "cka-debiased"):
            yield from coverage_rows(spec, 25, subjects, some, seed, 60)
    for same in (True, False):
        yield from several_rows("spearman", same, some, seed)
    for spec in ("pearson", "spearman", "cka-debiased"):
        for n, subjects in ((15, 4), (25, 1), (25, 2), (25, 3), (25, 5), (25, 12), (60, 4)):
            for differ in (False, True):
                yield from difference_rows(spec, n, subjects, differ, some, seed)
    for spec, n in (("spearman", 6), ("spearman", 12), ("pearson", 12), ("cka", 12)):
        yield from permutation_rows(spec, n, many, seed)
