"""SciPy, closed forms, rsatoolbox's variance and simulation as references of the jackknife."""

import numpy as np
import pytest
from scipy import stats

from rdl_cli.statistics.jackknife import (
    Similarity,
    compare_similarities,
    kept_stimuli,
    mean_similarity,
    similarity_interval,
)

FREE = (-np.inf, np.inf)


def selected(n, most=1000):
    return kept_stimuli(n, most, np.random.default_rng(0))


def of_means(table):
    """The mean over stimuli of a table (subjects, stimuli), as if it were a similarity."""
    full = table.mean(1)[None]
    deleted = np.stack([table[:, rows].mean(1)[None] for rows in selected(table.shape[1])])
    return mean_similarity(full, deleted)


def correlations(data, model, rows):
    return np.array([[np.corrcoef(model[rows], item[rows])[0, 1] for item in data]])


def of_correlations(data, model):
    n = len(model)
    deleted = np.stack([correlations(data, model, rows) for rows in selected(n)])
    return mean_similarity(correlations(data, model, np.arange(n)), deleted)


def test_kept_stimuli_leave_each_out_once():
    rows = selected(7)
    assert [sorted(set(range(7)) - set(item)) for item in rows] == [[k] for k in range(7)]


def test_kept_stimuli_of_many_leave_out_groups():
    rows = selected(100, 8)
    groups = [sorted(set(range(100)) - set(item)) for item in rows]
    assert sorted(row for group in groups for row in group) == list(range(100))
    assert {len(group) for group in groups} == {12, 13}
    assert groups[0] != list(range(13)), "groups are random"


def test_kept_stimuli_needs_four():
    with pytest.raises(AssertionError, match="too few"):
        selected(3)


def test_mean_similarity_of_a_mean_has_the_values_as_pseudo_values():
    table = np.random.default_rng(0).standard_normal((3, 9))
    result = of_means(table)
    assert result.estimate == pytest.approx(table.mean())
    np.testing.assert_allclose(result.by_stimulus, table.mean(0))
    (subjects,) = result.by_subject
    np.testing.assert_allclose(subjects, table)


def test_mean_similarity_has_a_group_for_each_side_with_several():
    rng = np.random.default_rng(0)
    full, deleted = rng.random((2, 3)), rng.random((6, 2, 3))
    assert [len(x) for x in mean_similarity(full, deleted).by_subject] == [2, 3]
    assert mean_similarity(full[:1, :1], deleted[:, :1, :1]).by_subject == ()
    (same,) = mean_similarity(full[:, :2], deleted[:, :, :2], same_subjects=True).by_subject
    assert same.shape == (2, 6)
    swapped = mean_similarity(full.T, deleted.transpose(0, 2, 1))
    np.testing.assert_allclose(swapped.by_stimulus, mean_similarity(full, deleted).by_stimulus)


def test_similarity_interval_of_a_mean_over_stimuli_is_students():
    table = np.random.default_rng(0).standard_normal((1, 1000))
    result = similarity_interval(of_means(table), FREE)
    low, high = stats.t.interval(0.95, 999, table.mean(), stats.sem(table[0]))
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-3)
    assert result.standard_error == pytest.approx(stats.sem(table[0]))
    assert result.subjects == 1


def test_similarity_interval_of_subjects_alone_is_students():
    table = np.repeat(np.random.default_rng(0).standard_normal((6, 1)), 20, 1)
    result = similarity_interval(of_means(table), FREE)
    assert (result.low, result.high) == pytest.approx(
        stats.t.interval(0.95, 5, table.mean(), stats.sem(table[:, 0]))
    )
    assert (result.dof, result.subjects) == (pytest.approx(5), 6)


def test_similarity_interval_is_fishers_for_a_correlation():
    """Over 2,000 normal pairs the jackknife has Fisher's standard error 1/√(n - 3) of z."""
    x, y = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 2000).T
    result = similarity_interval(of_correlations([y], x))
    expected = stats.pearsonr(x, y).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=3e-3)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0), (0.0, np.inf)])
