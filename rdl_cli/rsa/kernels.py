"""Linear kernels: inner products of representations, enough for all rotation-invariant measures.

CKA and the Bayesian measures are computed from them.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import pair_index, to_square
from rdl_cli.rsa.distances import center as subtract_means
from rdl_cli.rsa.distances import clamp_norms, flatten_rows, safe_sqrt, subtract_mean
from rdl_cli.rsa.rdms import n_from_pairs

Kernel = Float[Tensor, "n n"]
Kernels = Float[Tensor, "*k n n"]
PackedKernel = Annotated[np.ndarray, "n(n+1)/2"]
"""A kernel's upper triangle with its diagonal, row by row: condensed order of n + 1 stimuli."""
Centering = Literal["none", "stimuli", "features"]
"""`stimuli` subtracts the mean stimulus (as CKA does).

`features` subtracts each stimulus' mean over its units, which is not rotation invariant."""


def inner_products(reps: Num[Tensor, "n *units"], center: Centering = "none") -> Kernel:
    """Return the inner products of all representations, in float32 at least, with autocast off.

    Center here rather than the kernel: a kernel of features 50 ± 0.01 has lost the 0.01.

    Args:
        reps: representations of n stimuli.
        center: the mean to subtract before.

    Example:
        >>> inner_products(torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist()
        [[1.0, 1.0], [1.0, 5.0]]
    """
    x = flatten_rows(reps)
    if center != "none":
        x = subtract_means(x, 0 if center == "stimuli" else 1)
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.T


def center_kernel(kernel: Kernels) -> Kernels:
    """Return HKH: the kernel of the same representations minus their mean stimulus.

    Args:
        kernel: one kernel, or several.

    Example:
        >>> center_kernel(torch.tensor([[1.0, 1.0], [1.0, 5.0]])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    means = (
        kernel.mean(-1, keepdim=True)
        + kernel.mean(-2, keepdim=True)
        - kernel.mean((-2, -1), keepdim=True)
    )
    return subtract_mean(kernel, means, (-2, -1))


def u_center(kernel: Kernels) -> Kernels:
    """Return the U-centered kernel (Székely & Rizzo 2014), with zero row sums and no diagonal.

    The inner product of two of them over n(n - 3) is HSIC₁, the estimate of HSIC without bias
    (Song et al. 2012).

    Args:
        kernel: one kernel of at least 4 stimuli, or several.

    Raises:
        AssertionError: there are fewer than 4 stimuli.

    Example:
        >>> u_center(torch.eye(4)).abs().max().item()
        0.0
    """
    n = kernel.shape[-1]
    assert n >= 4, f"HSIC₁ needs at least 4 stimuli, not {n}"
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=kernel.device)
    hollow = torch.where(off_diagonal, kernel, 0)
    row_means = hollow.sum(-1, keepdim=True) / (n - 2)
    means = row_means + row_means.mT - hollow.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return subtract_mean(hollow, torch.where(off_diagonal, means, 0), (-2, -1))


def kernel_from_rdm(squared: Float[Tensor, "*k p"]) -> Kernels:
    """Return the centered kernel of squared Euclidean distances: -½ HDH (Torgerson 1952).

    Args:
        squared: RDMs in condensed order, their distances squared.

    Example:
        >>> kernel_from_rdm(torch.tensor([4.0])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    return center_kernel(-to_square(squared) / 2)


def subset(packed: PackedKernel, rows: Int[Tensor, " m"]) -> Num[Tensor, "m m"]:
    """Return the kernel of some stimuli, in this order, from a packed one; its dtype stays.

    Args:
        packed: the upper triangle with its diagonal, row by row.
        rows: the stimuli; one may occur twice.

    Example:
        >>> subset(np.array([1.0, 2.0, 3.0]), torch.tensor([1, 0])).tolist()
        [[3.0, 2.0], [2.0, 1.0]]
    """
    n = n_from_pairs(len(packed)) - 1
    low, high = torch.minimum(rows[:, None], rows), torch.maximum(rows[:, None], rows)
    return torch.from_numpy(packed[pair_index(low, high + 1, n + 1).numpy()])


def apply_centering(kernel: Kernels, center: Centering) -> Kernels:
    """Return a kernel, centered, if nothing but the kernel is known.

    Raises:
        UserError: `features` is asked for, but inner products do not contain single units.
    """
    if center == "features":
        raise UserError(
            "only a kernel is known; its representations cannot be centered over their features",
            hint="use center=none or center=stimuli, or store activations"
            " (rdl export-rdms --as activations)",
        )
    return center_kernel(kernel) if center == "stimuli" else kernel


KERNEL_DISTANCES = ("cosine", "euclidean", "mse", "sqeuclidean")
"""The distances that can be computed from inner products."""


def check_kernel_distance(distance: str) -> None:
    """Raise UserError if a distance cannot be computed from a kernel."""
    if distance not in KERNEL_DISTANCES:
        raise UserError(
            f"`{distance}` distances cannot be computed from a kernel;"
            f" {', '.join(KERNEL_DISTANCES)} can",
            hint="choose one of them by distance, or store activations"
            " (rdl export-rdms --as activations)",
        )


def kernel_distances(kernel: Kernel, distance: str, units: int) -> Kernel:
    """Return the distances that belong to a kernel: d² = k_ii + k_jj - 2 k_ij, in float64.

    Values within the rounding of the three float32 numbers become 0, as in `sqeuclidean`.

    Args:
        kernel: inner products, stored in float32.
        distance: one of KERNEL_DISTANCES.
        units: the number of units of the representations, for `mse`.

    Raises:
        UserError: the distance cannot be computed from a kernel.

    Example:
        >>> kernel_distances(torch.tensor([[0.0, 0.0], [0.0, 25.0]]), "euclidean", 2).tolist()
        [[0.0, 5.0], [5.0, 0.0]]
    """
    check_kernel_distance(distance)
    k = kernel.double()
    if distance == "cosine":
        k = k / k.diagonal().amax().clamp_min(torch.finfo(k.dtype).tiny)
        inverse_norms = clamp_norms(k.diagonal()).rsqrt()
        k = inverse_norms[:, None] * k * inverse_norms
    norms = k.diagonal()
    total = norms[:, None] + norms
    differences = total - 2 * k
    noise = 2 * torch.finfo(torch.float32).eps * total
    squares = torch.where(differences <= noise, 0, differences)
    if distance == "euclidean":
        return safe_sqrt(squares)
    return squares / {"cosine": 2, "mse": units, "sqeuclidean": 1}[distance]
