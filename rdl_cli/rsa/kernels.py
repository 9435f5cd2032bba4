"""The linear kernel of a representation: all that rotation-invariant measures (CKA, the Bayesian distances) need to know of it."""

from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Condensed, Distances, Ids, Reps
from rdl_cli.rsa.condensed import n_from_pairs, pair_index, to_square
from rdl_cli.rsa.distances import center as subtract_means
from rdl_cli.rsa.distances import clamp_norms, rows, safe_sqrt, subtract_mean

Kernel = Annotated[Tensor, "n n"]
Packed = Annotated[np.ndarray, "n(n+1)/2"]
"""A kernel's upper triangle with its diagonal, row by row: the condensed order of one stimulus more."""
Centring = Literal["none", "stimuli", "features"]
"""`stimuli` subtracts the mean stimulus (as CKA does), `features` each stimulus' mean over its units (not rotation invariant)."""


def inner_products(reps: Reps, center: Centring = "none") -> Kernel:
    """The inner products of all representations, `n ... -> n n`, in float32 at least, with autocast off.

    Centre here rather than on the kernel where there is a choice: a kernel of features 50 ± 0.01 has lost the 0.01.
    """
    x = rows(reps)
    if center != "none":
        x = subtract_means(x, 0 if center == "stimuli" else 1)
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.T


def center_kernel(kernel: Kernel) -> Kernel:
    """The kernel of the same representations around their mean stimulus: HKH."""
    means = (
        kernel.mean(-1, keepdim=True)
        + kernel.mean(-2, keepdim=True)
        - kernel.mean((-2, -1), keepdim=True)
    )
    return subtract_mean(kernel, means, (-2, -1))


def u_center(kernel: Kernel) -> Kernel:
    """U-centring (Székely & Rizzo 2014): zero rows and no diagonal, so that inner products estimate HSIC without bias.

    The inner product of two of them over n(n - 3) is the HSIC₁ of Song et al. 2012; it takes four stimuli.
    """
    n = kernel.shape[-1]
    assert n >= 4, f"HSIC₁ needs at least 4 stimuli, not {n}"
    off = ~torch.eye(n, dtype=torch.bool, device=kernel.device)
    hollow = torch.where(off, kernel, 0)
    shares = hollow.sum(-1, keepdim=True) / (n - 2)
    means = shares + shares.mT - hollow.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return subtract_mean(hollow, torch.where(off, means, 0), (-2, -1))


def kernel_of_rdm(squared: Condensed) -> Kernel:
    """The centred kernel that belongs to squared Euclidean distances: -½ HDH, `... p -> ... n n` (Torgerson 1952)."""
    return center_kernel(-to_square(squared) / 2)


def subset(packed: Packed, rows: Ids) -> Kernel:
    """The kernel of some of the stimuli, in this order, from one that is stored packed; in its width."""
    n = n_from_pairs(len(packed)) - 1
    low, high = torch.minimum(rows[:, None], rows), torch.maximum(rows[:, None], rows)
    return torch.from_numpy(packed[pair_index(low, high + 1, n + 1).numpy()])


def apply_centering(kernel: Kernel, center: Centring) -> Kernel:
    """A kernel of which nothing else is known, centred. UserError for `features`: inner products tell nothing of single units."""
    if center == "features":
        raise UserError(
            "only a kernel is known, and its representations can't be centred over their features",
            hint="use center=none or center=stimuli, or store activations (rdl export-rdms --as activations)",
        )
    return center_kernel(kernel) if center == "stimuli" else kernel


KERNEL_DISTANCES = ("cosine", "euclidean", "mse", "sqeuclidean")
"""The distances that inner products tell."""


def check_kernel_distance(distance: str) -> None:
    """UserError for a distance that no kernel tells."""
    if distance not in KERNEL_DISTANCES:
        raise UserError(
            f"a kernel does not tell `{distance}` distances; it tells {', '.join(KERNEL_DISTANCES)}",
            hint="choose one of them by distance, or store activations (rdl export-rdms --as activations)",
        )


def kernel_distances(kernel: Kernel, distance: str, units: int) -> Distances:
    """The distances between the representations (of so many units) that a kernel in float32 is of: d² = k_ii + k_jj - 2 k_ij.

    In float64. What may be the rounding of the three counts as 0, as in `sqeuclidean`. UserError for a distance that no kernel tells.
    """
    check_kernel_distance(distance)
    k = kernel.double()
    if distance == "cosine":
        k = k / k.diagonal().amax().clamp_min(torch.finfo(k.dtype).tiny)
        over = clamp_norms(k.diagonal()).rsqrt()
        k = over[:, None] * k * over
    norms = k.diagonal()
    total = norms[:, None] + norms
    apart = total - 2 * k
    squares = torch.where(apart <= 2 * torch.finfo(torch.float32).eps * total, 0, apart)
    if distance == "euclidean":
        return safe_sqrt(squares)
    return squares / {"cosine": 2, "mse": units, "sqeuclidean": 1}[distance]
