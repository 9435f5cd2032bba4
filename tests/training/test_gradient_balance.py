"""Weights from shares of the gradient."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rdl_cli.commands.settings import StudentSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch
from rdl_cli.training.loop import StudentModule
from rdl_cli.training.objective import Objective, Progress, Term, decay_weight

torch.set_num_threads(1)


class Small(Objective):
    """Keeps a layer's values small, as two terms."""

    def __init__(self, name, grad_fraction=None, weight=1.0, starts=0):
        super().__init__(("hidden",))
        self.name, self.grad_fraction, self.weight, self.starts = (
            name,
            grad_fraction,
            weight,
            starts,
        )

    def terms(self, step):
        weight = (
            decay_weight(self.weight, step.progress, "linear")
            if step.progress.epoch >= self.starts
            else 0.0
        )
        reps = step.reps["hidden"]
        return {
            f"{self.name}/a": Term(reps.square().mean(), weight),
            f"{self.name}-too/b": Term(reps.abs().sum(), weight),
        }


def module(*objectives, **options):
    torch.manual_seed(0)
    layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(9, 4), out=nn.Linear(4, 3))
    return StudentModule(nn.Sequential(layers), objectives, **options).train()


def step(of, epoch=0, number=0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    batch = Batch(
        torch.rand(6, 1, 3, 3, generator=rng),
        torch.arange(6) % 3,
        torch.arange(6),
        torch.zeros(6).long(),
    )
    return of(batch, Progress(epoch, 4, number, 5), rng)[1]


def norms(of, terms):
    """The gradient norm of each weighted term."""
    parameters = list(of.parameters())
    found = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(
            term.weight * term.value, parameters, retain_graph=True, allow_unused=True
        )
        found[name] = torch.cat([g.flatten() for g in gradients if g is not None]).norm().item()
    return found


def share(found, *prefixes):
    return sum(norm for name, norm in found.items() if name.startswith(prefixes)) / sum(
        found.values()
    )


def test_an_objective_gets_its_share_of_the_first_steps_gradient():
    of = module(Small("x", grad_fraction=0.1, weight=7.0))
    terms = step(of)
    found = norms(of, terms)
    assert share(found, "x") == pytest.approx(0.1, rel=1e-5)
    assert {name: term.grad_fraction for name, term in terms.items()} == pytest.approx(
        {n: v / sum(found.values()) for n, v in found.items()}
    )
    again = module(Small("x", grad_fraction=0.1))
    assert norms(again, step(again)) == pytest.approx(found), "whatever its weight"


def test_several_share_and_those_without_a_share_keep_their_weight():
    of = module(
        Small("x", grad_fraction=0.3),
        Small("y", grad_fraction=0.2),
        Small("z", weight=0.5),
        task_weight=2.0,
    )
    terms = step(of)
    found = norms(of, terms)
    assert (share(found, "x"), share(found, "y")) == pytest.approx((0.3, 0.2), rel=1e-5)
    assert terms["task"].weight == 2.0 and terms["z/a"].weight == 0.5


def test_then_the_factor_stands_still_and_a_decay_goes_on_beneath_it():
    of = module(Small("x", grad_fraction=0.1))
    first = step(of)["x/a"].weight
    assert step(of, number=1, seed=5)["x/a"].weight == first
    assert step(of, epoch=1, seed=6)["x/a"].weight == pytest.approx(0.75 * first)


def test_one_that_teaches_later_is_weighed_then():
    of = module(Small("x", grad_fraction=0.1, starts=1))
    assert step(of)["x/a"].weight == 0 and not of.balance.factors
    assert share(norms(of, step(of, epoch=1)), "x") == pytest.approx(0.1, rel=1e-5)


def test_factors_are_saved_with_the_learner():
    of = module(Small("x", grad_fraction=0.1))
    weight = step(of)["x/a"].weight
    again = module(Small("x", grad_fraction=0.1))
    again.load_state_dict(of.state_dict())
    assert step(again, number=1)["x/a"].weight == weight
    assert not any("balance" in name for name in module(Small("x")).state_dict())


def test_nothing_to_share_is_refused():
    of = module(Small("x", grad_fraction=0.1), task_weight=0.0)
    with pytest.raises(UserError, match="have none"):
        step(of)


def test_settings_are_shares():
    assert StudentSettings(grad_fraction=["rsa=0.1", "kd=.25,rdl=0.05"]).grad_fractions() == {
        "rsa": 0.1,
        "kd": 0.25,
        "rdl": 0.05,
    }
    for wrong in ("rsa", "rsa=", "rsa=0", "rsa=1", "rsa=-0.1", "rsa=nan", "rsa=1e-1", "rsa=10%"):
        with pytest.raises(UserError, match="is not an objective with a fraction"):
            StudentSettings(grad_fraction=[wrong]).check()
    with pytest.raises(UserError, match="add up to"):
        StudentSettings(grad_fraction=["rsa=0.6", "kd=0.5"]).check()
