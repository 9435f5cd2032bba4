"""Condensed RDMs: the pairs of n stimuli as a vector.

The order is SciPy's: the upper triangle row by row, without the diagonal (MATLAB's `pdist` has the
same). Indices are int64, exact for any number of stimuli that fits on a disk.
"""

import torch
from jaxtyping import Int, Integer, Num
from torch import Tensor

from rdl_cli.rsa.rdms import n_from_pairs


def condensed_pairs(
    n: int, device: torch.device | str | None = None
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Return the pairs of n stimuli in condensed order, ready to index a matrix.

    Args:
        n: the number of stimuli.
        device: the device of the two index vectors.

    Returns:
        Rows i and columns j of the n(n-1)/2 pairs, i < j.

    Example:
        >>> i, j = condensed_pairs(3)
        >>> i.tolist(), j.tolist()
        ([0, 0, 1], [1, 2, 2])
    """
    i, j = torch.triu_indices(n, n, 1, device=device)
    return i, j


def pair_index(i: Integer[Tensor, "..."], j: Integer[Tensor, "..."], n: int) -> Int[Tensor, "..."]:
    """Return the positions of the pairs {i, j} of n stimuli in condensed order.

    Args:
        i, j: stimuli in either order, broadcast; never equal: (i, i) has no position.
        n: the number of stimuli.

    Example:
        >>> pair_index(torch.tensor([2, 0]), torch.tensor([1, 1]), 3).tolist()
        [2, 0]
    """
    low, high = torch.minimum(i, j).long(), torch.maximum(i, j).long()
    return low * (2 * n - low - 1) // 2 + high - low - 1


def is_constant(values: Num[Tensor, "*k p"], distance: str = "") -> bool:
    """Return True if all distances are equal up to rounding, so that nothing is related to them.

    Correlation and cosine distances that are all 0 up to rounding are constant too: those of
    collinear patterns.

    Args:
        values: RDMs in condensed order; NaN is not measured.
        distance: the name of the distance, if known.

    Example:
        >>> is_constant(torch.tensor([1.0, 1.0 + 1e-7, 1.0])), is_constant(torch.tensor([1.0, 2.0]))
        (True, False)
    """
    measured = values[~values.isnan()].double()
    if not len(measured):
        return True
    eps = torch.finfo(values.dtype if values.is_floating_point() else torch.float32).eps
    if torch.equal(measured.float().double(), measured):  # float64 that was float32 before
        eps = torch.finfo(torch.float32).eps
    low, high = measured.aminmax()
    largest = measured.abs().amax()
    rounding = 16 * eps if distance in ("correlation", "cosine") else 0.0
    return bool(high - low <= 4 * eps * largest or largest <= rounding)


def to_square(values: Num[Tensor, "*k p"]) -> Num[Tensor, "*k n n"]:
    """Return the symmetric matrices of RDMs, with zeros on the diagonal.

    Args:
        values: RDMs in condensed order.

    Raises:
        UserError: no number of stimuli has p pairs.

    Example:
        >>> to_square(torch.tensor([1.0, 2.0, 3.0])).tolist()
        [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
    """
    n = n_from_pairs(values.shape[-1])
    i, j = condensed_pairs(n, values.device)
    matrix = values.new_zeros(*values.shape[:-1], n, n)
    matrix[..., i, j] = values
    return matrix + matrix.mT
