"""A measure between all pairs of representations, fast enough for a thousand resamples."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Num
from torch import Tensor

from rdl_cli.rsa import kernel_measures, measures
from rdl_cli.rsa.kernels import center_kernel, u_center
from rdl_cli.rsa.measures import Measure
from rdl_cli.rsa.normalization import equalize_rounding, normalize, normalize_rms, ranks, zscore


def measure_features(
    measure: Measure, values: Num[Tensor, "k *shape"]
) -> Float[Tensor, "k *shape"] | None:
    """Return features whose inner products are the measure; None if it has none or NaN occurs.

    One sort or centering for each representation, not for each pair. Features follow the order of
    the stimuli as RDMs and kernels do: to shuffle stimuli, shuffle the features.

    Args:
        measure: a registered measure, with or without bound options.
        values: k RDMs (k, p) or kernels (k, n, n).
    """
    extract = _FEATURES.get(getattr(measure, "func", measure))
    return None if extract is None or values.isnan().any() else extract(values.double())


def pairwise_measure(
    measure: Measure, first: Num[Tensor, "k *shape"], second: Num[Tensor, "m *shape"] | None = None
) -> Float[Tensor, "k m"]:
    """Return the measure of each of the first with each of the second, in float64.

    Args:
        measure: a registered measure, with or without bound options.
        first: k RDMs or kernels.
        second: m RDMs or kernels; None compares the first with one another.

    Example:
        >>> rdms = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        >>> pairwise_measure(measures.pearson, rdms).round(decimals=6).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    sides = [first] if second is None else [first, second]
    features = [measure_features(measure, values) for values in sides]
    if all(side is not None for side in features):
        return feature_products(*(side for side in features if side is not None))
    others = first if second is None else second
    values = first.new_zeros(len(first), len(others), dtype=torch.float64)
    for i, a in enumerate(first.double()):
        for j, b in enumerate(others.double()):
            if second is not None or j >= i:
                values[i, j] = measure(a, b)
    return values if second is not None else values + values.triu(1).mT


def feature_products(
    first: Float[Tensor, "k *shape"], second: Float[Tensor, "m *shape"] | None = None
) -> Float[Tensor, "k m"]:
    """Return all inner products of features."""
    flat = first.flatten(1)
    return flat @ (flat if second is None else second.flatten(1)).mT


def _rho_a_features(values: Tensor) -> Tensor:
    n = values.shape[-1]
    ranked = ranks(values)
    return (ranked - ranked.mean(-1, keepdim=True)) * (12 / (n**3 - n)) ** 0.5


def _normalize_matrices(matrices: Tensor) -> Tensor:
    return normalize(matrices.flatten(-2)).reshape(matrices.shape)


_FEATURES: dict[Measure, Callable[[Tensor], Tensor]] = {
    measures.pearson: lambda values: normalize(zscore(equalize_rounding(values)).nan_to_num(0)),
    measures.spearman: lambda values: normalize(zscore(ranks(values)).nan_to_num(0)),
    measures.cosine: lambda values: normalize(normalize_rms(values).nan_to_num(0)),
    measures.rho_a: _rho_a_features,
    kernel_measures.cka: lambda kernels: _normalize_matrices(center_kernel(kernels)),
    kernel_measures.cka_debiased: lambda kernels: _normalize_matrices(u_center(kernels)),
}
