"""RDMs of noisy responses against rsatoolbox, and on simulated responses of known distances."""

import numpy as np
import pytest
import rsatoolbox
import torch
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import cov_from_unbalanced

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.response_distances import (
    RESPONSE_DISTANCES,
    crossnobis,
    mahalanobis,
    noise_covariance,
)

R, N, P = 4, 6, 9


def simulated(runs=R, n=N, channels=P, seed=0, noise=1.0, signal=1.0):
    """Responses, their true patterns, and the covariance of their noise."""
    rng = np.random.default_rng(seed)
    mix = 0.3 * rng.normal(size=(channels, channels)) / channels**0.5 + np.eye(channels)
    patterns = signal * rng.normal(size=(n, channels))
    responses = patterns + noise * rng.normal(size=(runs, n, channels)) @ mix.T
    return (
        torch.from_numpy(responses),
        torch.from_numpy(patterns),
        torch.from_numpy(noise**2 * mix @ mix.T),
    )


def dataset(responses):
    r, n, p = responses.shape
    where = {"stimulus": np.tile(np.arange(n), r), "run": np.repeat(np.arange(r), n)}
    return Dataset(responses.reshape(r * n, p).numpy().copy(), obs_descriptors=where)


@pytest.mark.parametrize("runs,channels", [(2, 3), (4, 9), (3, 40)])
def test_noise_covariance_is_rsatoolboxs(runs, channels):
    responses, *_ = simulated(runs, channels=channels)
    residuals = (responses - responses.mean(0)).reshape(-1, channels)
    actual = noise_covariance(residuals, dof=(runs - 1) * N)
    reference = cov_from_unbalanced(dataset(responses), "stimulus", method="shrinkage_diag")
    assert np.allclose(actual, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("runs,channels", [(2, 3), (4, 9), (3, 40)])
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered in cast:RuntimeWarning"
)  # in rsatoolbox's averaging
@pytest.mark.parametrize("distance", RESPONSE_DISTANCES.names())
def test_response_distances_are_rsatoolboxs(distance, runs, channels):
    responses, *_ = simulated(runs, channels=channels)
    data = dataset(responses)
    covariance = cov_from_unbalanced(data, "stimulus", method="shrinkage_diag")
    precision = np.linalg.inv(covariance)
    cross = {"cv_descriptor": "run"} if distance == "crossnobis" else {}
    reference = rsatoolbox.rdm.calc_rdm(
        data, method=distance, descriptor="stimulus", noise=precision, **cross
    )
    # rsatoolbox's estimate for crossnobis is biased: it contains the left-out run
    noise = torch.from_numpy(covariance) if cross else None
    actual = RESPONSE_DISTANCES.make(distance, responses, noise)
    assert np.allclose(actual, reference.dissimilarities[0], rtol=1e-9, atol=1e-12)


def test_crossnobis_is_unbiased_where_mahalanobis_is_not():
    rng = np.random.default_rng(1)
    _, patterns, noise = simulated(signal=0.3)
    runs = 8
    factor = torch.linalg.cholesky(noise)
    white = torch.linalg.solve_triangular(factor, patterns.T, upper=False).T
    true = (white[:, None] - white[None]).square().mean(-1)[*torch.triu_indices(N, N, 1)]
    unbiased, biased = [], []
    for _ in range(200):
        responses = patterns + torch.from_numpy(rng.normal(size=(runs, N, P))) @ factor.T
        unbiased.append(crossnobis(responses, noise))
        biased.append(mahalanobis(responses, noise))
    error = torch.stack(unbiased).std(0) / 200**0.5
    assert ((torch.stack(unbiased).mean(0) - true).abs() < 4 * error).all()
    assert torch.allclose(
        torch.stack(biased).mean(0) - true, torch.full((), 2 / runs).double(), atol=0.03
    )  # + 2/R
    assert (torch.stack(unbiased) < 0).any()


