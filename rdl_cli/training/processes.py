"""Rows of a batch over the processes of one training: each has every `world`-th row.

Without `torch.distributed` there is one process, and every function returns its argument.
"""

from typing import Any

import torch
from torch import Tensor

from rdl_cli.core.tensor_types import Batch, Reps


def count_processes() -> int:
    """Return the number of processes that train together."""
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if is_distributed else 1


def own_rows(batch: Batch) -> Batch:
    """Return this process' rows of a batch that is the same in all processes."""
    world = count_processes()
    if world == 1:
        return batch
    rank = torch.distributed.get_rank()
    return Batch(*(part[rank::world] for part in batch))


def gather_batch(batch: Batch) -> Batch:
    """Return the batch of all processes, in the order of one process."""
    n = len(batch.images) * count_processes()
    return Batch(*(gather_rows(part, n) for part in batch))


def gather_reps(reps: dict[str, Reps], n: int) -> dict[str, Reps]:
    """Return layers of the `n` images of all processes, in the order of one process."""
    return {layer: gather_rows(values, n) for layer, values in reps.items()}


def gather_rows(rows: Tensor, n: int) -> Tensor:
    """Return the `n` rows of all processes, in the order of one process, with their gradient.

    Every process then computes the same loss G of all rows. Its gradient with respect to its own
    rows is multiplied by the number of processes, because DDP takes the mean over processes:
    mean of `world · ∂G/∂own · ∂own/∂θ` = ∂G/∂θ. So the backward pass sends nothing.
    """
    if count_processes() == 1:
        return rows
    return _Gather.apply(rows, n)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if (world := count_processes()) == 1:
        return values
    torch.distributed.all_reduce(values)
    return values / world


class _Gather(torch.autograd.Function):
    """Row i of process r is row `i · world + r`; shorter parts are padded for the transfer."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int) -> Tensor:
        world = count_processes()
        height = -(-n // world)
        padded = rows.new_zeros((height, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        torch.distributed.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[:n]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        world = count_processes()
        return world * gradient[torch.distributed.get_rank() :: world], None
