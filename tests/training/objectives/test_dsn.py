"""Deep supervision: its losses as plain loops, its decays as printed, images without labels."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import OBJECTIVES


def decay_weights(world, spec, reps, epochs):
    objective = world.make(spec, None)
    return [
        objective.terms(world.step(reps, epoch=e, epochs=epochs))["dsn/conv"].weight
        for e in range(epochs)
    ]


def test_dsn_has_a_linear_head_for_each_layer(world, student_reps):
    objective = world.make("dsn:layers=flat+conv", None)
    assert objective.layers == ("conv", "flat") and objective.target is None
    assert [tuple(head.weight.shape) for head in objective.heads] == [(5, 48), (5, 6)]
    assert set(world.values(objective, student_reps)) == {"dsn/conv", "dsn/flat"}


def test_dsn_has_the_same_heads_for_the_same_seed(world):
    one, two = (world.make("dsn", None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_dsn_losses_agree_with_plain_loops(world, student_reps):
    labels = world.batch().labels.tolist()
    for spec in ("dsn:layers=conv", "dsn:layers=conv,loss=squared-hinge"):
        objective = world.make(spec, None)
        head = objective.heads[0]
        total = 0.0
        for x, label in zip(student_reps["conv"].flatten(1).numpy(), labels, strict=True):
            z = head.weight.detach().numpy() @ x + head.bias.detach().numpy()
            if "hinge" in spec:
                total += sum(
                    max(0.0, 1 - (1 if k == label else -1) * float(v)) ** 2 for k, v in enumerate(z)
                )
            else:
                total -= log_softmax(z)[label]
        assert world.values(objective, student_reps)["dsn/conv"].item() == pytest.approx(
            total / len(labels), rel=1e-12
        )


def test_dsn_weight_nearly_vanishes_with_the_papers_decay(world, student_reps):
    decayed = decay_weights(world, "dsn:layers=conv,decay=paper", student_reps, 100)
    np.testing.assert_allclose(decayed[:4], [1, 0.1, 0.0099, 0.0009702], rtol=1e-12)
    assert max(decayed[4:]) < 1e-4 and decayed[99] >= 0


def test_dsn_weight_decays_linearly_or_not_at_all(world, student_reps):
    np.testing.assert_allclose(
        decay_weights(world, "dsn:layers=conv", student_reps, 5), [0.1, 0.08, 0.06, 0.04, 0.02]
    )
    assert decay_weights(world, "dsn:layers=conv,decay=none", student_reps, 3) == [1, 1, 1]
    np.testing.assert_allclose(
        decay_weights(world, "dsn:layers=conv,weight=2", student_reps, 2), [2, 1]
    )


@pytest.mark.parametrize("loss", ["softmax", "squared-hinge"])
def test_dsn_ignores_images_without_a_label(loss, world, student_reps):
    objective = world.make(f"dsn:layers=conv,loss={loss}", None)
    labels = world.batch().labels.clone()
    labels[3:] = -1
    some = world.values(objective, student_reps, batch=world.batch(labels=labels))["dsn/conv"]
    few = {layer: r[:3] for layer, r in student_reps.items()}
    torch.testing.assert_close(some, world.values(objective, few, batch=world.batch(3))["dsn/conv"])
    reps = {layer: r.clone().requires_grad_() for layer, r in student_reps.items()}
    none = world.values(objective, reps, batch=world.batch(labels=torch.full_like(labels, -1)))[
        "dsn/conv"
    ]
    assert none.item() == 0 and (torch.autograd.grad(none, reps["conv"])[0] == 0).all()


def test_dsn_loss_falls_with_a_gradient_step(world, student_reps):
    objective = world.make("dsn", None)
    before = world.values(objective, student_reps)["dsn/conv"]
    for p, g in zip(
        objective.parameters(),
        torch.autograd.grad(before, list(objective.parameters())),
        strict=True,
    ):
        p.data -= 0.01 * g
    after = world.values(objective, student_reps)["dsn/conv"].item()
    assert after < before.item() and math.isfinite(after)


def test_dsn_suggests_a_layer_for_a_wrong_one(world):
    with pytest.raises(UserError, match="did you mean `conv`"):
        world.make("dsn:layers=conf", None)
    with pytest.raises(UserError, match="needs the option `layers`"):
        OBJECTIVES.make("dsn", world.context(None))
