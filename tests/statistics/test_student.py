"""The t-test over seeds, against SciPy's, and hand in hand with the interval over seeds."""

import numpy as np
import pytest
from scipy import stats

from rdl_cli.statistics.intervals import over_seeds
from rdl_cli.statistics.student import p_over_seeds


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_it_agrees_with_scipy_and_with_the_interval(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    agreed = set()
    for shift in np.linspace(-3, 3, 41):
        differences = rng.normal(shift, size=seeds)
        p, interval = p_over_seeds(differences), over_seeds(differences)
        assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)
        assert p == pytest.approx(p_over_seeds(-differences))
        assert (p < 0.05) == (not interval.low < 0 < interval.high)
        agreed.add(p < 0.05)
    assert agreed == {True, False}


def test_seeds_without_spread_decide_by_their_mean() -> None:
    assert p_over_seeds([0.1, 0.1, 0.1]) == 0  # 0.1 three times has a standard deviation of 1.7e-17
    assert p_over_seeds([0.0, 0.0]) == 1


def test_one_seed_has_no_p() -> None:
    with pytest.raises(AssertionError, match="several runs"):
        p_over_seeds([0.1])
