"""Every representation with every other, fast enough to be done again for a thousand draws of stimuli."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from rdl_cli.rsa import measures as similarity
from rdl_cli.rsa.kernels import center_kernel, u_center
from rdl_cli.rsa.measures import Measure, normalize, normalize_rms, ranks, zscore

Compared = Annotated[Tensor, "k ..."]
"""What a measure compares, of k representations: RDMs `k p` or kernels `k n n`."""
Matrix = Annotated[Tensor, "m k"]


def measure_features(measure: Measure, values: Compared) -> Compared | None:
    """Vectors (or matrices) whose inner products are the measure; None where it has none, or an RDM has gaps.

    One sort or centring for each representation, not one for each pair. They follow the order of the stimuli as the RDMs and
    kernels do, so that shuffled stimuli need nothing but shuffled features.
    """
    into = _FEATURES.get(getattr(measure, "func", measure))
    return None if into is None or values.isnan().any() else into(values.double())


def pairwise_measure(measure: Measure, mine: Compared, theirs: Compared | None = None) -> Matrix:
    """The measure of each of mine with each of theirs, in float64; of mine with one another where there are no others."""
    known = [
        measure_features(measure, values)
        for values in ([mine] if theirs is None else [mine, theirs])
    ]
    if all(each is not None for each in known):
        return feature_products(*(each for each in known if each is not None))
    found = mine.new_zeros(len(mine), len(mine if theirs is None else theirs), dtype=torch.float64)
    for i, one in enumerate(mine.double()):
        for j, other in enumerate((mine if theirs is None else theirs).double()):
            if theirs is not None or j >= i:
                found[i, j] = measure(one, other)
    return found if theirs is not None else found + found.triu(1).mT


def feature_products(mine: Compared, theirs: Compared | None = None) -> Matrix:
    """All inner products of features."""
    flat = mine.flatten(1)
    return flat @ (flat if theirs is None else theirs.flatten(1)).mT


def _rho_a(values: Tensor) -> Tensor:
    n = values.shape[-1]
    ranked = ranks(values)
    return (ranked - ranked.mean(-1, keepdim=True)) * (12 / (n**3 - n)) ** 0.5


def _unit_matrices(matrices: Tensor) -> Tensor:
    return normalize(matrices.flatten(-2)).reshape(matrices.shape)


_FEATURES: dict[Measure, Callable[[Tensor], Tensor]] = {
    similarity.pearson: lambda values: normalize(zscore(values).nan_to_num(0)),
    similarity.spearman: lambda values: normalize(zscore(ranks(values)).nan_to_num(0)),
    similarity.cosine: lambda values: normalize(normalize_rms(values).nan_to_num(0)),
    similarity.rho_a: _rho_a,
    similarity.cka: lambda kernels: _unit_matrices(center_kernel(kernels)),
    similarity.cka_debiased: lambda kernels: _unit_matrices(u_center(kernels)),
}
