"""Measure level, coverage and power of rdl's tests and intervals on simulated worlds.

    python benchmarks/calibration.py

Each row of calibration.csv has a nominal value beside the measured one and its Monte-Carlo error.
docs/statistics.md describes the worlds and the results. `--quick` takes seconds and is a test.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from math import nan, sqrt
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from calibration_rdms import coverage_rows, difference_rows, permutation_rows, rdm_rows
from calibration_worlds import ALPHA, CIFAR, MNIST, Row, World, share
from scipy.special import stdtrit
from scipy.stats import binom, ttest_ind

from rdl_cli.statistics.crossed import compare_methods
from rdl_cli.statistics.intervals import clopper_pearson, newcombe, wilson
from rdl_cli.statistics.mcnemar import exact, mid_p
from rdl_cli.statistics.multiplicity import holm
from rdl_cli.statistics.variance_components import image_part, unit_part

OUT = Path(__file__).with_suffix(".csv")
DESIGNS = ((1, 1), (1, 5), (2, 2), (2, 10), (3, 3), (3, 5), (5, 5), (10, 10))


def vary(worlds: Sequence[World], name: str, **changes: Any) -> list[World]:
    return [replace(world, name=f"{world.name}, {name}", **changes) for world in worlds]


def method_rows(
    world: World,
    design: tuple[int, int],
    worlds: int,
    seed: int,
    *,
    teachers: int = 0,
    paired: bool = False,
) -> Iterator[Row]:
    """Yield level, or coverage and power, of the comparison of two methods."""
    rng = np.random.default_rng([seed, *design, worlds])
    more: dict[str, Any] = {}
    if teachers:
        more["teachers_b"] = [run % teachers for run in range(design[1])]
    if paired:
        more |= {"paired": True, "seeds_a": range(design[0]), "seeds_b": range(design[1])}
    rejected, covered, widths = [], [], []
    for _ in range(worlds):
        a, b, truth = world.draw(rng, design, teachers)
        outcome = compare_methods(a, b, **more)
        rejected.append(outcome.p < ALPHA)
        covered.append(outcome.low <= truth <= outcome.high)
        widths.append(100 * (outcome.high - outcome.low))
    test = "McNemar, Newcombe" if design == (1, 1) else "crossed, paired" if paired else "crossed"
    name = f"{design}, {teachers} teachers" if teachers else design
    if world.gain:
        yield share(test, world.name, name, "power", rejected)
    elif abs(truth) < 1e-12:
        yield share(test, world.name, name, "level", rejected, float(np.mean(widths)))
    yield share(test, world.name, name, "coverage", covered, float(np.mean(widths)))


def rival_rows(world: World, design: tuple[int, int], worlds: int, seed: int) -> Iterator[Row]:
    """Yield the level of other tests of two methods, in worlds without a difference."""
    rng = np.random.default_rng([seed, *design])
    draws = 400
    images = rng.multinomial(world.images, np.full(world.images, 1 / world.images), draws)
    images = images.astype(np.float32) / world.images
    rejected: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def add(name: str, low: float, high: float) -> None:
        rejected.setdefault(name, []).append(not low <= 0 <= high)
        widths.setdefault(name, []).append(100 * (high - low))

    for _ in range(worlds):
        a, b, _ = world.draw(rng, design)
        rates = b.mean(1), a.mean(1)
        if max(map(np.ptp, rates)) > 0:
            welch = ttest_ind(*rates, equal_var=False).confidence_interval()
        else:
            welch = [rates[0][0] - rates[1][0]] * 2
        add("Welch's t over seeds", *welch)
        parts = [unit_part(x.astype(float)) for x in (a, b)]
        by_image = b.mean(0) - a.mean(0)
        noise, unit = (sum(getattr(x, f) for x in parts if x) for f in ("noise", "variance"))
        of_images = image_part(by_image).variance
        se = sqrt(max(of_images + unit - noise, of_images, unit))
        dof = se**4 / sum(x.variance**2 / x.dof for x in parts if x)
        fewer = min(design) - 1
        for name, nu in (("Satterthwaite's dof alone", dof), ("bootstrap's SE, dof S - 1", fewer)):
            half = float(stdtrit(nu, 0.975)) * se
            add(name, by_image.mean() - half, by_image.mean() + half)
        resampled = []
        for x in (a, b):
            runs = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), draws) / len(x)
            resampled.append((images @ x.T.astype(np.float32) * runs).sum(1))
        add("bootstrap percentiles", *np.quantile(resampled[1] - resampled[0], [0.025, 0.975]))
    for name, hits in rejected.items():
        yield share(name, world.name, design, "level", hits, float(np.mean(widths[name])))


def count_rows() -> Iterator[Row]:
    """Yield exact levels and coverages of tests and intervals of counts, by summation."""
    for mean in (10, 20, 45, 150, 1500):
        totals = np.arange(mean + 5 * int(mean**0.5) + 1)
        weights = binom.pmf(totals, 10_000, mean / 10_000)
        for name, p in (("McNemar, exact p", exact), ("McNemar, mid-p", mid_p)):
            level = 0.0
            for n, weight in zip(totals, weights, strict=True):
                # p rises up to n/2: the largest count that rejects gives half of the level
                low, high = -1, int(n) // 2
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if p(middle, n - middle) < ALPHA else (low, middle)
                level += 2 * weight * float(binom.cdf(low, n, 0.5))
            yield Row(name, f"{mean} of 10000 differ", "(1, 1)", "level", ALPHA, level, 0.0, 0)
    for n, rate in ((10_000, 0.005), (10_000, 0.006), (10_000, 0.3), (100, 0.005), (100, 0.1)):
        chances = binom.pmf(np.arange(n + 1), n, rate)
        likely = np.flatnonzero(chances > 1e-9)
        for name, interval in (("Wilson", wilson), ("Clopper and Pearson", clopper_pearson)):
            outcome = [interval(int(k), n) for k in likely]
            inside = np.array([x.low <= rate <= x.high for x in outcome])
            width = 100 * float(chances[likely] @ [x.high - x.low for x in outcome])
            coverage, world = float(chances[likely][inside].sum()), f"{n} images, {100 * rate:g} %"
            yield Row(name, world, "", "coverage", 0.95, coverage, 0.0, 0, width)


def newcombe_rows(worlds: int, seed: int) -> Iterator[Row]:
    """Yield Newcombe's coverage for networks with given numbers of discordant images."""
    rng = np.random.default_rng(seed)
    for name, only_a, only_b, neither in (
        ("MNIST, no difference", 22.5, 22.5, 37.5),
        ("MNIST, .1 point", 17.5, 27.5, 32.5),
        ("CIFAR, 1 point", 1050, 1150, 1850),
        ("500 images, 2 points", 200, 400, 400),
    ):
        n = 500 if name.startswith("500") else 10_000
        cells = np.array([10_000 - only_a - only_b - neither, only_a, only_b, neither]) / 10_000
        outcome = [newcombe(*map(int, counts)) for counts in rng.multinomial(n, cells, worlds)]
        covered = [x.low <= cells[1] - cells[2] <= x.high for x in outcome]
        width = 100 * float(np.mean([x.high - x.low for x in outcome]))
        yield share("Newcombe", name, (1, 1), "coverage", covered, width)


