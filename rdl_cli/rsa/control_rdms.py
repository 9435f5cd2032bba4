"""Control RDMs: the teacher's RDM with known structure removed.

A gain that a control also gives is not due to the teacher's geometry: random targets with the same
statistics helped too (Federer et al. 2020). Each control keeps one property of the RDM and destroys
the rest. NaN stays NaN.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.rsa.condensed import condensed_pairs, pair_index
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.rsa.kernels import kernel_from_rdm
from rdl_cli.rsa.rdms import n_from_pairs

CONTROLS = Registry("control", home="rdl_cli.rsa.control_rdms")
"""Members are `function(values, labels, rng) -> RDM`: the RDM in condensed order, the stimuli's
categories or None, and the source of randomness."""

Values = Float[Tensor, " p"]
Labels = Integer[Tensor, " n"]


@CONTROLS.register("shuffle")
def shuffle(values: Values, labels: Labels | None, rng: torch.Generator) -> Values:
    """Return the RDM of shuffled stimuli: the same geometry, of other images.

    Example:
        >>> shuffle(torch.tensor([1.0, 2.0, 3.0]), None, torch.Generator()).sort().values.tolist()
        [1.0, 2.0, 3.0]
    """
    n = n_from_pairs(len(values))
    order = torch.randperm(n, generator=rng)
    i, j = condensed_pairs(n)
    return values[pair_index(order[i], order[j], n)]


@CONTROLS.register("random")
def random(values: Values, labels: Labels | None, rng: torch.Generator) -> Values:
    """Return the same distances, in the rank order of those between random points.

    It keeps the distribution of the distances, and that they belong to a geometry. The points are
    Gaussian, in as many dimensions as the participation ratio of the RDM.
    """
    n = n_from_pairs(len(values))
    points = torch.randn(n, participation_ratio(values), generator=rng, dtype=torch.float64)
    control = torch.full_like(values, torch.nan)
    measured = (~values.isnan()).nonzero().flatten()
    order = sqeuclidean(points, points)[condensed_pairs(n)][measured].argsort()
    control[measured[order]] = values[measured].sort().values
    return control


@CONTROLS.register("spectrum")
def spectrum(values: Values, labels: Labels | None, rng: torch.Generator) -> Values:
    """Return an RDM of the same eigenvalues with random eigenvectors.

    It keeps the number and size of the dimensions and the mean distance. Eigenvalues are those of
    -½ HDH (Torgerson 1952); the distances count as squared ones.

    Raises:
        UserError: some pairs were not measured.
    """
    if values.isnan().any():
        raise UserError(
            f"the control `spectrum` needs every pair; {int(values.isnan().sum()):,} of"
            f" {len(values):,} pairs were not measured",
            hint="use --control shuffle or random",
        )
    n = n_from_pairs(len(values))
    eigenvalues = torch.linalg.eigvalsh(kernel_from_rdm(values.double()))
    constant = eigenvalues.abs().argmin()  # 0, of the constant direction that every RDM shares
    eigenvalues = torch.cat([eigenvalues[:constant], eigenvalues[constant + 1 :]])
    points = torch.randn(n, n - 1, generator=rng, dtype=torch.float64)
    axes = torch.linalg.qr(points - points.mean(0)).Q
    kernel = (axes * eigenvalues) @ axes.T
    norms = kernel.diagonal()
    return (norms[:, None] + norms[None] - 2 * kernel)[condensed_pairs(n)].to(values.dtype)


@CONTROLS.register("category")
def category(values: Values, labels: Labels | None, rng: torch.Generator) -> Values:
    """Return 0 within a category and 1 between categories: the geometry of the labels alone.

    Raises:
        UserError: the categories are unknown, or all distances would be the same.

    Example:
        >>> rdm, labels = torch.tensor([0.3, 0.9, 0.7]), torch.tensor([0, 0, 1])
        >>> category(rdm, labels, torch.Generator()).tolist()
        [0.0, 1.0, 1.0]
    """
    if labels is None:
        raise UserError(
            "the control `category` needs categories of the stimuli, and the store has none",
            hint="import the RDMs again with --labels FILE, a category for each stimulus",
        )
    i, j = condensed_pairs(len(labels), labels.device)
    between = (labels[i] != labels[j]).to(values.dtype)
    if between.min() == between.max():
        raise UserError(
            "the control `category` needs stimuli of several categories, some with more than one"
            " stimulus"
        )
    return torch.where(values.isnan(), torch.nan, between)


def participation_ratio(values: Values) -> int:
    """Return the effective number of dimensions: (Σλ)²/Σλ² of the positive eigenvalues, at least 1.

    Args:
        values: an RDM; NaN counts as the mean distance.
    """
    filled = torch.where(values.isnan(), values.nanmean(), values).double()
    eigenvalues = torch.linalg.eigvalsh(kernel_from_rdm(filled)).clamp_min(0)
    total = eigenvalues.square().sum()
    return max(1, round(float(eigenvalues.sum() ** 2 / total))) if total > 0 else 1
