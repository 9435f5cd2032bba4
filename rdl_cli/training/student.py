"""The student network with its objectives: one module whose forward pass is a training step."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from rdl_cli.core.tensor_types import UNLABELLED, Batch, Images, Logits, Reps
from rdl_cli.networks.hooks import forward_with_layers, read_layers
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.gradient_balance import GradientBalancer, measure_grad_fractions
from rdl_cli.training.objective import Objective, Progress, StepContext, Term
from rdl_cli.training.processes import gather_batch, gather_reps, gather_rows, own_rows
from rdl_cli.training.stimulus_batchnorm import StimulusBatchNorm
from rdl_cli.training.targets import Target

TASK = "task"


class StudentModule(nn.Module):
    """A student network and its objectives.

    In training mode the forward pass is the whole step, because autocast and DDP need all of it
    inside one call. In evaluation mode it returns the network's logits.

    With `pairs_across` the objectives of every process see the batch of all processes; the task's
    loss is the same with and without.
    """

    def __init__(
        self,
        student: nn.Module,
        objectives: Sequence[Objective],
        task_weight: float = 1.0,
        frozen: Sequence[str] = (),
        pairs_across: bool = False,
    ):
        super().__init__()
        self.student = student
        self.objective_modules = nn.ModuleList(objectives)
        self.task_weight = task_weight
        self.pairs_across = pairs_across
        self._frozen = tuple(frozen)
        self.stimulus_batchnorm = (
            StimulusBatchNorm(student)
            if any(isinstance(o.target, BrainTarget) for o in objectives)
            else None
        )
        self.balancer = (
            GradientBalancer(objectives)
            if any(o.grad_fraction is not None for o in objectives)
            else None
        )

    @property
    def objectives(self) -> list[Objective]:
        return list(self.objective_modules)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> "StudentModule":
        """Set the mode of all modules, but evaluate frozen ones: batch norm keeps statistics."""
        super().train(mode)
        for name in self._frozen:
            self.student.get_submodule(name).eval()
        return self

    def forward(
        self, batch: Batch, progress: Progress | None = None, rng: torch.Generator | None = None
    ) -> tuple[Logits, dict[str, Term]]:
        """Return the logits, and in training mode the terms of the loss by name."""
        if not self.training:
            return self.student(batch.images), {}
        assert progress is not None and rng is not None, "training mode needs `progress` and `rng`"
        logits, terms, owners = self._compute_terms(batch, progress, rng)
        if self.balancer:
            terms = self.balancer.apply_weights(terms, owners)
        if progress.step == 0:  # in every step it would take as long as three backward passes
            parameters = [p for p in self.parameters() if p.requires_grad]
            terms = measure_grad_fractions(terms, parameters)
            if self.balancer:
                terms = self.balancer.calibrate(terms, owners)
        # DDP waits for a gradient of every parameter behind its outputs: detach what has no weight
        return logits.detach(), {
            name: term if term.weight else term._replace(value=term.value.detach())
            for name, term in terms.items()
        }

    def _compute_terms(
        self, batch: Batch, progress: Progress, rng: torch.Generator
    ) -> tuple[Logits, dict[str, Term], dict[str, int]]:
        """Return logits, terms, and the number of the objective that each term belongs to."""
        comparison_batches: dict[Target | None, Batch] = {
            o.target: o.target.comparison_batch(batch, rng) for o in self.objectives if o.target
        }
        stimuli = {target: b for target, b in comparison_batches.items() if b is not batch}
        logits, reps = forward_with_layers(
            self.student,
            batch.images,
            _list_layers(o for o in self.objectives if o.target not in stimuli),
        )
        stimulus_reps = {
            target: self._compare_stimuli(
                b,
                batch.images.dtype,
                _list_layers(o for o in self.objectives if o.target is target),
            )
            for target, b in stimuli.items()
        }
        task_loss = F.cross_entropy(logits.float(), batch.labels, ignore_index=UNLABELLED)
        compared, compared_logits = batch, logits
        if self.pairs_across:
            compared = gather_batch(batch)
            compared_logits = gather_rows(logits, len(compared.images))
            reps = gather_reps(reps, len(compared.images))
        exclusive = [o for o in self.objectives if o.is_exclusive(progress)]
        terms = {TASK: Term(task_loss, 0.0 if exclusive else self.task_weight)}
        owners: dict[str, int] = {}
        for number, objective in enumerate(self.objectives):
            step = StepContext(
                compared,
                compared_logits,
                stimuli.get(objective.target, compared),
                stimulus_reps.get(objective.target, reps),
                progress,
                rng,
            )
            for name, term in objective.terms(step).items():
                assert name not in terms, f"two objectives have a term `{name}`; setup refuses that"
                silent = bool(exclusive) and objective not in exclusive
                terms[name] = term._replace(weight=0.0) if silent else term
                owners[name] = number
        return logits, terms, owners

    @torch.no_grad()
    def read_layers(
        self, images: Images, layers: Sequence[str], stimulus_batchnorm: bool = False
    ) -> dict[str, Reps]:
        """Return layers of the exported model for some images.

        `stimulus_batchnorm` uses the stimuli's batch-norm statistics in place of the task's.
        """
        was_training = self.training
        self.eval()
        images = images.to(next(self.student.parameters()).dtype)
        reps = (
            self._forward_stimuli(images, layers)
            if stimulus_batchnorm
            else read_layers(self.student, images, layers)
        )
        self.train(was_training)
        return reps

    def _compare_stimuli(
        self, stimuli: Batch, dtype: torch.dtype, layers: Sequence[str]
    ) -> dict[str, Reps]:
        """Return layers of a step's stimuli. With `pairs_across` each process forwards a part."""
        own = own_rows(stimuli) if self.pairs_across else stimuli
        reps = self._forward_stimuli(own.images.to(dtype), layers)
        return gather_reps(reps, len(stimuli.images)) if self.pairs_across else reps

    def _forward_stimuli(self, images: Images, layers: Sequence[str]) -> dict[str, Reps]:
        """Return layers for a brain's stimuli, with batch-norm statistics of their own."""
        assert self.stimulus_batchnorm is not None, "only a BrainTarget has stimuli of its own"
        with self.stimulus_batchnorm.swapped_into(self.student):
            return read_layers(self.student, images, layers)


def _list_layers(objectives: Iterable[Objective]) -> list[str]:
    return list(dict.fromkeys(layer for o in objectives for layer in o.layers))
