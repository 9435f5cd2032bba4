"""Every objective with a teacher refuses, before training, a teacher without geometry."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.kernels import center_kernel, u_center
from rdl_cli.training.objective import OBJECTIVES, LayerMatch

WITH_TEACHER = [name for name in OBJECTIVES.names() if name != "dsn"]
OF_RDMS = ["rdl", "rsa", "cosine", "whitened"]


def set_first(values, value):
    changed = values.clone()
    changed.view(len(changed), -1)[:, 0] = value
    return changed


SPOILED = {
    "NaN": lambda reps: reps * float("nan"),
    "one unit NaN": lambda reps: set_first(reps, float("nan")),
    "infinite": lambda reps: reps * float("inf"),
    "one unit infinite": lambda reps: set_first(reps, float("inf")),
    "zeros": lambda reps: reps * 0,
    "constant": lambda reps: reps[:1].expand_as(reps),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("name", WITH_TEACHER)
def test_objective_refuses_activations_without_geometry(name, spoil, world, teacher_reps):
    spoiled = {layer: spoil(reps) for layer, reps in teacher_reps.items()}
    with pytest.raises(UserError, match="the teacher has no geometry to learn"):
        world.make(name, world.FakeTarget(spoiled))


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_objective_refuses_activations_whose_squares_overflow(name, world, teacher_reps):
    huge = {layer: reps.float() * 1e25 for layer, reps in teacher_reps.items()}
    with pytest.raises(UserError, match="overflow"):
        world.make(name, world.FakeTarget(huge))


@pytest.mark.parametrize("name", ["rsa", "cosine", "whitened"])
def test_objective_refuses_a_constant_rdm(name, world, teacher_reps):
    def flatten(distances, ids):
        return torch.where(distances > 0, 2.0, 0.0)

    target = world.FakeTarget(teacher_reps, rdms_only=True, change=flatten)
    with pytest.raises(UserError, match="are all 2 from each other: a constant RDM"):
        world.make(name, target)


@pytest.mark.parametrize("name", OF_RDMS)
def test_objective_refuses_an_rdm_without_measured_pairs(name, world, teacher_reps):
    target = world.FakeTarget(teacher_reps, rdms_only=True, change=lambda d, ids: d * float("nan"))
    with pytest.raises(UserError, match="no distance among 8 images"):
        world.make(name, target)


@pytest.mark.parametrize("name", OF_RDMS)
def test_objective_accepts_an_rdm_with_gaps(name, world, teacher_reps):
    def remove_pair(distances, ids):
        distances = distances.clone()
        distances[0, 1] = distances[1, 0] = float("nan")
        return distances

    world.make(name, world.FakeTarget(teacher_reps, rdms_only=True, change=remove_pair))


def test_objective_checks_every_match(world, teacher_reps):
    spoiled = teacher_reps | {"units": teacher_reps["units"] * 0}
    matches = (LayerMatch("conv", "maps"), LayerMatch("flat", "units"))
    with pytest.raises(UserError, match="`units`"):
        world.make("rsa", world.FakeTarget(spoiled), matches=matches)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("center", [center_kernel, u_center])
def test_centered_kernel_is_never_zeros_for_values_that_are_not_finite(center, value):
    kernel = torch.eye(5)
    kernel[0, 1] = kernel[1, 0] = value
    assert center(kernel).isnan().any()
