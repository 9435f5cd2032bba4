"""The Bayesian objective gives what the measures of the same names give, and pulls a student all the way."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES

MEASURED = ("jsd", "tv", "skl")


@pytest.mark.parametrize("measure", MEASURED)
@pytest.mark.parametrize(
    "options", ["b=0.1", "b=0.02", "a=0.3", "center=stimuli", "center=features"]
)
def test_gives_what_the_measure_gives(measure, options, world, mine, theirs):
    if measure != "skl":
        options += ",samples=400000"
    objective = world.make(f"bayes:measure={measure},{options}", world.FakeTarget(theirs))
    found = world.values(objective, mine)["bayes/conv"]
    center = options.partition("center=")[2].partition(",")[0] or "none"
    spec = f"{measure}:{options}" + ("" if "b=" in options or "a=" in options else ",b=0.1")
    known = MEASURES.find(spec)(
        inner_products(mine["conv"], center), inner_products(theirs["maps"], center)
    )
    assert found.item() == pytest.approx(
        known.item(), abs=0 if measure == "skl" else 2e-3, rel=1e-9
    )
    assert known > 0.01


def test_every_step_draws_anew(world, mine, target):
    objective = world.make("bayes:samples=16", target)
    step = world.step(mine)
    first, second = (objective.terms(step)["bayes/conv"].value for _ in range(2))
    assert first != second
    torch.testing.assert_close(first, world.values(objective, mine)["bayes/conv"])


def test_an_offset_matters_unless_stimuli_are_centred(world, mine, theirs):
    shifted = mine | {"conv": mine["conv"] + 3}
    values = {
        center: [
            world.values(
                world.make(f"bayes:measure=skl,center={center}", world.FakeTarget(theirs)), r
            )["bayes/conv"]
            for r in (mine, shifted)
        ]
        for center in ("none", "stimuli")
    }
    assert values["none"][1] > 2 * values["none"][0]
    torch.testing.assert_close(*values["stimuli"])


@pytest.mark.parametrize("measure", MEASURED)
def test_descends_to_a_teacher_of_another_width(measure, world):
    theirs, x = world.random(30, (12,), 1), world.random(30, (20,), 2).requires_grad_()
    objective = world.make(f"bayes:measure={measure}", world.FakeTarget({"maps": theirs}))
    optimiser = torch.optim.Adam([x], lr=0.05)
    rng = torch.Generator().manual_seed(0)
    step = world.step({"conv": x, "logits": torch.zeros(30, 5)})._replace(rng=rng)
    losses = []
    for _ in range(150):
        (term,) = objective.terms(step).values()
        optimiser.zero_grad()
        term.value.backward()
        optimiser.step()
        losses.append(term.value.item())
    assert losses[0] > 0.3 and losses[-1] < losses[0] / 8


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("samples=0", "samples=0"),
        ("a=1.5", "a=1.5"),
        ("b=0", "b=0"),
        ("measure=kl", "not a choice"),
    ],
)
def test_refuses_what_no_comparison_can_have(wrong, says, world, target):
    with pytest.raises(UserError, match=says):
        world.make(f"bayes:{wrong}", target)
