"""Laws of partitions and labelled subsets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.subsets import labelled_subset, split_rows, stratified_rows


def split_of(labels: torch.Tensor) -> Split:
    n = len(labels)
    return Split(
        torch.zeros(n, 1, 2, 2, dtype=torch.uint8), labels, torch.arange(n), tuple("abcdefghij")
    )


@given(st.lists(st.integers(1, 60), min_size=2, max_size=10), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_labelled_subset_has_the_class_proportions(sizes: list[int], part: float, seed: int):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = max(1, int(part * len(labels)))
    rows = labelled_subset(split_of(labels), n, Seeds(seed)("subset"))
    assert len(rows) == len(rows.unique()) == n and rows.tolist() == sorted(rows.tolist())
    taken = torch.bincount(labels[rows], minlength=len(sizes))
    assert (taken <= torch.tensor(sizes)).all()
    if n >= len(sizes):
        assert taken.min() >= 1
    exact = n * torch.tensor(sizes) / len(labels)
    if exact.min() >= 1:  # no class was raised to one
        assert ((taken >= exact.floor()) & (taken <= exact.ceil())).all()


def test_labelled_subset_depends_on_its_generator_alone():
    split = split_of(torch.arange(500) % 10)
    draws = [labelled_subset(split, 50, Seeds(seed)("subset")).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("n", [0, -1, 11])
def test_labelled_subset_refuses_impossible_numbers(n: int):
    with pytest.raises(UserError, match=f"{n} labelled images"):
        labelled_subset(split_of(torch.arange(10)), n, torch.Generator())


def test_split_rows_is_complete_disjoint_and_fixed():
    labels = torch.arange(100) % 5
    keys = [f"some name {row}" for row in range(100)]
    parts = split_rows(keys, labels, validation=20, test=30)
    assert [len(part) for part in parts] == [50, 20, 30]
    assert torch.cat(parts).sort().values.tolist() == list(range(100))
    assert all(torch.bincount(labels[part]).unique().numel() == 1 for part in parts)
    assert torch.equal(parts[2], split_rows(keys, labels, validation=20, test=30)[2])
    assert not torch.equal(
        parts[2],
        split_rows([f"another {row}" for row in range(100)], labels, validation=20, test=30)[2],
    )
    backwards = split_rows(keys[::-1], labels.flip(0), validation=20, test=30)
    assert torch.equal(99 - backwards[2].flip(0), parts[2]), (
        "an image's part depends on its row, not on its key alone"
    )


def test_stratified_rows_ignore_empty_classes():
    assert stratified_rows(torch.tensor([3, 3, 7]), 2, torch.arange(3)).tolist() in ([0, 2], [1, 2])
