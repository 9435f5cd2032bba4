"""Golden values and statsmodels as the references of the corrections."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from rdl_cli.statistics.multiplicity import benjamini_hochberg, benjamini_yekutieli, holm

METHODS = [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (benjamini_yekutieli, "fdr_by")]
TEN = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]


def test_golden_values():
    four = [0.04, 0.01, 0.03, 0.005]
    np.testing.assert_allclose(holm(four), [0.06, 0.03, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(four), [0.04, 0.02, 0.04, 0.02])
    np.testing.assert_allclose(benjamini_yekutieli(four), [0.083333, 0.041667, 0.083333, 0.041667], atol=5e-7)
    np.testing.assert_allclose(holm(TEN), [0.01, 0.072, *[0.312] * 5, *[0.615] * 3])
    np.testing.assert_allclose(benjamini_hochberg(TEN), [0.01, 0.04, *[0.084] * 3, 0.1, 0.1057, *[0.216] * 3], atol=5e-5)


@pytest.mark.parametrize("ours,theirs", METHODS)
def test_statsmodels_agrees(ours, theirs):
    rng = np.random.default_rng(0)
    for p in (rng.random(15), rng.random(40) ** 4, np.array([0.02, 0.02, 1, 0, 0.02]), np.array([0.3])):
        np.testing.assert_allclose(ours(p), multipletests(p, method=theirs)[1], rtol=1e-12)


@pytest.mark.parametrize("ours", [m for m, _ in METHODS])
def test_adjusting_keeps_the_order_and_never_lowers(ours):
    p = np.random.default_rng(1).random(30)
    found = ours(p)
    assert (found >= p).all() and (found <= 1).all()
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    np.testing.assert_array_equal(ours(p[::-1]), found[::-1])


@pytest.mark.parametrize("ours", [m for m, _ in METHODS])
def test_an_empty_table_stays_empty(ours):
    assert ours([]).shape == (0,)


@pytest.mark.parametrize("p", [[0.5, np.nan], [1.2], [-0.1]])
def test_what_is_no_probability_is_our_own_mistake(p):
    with pytest.raises(AssertionError, match="no p-values"):
        holm(p)
