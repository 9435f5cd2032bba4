"""A student of two layers, an objective with a head and a stream of points, to test the loop."""

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.training.loop import fit
from rdl_cli.training.objective import Objective, Progress, Term
from rdl_cli.training.student import StudentModule

torch.set_num_threads(1)
START = Progress(0, 4, 0, 3)


class Stream:
    """Three batches of ten two-dimensional points, the same in every epoch."""

    def __init__(self, n=10):
        rng = torch.Generator().manual_seed(0)
        self.batches = []
        for step in range(3):
            images, labels = torch.randn(n, 2, generator=rng), torch.arange(n) % 2
            ids = torch.arange(n) + n * step
            self.batches.append(
                Batch(images + labels[:, None], labels, ids, torch.zeros_like(labels))
            )

    def __len__(self):
        return len(self.batches)

    def epoch(self, seeds, epoch, rank=0, world=1):
        yield from self.batches

    def in_order(self):
        yield from self.batches


class Pull(Objective):
    """Pulls the hidden layer's mean towards 1, with a head of its own."""

    def __init__(self, weight=0.5, name="pull", exclusive_epochs=0):
        super().__init__(("hidden",))
        torch.manual_seed(1)
        self.weight, self.name, self.head = weight, name, nn.Linear(4, 1)
        self.exclusive_epochs = exclusive_epochs

    def is_exclusive(self, progress):
        return progress.epoch < self.exclusive_epochs

    def terms(self, step):
        value = (self.head(step.reps["hidden"]) - 1).square().mean()
        return {f"{self.name}/hidden": Term(value, self.weight)}


def make_module(*objectives, **options):
    torch.manual_seed(0)
    student = nn.Sequential()
    layers = {
        "hidden": nn.Linear(2, 4),
        "relu": nn.ReLU(),
        "dropout": nn.Dropout(0.5),
        "readout": nn.Linear(4, 2),
    }
    for name, layer in layers.items():
        student.add_module(name, layer)
    return StudentModule(student, objectives, **options)


def make_fabric(precision="32-true"):
    """Return Fabric for one process, without a search for clusters."""
    environment = LightningEnvironment()
    return Fabric(accelerator="cpu", devices=1, precision=precision, plugins=environment)


def run_fit(module, epochs=4, resume=None, lr=0.1, precision="32-true"):
    """Yield the epochs of a training with SGD and a linear schedule."""
    fabric = make_fabric(precision)
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    wrapped, optimizer = fabric.setup(module, optimizer)
    yield from fit(
        wrapped,
        optimizer,
        Stream(),
        validation=Stream(),
        schedule=lambda time: 1 - time / 4,
        epochs=epochs,
        seeds=Seeds(0),
        fabric=fabric,
        resume=resume,
    )
