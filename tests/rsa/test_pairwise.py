"""Every pair at once is every pair one by one."""

import pytest
import torch

from rdl_cli.rsa.condensed import condensed_pairs, pair_index
from rdl_cli.rsa.distances import mse
from rdl_cli.rsa.measures import MEASURES, measure_input, measure_traits
from rdl_cli.rsa.pairwise import feature_products, measure_features, pairwise_measure

torch.set_num_threads(1)
N = 7
FAST = {"pearson", "spearman", "cosine", "rho-a", "cka", "cka-debiased"}
QUICK = {"tv": "tv:samples=50", "jsd": "jsd:samples=50", "js-distance": "js-distance:samples=50"}


@pytest.fixture(params=MEASURES.names())
def measure(request):
    return MEASURES.find(QUICK.get(request.param, request.param))


def compared(measure, count, seed):
    generator = torch.Generator().manual_seed(seed)
    reps = [
        torch.randint(0, 3, (N, 4), generator=generator).double() for _ in range(count)
    ]  # ties among distances
    return torch.stack([measure_input(measure, rep, mse) for rep in reps])


def test_pairwise_measure_is_the_measure_of_each_pair(measure):
    first, second = compared(measure, 3, 0), compared(measure, 2, 1)
    crossed, own = pairwise_measure(measure, first, second), pairwise_measure(measure, first)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(
                crossed[i, j], measure(first[i], second[j]).double(), rtol=1e-9, atol=1e-9
            )
        for j in range(i, 3):  # one triangle, mirrored: measures with draws differ from j to i
            torch.testing.assert_close(
                own[i, j], measure(first[i], first[j]).double(), rtol=1e-9, atol=1e-9
            )
    torch.testing.assert_close(own, own.mT, rtol=0, atol=1e-15)
    assert (
        len({round(v, 6) for v in pairwise_measure(measure, first, second).flatten().tolist()}) > 3
    )


def test_pairwise_measure_of_nan_uses_common_pairs(measure):
    first = compared(measure, 3, 0)
    if measure_traits(measure).input == "rdm":
        first[0, 2] = torch.nan
        assert measure_features(measure, first) is None
        torch.testing.assert_close(
            pairwise_measure(measure, first)[0, 1], measure(first[0], first[1]).double()
        )


@pytest.mark.parametrize("name", sorted(FAST))
def test_measure_features_follow_the_order_of_the_stimuli(name):
    measure = MEASURES.find(name)
    first = compared(measure, 3, 0)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    i, j = condensed_pairs(N)
    where = pair_index(order[i], order[j], N)
    shuffled = [
        x[:, where] if measure_traits(measure).input == "rdm" else x[:, order][:, :, order]
        for x in (first, measure_features(measure, first))
    ]
    torch.testing.assert_close(measure_features(measure, shuffled[0]), shuffled[1])
    torch.testing.assert_close(
        feature_products(measure_features(measure, first), shuffled[1]),
        pairwise_measure(measure, first, shuffled[0]),
    )


@pytest.mark.parametrize("name", sorted(FAST))
def test_pairwise_measure_of_constant_input_is_0(name):
    measure = MEASURES.find(name)
    first = compared(measure, 2, 0)
    first[0] = 0
    torch.testing.assert_close(
        pairwise_measure(measure, first)[0], torch.zeros(2, dtype=torch.float64)
    )


@pytest.mark.parametrize("name", ["pearson", "spearman", "tau-a"])
def test_pairwise_measure_of_rounding_is_0(name):
    rdms = torch.rand(2, 28, dtype=torch.float64)
    rdms[0] = 1 + 4e-16 * rdms[0]
    assert pairwise_measure(MEASURES.find(name), rdms)[0].tolist() == [0, 0]
