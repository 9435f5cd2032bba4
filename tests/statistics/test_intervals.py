"""Golden values, SciPy, statsmodels and simulated coverage as references of the intervals."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rdl_cli.statistics.intervals import clopper_pearson, newcombe, wilson

COUNTS = [(0, 1, 0.95), (1, 1, 0.95), (3, 17, 0.9), (49, 10_000, 0.99), (9_999, 10_000, 0.95)]


def test_wilson_has_golden_values():
    assert wilson(49, 10_000) == pytest.approx((0.0049, 0.00370863, 0.00647161), abs=5e-9)
    assert wilson(0, 100) == pytest.approx((0, 0, 0.0369935), abs=5e-8)
    assert wilson(0, 100).low == 0 and wilson(100, 100).high == 1


@pytest.mark.parametrize("hits,n,level", COUNTS)
def test_wilson_agrees_with_statsmodels(hits, n, level):
    expected = proportion_confint(hits, n, 1 - level, "wilson")
    assert wilson(hits, n, level)[1:] == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("hits,n,level", COUNTS)
def test_clopper_pearson_agrees_with_scipy(hits, n, level):
    expected = stats.binomtest(hits, n).proportion_ci(level, "exact")
    assert clopper_pearson(hits, n, level)[1:] == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("n", [20, 360])
def test_clopper_pearson_covers_at_every_rate(n):
    result = [clopper_pearson(k, n) for k in range(n + 1)]
    low, high = (np.array([getattr(x, end) for x in result]) for end in ("low", "high"))
    for rate in np.linspace(0, 1, 401):
        chances = stats.binom.pmf(np.arange(n + 1), n, rate)
        assert chances[(low <= rate) & (rate <= high)].sum() >= 0.95


def test_newcombe_has_the_golden_value_of_its_paper():
    """Table III of Newcombe 1998."""
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.20, 0.0569, 0.3404), abs=5e-5)


def test_newcombe_with_the_networks_swapped_is_mirrored():
    there, back = newcombe(900, 30, 12, 58), newcombe(900, 12, 30, 58)
    assert there == pytest.approx((-back.estimate, -back.high, -back.low))


@pytest.mark.parametrize(
    "cells",
    [
        (10, 0, 0, 0),
        (0, 0, 0, 10),
        (0, 10, 0, 0),
        (0, 0, 10, 0),
        (5, 0, 0, 5),
        (0, 5, 5, 0),
        (0, 1, 0, 0),
    ],
)
def test_newcombe_with_empty_cells_surrounds_the_difference(cells):
    result = newcombe(*cells)
    assert -1 <= result.low <= result.estimate <= result.high <= 1
    assert result.low < result.high or cells == (5, 0, 0, 5)


def test_newcombe_covers_as_often_as_its_level():
    rng = np.random.default_rng(0)
    cells = np.array([0.9, 0.04, 0.02, 0.04])
    result = [newcombe(*draw) for draw in rng.multinomial(500, cells, size=2000)]
    assert 0.94 < np.mean([low <= 0.02 <= high for _, low, high in result]) < 0.975
