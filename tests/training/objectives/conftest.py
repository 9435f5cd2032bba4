"""A small synthetic world: a student and a teacher of three layers, and one step of training."""

from types import SimpleNamespace

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.training.objective import (
    OBJECTIVES,
    LayerMatch,
    ObjectiveContext,
    Progress,
    StepContext,
)

torch.set_num_threads(1)
N, CLASSES = 8, 5
MINE = {"conv": (3, 4, 4), "flat": (6,), "logits": (CLASSES,)}
THEIRS = {"maps": (4, 4, 4), "units": (7,), "logits": (CLASSES,)}
MATCHES = (LayerMatch("conv", "maps"),)
SPECS = {"dsn": "dsn:layers=conv"}


class FakeTarget:
    """Activations of every layer, or their RDMs alone, of images numbered from 0."""

    def __init__(self, reps, rdms_only=False, distance="mse"):
        self.reps, self.rdms_only, self.stored = reps, rdms_only, distance
        self.layers = tuple(reps)

    def comparison_batch(self, batch, rng):
        return batch

    def distance(self, layer):
        return self.stored

    def distances(self, layer, comparison_batch, distance):
        reps = self.reps[layer][comparison_batch.ids]
        if not self.rdms_only:
            return DISTANCES.find(distance)(reps, reps)
        if distance != self.stored:
            raise UserError(f"the RDM is in {self.stored}, not {distance}")
        return DISTANCES.find("mse" if distance == "crossnobis" else distance)(reps, reps)

    def kernel(self, layer, comparison_batch, center):
        return inner_products(self.representations(layer, comparison_batch), center)

    def representations(self, layer, comparison_batch):
        if self.rdms_only:
            raise UserError("only RDMs are known")
        return self.reps[layer][comparison_batch.ids]

    def shape(self, layer):
        if self.rdms_only:
            raise UserError("only RDMs are known")
        return tuple(self.reps[layer].shape[1:])


def random(n, shape, seed, dtype=torch.float64):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def representations(shapes, seed, n=N, dtype=torch.float64):
    return {
        layer: random(n, shape, seed + k, dtype) for k, (layer, shape) in enumerate(shapes.items())
    }


def batch(n=N, labels=None):
    return Batch(
        random(n, (1, 4, 4), 50),
        torch.arange(n) % CLASSES if labels is None else labels,
        torch.arange(n),
        torch.zeros(n).long(),
    )


def setting(target, matches=MATCHES, shapes=None):
    return ObjectiveContext(tuple(matches), target, shapes or MINE, CLASSES, batch(), Seeds(0))


def step(reps, epoch=0, epochs=10, of=None):
    shown = of or batch(len(reps["logits"]))
    return StepContext(
        shown,
        reps["logits"],
        shown,
        reps,
        Progress(epoch, epochs, 0, 1),
        torch.Generator().manual_seed(0),
    )


def make(name, target, **changes):
    """The objective of a name or spec, its own parameters in float64."""
    torch.manual_seed(0)
    return OBJECTIVES.make(
        SPECS.get(name, name), setting(None if name.startswith("dsn") else target, **changes)
    ).double()


def values(objective, reps, **when):
    return {name: term.value for name, term in objective.terms(step(reps, **when)).items()}


@pytest.fixture
def world():
    """The words above, for tests that import nothing from each other."""
    return SimpleNamespace(
        FakeTarget=FakeTarget, random=random, representations=representations, batch=batch, setting=setting, step=step, make=make,
        values=values, MINE=MINE, THEIRS=THEIRS, N=N, CLASSES=CLASSES, SPECS=SPECS,
    )  # fmt: skip


@pytest.fixture
def mine():
    return representations(MINE, 0)


@pytest.fixture
def theirs():
    return representations(THEIRS, 10)


@pytest.fixture
def target(theirs):
    return FakeTarget(theirs)
