"""Fixed partitions of a data set, and random labelled subsets."""

import hashlib
from collections.abc import Sequence

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Labels
from rdl_cli.datasets.base import Split

Rows = torch.Tensor
"""Positions in a split, int64, ascending."""


def split_rows(
    keys: Sequence[str], labels: Labels, validation: int, test: int = 0
) -> tuple[Rows, Rows, Rows]:
    """Return rows for training, validation and test, stratified by class.

    Rows are taken in the order of their keys' SHA-256, so the partition is the same for every seed,
    machine and library version.
    """
    hashed = [hashlib.sha256(key.encode()).digest() for key in keys]
    order = torch.tensor(sorted(range(len(keys)), key=hashed.__getitem__), dtype=torch.int64)
    test_rows = stratified_rows(labels, test, order)
    order = order[~torch.isin(order, test_rows)]
    validation_rows = stratified_rows(labels, validation, order)
    train_rows = order[~torch.isin(order, validation_rows)].sort().values
    return train_rows, validation_rows, test_rows


def labelled_subset(split: Split, n: int, generator: torch.Generator) -> Rows:
    """Return `n` random rows in the split's class proportions, one of each class if n allows."""
    if not 1 <= n <= len(split):
        raise UserError(
            f"{n:,} labelled images were asked for; the training split has {len(split):,}",
            hint=f"choose from 1 to {len(split)}",
        )
    return stratified_rows(split.labels, n, torch.randperm(len(split), generator=generator))


def stratified_rows(labels: Labels, n: int, order: torch.Tensor) -> Rows:
    """Return `n` rows of `order`, the first of each class, counts by the largest remainder."""
    ordered = labels[order]
    have = torch.bincount(ordered)
    take, remainder = n * have // len(order), n * have % len(order)
    largest = remainder.sort(descending=True, stable=True).indices
    take[largest[: n - int(take.sum())]] += 1
    if n >= int((have > 0).sum()):
        for missing in ((take == 0) & (have > 0)).nonzero().flatten():
            take[take.argmax()] -= 1
            take[missing] += 1
    selected = [order[ordered == label][:count] for label, count in enumerate(take.tolist())]
    return torch.cat(selected).sort().values
