"""Plain formulas as references of kernels and their centering."""

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import (
    KERNEL_DISTANCES,
    apply_centering,
    center_kernel,
    inner_products,
    kernel_distances,
    kernel_from_rdm,
    subset,
    u_center,
)

torch.set_num_threads(1)


def reps(n, *shape, seed=0):
    return torch.randn(
        n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def centering(n):
    return torch.eye(n, dtype=torch.float64) - 1 / n


def test_inner_products_are_the_gram_matrix():
    x = reps(7, 2, 3)
    torch.testing.assert_close(inner_products(x), torch.einsum("ick,jck->ij", x, x))


def test_center_kernel_is_the_kernel_of_centered_stimuli():
    x, h = reps(7, 5) + 3, centering(7)
    torch.testing.assert_close(inner_products(x, "stimuli"), h @ inner_products(x) @ h)
    torch.testing.assert_close(center_kernel(inner_products(x)), h @ inner_products(x) @ h)


def test_inner_products_center_features_over_units():
    x, h = reps(7, 5) + 3, centering(5)
    torch.testing.assert_close(inner_products(x, "features"), x @ h @ x.T)


def test_inner_products_center_first_and_keep_what_float32_would_lose():
    x = (50 + 0.01 * reps(20, 100)).float()
    exact = inner_products(x.double(), "stimuli")
    assert (inner_products(x, "stimuli") - exact).abs().max() < 1e-5 * exact.abs().max()
    assert (center_kernel(inner_products(x)) - exact).abs().max() > 0.01 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_inner_products_ignore_half_precision_and_autocast(dtype):
    x = reps(6, 40).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kernel = inner_products(x)
    assert kernel.dtype == torch.float32 and torch.equal(kernel, inner_products(x.float()))


def test_u_center_has_zero_rows_and_no_diagonal():
    kernel = u_center(inner_products(reps(9, 4) + 2))
    assert (kernel.diagonal() == 0).all()
    torch.testing.assert_close(kernel.sum(0), torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(
        u_center(inner_products(reps(9, 4)) + 100), u_center(inner_products(reps(9, 4)))
    )


@pytest.mark.parametrize("center", ["stimuli", "features"])
def test_centering_of_constant_kernels_is_exactly_0(center):
    assert (inner_products(torch.full((6, 7), 0.1), center) == 0).all()
    assert (center_kernel(torch.full((6, 6), 0.1)) == 0).all() and (
        u_center(torch.full((6, 6), 0.1)) == 0
    ).all()


def test_kernel_from_rdm_is_the_kernel_of_the_representations():
    x = reps(8, 5) + 1
    kernel = kernel_from_rdm(DISTANCES.find("sqeuclidean")(x, x)[condensed_pairs(8)])
    torch.testing.assert_close(kernel, inner_products(x, "stimuli"))


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_subset_unpacks_the_upper_triangle_by_rows(n):
    whole = inner_products(reps(n, 4))
    packed = whole.numpy()[np.triu_indices(n)]
    assert torch.equal(subset(packed, torch.arange(n)), torch.triu(whole) + torch.triu(whole, 1).T)
    rows = torch.tensor([n - 1, 0, n // 2, 0])
    torch.testing.assert_close(subset(packed, rows), whole[rows][:, rows])


@pytest.mark.parametrize("distance", DISTANCES.names())
@pytest.mark.parametrize("scale", [1e-13, 1, 1e6])
def test_kernel_distances_are_those_of_the_representations(distance, scale):
    x = scale * reps(9, 3, 2)
    x[4], x[7] = x[2], 0
    if distance not in KERNEL_DISTANCES:
        with pytest.raises(
            UserError, match=f"`{distance}` distances cannot be computed from a kernel"
        ) as error:
            kernel_distances(inner_products(x), distance, 6)
        assert "--as activations" in error.value.hint
        return
    kernel, expected = (
        kernel_distances(
            inner_products(x).float() if scale == 1 else inner_products(x), distance, 6
        ),
        DISTANCES.find(distance)(x, x),
    )
    assert kernel.dtype == torch.float64 and kernel[2, 4] == 0 and (kernel.diagonal() == 0).all()
    torch.testing.assert_close(
        kernel / expected.max(),
        expected / expected.max(),
        rtol=1e-6,
        atol=1e-6 if scale == 1 else 1e-12,
    )


def test_kernel_distances_of_zeros_are_0():
    for distance in KERNEL_DISTANCES:
        assert (kernel_distances(torch.zeros(4, 4), distance, 3) == 0).all()


def test_apply_centering_refuses_features():
    k = inner_products(reps(6, 5))
    assert torch.equal(apply_centering(k, "none"), k) and torch.equal(
        apply_centering(k, "stimuli"), center_kernel(k)
    )
    with pytest.raises(UserError, match="cannot be centered over their features"):
        apply_centering(k, "features")
