"""CKA, Bures and Procrustes similarity against their formulas and rsatoolbox."""

import math

import numpy as np
import pytest
import torch
from rsatoolbox.rdm import RDMs, compare

from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES

torch.set_num_threads(1)


def reps(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cka_is_kornblith_et_als():
    x, y = reps(20, 5, 1), reps(20, 9, 2)
    x, y = x - x.mean(0), y - y.mean(0)
    value = (y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert MEASURES.find("cka")(inner_products(x), inner_products(y)).item() == pytest.approx(
        value.item(), abs=1e-12
    )


def hsic1(k, m):
    """METHODS' formula, with its explicit traces."""
    n = len(k)
    k, m, one = (
        k.clone().fill_diagonal_(0),
        m.clone().fill_diagonal_(0),
        torch.ones(n, dtype=k.dtype),
    )
    total = (
        (k @ m).trace()
        + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        - 2 * one @ k @ m @ one / (n - 2)
    )
    return total / (n * (n - 3))


def test_cka_debiased_uses_song_et_als_hsic():
    k, m = inner_products(reps(12, 5, 1)), inner_products(reps(12, 30, 2) + 1)
    value = hsic1(k, m) / (hsic1(k, k) * hsic1(m, m)).sqrt()
    assert MEASURES.find("cka-debiased")(k, m).item() == pytest.approx(value.item(), abs=1e-12)


def test_cka_debiased_is_0_for_noise_where_cka_is_not():
    k, m = inner_products(reps(32, 2000, 1)), inner_products(reps(32, 500, 2))
    assert MEASURES.find("cka")(k, m) > 0.9
    assert abs(MEASURES.find("cka-debiased")(k, m)) < 0.1


def test_bures_is_rsatoolboxs():
    x, y = reps(12, 5, 1), reps(12, 30, 2) + 3
    rdms = [RDMs(sqeuclidean(r, r)[condensed_pairs(12)].numpy()[None]) for r in (x, y)]
    value = MEASURES.find("bures")(inner_products(x), inner_products(y)).item()
    # rsatoolbox takes roots of rounding errors
    assert value == pytest.approx(compare(*rdms, method="bures").item(), abs=1e-6)


def test_bures_and_procrustes_are_the_nuclear_norm_of_centered_representations():
    x, y = reps(12, 5, 1), reps(12, 9, 2) - 7
    x, y = x - x.mean(0), y - y.mean(0)
    cosine = np.linalg.norm((x.T @ y).numpy(), "nuc") / float(x.norm() * y.norm())
    kernels = inner_products(x), inner_products(y)
    assert MEASURES.find("bures")(*kernels).item() == pytest.approx(cosine, abs=1e-12)
    angle = math.acos(cosine)
    assert MEASURES.find("procrustes")(*kernels).item() == pytest.approx(1 - 2 * angle / math.pi)


def test_procrustes_angle_is_the_best_rotations():
    x = reps(12, 3, 1)
    x = (x - x.mean(0)) / (x - x.mean(0)).norm()
    y = x + 0.02 * reps(12, 3, 2)
    y = (y - y.mean(0)) / (y - y.mean(0)).norm()
    u, _, v = torch.linalg.svd(x.T @ y)
    chord = (x @ u @ v - y).norm().item()  # of the rotated unit vectors
    angle = (1 - MEASURES.find("procrustes")(x @ x.T, y @ y.T).item()) * math.pi / 2
    assert 2 * math.sin(angle / 2) == pytest.approx(chord)


@pytest.mark.parametrize("name", ["bures", "procrustes"])
def test_bures_and_procrustes_of_constant_kernels_are_0(name):
    value = MEASURES.find(name)(torch.ones(6, 6), inner_products(reps(6, 2)))
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_procrustes_high_implies_cka_high_and_not_the_reverse():
    x = reps(40, 30, 1) * torch.tensor([10.0] + [1.0] * 29)
    y = torch.cat([x[:, :1], reps(40, 29, 2)], 1)  # only the largest axis is shared
    cka, procrustes = (
        MEASURES.find(name)(inner_products(x), inner_products(y)).item()
        for name in ("cka", "procrustes")
    )
    assert cka > 0.9 and procrustes < 0.75
