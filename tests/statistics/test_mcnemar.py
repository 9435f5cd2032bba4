"""Golden values, statsmodels, and integers as the references of McNemar's test."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from rdl_cli.statistics.mcnemar import exact, mcnemar, mid_p

GOLDEN = [
    (0, 0, "1", "1"),
    (0, 1, "1", "0.5"),
    (0, 5, "0.0625", "0.03125"),
    (0, 6, "0.03125", "0.015625"),
    (1, 9, "0.021484375", "0.01171875"),
    (5, 5, "1", "1"),
    (6, 5, "1", "0.7744140625"),
    (6, 16, "0.0524787903", "0.0346896648"),
    (7, 2, "0.1796875", "0.109375"),
    (10, 20, "0.0987371467", "0.0707555460"),
    (25, 40, "0.0816815339", "0.0640175041"),
    (86, 150, "0.0000371594", "0.0000289339"),
    (150, 121, "0.0887796126", "0.0784904530"),
    (1000, 1009, "0.8583482833", "0.8409043141"),
]


@pytest.mark.parametrize("b,c,p,mid", GOLDEN)
def test_golden_values_to_the_last_digit(b, c, p, mid):
    for result, printed in (
        (exact(b, c), p),
        (exact(c, b), p),
        (mid_p(b, c), mid),
        (mid_p(c, b), mid),
    ):
        assert abs(result - float(printed)) <= 0.5000001 * 10.0 ** -max(10, len(printed) - 2), (
            result,
            printed,
        )


@pytest.mark.parametrize("b,c", [(0, 0), (0, 3), (3, 5), (11, 40), (500, 610), (9000, 9400)])
def test_statsmodels_and_integers_agree(b, c):
    k, n = min(b, c), b + c
    at_most = sum(comb(n, i) for i in range(k + 1)) if n < 2000 else None
    assert exact(b, c) == pytest.approx(reference([[7, b], [c, 2]], exact=True).pvalue, rel=1e-12)
    if at_most is not None:
        assert exact(b, c) == pytest.approx(float(min(1, Fraction(2 * at_most, 2**n))), rel=1e-13)
        assert mid_p(b, c) == pytest.approx(
            float(Fraction(2 * at_most - comb(n, k), 2**n)), rel=1e-13
        )


def test_a_tiny_tail_is_not_zero():
    assert exact(0, 900) == pytest.approx(2.0**-899, rel=1e-12)
    assert exact(10, 900) == pytest.approx(
        float(Fraction(2 * sum(comb(910, i) for i in range(11)), 2**910)), rel=1e-11
    )


def test_the_table_has_model_a_in_its_rows():
    a = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 1], dtype=bool)
    b = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0, 1], dtype=bool)
    result = mcnemar(a, b)
    assert result[:4] == (3, 3, 1, 3) and sum(result[:4]) == 10
    assert result.exact == exact(3, 1) and result.mid_p == mid_p(3, 1)
    turned = mcnemar(b, a)
    expected = result.only_b, result.only_a, result.exact
    assert (turned.only_a, turned.only_b, turned.exact) == expected


def test_equal_models_do_not_differ():
    assert mcnemar([True, False], [True, False]) == (1, 0, 0, 1, 1.0, 1.0)


def test_predictions_for_other_images_are_our_own_mistake():
    with pytest.raises(AssertionError, match="answers of shapes"):
        mcnemar([True], [True, False])
