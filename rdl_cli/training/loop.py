"""THE training loop: every method, teacher and student, goes through it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from rdl_cli.core.errors import Diverged, UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Images, Labels, Logits, Reps
from rdl_cli.networks.hooks import forward_with_layers, read_layers
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.gradient_balance import GradientBalancer
from rdl_cli.training.lr_schedule import Schedule
from rdl_cli.training.objective import Objective, Progress, StepContext, Term
from rdl_cli.training.stimulus_batchnorm import StimulusBatchNorm
from rdl_cli.training.targets import Target

TASK = "task"


class StudentModule(nn.Module):
    """The student with what teaches it. Its forward pass in training *is* the step: logits and all terms of the loss."""

    def __init__(
        self, student: nn.Module, objectives: Sequence[Objective], task_weight: float = 1.0
    ):
        super().__init__()
        self.student = student
        self.objectives = nn.ModuleList(objectives)
        self.task_weight = task_weight
        self.apart = (
            StimulusBatchNorm(student)
            if any(isinstance(o.target, BrainTarget) for o in objectives)
            else None
        )
        self.balance = (
            GradientBalancer(objectives)
            if any(o.grad_fraction is not None for o in objectives)
            else None
        )

    def forward(
        self, batch: Batch, progress: Progress | None = None, rng: torch.Generator | None = None
    ) -> tuple[Logits, dict[str, Term]]:
        if not self.training:
            return self.student(batch.images), {}
        assert progress is not None and rng is not None, (
            "a training step knows when it is and has its randomness"
        )
        comparison_batches = {
            o.target: o.target.comparison_batch(batch, rng) for o in self.teaching if o.target
        }
        logits, reps = forward_with_layers(
            self.student,
            batch.images,
            self._layers(
                o for o in self.teaching if not _has_own_stimuli(o, comparison_batches, batch)
            ),
        )
        own = {t: self._forward_stimuli(p.images.to(batch.images.dtype), self._layers(o for o in self.teaching if o.target is t))
               for t, p in comparison_batches.items() if p is not batch}  # fmt: skip
        terms = {
            TASK: Term(
                F.cross_entropy(logits.float(), batch.labels, ignore_index=UNLABELLED),
                self.task_weight,
            )
        }
        alone = [o for o in self.teaching if o.is_exclusive(progress)]
        if alone:
            terms[TASK] = terms[TASK]._replace(weight=0.0)
        owners: dict[str, int] = {}
        for number, objective in enumerate(self.teaching):
            comparison_batch = comparison_batches[objective.target] if objective.target else batch
            seen: dict[str, Reps] = own.get(objective.target, reps) if objective.target else reps
            for name, term in objective.terms(
                StepContext(batch, logits, comparison_batch, seen, progress, rng)
            ).items():
                assert name not in terms, (
                    f"two objectives have a term `{name}`; the job refuses that before training"
                )
                terms[name] = (
                    term._replace(weight=0.0) if alone and objective not in alone else term
                )
                owners[name] = number
        if self.balance:
            terms = self.balance.apply_weights(terms, owners)
        if progress.step == 0:  # per step it would cost three times the backward pass
            terms = gradient_fractions(terms, [p for p in self.parameters() if p.requires_grad])
            if self.balance:
                terms = self.balance.calibrate(terms, owners)
        # what goes out with a gradient is what the loss is made of: several processes wait for all parameters behind it
        return logits.detach(), {
            n: t if t.weight else t._replace(value=t.value.detach()) for n, t in terms.items()
        }

    @torch.no_grad()
    def read_layers(
        self, images: Images, layers: Sequence[str], apart: bool = False
    ) -> dict[str, Reps]:
        """The student's layers for some images as the exported model has them; `apart`: with the stimuli's batch-norm statistics."""
        was_training = self.training
        self.eval()
        images = images.to(next(self.student.parameters()).dtype)
        seen = (
            self._forward_stimuli(images, layers)
            if apart
            else read_layers(self.student, images, layers)
        )
        self.train(was_training)
        return seen

    def _forward_stimuli(self, images: Images, layers: Sequence[str]) -> dict[str, Reps]:
        """The student's layers for stimuli that are not the task's images."""
        assert self.apart is not None, "a target with stimuli of its own is a StimulusTarget"
        with self.apart.of(self.student):
            return read_layers(self.student, images, layers)

    @property
    def teaching(self) -> list[Objective]:
        """The objectives, which PyTorch keeps as modules like any others."""
        return list(self.objectives)  # type: ignore[arg-type]

    @staticmethod
    def _layers(objectives: Iterator[Objective] | Any) -> list[str]:
        return list(dict.fromkeys(layer for o in objectives for layer in o.layers))


def _has_own_stimuli(
    objective: Objective, comparison_batches: dict[Target, Batch], batch: Batch
) -> bool:
    """Whether the objective looks at stimuli of its target's own, beside the batch."""
    return objective.target is not None and comparison_batches[objective.target] is not batch


