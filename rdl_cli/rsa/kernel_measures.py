"""Measures of similarity between centered kernels: CKA, and Bures and Procrustes similarity.

Where nothing varies the similarity is 0, never NaN. A high Procrustes similarity implies a high
CKA, not the reverse (Cloos et al. 2024, arXiv 2407.07059).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rdl_cli.rsa.kernels import Kernel, Kernels, center_kernel, u_center
from rdl_cli.rsa.measures import MeasureTraits, register_measure
from rdl_cli.rsa.normalization import normalize

Scalar = Float[Tensor, ""]


@register_measure("cka", MeasureTraits(input="kernel", centering="stimuli", bounds=(0.0, 1.0)))
def cka(a: Kernels, b: Float[Tensor, "... n n"]) -> Float[Tensor, "..."]:
    """Return linear CKA (Kornblith et al. 2019): the cosine between centered kernels.

    Biased: independent noise in 2,000 and 500 units has CKA .96 over 32 stimuli.

    Args:
        a, b: kernels of the same n stimuli; leading dimensions are compared one by one.

    Example:
        >>> from rdl_cli.rsa.kernels import inner_products
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> round(cka(inner_products(x), inner_products(7 * x.flip(1))).item(), 6)
        1.0
    """
    return _cosine(center_kernel(a), center_kernel(b))


@register_measure(
    "cka-debiased", MeasureTraits(input="kernel", centering="stimuli", bounds=(-1.0, 1.0))
)
def cka_debiased(a: Kernels, b: Float[Tensor, "... n n"]) -> Float[Tensor, "..."]:
    """Return linear CKA with the unbiased HSIC₁ (Song et al. 2012).

    For independent noise it is about 0, and negative half of the time.

    Args:
        a, b: kernels of the same n stimuli, at least 4, as for `cka`.
    """
    return _cosine(u_center(a), u_center(b))


@register_measure("bures", MeasureTraits(input="kernel", centering="stimuli", bounds=(0.0, 1.0)))
def bures(a: Kernel, b: Kernel) -> Scalar:
    """Return the normalized Bures similarity: tr (√A B √A)^½ / √(tr A tr B) of centered kernels.

    It is the cosine of the Procrustes angle: ‖XᵀY‖_* / (‖X‖ ‖Y‖) of centered representations
    (Harvey et al. 2024, arXiv 2311.11436). Negative eigenvalues count as 0. No gradient.

    Args:
        a, b: kernels of the same n stimuli.

    Example:
        >>> k = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
        >>> round(bures(k, 5 * k).item(), 6)
        1.0
    """
    x, y = _factor(a), _factor(b)
    norms = x.norm() * y.norm()
    nuclear = torch.linalg.svdvals(x.T @ y).sum()
    return torch.where(norms > 0, nuclear / torch.where(norms > 0, norms, 1), 0).clamp_max(1)


@register_measure(
    "procrustes", MeasureTraits(input="kernel", centering="stimuli", bounds=(0.0, 1.0))
)
def procrustes(a: Kernel, b: Kernel) -> Scalar:
    """Return the angular Procrustes similarity: 1 - 2/π times the Procrustes angle.

    1 for representations equal up to rotation and scale, 0 for orthogonal ones (Cloos et al. 2024;
    the angle is the metric of Williams et al. 2021, NeurIPS). No gradient.

    Args:
        a, b: kernels of the same n stimuli.
    """
    return 1 - 2 / math.pi * torch.arccos(bures(a, b))


def _cosine(a: Kernels, b: Float[Tensor, "... n n"]) -> Float[Tensor, "..."]:
    return (normalize(a.flatten(-2)) * normalize(b.flatten(-2))).sum(-1)


def _factor(kernel: Kernel) -> Float[Tensor, "n r"]:
    """Return X with XXᵀ = the centered kernel, in float64, without axes that are rounding."""
    values, vectors = torch.linalg.eigh(center_kernel(kernel.detach().double()))
    is_axis = values > len(values) * torch.finfo(values.dtype).eps * values.abs().amax()
    return vectors[:, is_axis] * values[is_axis].sqrt()