@pytest.mark.parametrize("runs,n,channels", [(6, 30, 5), (6, 20, 60), (3, 30, 30)])
def test_crossnobis_with_estimated_noise_is_0_on_average_without_signal(runs, n, channels):
    worlds = [simulated(runs, n, channels, seed, signal=0.0)[0] for seed in range(60)]
    means = torch.tensor([float(crossnobis(responses).mean()) for responses in worlds])
    assert means.mean().abs() < 3.5 * means.std() / 60**0.5
    biased = torch.tensor([float(mahalanobis(responses).mean()) for responses in worlds])
    assert biased.mean() > 1 / runs


def test_crossnobis_whitens_each_run_by_the_residuals_of_the_others():
    responses, *_ = simulated(4, 5, 7)
    i, j = torch.triu_indices(5, 5, 1)
    folds = []
    for a in range(4):
        others = torch.cat([responses[:a], responses[a + 1 :]])
        noise = noise_covariance((others - others.mean(0)).reshape(-1, 7), dof=2 * 5)
        b = others.mean(0)
        left, right = responses[a][i] - responses[a][j], b[i] - b[j]
        folds.append(((left @ torch.linalg.inv(noise)) * right).sum(1) / 7)
    torch.testing.assert_close(crossnobis(responses), torch.stack(folds).mean(0))


def test_crossnobis_of_two_runs_uses_all_residuals():
    responses, *_ = simulated(2, 5, 7)
    noise = noise_covariance((responses - responses.mean(0)).reshape(-1, 7), dof=5)
    torch.testing.assert_close(crossnobis(responses), crossnobis(responses, noise))


@pytest.mark.parametrize("distance", ["mahalanobis", "crossnobis"])
def test_mahalanobis_and_crossnobis_ignore_a_mixing_of_channels(distance):
    responses, _, noise = simulated()
    mix = torch.randn(P, P, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = RESPONSE_DISTANCES.find(distance)(responses, noise)
    mixed = RESPONSE_DISTANCES.find(distance)(responses @ mix.T, mix @ noise @ mix.T)
    assert torch.allclose(plain, mixed, rtol=1e-8)


@pytest.mark.parametrize("distance", RESPONSE_DISTANCES.names())
def test_response_distances_ignore_the_order_of_runs_and_a_common_pattern(distance):
    responses, *_ = simulated()
    plain = RESPONSE_DISTANCES.make(distance, responses)
    assert torch.allclose(RESPONSE_DISTANCES.make(distance, responses[[2, 0, 3, 1]]), plain)
    if distance != "correlation":
        assert torch.allclose(RESPONSE_DISTANCES.make(distance, responses + torch.arange(P)), plain)


@pytest.mark.parametrize(
    "distance,change,fact",
    [
        ("crossnobis", lambda r: r[:1], "1 run is not enough"),
        ("mahalanobis", lambda r: r[:1], "1 run is not enough"),
        (
            "crossnobis",
            lambda r: r.index_fill(2, torch.tensor([4]), 1.0),
            "1 of 9 channels have no noise",
        ),
        (
            "correlation",
            lambda r: r.index_fill(1, torch.tensor([2]), 1.0),
            "1 of 6 stimuli have the same response",
        ),
        (
            "correlation",
            lambda r: torch.arange(1.0, 7)[:, None] * r[:, :1] + torch.arange(6.0)[:, None],
            "all 6 stimuli are equal up to scale and offset",
        ),
        (
            "mahalanobis",
            lambda r: r.index_fill(1, torch.tensor([2]), float("nan")),
            "36 responses are not measured, the first in run 1, stimulus 3",
        ),
    ],
)
def test_response_distances_refuse_unusable_responses(distance, change, fact):
    responses, *_ = simulated()
    with pytest.raises(UserError, match=fact):
        RESPONSE_DISTANCES.make(distance, change(responses))


def test_mahalanobis_of_one_run_names_correlation():
    responses, *_ = simulated()
    with pytest.raises(UserError) as error:
        mahalanobis(responses[:1])
    assert "--responses correlation" in error.value.hint and "covariance" not in error.value.hint
    assert RESPONSE_DISTANCES.make("correlation", responses[:1]).shape == (15,)


def test_mahalanobis_of_one_run_takes_a_given_noise():
    responses, _, noise = simulated()
    assert mahalanobis(responses[:1], noise).shape == (15,)
    with pytest.raises(UserError, match="cannot be inverted"):
        mahalanobis(responses, torch.ones(P, P))
