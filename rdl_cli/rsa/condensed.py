"""The representational distance matrix, and where each pair of stimuli lies in its vector.

The order is SciPy's condensed one everywhere: the upper triangle row by row (MATLAB's `pdist` lists the same sequence). All index
arithmetic is int64, exact for any number of stimuli that fits a disk.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Condensed, Distances

Index = Annotated[Tensor, "p"]


def condensed_pairs(n: int, device: torch.device | str | None = None) -> tuple[Index, Index]:
    """The pairs of n stimuli in condensed order, ready to index a matrix: `distance(reps, reps)[upper(n)]`."""
    i, j = torch.triu_indices(n, n, 1, device=device)
    return i, j


def n_from_pairs(pairs: int) -> int:
    """How many stimuli an RDM of so many pairs has. UserError where no number of stimuli has so many pairs."""
    n = (1 + math.isqrt(1 + 8 * pairs)) // 2
    if n * (n - 1) // 2 != pairs or n < 2:
        fact = f"{pairs:,} distances are no RDM: {n} stimuli have {n * (n - 1) // 2:,} and {n + 1} have {n * (n + 1) // 2:,}"
        raise UserError(fact, hint="an RDM is the upper triangle without its diagonal, row by row")
    return n


def pair_index(i: Index, j: Index, n: int) -> Index:
    """Where the pairs {i, j} of n stimuli lie in condensed order; i and j in either order, but not equal: (i, i) lies nowhere."""
    low, high = torch.minimum(i, j).long(), torch.maximum(i, j).long()
    return low * (2 * n - low - 1) // 2 + high - low - 1


def to_square(values: Condensed) -> Distances:
    """The symmetric matrix of an RDM, `... p -> ... n n`, with zeros on its diagonal."""
    n = n_from_pairs(values.shape[-1])
    i, j = condensed_pairs(n, values.device)
    matrix = values.new_zeros(*values.shape[:-1], n, n)
    matrix[..., i, j] = values
    return matrix + matrix.mT


@dataclass(frozen=True, eq=False)
class Rdm:
    """How far apart each pair of stimuli is. NaN = not measured.

    `ids` say which stimuli, in order (digests, names or rows; no two alike); `distance` names the measure, where it is known.
    UserError where the number of distances isn't that of the ids' pairs.
    """

    values: Condensed
    ids: tuple[Hashable, ...]
    name: str = ""
    distance: str = ""

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.values.shape != (n * (n - 1) // 2,):
            fact = f"RDM `{self.name}` holds {self.values.numel():,} distances; its {n:,} stimuli have {n * (n - 1) // 2:,} pairs"
            raise UserError(fact, hint="give one id for each row of the RDM")
        if len(set(self.ids)) < n:
            (twice, times), *_ = Counter(self.ids).most_common(1)
            raise UserError(
                f"RDM `{self.name}` has {times} stimuli called `{twice}`",
                hint="stimuli are matched by id: give each its own",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def to_square(self) -> Distances:
        return (
            to_square(self.values) if len(self) > 1 else self.values.new_zeros(len(self), len(self))
        )

    def among(self, ids: Sequence[Hashable]) -> "Rdm":
        """The RDM of these stimuli, in this order. UserError where it doesn't have one of them."""
        place = {each: k for k, each in enumerate(self.ids)}
        missing = [each for each in ids if each not in place]
        if missing:
            fact = f"RDM `{self.name}` has {len(self):,} stimuli; {len(missing):,} of the {len(ids):,} asked for are not among them"
            raise UserError(fact, hint=f"the first that is missing: {missing[0]}")
        rows = torch.tensor(
            [place[each] for each in ids], dtype=torch.long, device=self.values.device
        )
        i, j = condensed_pairs(len(ids), rows.device)
        return Rdm(
            self.values[pair_index(rows[i], rows[j], len(self))],
            tuple(ids),
            self.name,
            self.distance,
        )
