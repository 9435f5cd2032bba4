"""The objective `rdl:...`: options, weights, units and precision."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.training.objective import LayerMatch
from rdl_cli.training.objectives import rdl


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distance", DISTANCES.names())
def test_rdl_compares_half_precision_in_float32_even_inside_autocast(
    dtype, distance, world, student_reps, target
):
    objective = world.make(f"rdl:distance={distance}", target)
    half = {layer: r.to(dtype) for layer, r in student_reps.items()}
    full = {layer: r.float() for layer, r in half.items()}
    expected = objective.terms(world.step(full))["rdl/conv"].value
    layers = {layer: r.clone().requires_grad_() for layer, r in half.items()}
    with torch.autocast("cpu", torch.bfloat16):
        value = objective.terms(world.step(layers))["rdl/conv"].value
        assert value.dtype == torch.float32 and torch.equal(value, expected)
    with torch.autocast("cpu", torch.bfloat16):
        value.backward()
    exact = {layer: r.clone().requires_grad_() for layer, r in full.items()}
    objective.terms(world.step(exact))["rdl/conv"].value.backward()
    torch.testing.assert_close(layers["conv"].grad, exact["conv"].grad.to(dtype))


def test_rdl_weight_decays_linearly_from_epoch_zero(world, student_reps, target):
    objective = world.make("rdl:weight=2", target)
    weights = [
        objective.terms(world.step(student_reps, epoch=e, epochs=5))["rdl/conv"].weight
        for e in range(5)
    ]
    assert weights == pytest.approx([2, 1.6, 1.2, 0.8, 0.4])
    constant = world.make("rdl:weight=2,decay=none", target)
    assert {
        constant.terms(world.step(student_reps, epoch=e, epochs=5))["rdl/conv"].weight
        for e in range(5)
    } == {2}


def test_rdl_unit_free_loss_ignores_the_teachers_unit(world, student_reps, teacher_reps):
    def value(spec, factor):
        scaled = {layer: factor * r for layer, r in teacher_reps.items()}
        student = {layer: factor * r for layer, r in student_reps.items()}
        return float(
            world.make(spec, world.FakeTarget(scaled)).terms(world.step(student))["rdl/conv"].value
        )

    assert value("rdl", 10.0) == pytest.approx(value("rdl", 1.0))
    assert value("rdl:scale=none", 10.0) == pytest.approx(1e4 * value("rdl:scale=none", 1.0)), (
        "the loss is quartic in the features"
    )


def test_rdl_unit_free_loss_is_raw_over_the_mean_square_distance(world, student_reps, target):
    raw, free = (
        float(world.make(s, target).terms(world.step(student_reps))["rdl/conv"].value)
        for s in ("rdl:scale=none", "rdl")
    )
    distances = target.fix_distance("maps", "mse")(world.batch())[
        torch.triu_indices(8, 8, 1).unbind()
    ]
    assert free == pytest.approx(raw / float(distances.square().mean()))


def test_rdl_refuses_a_constant_rdm(world, teacher_reps):
    with pytest.raises(UserError, match="are the same for 8 images"):
        world.make(
            "rdl",
            world.FakeTarget({layer: torch.zeros_like(r) for layer, r in teacher_reps.items()}),
        )


@pytest.mark.parametrize(
    ("options", "n", "pairs"),
    [
        ("pairs=10", 8, 10),
        ("pairs=1000", 8, 28),
        ("estimator=all", 8, 28),
        ("pair_fraction=0.05", 100, 495),
        ("pair_fraction=0.025", 128, 406),
        ("pair_fraction=0.5", 8, 28),
        ("pair_fraction=0.001", 8, 1),
    ],
)
def test_rdl_draws_the_pairs_of_its_options(options, n, pairs, world, target):
    objective = world.make(f"rdl:{options}", target)
    assert (
        rdl.draw_pairs(n, objective._count_pairs(n), torch.Generator().manual_seed(0)).sum()
        == 2 * pairs
    )


def test_rdl_draws_once_for_all_layers_and_anew_in_each_step(
    world, teacher_reps, student_reps, monkeypatch
):
    seen = []
    original = rdl.weighted_errors
    monkeypatch.setattr(
        rdl,
        "weighted_errors",
        lambda r, t, counts, *rest: (seen.append(counts), original(r, t, counts, *rest))[1],
    )
    objective = world.make(
        "rdl:pairs=5",
        world.FakeTarget(teacher_reps),
        matches=(LayerMatch("conv", "maps"), LayerMatch("flat", "units")),
    )
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):
        objective.terms(world.step(student_reps)._replace(rng=rng))
    assert len(seen) == 2 and seen[0].shape == (8, 8) and not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ("pairs=5,pair_fraction=0.1", "pairs=5 and pair_fraction=0.1"),
        ("pairs=0", "pairs=0"),
        ("pair_fraction=0.6", "pair_fraction=0.6"),
        ("estimator=all,pairs=5", "takes every pair"),
        ("estimator=eq4", "their number is not set"),
        ("weight=-1", "weight=-1"),
        ("wieght=1", "did you mean `weight`"),
        ("estimator=eq5", "did you mean `eq4`"),
        ("distance=corelation", "did you mean `correlation`"),
    ],
)
def test_rdl_refuses_contradictory_options(options, fact, world, target):
    with pytest.raises(UserError, match=fact):
        world.make(f"rdl:{options}", target)
