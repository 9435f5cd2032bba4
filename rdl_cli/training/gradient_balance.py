"""The weight of an objective, from what it is to amount to: a share of the gradient."""

from collections.abc import Sequence

import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import Objective, Term


class GradientBalancer(nn.Module):
    """Factors on the weights of the objectives that have a `share`, found once, in the first epoch in which all of them teach.

    There each objective's terms together have its share of the sum of all terms' gradient norms. From then on the factors stand
    still and are saved with the module; a weight that decays, decays beneath them.
    """

    def __init__(self, objectives: Sequence[Objective]):
        super().__init__()
        self.wanted = {
            k: o.grad_fraction for k, o in enumerate(objectives) if o.grad_fraction is not None
        }
        self.factors: dict[int, float] = {}

    def apply_weights(self, terms: dict[str, Term], owners: dict[str, int]) -> dict[str, Term]:
        """The terms with the factors on their weights; `owners` says by number which objective each is of."""
        factor = {name: self.factors.get(owners.get(name, -1), 1.0) for name in terms}
        return {
            name: term._replace(weight=term.weight * factor[name]) for name, term in terms.items()
        }

    def calibrate(self, terms: dict[str, Term], owners: dict[str, int]) -> dict[str, Term]:
        """The terms, whose shares were measured, with the shares that were asked for. UserError where nothing could make them so."""
        if self.factors or any(
            all(term.weight == 0 for name, term in terms.items() if owners.get(name) == k)
            for k in self.wanted
        ):
            return terms
        shares = torch.tensor(
            [term.grad_fraction for term in terms.values()],
            device=next(iter(terms.values())).value.device,
        )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(
                shares
            )  # each process saw other images, and all must find the same factors
        have = dict.fromkeys([-1, *self.wanted], 0.0)
        for name, share in zip(terms, (shares / shares.sum()).tolist(), strict=True):
            have[owners.get(name, -1) if owners.get(name) in self.wanted else -1] += share
        rest, left = have.pop(-1), 1 - sum(self.wanted.values())
        if not (rest > 0 and all(share > 0 for share in have.values())):
            raise UserError(
                "--grad-fraction divides the gradient, and some of those who are to share it have none",
                hint="say the weights yourself",
            )
        self.factors = {k: self.wanted[k] / share * rest / left for k, share in have.items()}
        settled = self.apply_weights(terms, owners)
        return {
            n: t._replace(
                grad_fraction=t.grad_fraction
                * self.factors.get(owners.get(n, -1), 1.0)
                * left
                / rest
            )
            for n, t in settled.items()
        }

    def get_extra_state(self) -> dict[int, float]:
        return self.factors

    def set_extra_state(self, state: dict[int, float]) -> None:
        self.factors = state
