"""The linear kernel of a representation: all that rotation-invariant measures (CKA, the Bayesian distances) need to know of it."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from rdl_cli.core.shapes import Condensed, Reps
from rdl_cli.geometry.distances import around_mean, less, rows
from rdl_cli.geometry.rdm import square

Kernel = Annotated[Tensor, "n n"]
Centring = Literal["none", "stimuli", "features"]
"""`stimuli` subtracts the mean stimulus (as CKA does), `features` each stimulus' mean over its units (not rotation invariant)."""


def kernel(reps: Reps, center: Centring = "none") -> Kernel:
    """The inner products of all representations, `n ... -> n n`, in float32 at least, with autocast off.

    Centre here rather than on the kernel where there is a choice: a kernel of features 50 ± 0.01 has lost the 0.01.
    """
    x = rows(reps)
    if center != "none":
        x = around_mean(x, 0 if center == "stimuli" else 1)
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.T


def centred(kernel: Kernel) -> Kernel:
    """The kernel of the same representations around their mean stimulus: HKH."""
    means = kernel.mean(-1, keepdim=True) + kernel.mean(-2, keepdim=True) - kernel.mean((-2, -1), keepdim=True)
    return less(kernel, means, (-2, -1))


def u_centred(kernel: Kernel) -> Kernel:
    """U-centring (Székely & Rizzo 2014): zero rows and no diagonal, so that inner products estimate HSIC without bias.

    The inner product of two of them over n(n - 3) is the HSIC₁ of Song et al. 2012; it takes four stimuli.
    """
    n = kernel.shape[-1]
    assert n >= 4, f"HSIC₁ needs at least 4 stimuli, not {n}"
    off = ~torch.eye(n, dtype=torch.bool, device=kernel.device)
    hollow = torch.where(off, kernel, 0)
    shares = hollow.sum(-1, keepdim=True) / (n - 2)
    means = shares + shares.mT - hollow.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return less(hollow, torch.where(off, means, 0), (-2, -1))


def kernel_of_rdm(squared: Condensed) -> Kernel:
    """The centred kernel that belongs to squared Euclidean distances: -½ HDH, `... p -> ... n n` (Torgerson 1952)."""
    return centred(-square(squared) / 2)
