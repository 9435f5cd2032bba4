"""Error rates and the means of the loss terms over an epoch."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

from rdl_cli.core.errors import Diverged
from rdl_cli.core.tensor_types import UNLABELLED, Labels, Logits
from rdl_cli.training.objective import Term


def error_rate(logits: Logits, labels: Labels) -> float:
    """Return the fraction of images that are classified wrongly."""
    return float((logits.argmax(1) != labels).double().mean())


class EpochTotals:
    """Sums over an epoch. They stay on the device, so that no step waits for a transfer."""

    def __init__(self, device: torch.device):
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._first_bad_step: dict[str, Tensor] = {}
        self._errors = torch.zeros((), device=device)
        self._labelled = torch.zeros((), device=device)
        self._steps = 0

    @torch.no_grad()
    def add(self, step: int, logits: Logits, labels: Labels, terms: dict[str, Term]) -> None:
        """Add one step."""
        self._steps += 1
        for name, term in terms.items():
            value = term.value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            bad = torch.where(value.isfinite(), torch.inf, float(step))
            self._first_bad_step[name] = (
                torch.minimum(self._first_bad_step[name], bad)
                if name in self._first_bad_step
                else bad
            )
            self._weights[name] = term.weight
        labelled = labels != UNLABELLED
        self._errors += ((logits.argmax(1) != labels) & labelled).sum()
        self._labelled += labelled.sum()

    def to_row(self, epoch: int, fabric: Fabric) -> dict[str, float]:
        """Return the epoch's unweighted means over all processes, and the weights.

        Diverged names the first terms that were not finite, with their step.
        """
        self._check_finite(epoch, fabric)
        means = torch.stack(
            [total / self._steps for total in self._sums.values()]
            + [self._errors / self._labelled.clamp_min(1)]
        )
        means = fabric.all_reduce(means, reduce_op="mean")  # type: ignore[assignment]
        names = [f"train/{name}" for name in self._sums] + ["train_error"]
        row = dict(zip(names, means.tolist(), strict=True))
        return row | {f"weight/{name}": weight for name, weight in self._weights.items()}

    def _check_finite(self, epoch: int, fabric: Fabric) -> None:
        """Raise Diverged in all processes if a term was not finite in one."""
        first_bad = torch.stack([step.float() for step in self._first_bad_step.values()])
        first_bad = fabric.all_reduce(first_bad, reduce_op="min")  # type: ignore[assignment]
        steps = dict(zip(self._first_bad_step, first_bad.tolist(), strict=True))
        bad = {name: int(step) for name, step in steps.items() if step < float("inf")}
        if bad:
            first = min(bad.values())
            names = " and ".join(f"`{name}`" for name, step in bad.items() if step == first)
            # the update before the first bad step was too large for the sum of all terms
            hint = "lower --lr"
            if len(self._sums) > 1:
                hint += ", or the weight of the objective (`--objective NAME:weight=...`)"
            raise Diverged(
                f"the loss is not finite: {names} in epoch {epoch + 1}, step {first + 1}",
                hint=hint,
            )
