"""rsatoolbox and simulation as the references of the bootstrap."""

import numpy as np
import pytest
from rsatoolbox.rdm import RDMs
from rsatoolbox.util.inference_util import extract_variances
from scipy.spatial.distance import pdist, squareform

from rdl_cli.statistics.resampling import (
    Bootstrap,
    bootstrap,
    interval,
    resample,
    variance,
)


def rdms(s=6, n=10, seed=0, noise=1.0, common=1.0):
    rng = np.random.default_rng(seed)
    shared = common * rng.standard_normal((n, 4))
    return np.stack(
        [squareform(pdist(shared + noise * rng.standard_normal((n, 4)))) for _ in range(s)]
    )


def correlate(a, b):
    measured = ~(np.isnan(a) | np.isnan(b))
    return np.corrcoef(a[measured], b[measured])[0, 1]


def comparison(data, model):
    def statistic(subjects, stimuli):
        mine = resample(model, stimuli)
        return np.mean([correlate(theirs, mine) for theirs in resample(data[subjects], stimuli)])

    return statistic


def test_pairs_of_an_image_with_itself_are_lost_as_in_rsatoolbox():
    data, stimuli = rdms(), np.array([3, 0, 3, 7, 9, 3, 2, 7, 1, 8])
    theirs = RDMs(data).subsample_pattern("index", stimuli).dissimilarities
    found = resample(data, np.sort(stimuli))
    np.testing.assert_array_equal(found, theirs)
    assert np.isnan(found).sum(1).tolist() == [4] * 6
    np.testing.assert_array_equal(resample(data[0], np.arange(10)), squareform(data[0]))


def test_the_corrected_variance_is_rsatoolboxs():
    rng = np.random.default_rng(0)
    for scales in ((1, 1, 2.5), (1, 1, 1.5), (0.2, 2, 1.0), (1, 1, 3.4)):
        draws = [scale**0.5 * rng.standard_normal((400, 3)) for scale in scales]
        boot = Bootstrap(np.zeros(3), *draws)
        covariances = np.stack(
            [np.cov(each.T) for each in (boot.both, boot.subjects, boot.stimuli)]
        )
        expected = extract_variances(covariances, nc_included=False, n_rdm=7, n_pattern=12)[0]
        np.testing.assert_allclose(variance(boot, 7, 12), expected, rtol=1e-12)


def test_one_subject_is_drawn_over_stimuli_only():
    data = rdms(1)
    boot = bootstrap(comparison(data, rdms(1, seed=1)[0]), 1, 10, 50, np.random.default_rng(0))
    assert np.isnan(boot.subjects).all() and np.isnan(boot.both).all()
    assert variance(boot, 1, 10) == pytest.approx(10 / 9 * boot.stimuli.var(ddof=1))


def test_the_three_bootstraps_share_their_draws():
    seen = []
    bootstrap(lambda *rows: seen.append(rows) or 0.0, 3, 5, 4, np.random.default_rng(0))
    for stimuli, subjects, both in zip(seen[1::3], seen[2::3], seen[3::3], strict=True):
        np.testing.assert_array_equal(stimuli[0], range(3))
        np.testing.assert_array_equal(subjects[1], range(5))
        np.testing.assert_array_equal(both[0], subjects[0])
        np.testing.assert_array_equal(both[1], stimuli[1])
        assert len(set(stimuli[1])) >= 3
    assert len(seen) == 13


def test_many_values_at_once():
    def statistic(subjects, stimuli):
        return np.array([subjects.mean(), stimuli.mean()])

    boot = bootstrap(statistic, 8, 20, 2000, np.random.default_rng(0))
    assert boot.both.shape == (2000, 2)
    expected = [np.arange(8).var(ddof=1) / 8, np.arange(20).var(ddof=1) / 20]
    np.testing.assert_allclose(variance(boot, 8, 20), expected, rtol=0.15)


def test_the_interval_covers_a_mean_over_new_subjects_and_new_stimuli():
    """A table of subject + stimulus + noise: the naive bootstrap counts the noise three times."""
    rng, hits, naive = np.random.default_rng(0), [], []
    for _ in range(150):
        table = (
            rng.standard_normal((12, 1))
            + rng.standard_normal((1, 15))
            + 3 * rng.standard_normal((12, 15))
        )
        boot = bootstrap(lambda s, t, table=table: table[s[:, None], t].mean(), 12, 15, 120, rng)
        _, low, high = interval(boot, 12, 15)
        hits.append(low <= 0 <= high)
        naive.append(boot.both.var(ddof=1) / variance(boot, 12, 15))
    assert 0.9 <= np.mean(hits) <= 0.99
    assert np.mean(naive) > 1.2


def test_an_interval_holds_its_estimate_and_grows_with_the_level():
    boot = bootstrap(comparison(rdms(), rdms(1, seed=1)[0]), 6, 10, 60, np.random.default_rng(0))
    estimate, low, high = interval(boot, 6, 10)
    assert low < estimate < high and estimate == pytest.approx((low + high) / 2)
    assert interval(boot, 6, 10, 0.99).high > high
