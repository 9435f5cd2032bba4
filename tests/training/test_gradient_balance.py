"""Weights from fractions of the gradient norm."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rdl_cli.commands.settings import StudentSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch
from rdl_cli.training.objective import Objective, Progress, Term, decay_weight
from rdl_cli.training.student import StudentModule

torch.set_num_threads(1)


class Small(Objective):
    """Two terms that keep a layer's values small. Their weight is 0 before the epoch `starts`."""

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


def measure_norms(of, terms):
    """Return the gradient norm of each weighted term."""
    parameters = list(of.parameters())
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(
            term.weight * term.value, parameters, retain_graph=True, allow_unused=True
        )
        norms[name] = torch.cat([g.flatten() for g in gradients if g is not None]).norm().item()
    return norms


def fraction(norms, *prefixes):
    return sum(norm for name, norm in norms.items() if name.startswith(prefixes)) / sum(
        norms.values()
    )


def test_balancer_gives_an_objective_its_fraction_of_the_first_gradient():
    of = module(Small("x", grad_fraction=0.1, weight=7.0))
    terms = step(of)
    norms = measure_norms(of, terms)
    assert fraction(norms, "x") == pytest.approx(0.1, rel=1e-5)
    assert {name: term.grad_fraction for name, term in terms.items()} == pytest.approx(
        {n: v / sum(norms.values()) for n, v in norms.items()}
    )
    again = module(Small("x", grad_fraction=0.1))
    assert measure_norms(again, step(again)) == pytest.approx(norms), "whatever its weight"


def test_balancer_divides_among_several_and_keeps_other_weights():
    of = module(
        Small("x", grad_fraction=0.3),
        Small("y", grad_fraction=0.2),
        Small("z", weight=0.5),
        task_weight=2.0,
    )
    terms = step(of)
    norms = measure_norms(of, terms)
    assert (fraction(norms, "x"), fraction(norms, "y")) == pytest.approx((0.3, 0.2), rel=1e-5)
    assert terms["task"].weight == 2.0 and terms["z/a"].weight == 0.5


def test_balancer_keeps_its_factor_while_the_weight_decays():
    of = module(Small("x", grad_fraction=0.1))
    first = step(of)["x/a"].weight
    assert step(of, number=1, seed=5)["x/a"].weight == first
    assert step(of, epoch=1, seed=6)["x/a"].weight == pytest.approx(0.75 * first)


def test_balancer_calibrates_in_the_first_epoch_with_a_weight():
    of = module(Small("x", grad_fraction=0.1, starts=1))
    assert step(of)["x/a"].weight == 0 and not of.balancer.factors
    assert fraction(measure_norms(of, step(of, epoch=1)), "x") == pytest.approx(0.1, rel=1e-5)


def test_balancer_saves_its_factors_with_the_module():
    of = module(Small("x", grad_fraction=0.1))
    weight = step(of)["x/a"].weight
    again = module(Small("x", grad_fraction=0.1))
    again.load_state_dict(of.state_dict())
    assert step(again, number=1)["x/a"].weight == weight
    assert not any("balancer" in name for name in module(Small("x")).state_dict())


def test_balancer_refuses_a_rest_without_gradient():
    of = module(Small("x", grad_fraction=0.1), task_weight=0.0)
    with pytest.raises(UserError, match="an objective or the rest has none"):
        step(of)


def test_grad_fractions_of_settings_are_parsed():
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