@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_similarity_interval_stays_within_the_bounds(bounds, spread):
    by_stimulus = 0.6 + spread * np.random.default_rng(0).standard_normal(8)
    result = similarity_interval(Similarity(0.6, by_stimulus, ()), bounds)
    assert bounds[0] <= result.low < 0.6 < result.high <= bounds[1]
    wide = similarity_interval(Similarity(0.6, by_stimulus, ()), FREE)
    if spread < 1:
        assert (result.low, result.high) == pytest.approx((wide.low, wide.high), abs=1e-3)


def test_similarity_interval_of_four_stimuli_stays_within_the_bounds():
    """Six distances correlate at -.49; Student's interval alone was [-3.1, 2.1]."""
    rng = np.random.default_rng(0)
    first, second = (v + v.T for v in np.triu(rng.random((2, 4, 4)), 1))

    def correlate(rows):
        upper = np.triu_indices(len(rows), 1)
        a, b = (m[np.ix_(rows, rows)][upper] for m in (first, second))
        return np.array([[stats.spearmanr(a, b).statistic]])

    deleted = np.stack([correlate(rows) for rows in selected(4)])
    result = similarity_interval(mean_similarity(correlate(np.arange(4)), deleted))
    assert -1 <= result.low <= result.estimate <= result.high <= 1


def test_similarity_interval_of_identical_representations_is_their_value():
    result = similarity_interval(Similarity(1.0, np.ones(9), ()))
    assert result[:4] == pytest.approx((1, 1, 1, 0))


def test_similarity_interval_of_two_subjects_is_marked():
    table = np.random.default_rng(0).standard_normal((2, 30))
    result = similarity_interval(of_means(table), FREE)
    assert result.subjects == 2 and result.dof <= 2


def test_compare_similarities_is_the_paired_test_over_stimuli_and_subjects():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 40))
    result = compare_similarities(of_means(a), of_means(b), same_subjects=True, bounds=FREE)
    direct = similarity_interval(of_means(b - a), FREE)
    assert result[:6] == pytest.approx(direct)
    t = direct.estimate / direct.standard_error
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), direct.dof))
    back = compare_similarities(of_means(b), of_means(a), same_subjects=True, bounds=FREE)
    assert (back.difference, back.low, back.p) == pytest.approx(
        (-result.difference, -result.high, result.p)
    )


def test_compare_similarities_excludes_zero_if_p_is_below_5_percent():
    rng = np.random.default_rng(0)
    excluded = set()
    for shift in np.linspace(-0.5, 0.5, 21):
        a, b = 0.1 * rng.standard_normal((2, 4, 30)) + [[[0]], [[shift / 5]]]
        result = compare_similarities(of_means(a), of_means(b), same_subjects=True)
        assert (result.p < 0.05) == (not result.low < 0 < result.high)
        excluded.add(result.p < 0.05)
    assert excluded == {True, False}


def test_compare_similarities_of_other_subjects_adds_their_variances():
    rng = np.random.default_rng(0)
    a, b = (np.repeat(rng.standard_normal((k, 1)), 20, 1) for k in (4, 6))
    result = compare_similarities(of_means(a), of_means(b), same_subjects=False, bounds=FREE)
    expected = stats.sem(a[:, 0]) ** 2 + stats.sem(b[:, 0]) ** 2
    assert result.standard_error**2 == pytest.approx(expected)
    assert result.subjects == 4


def test_compare_similarities_of_one_and_itself_finds_nothing():
    x, y = np.random.default_rng(0).standard_normal((2, 30))
    one = of_correlations([x], y)
    result = compare_similarities(one, one, same_subjects=True)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_compare_similarities_profits_from_shared_stimuli_and_subjects():
    rng = np.random.default_rng(0)
    common = rng.standard_normal((6, 1)) + rng.standard_normal((1, 50))
    a, b = common + 0.1 * rng.standard_normal((2, 6, 50))
    paired = compare_similarities(of_means(a), of_means(b), same_subjects=True, bounds=FREE)
    alone = similarity_interval(of_means(a), FREE)
    assert paired.standard_error < 0.1 * alone.standard_error
