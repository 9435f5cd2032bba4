"""Plain formulas as references of kernels and their centring."""

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
    kernel_of_rdm,
    subset,
    u_center,
)

torch.set_num_threads(1)


def reps(n, *shape, seed=0):
    return torch.randn(
        n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def centring(n):
    return torch.eye(n, dtype=torch.float64) - 1 / n


def test_a_kernel_is_all_inner_products():
    x = reps(7, 2, 3)
    torch.testing.assert_close(inner_products(x), torch.einsum("ick,jck->ij", x, x))


def test_centring_stimuli_is_centring_the_kernel():
    x, h = reps(7, 5) + 3, centring(7)
    torch.testing.assert_close(inner_products(x, "stimuli"), h @ inner_products(x) @ h)
    torch.testing.assert_close(center_kernel(inner_products(x)), h @ inner_products(x) @ h)


def test_centring_features_takes_each_stimulus_mean_over_units():
    x, h = reps(7, 5) + 3, centring(5)
    torch.testing.assert_close(inner_products(x, "features"), x @ h @ x.T)


def test_centring_first_keeps_what_float32_would_lose():
    x = (50 + 0.01 * reps(20, 100)).float()
    exact = inner_products(x.double(), "stimuli")
    assert (inner_products(x, "stimuli") - exact).abs().max() < 1e-5 * exact.abs().max()
    assert (center_kernel(inner_products(x)) - exact).abs().max() > 0.01 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_autocast_change_nothing(dtype):
    x = reps(6, 40).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = inner_products(x)
    assert found.dtype == torch.float32 and torch.equal(found, inner_products(x.float()))


def test_u_centring_has_zero_rows_and_no_diagonal():
    found = u_center(inner_products(reps(9, 4) + 2))
    assert (found.diagonal() == 0).all()
    torch.testing.assert_close(found.sum(0), torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(
        u_center(inner_products(reps(9, 4)) + 100), u_center(inner_products(reps(9, 4)))
    )


@pytest.mark.parametrize("center", ["stimuli", "features"])
def test_what_does_not_vary_is_exactly_zero(center):
    assert (inner_products(torch.full((6, 7), 0.1), center) == 0).all()
    assert (center_kernel(torch.full((6, 6), 0.1)) == 0).all() and (
        u_center(torch.full((6, 6), 0.1)) == 0
    ).all()


def test_squared_distances_have_the_kernel_they_came_from():
    x = reps(8, 5) + 1
    found = kernel_of_rdm(DISTANCES.find("sqeuclidean")(x, x)[condensed_pairs(8)])
    torch.testing.assert_close(found, inner_products(x, "stimuli"))


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_a_packed_kernel_is_the_upper_triangle_by_rows(n):
    whole = inner_products(reps(n, 4))
    packed = whole.numpy()[np.triu_indices(n)]
    assert torch.equal(subset(packed, torch.arange(n)), torch.triu(whole) + torch.triu(whole, 1).T)
    rows = torch.tensor([n - 1, 0, n // 2, 0])
    torch.testing.assert_close(subset(packed, rows), whole[rows][:, rows])


@pytest.mark.parametrize("distance", DISTANCES.names())
@pytest.mark.parametrize("scale", [1e-13, 1, 1e6])
def test_a_kernel_tells_the_distances_of_its_representations(distance, scale):
    x = scale * reps(9, 3, 2)
    x[4], x[7] = x[2], 0
    if distance not in KERNEL_DISTANCES:
        with pytest.raises(
            UserError, match=f"a kernel does not tell `{distance}` distances"
        ) as error:
            kernel_distances(inner_products(x), distance, 6)
        assert "--as activations" in error.value.hint
        return
    found, expected = (
        kernel_distances(
            inner_products(x).float() if scale == 1 else inner_products(x), distance, 6
        ),
        DISTANCES.find(distance)(x, x),
    )
    assert found.dtype == torch.float64 and found[2, 4] == 0 and (found.diagonal() == 0).all()
    torch.testing.assert_close(
        found / expected.max(),
        expected / expected.max(),
        rtol=1e-6,
        atol=1e-6 if scale == 1 else 1e-12,
    )


def test_a_kernel_of_nothing_has_no_distances():
    for distance in KERNEL_DISTANCES:
        assert (kernel_distances(torch.zeros(4, 4), distance, 3) == 0).all()


def test_a_kernel_can_be_centred_over_stimuli_alone():
    k = inner_products(reps(6, 5))
    assert torch.equal(apply_centering(k, "none"), k) and torch.equal(
        apply_centering(k, "stimuli"), center_kernel(k)
    )
    with pytest.raises(UserError, match="can't be centred over their features"):
        apply_centering(k, "features")
