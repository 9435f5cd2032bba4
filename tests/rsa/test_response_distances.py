"""RDMs of noisy responses against rsatoolbox, and on simulated responses whose true distances are known."""

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
    ours = noise_covariance(residuals, freedom=(runs - 1) * N)
    theirs = cov_from_unbalanced(dataset(responses), "stimulus", method="shrinkage_diag")
    assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("runs,channels", [(2, 3), (4, 9), (3, 40)])
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered in cast:RuntimeWarning"
)  # in rsatoolbox's averaging
@pytest.mark.parametrize("distance", RESPONSE_DISTANCES.names())
def test_rdms_are_rsatoolboxs(distance, runs, channels):
    responses, *_ = simulated(runs, channels=channels)
    data = dataset(responses)
    precision = np.linalg.inv(cov_from_unbalanced(data, "stimulus", method="shrinkage_diag"))
    cross = {"cv_descriptor": "run"} if distance == "crossnobis" else {}
    theirs = rsatoolbox.rdm.calc_rdm(
        data, method=distance, descriptor="stimulus", noise=precision, **cross
    )
    ours = RESPONSE_DISTANCES.make(distance, responses)
    assert np.allclose(ours, theirs.dissimilarities[0], rtol=1e-9, atol=1e-12)


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


def test_with_estimated_noise_crossnobis_of_no_signal_is_zero_on_average():
    means = torch.tensor(
        [
            [
                float(d(simulated(6, 30, 5, seed, signal=0.0)[0]).mean())
                for d in (crossnobis, mahalanobis)
            ]
            for seed in range(40)
        ]
    )
    error = means.std(0) / 40**0.5
    assert (
        means[:, 0].mean().abs() < 4 * error[0] and means[:, 1].mean() > 2 / 6 - 4 * error[1] > 0.25
    )


@pytest.mark.parametrize("distance", ["mahalanobis", "crossnobis"])
def test_a_mixing_of_channels_changes_nothing(distance):
    responses, _, noise = simulated()
    mix = torch.randn(P, P, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = RESPONSE_DISTANCES.find(distance)(responses, noise)
    mixed = RESPONSE_DISTANCES.find(distance)(responses @ mix.T, mix @ noise @ mix.T)
    assert torch.allclose(plain, mixed, rtol=1e-8)


@pytest.mark.parametrize("distance", RESPONSE_DISTANCES.names())
def test_runs_in_another_order_and_a_common_pattern_change_nothing(distance):
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
        ("correlation", lambda r: r[0], "not 6 × 9"),
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
            "mahalanobis",
            lambda r: r.index_fill(1, torch.tensor([2]), float("nan")),
            "36 responses are not measured, the first in run 1, stimulus 3",
        ),
    ],
)
def test_responses_that_have_no_rdm_say_why(distance, change, fact):
    responses, *_ = simulated()
    with pytest.raises(UserError, match=fact):
        RESPONSE_DISTANCES.make(distance, change(responses))


def test_what_one_run_allows_is_named_and_does():
    responses, *_ = simulated()
    with pytest.raises(UserError) as error:
        mahalanobis(responses[:1])
    assert "--responses correlation" in error.value.hint and "covariance" not in error.value.hint
    assert RESPONSE_DISTANCES.make("correlation", responses[:1]).shape == (15,)


def test_one_run_has_a_mahalanobis_distance_where_the_noise_is_given():
    responses, _, noise = simulated()
    assert mahalanobis(responses[:1], noise).shape == (15,)
    with pytest.raises(UserError, match="2 × 2; the responses have 9 channels"):
        mahalanobis(responses, torch.eye(2))
    with pytest.raises(UserError, match="can't be inverted"):
        mahalanobis(responses, torch.ones(P, P))
