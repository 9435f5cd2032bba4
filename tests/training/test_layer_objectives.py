"""Matches, distances and missing values of the objectives that compare layers."""

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.training.objective import OBJECTIVES, LayerMatch

CONV, LOGITS = LayerMatch("conv", "maps"), LayerMatch("logits", "head")


@pytest.mark.parametrize("name", ["kd", "logits"])
def test_select_matches_gives_logits_by_default(name):
    family = OBJECTIVES.find(name)
    default = (LayerMatch("logits", "logits"),)
    assert family.select_matches((CONV,)) == family.select_matches(()) == default
    assert family.select_matches((CONV, LOGITS)) == (LOGITS,)


def test_select_matches_gives_all_or_none():
    assert OBJECTIVES.find("sp").select_matches((CONV, LOGITS)) == (CONV, LOGITS)
    assert OBJECTIVES.find("dsn").select_matches((CONV, LOGITS)) == ()


@pytest.mark.parametrize("name", ["kd", "logits"])
def test_logit_objective_refuses_other_classes(name, world, teacher_reps):
    with pytest.raises(UserError, match=r"\(5,\).*\(7,\)") as caught:
        world.make(name, world.FakeTarget(teacher_reps | {"logits": teacher_reps["units"]}))
    assert "rdl" in caught.value.hint


@pytest.mark.parametrize("match", [LayerMatch("flat", "maps"), LayerMatch("conv", "units")])
def test_at_refuses_layers_without_maps(match, world, target):
    with pytest.raises(UserError, match="compares maps"):
        world.make("at", target, matches=(match,))


@pytest.mark.parametrize("value", ["0", "-2"])
def test_kd_refuses_a_temperature_of_0_or_less(value, world, target):
    with pytest.raises(UserError, match=f"temperature={float(value)}"):
        world.make(f"kd:temperature={value}", target)


def test_debiased_cka_needs_four_images(world, student_reps, target):
    objective = world.make("cka:estimator=debiased", target)
    few = {layer: reps[:4] for layer, reps in student_reps.items()}
    assert world.values(objective, few)["cka/conv"].isfinite()
    objective.check(1, 4)
    with pytest.raises(UserError, match="at least 4 images; a step has 3"):
        objective.check(1, 3)


@pytest.mark.parametrize(
    ("spec", "minimum"),
    [("rdl", 2), ("rsa", 3), ("cosine", 3), ("cka", 2), ("bayes", 2), ("rkd", 3), ("sp", 2)],
)
def test_check_refuses_too_few_images(spec, minimum, world, target):
    objective = world.make(spec, target)
    objective.check(1, minimum)
    message = f"`{spec}` compares at least {minimum} images; a step has {minimum - 1}"
    with pytest.raises(UserError, match=message):
        objective.check(1, minimum - 1)


@pytest.mark.parametrize(
    ("rdms_only", "option", "distances"),
    [
        (True, "", ("correlation", "correlation")),
        (True, ":distance=correlation", ("correlation", "correlation")),
        (False, ":distance=euclidean", ("euclidean", "euclidean")),
        (False, "", ("correlation", "correlation")),
    ],
)
def test_fix_distances_measures_student_and_teacher_alike(
    rdms_only, option, distances, world, teacher_reps
):
    target = world.FakeTarget(teacher_reps, rdms_only=rdms_only, distance="correlation")
    objective = world.make(f"rsa{option}", target)
    teacher = objective.teacher_distances[CONV].distance
    assert (objective.student_distances[CONV], teacher) == distances


def test_fix_distances_refuses_another_distance_than_the_rdms(world, teacher_reps):
    target = world.FakeTarget(teacher_reps, rdms_only=True, distance="correlation")
    with pytest.raises(UserError, match="is in `correlation`; the objective asks for `cosine`"):
        world.make("rsa:distance=cosine", target)


def test_fix_distances_takes_an_rdm_in_a_measure_that_no_student_has(
    world, student_reps, teacher_reps
):
    brain = world.FakeTarget(teacher_reps, rdms_only=True, distance="crossnobis")
    with pytest.raises(UserError, match="crossnobis") as caught:
        world.make("rsa", brain)
    assert "distance=" in caught.value.hint
    objective = world.make("rsa:distance=correlation", brain)
    assert objective.student_distances == {CONV: "correlation"}
    pairs = condensed_pairs(world.N)
    student_rdm = DISTANCES.find("correlation")(student_reps["conv"], student_reps["conv"])[pairs]
    brain_rdm = brain.fix_distance("maps", None)(world.batch())[pairs]
    expected = 1 - np.corrcoef(student_rdm.numpy(), brain_rdm.numpy())[0, 1]
    value = world.values(objective, student_reps)["rsa/conv"]
    assert float(value) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["rsa", "cosine", "whitened"])
def test_rdm_objective_leaves_missing_pairs_out(name, world, student_reps, teacher_reps):
    missing = ((2, 5), (0, 1))

    def remove(distances, ids):
        for a, b in (*missing, *((b, a) for a, b in missing)):
            distances[(ids[:, None] == a) & (ids == b)] = torch.nan
        return distances

    complete, with_gaps = (
        world.make(name, world.FakeTarget(teacher_reps, rdms_only=True, change=change))
        for change in (None, remove)
    )
    reps = {layer: r.clone().requires_grad_() for layer, r in student_reps.items()}
    (value,) = world.values(with_gaps, reps).values()
    assert value.isfinite() and not torch.allclose(value, *world.values(complete, reps).values())
    assert torch.autograd.grad(value, reps["conv"])[0].isfinite().all()
    if name != "whitened":
        i, j = condensed_pairs(world.N)
        measured = ~(((i == 2) & (j == 5)) | ((i == 0) & (j == 1)))
        a, b = (
            DISTANCES.find("mse")(r, r)[i, j][measured]
            for r in (student_reps["conv"], teacher_reps["maps"])
        )
        a, b = (a - a.mean(), b - b.mean()) if name == "rsa" else (a, b)
        torch.testing.assert_close(value, 1 - torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("scale, offset", [(7.0, 0.0), (1.0, 3.0), (0.2, 5.0)])
@pytest.mark.parametrize("name", ["rsa", "cosine", "whitened"])
def test_rdm_objective_ignores_the_unit_of_the_rdm(
    name, scale, offset, world, student_reps, teacher_reps
):
    before, after = (
        world.values(world.make(name, world.FakeTarget(teacher_reps, change=change)), student_reps)[
            f"{name}/conv"
        ]
        for change in (None, lambda distances, ids: scale * distances + offset)
    )
    assert torch.allclose(before, after, rtol=1e-9) == (name == "rsa" or offset == 0)
