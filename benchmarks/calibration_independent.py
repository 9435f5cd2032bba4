"""Measure the comparison of methods again, in worlds that share no code with calibration.py.

    python benchmarks/calibration_independent.py --step 2

Images have beta-distributed difficulty, and a share of them has another one for the other method.
Each design is simulated without a difference, then with the median difference that was printed as
smallest detectable. `step` takes every second, third, ... design.
"""

import csv
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import typer

from rdl_cli.statistics.crossed import compare_methods

OUT = Path(__file__).with_suffix(".csv")
COLUMNS = (
    *("images", "error_rate", "interaction", "seed_sd", "gain", "runs_a", "runs_b", "paired"),
    *("rejected", "rejected_mid_p", "coverage", "smallest_detectable", "limit", "width"),
    "limit_below_one_image",
)


def draw_errors(
    rng: np.random.Generator, images: int, rate: float, setting: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the errors of A's and B's runs and the true difference.

    The truth of a method with one run is that of this network.
    """
    runs_a, runs_b = setting["runs"]
    spread, gain, paired = setting["seed_sd"], setting["gain"], setting["paired"]
    k = 1.0 if rate < 0.2 else 2.0
    a = rng.beta(rate * k, (1 - rate) * k, images)
    changed = rng.random(images) < setting["interaction"]
    b = np.where(changed, rng.beta(rate * k, (1 - rate) * k, images), a) * (1 - gain)
    better_a, better_b = (2 * spread * rng.random(runs) for runs in (runs_a, runs_b))
    if paired:
        shared = 2 * spread * rng.random(max(runs_a, runs_b))
        better_a = 0.3 * better_a + 0.7 * shared[:runs_a]
        better_b = 0.3 * better_b + 0.7 * shared[:runs_b]
    wrong_a = rng.random((runs_a, images)) < a * (1 - better_a)[:, None]
    wrong_b = rng.random((runs_b, images)) < b * (1 - better_b)[:, None]
    common = min(runs_a, runs_b)
    truth_a = better_a[0] if (common if paired else runs_a) == 1 else spread
    truth_b = better_b[0] if (common if paired else runs_b) == 1 else spread
    return wrong_a, wrong_b, rate * (1 - gain) * (1 - truth_b) - rate * (1 - truth_a)


def simulate(seed: int, images: int, rate: float, worlds: int, **setting: Any) -> list[float]:
    """Return the last columns of a row: shares of worlds, and medians."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(worlds):
        a, b, truth = draw_errors(rng, images, rate, setting)
        seeds: dict[str, Any] = {"seeds_a": range(len(a)), "seeds_b": range(len(b))}
        r = compare_methods(a, b, paired=setting["paired"], **seeds)
        p = r.mcnemar.exact if r.mcnemar else r.p
        sizes = r.smallest_detectable, r.smallest_detectable_limit, r.high - r.low
        limited = r.smallest_detectable_limit < 1 / images
        rows.append((p < 0.05, r.p < 0.05, r.low <= truth <= r.high, *sizes, limited))
    table = np.array(rows, dtype=float)
    return [*table[:, :3].mean(0), *np.median(table[:, 3:6], 0), table[:, 6].mean()]


def main(worlds: int = 1000, step: int = 1, out: Path = OUT) -> None:
    """Write the table."""
    designs = [
        (images, rate, interaction, spread, runs, paired)
        for images, rate, (interaction, spread) in product(
            (100, 1000, 10_000), (0.005, 0.02, 0.1, 0.4), ((0.0, 0.0), (0.2, 0.05))
        )
        for runs in ((1, 5), (2, 10), (3, 5), (10, 10), (5, 5), (1, 1))
        for paired in ((False, True) if spread else (False,))
    ]
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for seed, design in enumerate(designs, 1):
            if seed % step:
                continue
            images, rate, interaction, spread, runs, paired = design
            world = {"interaction": interaction, "seed_sd": spread, "runs": runs, "paired": paired}
            gain = 0.0
            for more, n in ((0, worlds), (10_000, max(200, worlds // 2))):
                row = simulate(seed + more, images, rate, n, gain=gain, **world)
                first = [images, rate, interaction, spread, f"{gain:.4g}", *runs, paired]
                writer.writerow([*first, *(f"{x:.4g}" for x in row)])
                file.flush()
                gain = min(0.9, row[3] / (rate * (1 - spread)))


if __name__ == "__main__":
    typer.run(main)
