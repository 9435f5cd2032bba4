"""Time a training step: alone, with RDL from a store, and with RDL from a live teacher.

    python benchmarks/step.py --data-root data

All kinds of step run in turn in one process, a few steps of each at a time, and are compared turn
by turn, so that other load on the machine affects all of them. A step is what `fit` does from one
batch to the next, the batch included. Teacher, stores, objectives and loop are the package's own.
Without MNIST in the data root the images are noise.
"""

import csv
import itertools
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
import typer
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rdl_cli.commands.export_rdms.export_rdms import export_rdms
from rdl_cli.commands.settings import ExportSettings, StudentSettings, TrainingSettings
from rdl_cli.commands.train.setup import make_context
from rdl_cli.commands.train.targets import TrainingImages, build_objectives
from rdl_cli.commands.train.train import train
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import Split, Splits
from rdl_cli.datasets.base import load_dataset as load_pictures
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.training.loop import fit
from rdl_cli.training.lr_schedule import SCHEDULES
from rdl_cli.training.objective import Objective
from rdl_cli.training.student import StudentModule
from rdl_cli.training.targets import StoreTarget

TABLE = Path(__file__).with_suffix(".csv")
SIZE, MANY, THREADS = 100, 100_000, [2, 1]
LAYERS = ["pool1", "pool2", "fc"]
COMPARED = (
    ("bare loop", "baseline", ""),
    ("baseline", "baseline", ""),
    ("activations", "baseline", "<= 1.20"),
    ("rdms", "baseline", "<= 1.15"),
    ("live teacher", "baseline", ""),
    ("live teacher", "activations", ">= 1.25"),
    ("live teacher", "rdms", ">= 1.25"),
)
"""Rows of the table: a kind of step, the one it is compared with, the ratio aimed at."""


class Kind(NamedTuple):
    """A kind of step: each item of `turns` is the durations of a few steps in seconds."""

    name: str
    turns: Iterator[list[float]]
    flops: int


class Clocked:
    """A stream of a few steps an epoch that records when each batch is requested."""

    def __init__(self, split: Split, steps: int):
        self.batches = Batches(
            split, None, SIZE, VIEWS.make("none"), PREPROCESSING.make("unit", split), steps=steps
        )
        self.asked: list[float] = []

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        self.asked = [time.perf_counter()]
        for batch in self.batches.epoch(seeds, epoch, rank, world):
            yield batch
            self.asked.append(time.perf_counter())

    def in_order(self) -> Iterator[Batch]:
        return itertools.islice(self.batches.in_order(), 1)

    def durations(self) -> list[float]:
        """Return the seconds of each step but the first, which measures gradient fractions."""
        return [after - before for before, after in itertools.pairwise(self.asked)][1:]


def network() -> nn.Module:
    Seeds(1).seed_global("initialisation")
    return build_network("mnist-cnn", InputShape(1, 28, 28), 10).to(
        memory_format=torch.channels_last
    )


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def with_fit(split: Split, settings: StudentSettings, steps: int) -> Iterator[list[float]]:
    """Turns of the package's own loop, as `rdl train-student` sets it up."""
    student, seeds, fabric = (
        network(),
        Seeds(0),
        Fabric(accelerator="cpu", devices=1, plugins=LightningEnvironment()),
    )
    preprocess = PREPROCESSING.make("unit", split)
    shown = TrainingImages(split, split.ids, VIEWS.make("none"), preprocess, fabric.device)
    context = make_context(settings, student, InputShape(1, 28, 28), shown, seeds)
    objectives = build_objectives(settings, context)
    preload_activations(objectives)
    module = StudentModule(student, objectives)
    stream = Clocked(split, steps)
    schedule = SCHEDULES.make("cosine", MANY)
    model, optimizer = fabric.setup(module, optimizer_of(module))
    for _ in fit(model, optimizer, stream, stream, schedule, MANY, seeds, fabric):
        yield stream.durations()


def preload_activations(objectives: list[Objective]) -> None:
    """Read stored activations once, as the first epoch does: fresh pages are 5 times as slow."""
    for target in {objective.target for objective in objectives}:
        if isinstance(target, StoreTarget):
            for stored in target._stored.values():
                if stored.has_activations:
                    stored.activations().sum()