class Stream(Protocol):
    """Batches for training, by epoch, and in order; `rdl_cli.datasets.loader.Batches` is one."""

    def __len__(self) -> int: ...
    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]: ...
    def in_order(self) -> Iterator[Batch]: ...


class Epoch(NamedTuple):
    """What one epoch came to: its row of metrics, and the state from which training goes on after it (references, not copies)."""

    number: int
    row: dict[str, float]
    state: dict[str, Any]


def fit(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Stream,
    held_out: Stream,
    schedule: Schedule,
    epochs: int,
    seeds: Seeds,
    fabric: Fabric,
    resume: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train, and yield every epoch as it ends; nothing is written here.

    `module` and `optimizer` have been through `fabric.setup`, and nothing reaches through the wrapper: that would skip
    autocast, and under two processes the weights would diverge without an error. `resume` is the state of the last
    epoch that counts. Diverged, naming the term and the epoch, when a loss is not finite.
    """
    first = 0
    if resume is not None:
        module.load_state_dict(resume["module"])
        optimizer.load_state_dict(resume["optimizer"])
        fabric.strategy.precision.load_state_dict(resume.get("precision", {}))
        first = resume["epoch"] + 1
    base_rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    steps = len(train)
    for epoch in range(first, epochs):
        seeds.fix("dropout", epoch, fabric.global_rank)
        rng = seeds("objectives", epoch, fabric.global_rank)
        totals = EpochTotals(fabric.device)
        shares: dict[str, float] = {}
        module.train()
        for step, batch in enumerate(
            train.epoch(seeds, epoch, fabric.global_rank, fabric.world_size)
        ):
            for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = base * schedule(epoch + step / steps)
            logits, terms = module(batch, Progress(epoch, epochs, step, steps), rng)
            if step == 0:
                shares = {
                    f"grad_fraction/{name}": term.grad_fraction for name, term in terms.items()
                }
            # a silent term stays out: with gradients of 0 the parameters behind it would still feel momentum and weight decay
            weighted = [term.weight * term.value for term in terms.values() if term.weight]
            if not weighted:
                raise UserError(
                    f"nothing has a weight in epoch {epoch + 1}: there is no loss",
                    hint="give the task or an objective a weight",
                )
            loss = torch.stack(weighted).sum()
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            totals.add(step, logits, batch.labels, terms)
        broadcast_buffers(module, fabric)
        row = {"epoch": float(epoch)} | totals.row(epoch, fabric) | shares
        logits, labels = evaluate(module, held_out)
        row |= {
            "validation_loss": float(F.cross_entropy(logits, labels)),
            "validation_error": error_rate(logits, labels),
        }
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        yield Epoch(
            epoch, row, state | {"precision": fabric.strategy.precision.state_dict()}
        )  # of float16 the scale of its gradients


@torch.no_grad()
def evaluate(module: nn.Module, stream: Stream) -> tuple[Logits, Labels]:
    """Logits (float32) and labels of every image of the stream, in its order, on the CPU.

    Diverged where logits are not finite: argmax makes class 0 of them, and the errors would look like any others.
    """
    was_training = module.training
    module.eval()
    pairs = [(module(batch)[0].float(), batch.labels) for batch in stream.in_order()]
    module.train(was_training)
    logits, labels = torch.cat([p[0] for p in pairs]).cpu(), torch.cat([p[1] for p in pairs]).cpu()
    if bad := int((~logits.isfinite().all(1)).sum()):
        raise Diverged(
            f"the network's outputs are not finite for {bad:,} of {len(logits):,} images",
            hint="lower --lr, or mend the weights it began with",
        )
    return logits, labels


def error_rate(logits: Logits, labels: Labels) -> float:
    return float((logits.argmax(1) != labels).double().mean())


def gradient_fractions(terms: dict[str, Term], parameters: list[nn.Parameter]) -> dict[str, Term]:
    """The terms, each with its share of the sum of the weighted terms' gradient norms: what the weights amount to.

    Measured inside the module, because Fabric forbids any backward pass but its own on what the module returns.
    """
    norms: dict[str, Tensor] = {}
    for name, (value, weight, _) in terms.items():
        if weight and value.requires_grad:
            with torch.autocast(value.device.type, enabled=False):
                gradients = torch.autograd.grad(
                    weight * value, parameters, retain_graph=True, allow_unused=True
                )
            norms[name] = torch.stack([g.float().norm() for g in gradients if g is not None]).norm()
    total = sum(norms.values(), torch.zeros(())).clamp_min(1e-30)
    return {
        name: term._replace(grad_fraction=float(norms[name] / total) if name in norms else 0.0)
        for name, term in terms.items()
    }


def broadcast_buffers(module: nn.Module, fabric: Fabric) -> None:
    """One process's batch-norm statistics for all, so that every process evaluates and saves the same network."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


class EpochTotals:
    """Sums over an epoch, kept on the device so that no step waits for it."""

    def __init__(self, device: torch.device):
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._first_bad: dict[str, Tensor] = {}
        self._wrong = torch.zeros((), device=device)
        self._seen = torch.zeros((), device=device)
        self._steps = 0

    @torch.no_grad()
    def add(self, step: int, logits: Logits, labels: Labels, terms: dict[str, Term]) -> None:
        self._steps += 1
        for name, term in terms.items():
            value = term.value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            bad = torch.where(value.isfinite(), torch.inf, float(step))
            self._first_bad[name] = (
                torch.minimum(self._first_bad[name], bad) if name in self._first_bad else bad
            )
            self._weights[name] = term.weight
        known = labels != UNLABELLED
        self._wrong += ((logits.argmax(1) != labels) & known).sum()
        self._seen += known.sum()

    def row(self, epoch: int, fabric: Fabric) -> dict[str, float]:
        """The epoch's means, unweighted, over all processes. Diverged where a term was not finite."""
        bad = {
            name: float(first)
            for name, first in self._first_bad.items()
            if float(first) < float("inf")
        }
        if bad:
            step = int(min(bad.values()))
            names = " and ".join(f"`{name}`" for name, first in bad.items() if int(first) == step)
            raise Diverged(
                f"the loss is not finite: {names} in epoch {epoch + 1}, step {step + 1}",
                # whichever broke first, the step before it was too large for all of them together
                hint="lower --lr"
                + (
                    ""
                    if len(self._sums) == 1
                    else ", or the weight of the objective (`--objective NAME:weight=...`)"
                ),
            )
        means = torch.stack(
            [total / self._steps for total in self._sums.values()]
            + [self._wrong / self._seen.clamp_min(1)]
        )
        means = fabric.all_reduce(means, reduce_op="mean")  # type: ignore[assignment]
        values = dict(
            zip(
                [f"train/{name}" for name in self._sums] + ["train_error"],
                means.tolist(),
                strict=True,
            )
        )
        return values | {f"weight/{name}": weight for name, weight in self._weights.items()}