def holm_rows(world: World, runs: int, worlds: int, seed: int, methods: int = 6) -> Iterator[Row]:
    """Yield the chance of any false positive among all pairs of methods, none of which differ."""
    rng = np.random.default_rng([seed, runs])
    plain, corrected = [], []
    for _ in range(worlds):
        errors = world.draw_methods(rng, methods, runs)
        p = [compare_methods(a, b).p for a, b in combinations(errors, 2)]
        plain.append(min(p) < ALPHA)
        corrected.append(holm(p).min() < ALPHA)
    design = f"{methods} methods, {runs} runs"
    yield share("crossed, with Holm", world.name, design, "family-wise", corrected)
    uncorrected = share("crossed, uncorrected", world.name, design, "family-wise", plain)
    yield uncorrected._replace(nominal=nan)


def quick_rows(seed: int) -> Iterator[Row]:
    """Yield the rows of a test: every kind of result, in small worlds."""
    for world in vary([MNIST[1], CIFAR[1]], "1000 images", images=1000):
        for design in ((1, 1), (1, 5), (2, 2), (2, 10), (3, 3)):
            yield from method_rows(world, design, 200, seed)
    seeds = vary([MNIST[1]], "1000 images, seeds share .4", images=1000, shared_sd=0.4)
    yield from method_rows(seeds[0], (3, 3), 200, seed, paired=True)
    teachers = vary([MNIST[1]], "1000 images, teachers vary", images=1000, teacher_sd=0.2)
    yield from method_rows(teachers[0], (3, 6), 200, seed, teachers=3)
    yield from count_rows()
    yield from newcombe_rows(1000, seed)
    yield from coverage_rows("spearman", 15, 4, 100, seed)
    yield from coverage_rows("cka-debiased", 15, 1, 100, seed)
    yield from difference_rows("spearman", 15, 4, False, 100, seed)
    yield from permutation_rows("spearman", 8, 100, seed)


