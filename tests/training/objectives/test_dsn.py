"""Deep supervision: its losses as plain loops, its decays as printed, images without labels."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import OBJECTIVES


def weights(world, spec, reps, epochs):
    objective = world.make(spec, None)
    return [
        objective.terms(world.step(reps, epoch=e, epochs=epochs))["dsn/conv"].weight
        for e in range(epochs)
    ]


def test_heads_are_linear_and_one_for_each_layer(world, mine):
    objective = world.make("dsn:layers=flat+conv", None)
    assert objective.layers == ("conv", "flat") and objective.target is None
    assert [tuple(head.weight.shape) for head in objective.heads] == [(5, 48), (5, 6)]
    assert set(world.values(objective, mine)) == {"dsn/conv", "dsn/flat"}


def test_the_same_seed_makes_the_same_heads(world):
    one, two = (world.make("dsn", None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_softmax_and_hinge_agree_with_plain_loops(world, mine):
    labels = world.batch().labels.tolist()
    for spec in ("dsn:layers=conv", "dsn:layers=conv,loss=squared-hinge"):
        objective = world.make(spec, None)
        head = objective.heads[0]
        total = 0.0
        for x, label in zip(mine["conv"].flatten(1).numpy(), labels, strict=True):
            z = head.weight.detach().numpy() @ x + head.bias.detach().numpy()
            if "hinge" in spec:
                total += sum(
                    max(0.0, 1 - (1 if k == label else -1) * float(v)) ** 2 for k, v in enumerate(z)
                )
            else:
                total -= log_softmax(z)[label]
        assert world.values(objective, mine)["dsn/conv"].item() == pytest.approx(
            total / len(labels), rel=1e-12
        )


def test_the_papers_decay_makes_the_classifiers_vanish(world, mine):
    found = weights(world, "dsn:layers=conv,decay=paper", mine, 100)
    np.testing.assert_allclose(found[:4], [1, 0.1, 0.0099, 0.0009702], rtol=1e-12)
    assert max(found[4:]) < 1e-4 and found[99] >= 0


def test_linear_decay_and_none(world, mine):
    np.testing.assert_allclose(
        weights(world, "dsn:layers=conv", mine, 5), [0.1, 0.08, 0.06, 0.04, 0.02]
    )
    assert weights(world, "dsn:layers=conv,decay=none", mine, 3) == [1, 1, 1]
    np.testing.assert_allclose(weights(world, "dsn:layers=conv,weight=2", mine, 2), [2, 1])


@pytest.mark.parametrize("loss", ["softmax", "squared-hinge"])
def test_images_without_a_label_teach_nothing(loss, world, mine):
    objective = world.make(f"dsn:layers=conv,loss={loss}", None)
    labels = world.batch().labels.clone()
    labels[3:] = -1
    some = world.values(objective, mine, of=world.batch(labels=labels))["dsn/conv"]
    few = {layer: r[:3] for layer, r in mine.items()}
    torch.testing.assert_close(some, world.values(objective, few, of=world.batch(3))["dsn/conv"])
    reps = {layer: r.clone().requires_grad_() for layer, r in mine.items()}
    none = world.values(objective, reps, of=world.batch(labels=torch.full_like(labels, -1)))[
        "dsn/conv"
    ]
    assert none.item() == 0 and (torch.autograd.grad(none, reps["conv"])[0] == 0).all()


def test_a_step_towards_lower_loss_lowers_it(world, mine):
    objective = world.make("dsn", None)
    before = world.values(objective, mine)["dsn/conv"]
    for p, g in zip(
        objective.parameters(),
        torch.autograd.grad(before, list(objective.parameters())),
        strict=True,
    ):
        p.data -= 0.01 * g
    after = world.values(objective, mine)["dsn/conv"].item()
    assert after < before.item() and math.isfinite(after)


def test_a_wrong_layer_teaches(world):
    with pytest.raises(UserError, match="did you mean `conv`"):
        world.make("dsn:layers=conf", None)
    with pytest.raises(UserError, match="needs the option `layers`"):
        OBJECTIVES.make("dsn", world.setting(None))
