"""Time measures of similarity beside rsatoolbox's, Bayesian distances beside the published method.

    python benchmarks/measures.py

Two related representations of 200 units over n stimuli. Times are the least of some repetitions:
seconds on the clock, and seconds of processor time, which other load on the machine changes less.
RDMs and kernels are made before the clock starts. A case that would take more than `--limit`
seconds of the processor, estimated from the next smaller n, is left out.

"published" is the method of Schütt 2024 in the same float64 and PyTorch: draws by Cholesky factors,
log densities by triangular solves, plain means.
"""

import csv
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from rdl_cli.commands.device import configure_backend
from rdl_cli.rsa.bayes import prior_variance
from rdl_cli.rsa.distances import mse
from rdl_cli.rsa.measures import MEASURES, Measure, measure_input, measure_traits

UNITS, SAMPLES = 200, 10_000
OUT = Path(__file__).with_suffix(".csv")
RSATOOLBOX = {
    "pearson": "corr",
    "cosine": "cosine",
    "spearman": "spearman",
    "rho-a": "rho-a",
    "tau-a": "tau-a",
    "whitened-cosine": "cosine_cov",
    "whitened-correlation": "corr_cov",
}
MOST = {"whitened-cosine": 100, "whitened-correlation": 100}
"""Stimuli for which rsatoolbox's p × p covariance of distances fits into memory."""

Case = tuple[str, str, Callable[[], float]]


def representations(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    x, noise = (torch.randn(n, UNITS, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, x + noise


def cases(n: int, device: str) -> Iterator[Case]:
    """Measure, whose it is, and what is timed."""
    reps = [x.to(device) for x in representations(n)]
    for name in MEASURES.names():
        measure = MEASURES.find(name)
        inputs = [measure_input(measure, x, mse) for x in reps]
        yield name, "rdl", partial(measured, measure, inputs)
        if name in RSATOOLBOX and n <= MOST.get(name, n):
            yield (
                name,
                "rsatoolbox",
                rsatoolbox(RSATOOLBOX[name], [x.cpu().numpy() for x in inputs]),
            )
        if name in ("tv", "jsd"):
            spec = MEASURES.find(f"{name}:reference=true")
            yield name, "rdl, plain means", partial(measured, spec, inputs)
            yield name, "published", partial(published, name, *inputs)


def measured(measure: Measure, inputs: list[Tensor]) -> float:
    return float(measure(*inputs))


def rsatoolbox(method: str, inputs: list[np.ndarray]) -> Callable[[], float]:
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.rdm.compare import compare

    first, second = (RDMs(x[None]) for x in inputs)
    return lambda: float(compare(first, second, method=method)[0, 0])


def published(name: str, first: Tensor, second: Tensor) -> float:
    """TV or JSD in bits by the published estimator."""
    p, q = prior_variance(first), prior_variance(second)
    generator = torch.Generator().manual_seed(0)
    of_p, of_q = torch.linalg.cholesky(p), torch.linalg.cholesky(q)

    def log_density(factor: Tensor, y: Tensor) -> Tensor:
        return (
            -torch.linalg.solve_triangular(factor, y, upper=False).square().sum(0) / 2
            - factor.diagonal().log().sum()
        )

    means = []
    for own in (of_p, of_q):
        y = own @ torch.randn(len(p), SAMPLES, generator=generator, dtype=p.dtype).to(p.device)
        ratio = log_density(of_p, y) - log_density(of_q, y)
        ratio = ratio if own is of_p else -ratio
        means.append(
            (F.logsigmoid(ratio) if name == "jsd" else F.relu(-torch.expm1(-ratio))).mean()
        )
    total = float(sum(means))
    return 1 + total / (2 * math.log(2)) if name == "jsd" else total / 2


def timed(case: Callable[[], float], least: int, device: str) -> tuple[float, float, float, int]:
    """Return value, least seconds on the clock and of the processor, number of repetitions."""
    wall: list[float] = []
    cpu: list[float] = []
    value = math.nan
    while len(wall) < least and sum(wall) < 10:
        if device != "cpu":
            torch.cuda.synchronize()
        start, used = time.perf_counter(), time.process_time()
        value = case()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return value, min(wall), min(cpu), len(wall)


def machine(device: str) -> dict[str, object]:
    cpu = platform.processor()
    if (known := Path("/proc/cpuinfo")).is_file():
        cpu = next(
            (
                line.partition(":")[2].strip()
                for line in known.read_text().splitlines()
                if line.startswith("model name")
            ),
            cpu,
        )
    chip = cpu if device == "cpu" else torch.cuda.get_device_name()
    versions: dict[str, object] = {
        name: metadata.version(name) for name in ("torch", "numpy", "scipy", "rsatoolbox")
    }
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return {
        "device": chip,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load,
    } | versions


def main(
    sizes: Annotated[str, typer.Option(help="stimuli")] = "100,1000,5000",
    threads: Annotated[int, typer.Option(help="threads of PyTorch")] = 2,
    limit: Annotated[float, typer.Option(help="seconds that a case may take")] = 60,
    repeat: Annotated[int, typer.Option(help="repetitions at least, within 10 seconds")] = 5,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    out: Annotated[Path, typer.Option(help="the table")] = OUT,
) -> None:
    torch.set_num_threads(threads)
    configure_backend(device)  # as `rdl compare-rdms` does
    warnings.simplefilter("ignore")  # rsatoolbox's, of deprecated SciPy
    rows: list[dict[str, object]] = []
    before: dict[tuple[str, str], tuple[int, float]] = {}
    for n in map(int, sizes.split(",")):
        for name, whose, case in cases(n, device):
            earlier, seconds = before.get((name, whose), (n, 0.0))
            power = (
                3
                if measure_traits(MEASURES.find(name)).input == "kernel" or "whitened" in name
                else 2
            )
            if seconds > 0.1 and seconds * (n / earlier) ** power > 2 * limit:
                continue
            value, wall, cpu, repetitions = timed(case, repeat, device)
            before[name, whose] = (n, cpu if device == "cpu" else wall)
            row = {
                "measure": name,
                "by": whose,
                "n": n,
                "seconds": wall,
                "cpu_seconds": cpu,
                "repetitions": repetitions,
                "value": value,
            }
            rows.append(row | machine(device))
            print(
                f"{name:22} {whose:18} n={n:<6} {wall:10.4f} s  {cpu:10.4f} s of processor"
                f"  {value:.6f}",
                flush=True,
            )
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    key: f"{value:.4g}" if isinstance(value, float) else value
                    for key, value in row.items()
                }
            )


if __name__ == "__main__":
    typer.run(main)
