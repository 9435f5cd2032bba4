"""scikit-learn, SciPy and plain formulas as references of maps of representations."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import smacof

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.mds import RDM_DISTANCES, draw_samples, mds, mean_distances, procrustes_align

torch.set_num_threads(1)
euclidean, mse = DISTANCES.find("euclidean"), DISTANCES.find("mse")


def reps(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rdms(k=5, p=45):
    return reps(k, p).abs()


PLAIN = {
    "correlation": lambda a, b: 1 - np.corrcoef(a, b)[0, 1],
    "normalised": lambda a, b: np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)),
    "standardised": lambda a, b: math.sqrt(np.var(a - b) / (np.var(a) + np.var(b)) / 2),
}


@pytest.mark.parametrize("name", RDM_DISTANCES.names())
def test_rdm_distances_are_their_formulas(name):
    distances, x = RDM_DISTANCES.find(name)(rdms()), rdms().numpy()
    expected = [[PLAIN[name](a, b) if a is not b else 0 for b in x] for a in x]
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    assert torch.equal(distances, distances.T) and (distances.diagonal() == 0).all()


@pytest.mark.parametrize("name", RDM_DISTANCES.names())
def test_rdm_distances_of_constant_rdms_are_finite(name):
    flat = torch.cat([torch.zeros(2, 45), torch.ones(2, 45), rdms(2).float()])
    distances = RDM_DISTANCES.find(name)(flat)
    assert torch.isfinite(distances).all() and (distances.diagonal() == 0).all()


def test_mds_recovers_a_plane():
    x = reps(15, 2)
    points, stress = mds(euclidean(x, x))
    assert stress < 1e-6
    torch.testing.assert_close(procrustes_align(points, x), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_mds_is_as_good_as_scikit_learns_best_start(seed):
    x = reps(20, 8, seed)
    d = RDM_DISTANCES.find("correlation")(x) if seed % 2 else euclidean(x, x)
    stress = mds(d).stress
    starts = {
        "n_init": 8,
        "max_iter": 1000,
        "eps": 1e-9,
        "random_state": 0,
        "normalized_stress": False,
    }
    reference, _ = smacof(d.numpy(), **starts)
    apart = np.linalg.norm(reference[:, None] - reference[None], axis=-1)
    assert stress <= 1.03 * math.sqrt(((apart - d.numpy()) ** 2).sum() / (apart**2).sum())


def test_mds_stress_is_kruskals():
    d = euclidean(reps(12, 6), reps(12, 6))
    d = (d + d.T).fill_diagonal_(0)
    points, stress = mds(d)
    apart = torch.cdist(points, points)[condensed_pairs(12)]
    assert stress == pytest.approx(
        ((apart - d[condensed_pairs(12)]).square().sum() / apart.square().sum()).sqrt().item(),
        rel=1e-9,
    )
    assert points.mean(0).abs().max() < 1e-12


def test_mds_is_the_same_in_any_order():
    x, order = reps(12, 6), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    points = mds(euclidean(x, x)).points
    torch.testing.assert_close(
        mds(euclidean(x[order], x[order])).points, points[order], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_mds_of_few_and_equidistant_points_is_finite(n, value):
    d = torch.full((n, n), value).fill_diagonal_(0)
    points, stress = mds(d)
    assert points.shape == (n, 2) and torch.isfinite(points).all() and math.isfinite(stress)
    assert stress < 1e-6 or n == 6


def test_mds_asserts_that_all_is_measured():
    with pytest.raises(AssertionError, match="not measured"):
        mds(torch.tensor([[0, torch.nan], [torch.nan, 0]]))


def test_procrustes_align_is_scipys():
    x, y = reps(9, 2), reps(9, 2, seed=1)
    turn, _ = orthogonal_procrustes((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    np.testing.assert_allclose(
        procrustes_align(x, y), (x - x.mean(0)).numpy() @ turn + y.mean(0).numpy(), atol=1e-12
    )
    mirrored = x * torch.tensor([1, -1]) @ torch.linalg.qr(reps(2, 2, seed=3)).Q + 5
    torch.testing.assert_close(procrustes_align(mirrored, x), x)


def test_mean_distances_over_complete_samples_are_exact():
    layers = [reps(30, 4), reps(30, 7, 1).reshape(30, 7, 1).float(), reps(30, 4, 2)]
    between = RDM_DISTANCES.find("correlation")
    whole = between(
        torch.stack([mse(layer, layer)[condensed_pairs(30)].double() for layer in layers])
    )
    distances = mean_distances(
        iter(layers),
        mse,
        between,
        draw_samples(30, torch.Generator().manual_seed(0), samples=3, size=30),
    )
    torch.testing.assert_close(distances, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("replace", [False, True])
def test_mean_distances_over_samples_are_near_the_exact_ones(replace):
    common = reps(300, 6)
    layers = [common + noise * reps(300, 6, seed) for seed, noise in enumerate((0.2, 0.5, 2))]
    between = RDM_DISTANCES.find("normalised")
    whole = between(torch.stack([mse(layer, layer)[condensed_pairs(300)] for layer in layers]))
    draws = [
        mean_distances(
            layers,
            mse,
            between,
            draw_samples(300, torch.Generator().manual_seed(s), size=60, replace=replace),
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    torch.testing.assert_close(draws[0], whole, atol=0.05, rtol=0)


def test_draw_samples_refuses_a_sample_larger_than_the_data():
    with pytest.raises(UserError, match="takes 100 stimuli; there are 30"):
        draw_samples(30, torch.Generator())
