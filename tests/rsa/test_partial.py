"""Partial correlations and variance partitions against SciPy and their definitions."""

import numpy as np
import pytest
import torch
from scipy import stats

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.measures import MEASURES, pearson, spearman
from rdl_cli.rsa.partial import partial_correlation, partition_variance

torch.set_num_threads(1)
RNG = np.random.default_rng(0)


def rdms(k, seed=0, p=66):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random(p) + rng.random((k, p)))


def residual(y, x):
    x = np.stack([np.ones(x.shape[1]), *x], 1)
    return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_partial_correlation_is_that_of_residuals(measure):
    a, b, controls = rdms(2, 1), rdms(3, 1), rdms(2, 1)[:, torch.randperm(66)]
    values = partial_correlation(measure, a, b, controls)
    rank = stats.rankdata if measure is spearman else np.asarray
    z = [rank(c) for c in controls.numpy()]
    for i in range(2):
        for j in range(3):
            x, y = (residual(rank(v.numpy()), np.stack(z)) for v in (a[i], b[j]))
            assert values[i, j].item() == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)


def test_partial_correlation_with_one_control_is_the_textbook_formula():
    x, y, z = rdms(3, 4)
    r = np.corrcoef(torch.stack([x, y, z]))
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    value = partial_correlation(pearson, x[None], y[None], z[None]).item()
    assert value == pytest.approx(expected)


def test_partial_correlation_of_a_control_and_of_equal_controls():
    x, y, z = rdms(3, 5)
    assert partial_correlation(pearson, z[None], y[None], z[None]).item() == 0
    once = partial_correlation(spearman, x[None], y[None], z[None])
    twice = partial_correlation(spearman, x[None], y[None], torch.stack([z, z]))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_partition_variance_is_the_regressions(measure):
    target, *predictors = rdms(4, 7)
    predictors = torch.stack(predictors)
    rank = stats.rankdata if measure is spearman else np.asarray
    y, x = rank(target.numpy()), np.stack([rank(p) for p in predictors.numpy()])
    r2 = lambda rows: 1 - residual(y, x[rows]).var() / y.var()  # noqa: E731
    parts = partition_variance(measure, target, predictors)
    assert parts.total == pytest.approx(r2([0, 1, 2]))
    assert parts.unique == pytest.approx(
        [r2([0, 1, 2]) - r2([k for k in range(3) if k != i]) for i in range(3)]
    )
    assert sum(parts.common.values()) == pytest.approx(parts.total)
    assert parts.common[0, 1] == pytest.approx(r2([0, 2]) + r2([1, 2]) - r2([2]) - r2([0, 1, 2]))
    assert len(parts.common) == 7


def test_partial_refuses_other_measures_gaps_and_many_predictors():
    x = rdms(3)
    with pytest.raises(UserError, match="Pearson's r or Spearman's"):
        partial_correlation(MEASURES.find("cosine"), x, x, x)
    with pytest.raises(UserError, match="up to 8 predictors; there are 9"):
        partition_variance(pearson, x[0], rdms(9))
    x[1, 3] = torch.nan
    with pytest.raises(UserError, match="1 were not measured"):
        partial_correlation(pearson, x[:1], x[:1], x[1:2])
