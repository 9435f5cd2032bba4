"""Plain formulas as references of kernels and their centring."""

import pytest
import torch

from rdl_cli.geometry.distances import DISTANCES
from rdl_cli.geometry.kernels import centred, kernel, kernel_of_rdm, u_centred
from rdl_cli.geometry.rdm import upper

torch.set_num_threads(1)


def reps(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def centring(n):
    return torch.eye(n, dtype=torch.float64) - 1 / n


def test_a_kernel_is_all_inner_products():
    x = reps(7, 2, 3)
    torch.testing.assert_close(kernel(x), torch.einsum("ick,jck->ij", x, x))


def test_centring_stimuli_is_centring_the_kernel():
    x, h = reps(7, 5) + 3, centring(7)
    torch.testing.assert_close(kernel(x, "stimuli"), h @ kernel(x) @ h)
    torch.testing.assert_close(centred(kernel(x)), h @ kernel(x) @ h)


def test_centring_features_takes_each_stimulus_mean_over_units():
    x, h = reps(7, 5) + 3, centring(5)
    torch.testing.assert_close(kernel(x, "features"), x @ h @ x.T)


def test_centring_first_keeps_what_float32_would_lose():
    x = (50 + 0.01 * reps(20, 100)).float()
    exact = kernel(x.double(), "stimuli")
    assert (kernel(x, "stimuli") - exact).abs().max() < 1e-5 * exact.abs().max()
    assert (centred(kernel(x)) - exact).abs().max() > 0.01 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_autocast_change_nothing(dtype):
    x = reps(6, 40).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = kernel(x)
    assert found.dtype == torch.float32 and torch.equal(found, kernel(x.float()))


def test_u_centring_has_zero_rows_and_no_diagonal():
    found = u_centred(kernel(reps(9, 4) + 2))
    assert (found.diagonal() == 0).all()
    torch.testing.assert_close(found.sum(0), torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(u_centred(kernel(reps(9, 4)) + 100), u_centred(kernel(reps(9, 4))))


@pytest.mark.parametrize("center", ["stimuli", "features"])
def test_what_does_not_vary_is_exactly_zero(center):
    assert (kernel(torch.full((6, 7), 0.1), center) == 0).all()
    assert (centred(torch.full((6, 6), 0.1)) == 0).all() and (u_centred(torch.full((6, 6), 0.1)) == 0).all()


def test_squared_distances_have_the_kernel_they_came_from():
    x = reps(8, 5) + 1
    found = kernel_of_rdm(DISTANCES.find("sqeuclidean")(x, x)[upper(8)])
    torch.testing.assert_close(found, kernel(x, "stimuli"))
