"""Laws and simulation as the references of the permutation test."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from rdl_cli.statistics.permutation import permutation_test


def rdms(n=10, seed=0, noise=1.0, common=1.0):
    rng = np.random.default_rng(seed)
    shared = common * rng.standard_normal((n, 4))
    return [squareform(pdist(shared + noise * rng.standard_normal((n, 4)))) for _ in range(2)]


def relate(first, second, seed=0, n_resamples=199):
    a, b = squareform(rankdata(squareform(first))), rankdata(squareform(second))

    def statistic(order):
        return np.corrcoef(squareform(a[order][:, order]), b)[0, 1]

    return permutation_test(statistic, len(first), n_resamples, np.random.default_rng(seed))


def test_permutation_test_finds_related_rdms():
    first, second = rdms(12, noise=0.3)
    assert relate(first, second).p == 1 / 200
    result = relate(first, first)
    assert result.estimate == pytest.approx(1) and result.estimate > result.null.max()
    assert result.null.shape == (199,)


def test_permutation_test_has_its_level_for_unrelated_rdms():
    p = [relate(*rdms(8, seed, common=0), seed, 39).p for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_permutation_test_counts_the_true_order():
    result = permutation_test(lambda order: 0.0, 5, 9, np.random.default_rng(0))
    assert result.p == 1
