"""RDMs destroyed in a known way: what a student that follows one of these gains, it does not owe to the teacher's geometry.

Random targets with the same statistics have helped too (Federer et al. 2020), so a gain counts as far as it exceeds its controls'.
Each control keeps something of the RDM and destroys the rest. What was not measured (NaN) stays so.
"""

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Condensed, Labels
from rdl_cli.rsa.condensed import condensed_pairs, n_from_pairs, pair_index
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.rsa.kernels import kernel_of_rdm

CONTROLS = Registry("control", home="rdl_cli.rsa.control_rdms", external=False)
"""A member is `function(values, labels, rng) -> Condensed`: the RDM, the stimuli's categories where they are known, randomness."""


@CONTROLS.register("shuffle")
def shuffle(values: Condensed, labels: Labels | None, rng: torch.Generator) -> Condensed:
    """The stimuli change places: the same geometry, of other pictures."""
    n = n_from_pairs(len(values))
    order = torch.randperm(n, generator=rng)
    i, j = condensed_pairs(n)
    return values[pair_index(order[i], order[j], n)]


@CONTROLS.register("random")
def random(values: Condensed, labels: Labels | None, rng: torch.Generator) -> Condensed:
    """The same distances in the order of those between random points: keeps their distribution, and that they are a geometry's.

    The points are Gaussian, in as many dimensions as the RDM effectively has.
    """
    n = n_from_pairs(len(values))
    points = torch.randn(n, participation_ratio(values), generator=rng, dtype=torch.float64)
    found = torch.full_like(values, torch.nan)
    measured = (~values.isnan()).nonzero().flatten()
    order = sqeuclidean(points, points)[condensed_pairs(n)][measured].argsort()
    found[measured[order]] = values[measured].sort().values
    return found


@CONTROLS.register("spectrum")
def spectrum(values: Condensed, labels: Labels | None, rng: torch.Generator) -> Condensed:
    """The same eigenvalues with random eigenvectors: keeps how many dimensions there are and how large each is, and the mean distance.

    Eigenvalues are those of -½ HDH (Torgerson 1952), distances counting as squared ones. UserError where pairs are missing.
    """
    if values.isnan().any():
        raise UserError(
            f"the control `spectrum` needs a whole RDM; {int(values.isnan().sum()):,} of {len(values):,} pairs were not measured",
            hint="use --control shuffle or random",
        )
    n = n_from_pairs(len(values))
    sizes = torch.linalg.eigvalsh(kernel_of_rdm(values.double()))
    flat = (
        sizes.abs().argmin()
    )  # the eigenvalue 0 of the constant direction, which every RDM shares
    sizes = torch.cat([sizes[:flat], sizes[flat + 1 :]])
    points = torch.randn(n, n - 1, generator=rng, dtype=torch.float64)
    axes = torch.linalg.qr(points - points.mean(0)).Q
    kernel = (axes * sizes) @ axes.T
    norms = kernel.diagonal()
    return (norms[:, None] + norms[None] - 2 * kernel)[condensed_pairs(n)].to(values.dtype)


@CONTROLS.register("category")
def category(values: Condensed, labels: Labels | None, rng: torch.Generator) -> Condensed:
    """0 within a category and 1 between: what the labels alone would teach. UserError where they are not known, or all the same."""
    if labels is None:
        raise UserError(
            "the control `category` needs categories of the stimuli, and the store has none",
            hint="import the RDMs again with --labels FILE, a category for each stimulus",
        )
    i, j = condensed_pairs(len(labels), labels.device)
    apart = (labels[i] != labels[j]).to(values.dtype)
    if apart.min() == apart.max():
        raise UserError(
            "the control `category` needs stimuli of several categories, some with more than one stimulus"
        )
    return torch.where(values.isnan(), torch.nan, apart)


def participation_ratio(values: Condensed) -> int:
    """How many dimensions an RDM effectively has: the participation ratio (Σλ)²/Σλ² of its positive eigenvalues, one at least.

    Pairs that were not measured count as the mean distance.
    """
    whole = torch.where(values.isnan(), values.nanmean(), values).double()
    sizes = torch.linalg.eigvalsh(kernel_of_rdm(whole)).clamp_min(0)
    total = sizes.square().sum()
    return max(1, round(float(sizes.sum() ** 2 / total))) if total > 0 else 1