def bare(split: Split, steps: int) -> Iterator[list[float]]:
    """Turns of the shortest loop that PyTorch allows: no metrics, no schedule, no terms."""
    model, images = network(), split.read(slice(None))
    optimizer = optimizer_of(model)
    while True:
        asked = []
        for rows in torch.randperm(len(split))[: steps * SIZE].split(SIZE):
            asked.append(time.perf_counter())
            loss = F.cross_entropy(model(images[rows].float().div_(255)), split.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        asked.append(time.perf_counter())
        yield [after - before for before, after in itertools.pairwise(asked)][1:]


def kinds(splits: Splits, folder: Path, steps: int) -> list[Kind]:
    """Every kind of step, with its operations; teacher and stores are made in the folder."""
    rdl = StudentSettings(match=LAYERS, objective=["rdl:pairs=500"])
    of = {
        "baseline": (splits.train, StudentSettings()),
        "activations": (splits.train, replace(rdl, targets=str(folder / "activations.h5"))),
        "rdms": (splits.validation, replace(rdl, targets=str(folder / "rdms.h5"))),
        "live teacher": (splits.train, replace(rdl, targets=str(folder / "teacher"))),
    }
    turns = {"bare loop": partial(bare, splits.train)} | {
        name: partial(with_fit, *arguments) for name, arguments in of.items()
    }
    return [Kind(name, start(steps), operations(start)) for name, start in turns.items()]


def operations(start: Callable[[int], Iterator[list[float]]]) -> int:
    """Return the floating-point operations of one step, as PyTorch counts them."""
    counts = []
    for steps in (2, 3):
        turns = start(steps)
        with FlopCounterMode(display=False) as counter:
            next(turns)
        counts.append(counter.get_total_flops())
    return counts[1] - counts[0]


def prepare(folder: Path, data_root: Path) -> Splits:
    """Make images, an untrained teacher, its activations and its RDMs of validation images."""
    root = str(data_root)
    if not (data_root / "MNIST").is_dir():
        root = str(folder / "data")
        noise(Path(root) / "MNIST" / "raw")
    train(folder / "teacher", TrainingSettings(data_root=root, max_steps=1))
    export_rdms(
        folder / "teacher", folder / "activations.h5", ExportSettings(data_root=root, layers=LAYERS)
    )
    export_rdms(
        folder / "teacher",
        folder / "rdms.h5",
        ExportSettings(data_root=root, layers=LAYERS, split="validation", as_="rdm"),
    )
    return load_pictures("mnist", Path(root))


def noise(raw: Path) -> None:
    """Files as MNIST's, with random pixels and labels."""
    raw.mkdir(parents=True)
    rng = random.Random(0)
    for which, n in (("train", 60_000), ("t10k", 10_000)):
        sizes = b"".join(side.to_bytes(4, "big") for side in (n, 28, 28))
        (raw / f"{which}-images-idx3-ubyte").write_bytes(
            bytes([0, 0, 8, 3]) + sizes + rng.randbytes(n * 28 * 28)
        )
        (raw / f"{which}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + sizes[:4] + bytes(i % 10 for i in range(n))
        )


def measure(all_kinds: list[Kind], rounds: int) -> dict[str, list[list[float]]]:
    """Return durations in seconds by kind and round; the order of kinds differs by round.

    Two rounds before the first do not count.
    """
    order, rng = list(all_kinds), random.Random(0)
    durations_by_kind: dict[str, list[list[float]]] = {kind.name: [] for kind in all_kinds}
    for number in range(rounds + 2):
        rng.shuffle(order)
        for kind in order:
            durations = next(kind.turns)
            if number >= 2:
                durations_by_kind[kind.name].append(durations)
    return durations_by_kind


def table(
    all_kinds: list[Kind], durations_by_kind: dict[str, list[list[float]]]
) -> list[dict[str, object]]:
    """Return milliseconds of the steps and the ratios of medians by turn, with quartiles."""
    flops = {kind.name: kind.flops for kind in all_kinds}
    typical = {
        name: [statistics.median(turn) for turn in turns]
        for name, turns in durations_by_kind.items()
    }
    rows = []
    for name, other, bar in COMPARED:
        times = statistics.quantiles(
            [1e3 * seconds for turn in durations_by_kind[name] for seconds in turn], n=4
        )
        ratios = statistics.quantiles(
            [a / b for a, b in zip(typical[name], typical[other], strict=True)], n=4
        )
        met = {
            "": "",
            "<=": ratios[1] <= float(bar[3:] or 0),
            ">=": ratios[1] >= float(bar[3:] or 0),
        }[bar[:2]]
        row: dict[str, object] = {
            "step": name,
            "n": sum(map(len, durations_by_kind[name])),
            "turns": len(durations_by_kind[name]),
        }
        row |= dict(zip(("ms_q1", "ms_median", "ms_q3"), times, strict=True)) | {"against": other}
        row |= dict(zip(("ratio_q1", "ratio_median", "ratio_q3"), ratios, strict=True))
        rows.append(
            row
            | {
                "bar": bar,
                "met": met,
                "mflop": flops[name] / 1e6,
                "mflop_ratio": flops[name] / flops[other],
            }
        )
    return rows


def machine() -> dict[str, object]:
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    named = re.search(r"model name\s*: (.*)", about)
    return {
        "cpu": named[1] if named else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else "",
        "python": platform.python_version(),
    } | {name: metadata.version(name) for name in ("torch", "numpy", "lightning-fabric")}


def main(
    data_root: Annotated[Path, typer.Option(help="where MNIST lies")] = Path("data"),
    rounds: Annotated[int, typer.Option(help="turns of each kind of step")] = 40,
    steps: Annotated[int, typer.Option(help="steps in a turn; the first is not counted")] = 16,
    threads: Annotated[
        list[int], typer.Option(help="threads of PyTorch; repeat for a table of each")
    ] = THREADS,
    out: Annotated[Path, typer.Option(help="the table")] = TABLE,
) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        splits = prepare(Path(folder), data_root)
        all_kinds = kinds(splits, Path(folder), steps)
        for count in threads:
            torch.set_num_threads(count)
            rows += [row | machine() for row in table(all_kinds, measure(all_kinds, rounds))]
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
    print(out.read_text())


if __name__ == "__main__":
    typer.run(main)
