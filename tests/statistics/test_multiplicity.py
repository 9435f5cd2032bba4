"""Golden values and statsmodels as the references of Holm's correction."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from rdl_cli.statistics.multiplicity import holm

TEN = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]


def test_holm_has_golden_values():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.005]), [0.06, 0.03, 0.06, 0.02])
    np.testing.assert_allclose(holm(TEN), [0.01, 0.072, *[0.312] * 5, *[0.615] * 3])


@pytest.mark.parametrize(
    "p",
    [np.linspace(0, 1, 15), np.linspace(0, 1, 40) ** 4, [0.02, 0.02, 1, 0, 0.02], [0.3]],
)
def test_holm_agrees_with_statsmodels(p):
    p = np.random.default_rng(0).permutation(p)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def test_holm_keeps_the_order_and_never_lowers():
    p = np.random.default_rng(1).random(30)
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    np.testing.assert_array_equal(holm(p[::-1]), adjusted[::-1])


def test_holm_of_nothing_is_nothing():
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p", [[0.5, np.nan], [1.2], [-0.1]])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(AssertionError, match="no p-values"):
        holm(p)
