"""Golden values, statsmodels and simulated coverage as the references of the intervals."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rdl_cli.statistics.intervals import newcombe, over_seeds, wilson


def test_wilsons_golden_values():
    assert wilson(49, 10_000) == pytest.approx((0.0049, 0.00370863, 0.00647161), abs=5e-9)
    assert wilson(0, 100) == pytest.approx((0, 0, 0.0369935), abs=5e-8)
    assert wilson(0, 100).low == 0 and wilson(100, 100).high == 1


@pytest.mark.parametrize("hits,n,level", [(0, 1, 0.95), (1, 1, 0.95), (3, 17, 0.9), (49, 10_000, 0.99), (9_999, 10_000, 0.95)])
def test_statsmodels_agrees_about_wilson(hits, n, level):
    assert wilson(hits, n, level)[1:] == pytest.approx(proportion_confint(hits, n, 1 - level, "wilson"), rel=1e-12, abs=1e-15)


def test_newcombes_golden_value():
    """Table III of Newcombe 1998."""
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.20, 0.0569, 0.3404), abs=5e-5)


def test_turning_the_models_round_turns_the_interval_round():
    there, back = newcombe(900, 30, 12, 58), newcombe(900, 12, 30, 58)
    assert there == pytest.approx((-back.estimate, -back.high, -back.low))


@pytest.mark.parametrize("cells", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0), (5, 0, 0, 5), (0, 5, 5, 0), (0, 1, 0, 0)])
def test_empty_cells_give_an_interval_around_the_difference(cells):
    found = newcombe(*cells)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high or cells == (5, 0, 0, 5)


def test_newcombe_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    cells = np.array([0.9, 0.04, 0.02, 0.04])
    covered = [low <= 0.02 <= high for _, low, high in (newcombe(*draw) for draw in rng.multinomial(500, cells, size=2000))]
    assert 0.94 < np.mean(covered) < 0.975


def test_seeds_are_the_sample():
    x = [0.49, 0.55, 0.51, 0.60]
    low, high = stats.t.interval(0.95, 3, np.mean(x), stats.sem(x))
    assert over_seeds(x) == pytest.approx((np.mean(x), low, high), rel=1e-12)


def test_one_seed_has_no_interval():
    found = over_seeds([0.5])
    assert found.estimate == 0.5 and np.isnan(found.low) and np.isnan(found.high)
