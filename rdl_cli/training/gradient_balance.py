"""Weights of objectives from the fractions of the gradient norm that they are to have."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import Objective, Term
from rdl_cli.training.processes import count_processes, mean_over_processes


class GradientBalancer(nn.Module):
    """Factors on the weights of the objectives that have a `grad_fraction`.

    They are determined once, in the first epoch in which every such objective has a weight: each
    then has its fraction of the sum of all terms' gradient norms. Later epochs keep the factors,
    so a weight that decays still decays. The factors are saved with the module.
    """

    def __init__(self, objectives: Sequence[Objective]):
        super().__init__()
        self.fractions = {
            k: o.grad_fraction for k, o in enumerate(objectives) if o.grad_fraction is not None
        }
        self.factors: dict[int, float] = {}

    def apply_weights(self, terms: dict[str, Term], owners: dict[str, int]) -> dict[str, Term]:
        """Return the terms with the factors on their weights.

        `owners` is the number of the objective that each term belongs to.
        """
        factor = {name: self.factors.get(owners.get(name, -1), 1.0) for name in terms}
        return {
            name: term._replace(weight=term.weight * factor[name]) for name, term in terms.items()
        }

    def calibrate(self, terms: dict[str, Term], owners: dict[str, int]) -> dict[str, Term]:
        """Determine the factors from the measured fractions, and return the terms with them.

        UserError if an objective, or everything else, has no gradient to divide.
        """
        if self.factors or any(
            all(term.weight == 0 for name, term in terms.items() if owners.get(name) == k)
            for k in self.fractions
        ):
            return terms
        measured = torch.tensor(
            [term.grad_fraction for term in terms.values()],
            device=next(iter(terms.values())).value.device,
        )
        sums = dict.fromkeys([-1, *self.fractions], 0.0)
        for name, fraction in zip(terms, (measured / measured.sum()).tolist(), strict=True):
            sums[owners.get(name, -1) if owners.get(name) in self.fractions else -1] += fraction
        rest, left = sums.pop(-1), 1 - sum(self.fractions.values())
        if not (rest > 0 and all(fraction > 0 for fraction in sums.values())):
            raise UserError(
                "--grad-fraction divides the gradient, and an objective or the rest has none",
                hint="set the weights by --objective NAME:weight=...",
            )
        self.factors = {
            k: self.fractions[k] / fraction * rest / left for k, fraction in sums.items()
        }
        return {
            name: term._replace(
                grad_fraction=term.grad_fraction
                * self.factors.get(owners.get(name, -1), 1.0)
                * left
                / rest
            )
            for name, term in self.apply_weights(terms, owners).items()
        }

    def get_extra_state(self) -> dict[int, float]:
        return self.factors

    def set_extra_state(self, state: dict[int, float]) -> None:
        self.factors = state


def measure_grad_fractions(
    terms: dict[str, Term], parameters: list[nn.Parameter]
) -> dict[str, Term]:
    """Return the terms, each with its fraction of the sum of the weighted gradient norms.

    The gradient is the mean over processes, so all get the same fractions. Measured inside the
    module, because Fabric allows only its own backward pass on outputs.
    """
    norms: dict[str, Tensor] = {}
    for name, (value, weight, _) in terms.items():
        if weight and value.requires_grad:
            with torch.autocast(value.device.type, enabled=False):
                gradients = torch.autograd.grad(
                    weight * value, parameters, retain_graph=True, allow_unused=True
                )
            norms[name] = norm_over_processes([g for g in gradients if g is not None])
    total = sum(norms.values(), torch.zeros(())).clamp_min(1e-30)
    return {
        name: term._replace(grad_fraction=float(norms[name] / total) if name in norms else 0.0)
        for name, term in terms.items()
    }


def norm_over_processes(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of the mean gradient over processes; of one process without a copy."""
    if count_processes() > 1:
        gradients = [mean_over_processes(torch.cat([g.float().flatten() for g in gradients]))]
    return torch.stack([g.float().norm() for g in gradients]).norm()
