"""A synthetic student and teacher of three layers, and one step; lets tests import loops.py."""

import sys
from pathlib import Path
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
from rdl_cli.training.targets import TeacherDistances, fix_stored_distance

sys.path.append(str(Path(__file__).parent))
torch.set_num_threads(1)
N, CLASSES = 8, 5
STUDENT_SHAPES = {"conv": (3, 4, 4), "flat": (6,), "logits": (CLASSES,)}
TEACHER_SHAPES = {"maps": (4, 4, 4), "units": (7,), "logits": (CLASSES,)}
MATCHES = (LayerMatch("conv", "maps"),)
SPECS = {"dsn": "dsn:layers=conv"}


class FakeTarget:
    """Activations of every layer, or their RDMs alone, of images numbered from 0.

    `change` maps the distances of a batch to others.
    """

    def __init__(self, reps, rdms_only=False, distance="mse", change=None):
        self.reps, self.rdms_only, self.stored = reps, rdms_only, distance
        self.layers, self.change = tuple(reps), change

    def comparison_batch(self, batch, rng):
        return batch

    def fix_distance(self, layer, distance):
        name = distance or self.stored
        if self.rdms_only:
            name = fix_stored_distance(layer, self.stored, distance)
        function = DISTANCES.find("mse" if name == "crossnobis" else name)

        def measure(batch):
            reps = self.reps[layer][batch.ids]
            distances = function(reps, reps)
            return self.change(distances, batch.ids) if self.change else distances

        return TeacherDistances(layer, name, measure)

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


def make_batch(n=N, labels=None):
    return Batch(
        random(n, (1, 4, 4), 50),
        torch.arange(n) % CLASSES if labels is None else labels,
        torch.arange(n),
        torch.zeros(n).long(),
    )


def make_context(target, matches=MATCHES, shapes=None):
    shapes = shapes or STUDENT_SHAPES
    return ObjectiveContext(tuple(matches), target, shapes, CLASSES, make_batch(), Seeds(0))


def make_step(reps, epoch=0, epochs=10, batch=None):
    batch = batch or make_batch(len(reps["logits"]))
    progress, rng = Progress(epoch, epochs, 0, 1), torch.Generator().manual_seed(0)
    return StepContext(batch, reps["logits"], batch, reps, progress, rng)


def make(name, target, **changes):
    """Return the objective of a name or spec, its own parameters in float64."""
    torch.manual_seed(0)
    context = make_context(None if name.startswith("dsn") else target, **changes)
    return OBJECTIVES.make(SPECS.get(name, name), context).double()


def term_values(objective, reps, **options):
    terms = objective.terms(make_step(reps, **options))
    return {name: term.value for name, term in terms.items()}


@pytest.fixture
def world():
    """The names above, for tests that import nothing from each other."""
    return SimpleNamespace(
        FakeTarget=FakeTarget,
        random=random,
        representations=representations,
        batch=make_batch,
        context=make_context,
        step=make_step,
        make=make,
        values=term_values,
        N=N,
        CLASSES=CLASSES,
        SPECS=SPECS,
    )


@pytest.fixture
def student_reps():
    return representations(STUDENT_SHAPES, 0)


@pytest.fixture
def teacher_reps():
    return representations(TEACHER_SHAPES, 10)


@pytest.fixture
def target(teacher_reps):
    return FakeTarget(teacher_reps)
