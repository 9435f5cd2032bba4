"""The Bayesian objective equals the measures of the same names, and trains a student."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES

MEASURE_NAMES = ("jsd", "tv", "skl")


@pytest.mark.parametrize("measure", MEASURE_NAMES)
@pytest.mark.parametrize(
    "options", ["b=0.1", "b=0.02", "a=0.3", "center=stimuli", "center=features"]
)
def test_bayes_equals_its_measure(measure, options, world, student_reps, teacher_reps):
    if measure != "skl":
        options += ",samples=400000"
    objective = world.make(f"bayes:measure={measure},{options}", world.FakeTarget(teacher_reps))
    value = world.values(objective, student_reps)["bayes/conv"]
    center = options.partition("center=")[2].partition(",")[0] or "none"
    spec = f"{measure}:{options}" + ("" if "b=" in options or "a=" in options else ",b=0.1")
    expected = MEASURES.find(spec)(
        inner_products(student_reps["conv"], center), inner_products(teacher_reps["maps"], center)
    )
    assert value.item() == pytest.approx(
        expected.item(), abs=0 if measure == "skl" else 2e-3, rel=1e-9
    )
    assert expected > 0.01


def test_bayes_draws_new_samples_in_every_step(world, student_reps, target):
    objective = world.make("bayes:samples=16", target)
    step = world.step(student_reps)
    first, second = (objective.terms(step)["bayes/conv"].value for _ in range(2))
    assert first != second
    torch.testing.assert_close(first, world.values(objective, student_reps)["bayes/conv"])


def test_bayes_ignores_an_offset_if_stimuli_are_centred(world, student_reps, teacher_reps):
    shifted = student_reps | {"conv": student_reps["conv"] + 3}
    values = {
        center: [
            world.values(
                world.make(f"bayes:measure=skl,center={center}", world.FakeTarget(teacher_reps)), r
            )["bayes/conv"]
            for r in (student_reps, shifted)
        ]
        for center in ("none", "stimuli")
    }
    assert values["none"][1] > 2 * values["none"][0]
    torch.testing.assert_close(*values["stimuli"])


@pytest.mark.parametrize("measure", MEASURE_NAMES)
def test_bayes_descends_to_a_teacher_of_another_width(measure, world):
    teacher_reps, x = world.random(30, (12,), 1), world.random(30, (20,), 2).requires_grad_()
    objective = world.make(f"bayes:measure={measure}", world.FakeTarget({"maps": teacher_reps}))
    optimizer = torch.optim.Adam([x], lr=0.05)
    rng = torch.Generator().manual_seed(0)
    step = world.step({"conv": x, "logits": torch.zeros(30, 5)})._replace(rng=rng)
    losses = []
    for _ in range(150):
        (term,) = objective.terms(step).values()
        optimizer.zero_grad()
        term.value.backward()
        optimizer.step()
        losses.append(term.value.item())
    assert losses[0] > 0.3 and losses[-1] < losses[0] / 8


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ("samples=0", "samples=0"),
        ("a=1.5", "a=1.5"),
        ("b=0", "b=0"),
        ("measure=kl", "not a choice"),
    ],
)
def test_bayes_refuses_impossible_options(options, fact, world, target):
    with pytest.raises(UserError, match=fact):
        world.make(f"bayes:{options}", target)