def all_rows(seed: int, scale: float) -> Iterator[Row]:
    """Yield every row; `scale` multiplies the numbers of worlds."""
    many, some, few = (max(20, int(scale * n)) for n in (2000, 1000, 400))
    for world in MNIST + CIFAR:
        for design in DESIGNS:
            yield from method_rows(world, design, many if world in MNIST else some, seed)
        gained = replace(
            world, name=f"{world.name}, gain", gain=1 / 6 if world in MNIST else 1 / 30
        )
        for design in (*DESIGNS, (20, 20)):
            yield from method_rows(gained, design, some if world in MNIST else few, seed)
        for design in ((3, 3), (5, 5), (10, 10), (2, 10)):
            yield from rival_rows(world, design, few, seed)
    for world in vary(MNIST, "gain", gain=1 / 6):
        yield from method_rows(world, (100, 100), 2 * few, seed)
    noisy = [replace(w, seed_sd=0.1 if w in MNIST else 0.02) for w in (MNIST[1], CIFAR[1])]
    for world in vary(noisy, "seeds vary"):
        for design in ((1, 5), (2, 2), (2, 10), (3, 3), (3, 5), (5, 5), (10, 10)):
            yield from method_rows(world, design, some, seed)
    wild = [replace(w, seed_sd=0.4 if w in MNIST else 0.1) for w in (MNIST[0], CIFAR[0])]
    for world in vary(wild, "seeds vary much"):
        for design in ((2, 2), (2, 10), (3, 3), (3, 5), (10, 10)):
            yield from method_rows(world, design, some, seed)
    for chance in (0.1, 1 / 3):
        for world in vary(MNIST[:1], f"{chance:.0%} of runs fail", failing=(chance, chance)):
            for design in ((2, 2), (3, 3), (5, 5), (10, 10)):
                yield from method_rows(world, design, some, seed)
    for world in vary(MNIST[:1], "33% of A's runs fail", failing=(1 / 3, 0.0)):
        for design in ((3, 3), (5, 5), (10, 10), (20, 20)):
            yield from method_rows(world, design, some, seed)
    for images in (200, 500, 1000):
        for world in vary([MNIST[1], CIFAR[1]], f"{images} images", images=images):
            for design in ((1, 1), (1, 5), (2, 2), (3, 3), (10, 10)):
                yield from method_rows(world, design, some, seed)
                yield from method_rows(vary([world], "half", gain=0.5)[0], design, some, seed)
    for shared in (0.1, 0.4):
        for world in vary(MNIST[1:], f"seeds share {shared}", shared_sd=shared, seed_sd=0.1):
            for design in ((2, 2), (3, 3), (5, 5), (10, 10)):
                yield from method_rows(world, design, some, seed, paired=True)
    for world in vary(MNIST[1:], "teachers vary", teacher_sd=0.2):
        for teachers, runs in ((2, 4), (2, 10), (3, 6), (5, 10)):
            yield from method_rows(world, (5, runs), some, seed, teachers=teachers)
    for world in MNIST + CIFAR[1:]:
        for runs in (3, 5):
            yield from holm_rows(world, runs, few, seed)
    yield from count_rows()
    yield from newcombe_rows(5 * many, seed)
    yield from rdm_rows(seed, scale)


def main(
    quick: Annotated[bool, typer.Option(help="a few small worlds")] = False,
    scale: Annotated[float, typer.Option(help="times as many worlds")] = 1.0,
    seed: int = 0,
    out: Path = OUT,
) -> None:
    """Write the table, and print each row as it is measured."""
    start = time.process_time()
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Row._fields, "verdict"])
        for row in quick_rows(seed) if quick else all_rows(seed, scale):
            cells = [f"{x:.4g}" if isinstance(x, float) else x for x in row]
            writer.writerow(["" if cell == "nan" else cell for cell in cells] + [row.verdict])
            file.flush()
            print(*cells, row.verdict, sep="  ", flush=True)
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    typer.run(main)
