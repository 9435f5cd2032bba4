"""The training loop, which every method shares, teacher and student alike."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from rdl_cli.core.errors import Diverged, UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Labels, Logits
from rdl_cli.training.lr_schedule import Schedule
from rdl_cli.training.metrics import EpochTotals, error_rate
from rdl_cli.training.objective import Progress


class Stream(Protocol):
    """Batches by epoch for training, and in order for evaluation; see `datasets.loader.Batches`."""

    def __len__(self) -> int: ...
    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]: ...
    def in_order(self) -> Iterator[Batch]: ...


class Epoch(NamedTuple):
    """The result of one epoch.

    `row` holds the metrics. Training resumes from `state`, whose tensors are references, not
    copies. `seconds` is the time of the training steps, over `images` of all processes.
    """

    number: int
    row: dict[str, float]
    state: dict[str, Any]
    seconds: float
    images: int


def fit(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Stream,
    validation: Stream,
    schedule: Schedule,
    epochs: int,
    seeds: Seeds,
    fabric: Fabric,
    resume: dict[str, Any] | None = None,
    clip_grad_norm: float | None = None,
    pairs_across: bool = False,
) -> Iterator[Epoch]:
    """Train, and yield every epoch as it ends; nothing is written here.

    `module` and `optimizer` come from `fabric.setup`. Only the wrapped module is called: a call
    that bypasses the wrapper has no autocast, and with two processes the weights would diverge
    without an error. `resume` is the state of the last finished epoch.
    `clip_grad_norm` is the largest norm of the gradient. With `pairs_across` all processes draw
    the same random numbers for the objectives, because they compare the same images.

    Raises:
        Diverged: a loss is not finite; names the term and the step.
    """
    first = 0
    if resume is not None:
        module.load_state_dict(resume["module"])
        optimizer.load_state_dict(resume["optimizer"])
        fabric.strategy.precision.load_state_dict(resume["precision"])
        first = resume["epoch"] + 1
    base_rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    steps = len(train)
    for epoch in range(first, epochs):
        started, images = time.perf_counter(), 0
        seeds.seed_global("dropout", epoch, fabric.global_rank)
        rng = seeds("objectives", epoch, 0 if pairs_across else fabric.global_rank)
        totals = EpochTotals(fabric.device)
        fractions: dict[str, float] = {}
        module.train()
        for step, batch in enumerate(
            train.epoch(seeds, epoch, fabric.global_rank, fabric.world_size)
        ):
            for group, base in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = base * schedule(epoch + step / steps)
            logits, terms = module(batch, Progress(epoch, epochs, step, steps), rng)
            if step == 0:
                fractions = {f"grad_fraction/{n}": term.grad_fraction for n, term in terms.items()}
            # leave out terms of weight 0: with a gradient of 0 their parameters would still move
            # by momentum and weight decay
            weighted = [term.weight * term.value for term in terms.values() if term.weight]
            if not weighted:
                raise UserError(
                    f"every term of the loss has weight 0 in epoch {epoch + 1}",
                    hint="give the task or an objective a weight",
                )
            loss = torch.stack(weighted).sum()
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            if clip_grad_norm is not None:
                fabric.clip_gradients(module, optimizer, max_norm=clip_grad_norm)
            optimizer.step()
            totals.add(step, logits, batch.labels, terms)
            images += len(batch.images) * fabric.world_size
        broadcast_buffers(module, fabric)
        row = {"epoch": float(epoch)} | totals.to_row(epoch, fabric) | fractions
        seconds = time.perf_counter() - started
        logits, labels = evaluate(module, validation)
        row |= {
            "validation_loss": float(F.cross_entropy(logits, labels)),
            "validation_error": error_rate(logits, labels),
        }
        state = {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
            "precision": fabric.strategy.precision.state_dict(),  # float16's gradient scale
        }
        yield Epoch(epoch, row, state, seconds, images)


@torch.no_grad()
def evaluate(module: nn.Module, stream: Stream) -> tuple[Logits, Labels]:
    """Return float32 logits and labels of every image of the stream, in order, on the CPU.

    Raises:
        Diverged: logits are not finite. Their argmax would be class 0, an error like any other.
    """
    was_training = module.training
    module.eval()
    pairs = [(module(batch)[0].float(), batch.labels) for batch in stream.in_order()]
    module.train(was_training)
    logits, labels = torch.cat([p[0] for p in pairs]).cpu(), torch.cat([p[1] for p in pairs]).cpu()
    if bad := int((~logits.isfinite().all(1)).sum()):
        raise Diverged(
            f"the network's outputs are not finite for {bad:,} of {len(logits):,} images",
            hint="lower --lr, or check the weights of --init",
        )
    return logits, labels


def broadcast_buffers(module: nn.Module, fabric: Fabric) -> None:
    """Copy the first process's batch-norm statistics to all, so that all evaluate one network."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)
