"""Simulated test sets and networks for calibration.py, and the lines of its table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, fsolve
from scipy.special import expit

ALPHA, TOLERANCE = 0.05, 0.015
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS /= WEIGHTS.sum()
Runs = NDArray[np.bool_]


class Row(NamedTuple):
    """A line of the table. `width` is the mean width of the 95 % intervals, in points if rates."""

    test: str
    world: str
    design: str
    quantity: str
    nominal: float
    measured: float
    error: float
    worlds: int
    width: float = nan

    @property
    def verdict(self) -> str:
        """Return whether the measured value is within TOLERANCE of the nominal one."""
        gap = (self.measured - self.nominal) * (-1 if self.quantity == "coverage" else 1)
        if isnan(gap):
            return ""
        return "liberal" if gap > TOLERANCE else "conservative" if gap < -TOLERANCE else "kept"


def share(
    test: str, world: str, design: Any, quantity: str, hits: Sequence[bool], width: float = nan
) -> Row:
    """Return the row of a proportion of worlds."""
    nominal = {"level": ALPHA, "family-wise": ALPHA, "coverage": 1 - ALPHA}.get(quantity, nan)
    p = float(np.mean(hits))
    error = sqrt(p * (1 - p) / len(hits))
    return Row(test, world, str(design), quantity, nominal, p, error, len(hits), width)


@dataclass(frozen=True)
class World:
    """Images of logit-normal difficulty, and two methods whose networks err independently.

    Args:
        name: its name in the table.
        rate: error rate of A, averaged over images and seeds.
        discordant: images of 10,000 on which two networks of one method differ.
        interaction: Σ (p_A - p_B)² over 10,000 images; p is the chance to err on an image.
        images: number of test images.
        gain: B's error rate is (1 - gain) times A's.
        seed_sd: standard deviation of log error rates over seeds.
        shared_sd: the part of it that both methods share (labels, stimuli).
        teacher_sd: the same over teachers, of B alone.
        failing: chance of a failed training, with 1 point more errors, for each method.
    """

    name: str
    rate: float
    discordant: float
    interaction: float = 0.0
    images: int = 10_000
    gain: float = 0.0
    seed_sd: float = 0.0
    shared_sd: float = 0.0
    teacher_sd: float = 0.0
    failing: tuple[float, float] = (0.0, 0.0)

    def draw(
        self, rng: np.random.Generator, design: tuple[int, int], teachers: int = 0
    ) -> tuple[Runs, Runs, float]:
        """Return the errors of A's and of B's runs, and the true difference.

        The truth of a method with one run is that of this network.
        """
        sides, truths = [], []
        shared = self.shared_sd * rng.standard_normal(max(design))
        for b, (runs, p) in enumerate(zip(design, self._chances(rng, 2), strict=True)):
            log = self.seed_sd * rng.standard_normal(runs) + shared[:runs] - self._variance(b) / 2
            if teachers and b:
                log += self.teacher_sd * rng.standard_normal(teachers)[np.arange(runs) % teachers]
            factors = np.exp(log) * (1 - self.gain * b)
            failed = 0.01 * (rng.random(runs) < self.failing[b])
            chances = np.minimum(factors[:, None] * p, 1)
            chances = chances + failed[:, None] * (1 - chances)
            sides.append(rng.random(chances.shape, dtype=np.float32) < chances)
            one = self._rate_of(factors[0], failed[0]) if runs == 1 else self._rate_of_method(b)
            truths.append(one)
        return sides[0], sides[1], truths[1] - truths[0]

    def draw_methods(self, rng: np.random.Generator, methods: int, runs: int) -> list[Runs]:
        """Return the errors of the runs of several methods that do not differ."""
        shape = (runs, self.images)
        return [rng.random(shape, dtype=np.float32) < p for p in self._chances(rng, methods)]

    def _chances(self, rng: np.random.Generator, methods: int) -> Iterator[NDArray[np.float64]]:
        mean, sd, rho = difficulty(self.rate, self.discordant, self.interaction)
        z = rng.standard_normal(self.images)
        for _ in range(methods):
            own = rng.standard_normal(self.images) if rho < 1 else 0.0
            yield expit(mean + sd * (rho * z + sqrt(1 - rho**2) * own))

    def _variance(self, b: int) -> float:
        return self.seed_sd**2 + self.shared_sd**2 + b * self.teacher_sd**2

    def _rate_of(self, factor: float, failed: float) -> float:
        mean, sd, _ = difficulty(self.rate, self.discordant, self.interaction)
        rate = float(WEIGHTS @ np.minimum(factor * expit(mean + sd * NODES), 1))
        return rate + failed * (1 - rate)

    @cache  # noqa: B019
    def _rate_of_method(self, b: int) -> float:
        logs = sqrt(self._variance(b)) * NODES - self._variance(b) / 2
        rates = [self._rate_of(float(np.exp(log)) * (1 - self.gain * b), 0.0) for log in logs]
        rate = float(WEIGHTS @ np.array(rates))
        return rate + 0.01 * self.failing[b] * (1 - rate)


@cache
def difficulty(rate: float, discordant: float, interaction: float) -> tuple[float, float, float]:
    """Return mean and spread of the images' logits, and their correlation between methods."""

    def gaps(x: NDArray[np.float64]) -> list[float]:
        p = expit(x[0] + np.exp(x[1]) * NODES)
        pairs = 2 * (WEIGHTS @ (p * (1 - p)))
        return [np.log(WEIGHTS @ p / rate), np.log(pairs / (discordant / 10_000))]

    mean, log_sd = fsolve(gaps, (-19.0, 2.0) if rate < 0.1 else (-1.6, 1.0), xtol=1e-10)
    sd = float(np.exp(log_sd))

    def excess(rho: float) -> float:
        given_z = expit(mean + sd * (rho * NODES[:, None] + sqrt(1 - rho**2) * NODES)) @ WEIGHTS
        p = expit(mean + sd * NODES)
        return float(2 * (WEIGHTS @ p**2 - WEIGHTS @ given_z**2)) - interaction / 10_000

    return float(mean), sd, 1.0 if interaction == 0 else float(brentq(excess, 0.5, 1 - 1e-9))


MNIST = [World(f"MNIST, interaction {i}", 0.006, 45, i) for i in (0, 24)]
CIFAR = [World(f"CIFAR, interaction {i}", 0.3, 2200, i) for i in (0, 233)]
