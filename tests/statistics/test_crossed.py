"""SciPy, statsmodels, laws and a simulation as the references of the comparison of methods."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.power import TTestPower

from rdl_cli.core.errors import UserError
from rdl_cli.statistics.crossed import compare_methods
from rdl_cli.statistics.intervals import newcombe


def errors(runs, images=1000, rate=0.2, seed=0):
    """Networks that err on hard images more often."""
    rng = np.random.default_rng([seed, runs, images])
    hard = np.random.default_rng(images).standard_normal(images)
    p = 1 / (1 + np.exp(-(3 * hard + stats.norm.ppf(rate) * 3)))
    return rng.random((runs, images)) < p


def as_runs(rates, images=20_000):
    """Runs that err by the same amount on every image: only their rates differ."""
    return np.repeat(np.array(rates)[:, None], images, 1)


A, B = errors(4), errors(4, seed=1, rate=0.25)


@pytest.mark.parametrize("paired", [False, True])
def test_compare_methods_swapped_is_mirrored(paired):
    there = compare_methods(A, B[:3], paired=paired, seeds_a=range(4), seeds_b=range(3))
    back = compare_methods(B[:3], A, paired=paired, seeds_a=range(3), seeds_b=range(4))
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there[3:8] == pytest.approx(back[3:8])
    assert there[-3:-1] == pytest.approx(back[-3:-1])


def test_compare_methods_ignores_the_order_of_images_and_runs():
    order = np.random.default_rng(0).permutation(1000)
    result = compare_methods(A[::-1, order], B[[2, 0, 3, 1]][:, order])
    assert result[:9] == pytest.approx(compare_methods(A, B)[:9])


def test_compare_methods_has_a_difference_of_error_rates():
    result = compare_methods(A, B[:2])
    assert result.difference == pytest.approx(B[:2].mean() - A.mean())
    assert result.low < result.difference < result.high
    assert result.standard_error**2 == pytest.approx(result.image_sd**2 + result.seed_sd**2)
    assert (result.runs_a, result.runs_b, result.paired, result.conditional_on) == (4, 2, None, ())


def test_compare_methods_without_image_variance_is_welchs_test():
    a, b = [0.31, 0.36, 0.32, 0.35], [0.36, 0.39, 0.45, 0.33]
    result = compare_methods(as_runs(a), as_runs(b))
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert result.p == pytest.approx(welch.pvalue, rel=1e-4)
    assert result.dof == pytest.approx(welch.df, rel=1e-4)
    assert (result.low, result.high) == pytest.approx(welch.confidence_interval(), rel=1e-4)


def test_compare_methods_paired_without_image_variance_is_the_paired_t_test():
    a, b = [0.31, 0.36, 0.32, 0.35], [0.36, 0.39, 0.40, 0.34]
    seeds = {"paired": True, "seeds_a": range(4), "seeds_b": range(4)}
    result = compare_methods(as_runs(a), as_runs(b), **seeds)
    assert result.p == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-4)
    assert result.dof == pytest.approx(3, rel=1e-4)
    assert result.paired == "seeds"


def test_compare_methods_of_two_networks_by_shares_is_the_paired_t_test_over_images():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 5000))
    result = compare_methods(a, b + 0.02 * (1 - b))
    reference = stats.ttest_rel(b[0] + 0.02 * (1 - b[0]), a[0])
    assert result.mcnemar is None
    assert result.p == pytest.approx(reference.pvalue, rel=0.02)
    low, high = reference.confidence_interval()
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.01 * (high - low))


def test_compare_methods_of_one_run_each_is_mcnemars_test():
    a, b = A[0], B[0]
    result = compare_methods(A[:1], B[:1])
    cells = [(~a & ~b).sum(), (~a & b).sum(), (a & ~b).sum(), (a & b).sum()]
    assert result.mcnemar[:4] == tuple(cells)
    table = np.reshape(cells, (2, 2))
    assert result.mcnemar.exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert result.p == result.mcnemar.mid_p < result.mcnemar.exact
    assert (result.difference, result.low, result.high) == pytest.approx(tuple(newcombe(*cells)))
    assert result.conditional_on == ("network_a", "network_b")
    assert result.smallest_detectable_limit == result.smallest_detectable


def test_compare_methods_with_one_run_is_about_that_network():
    result = compare_methods(A[:1], B)
    assert result.conditional_on == ("network_a",) and result.mcnemar is None
    by_image = B.mean(0) - A[0]
    noise = ((B - B.mean(0) - B.mean(1)[:, None] + B.mean()) ** 2).sum() / (3 * 999 * 4 * 1000)
    slack_a, slack_b = 0.5 / 1000**2, 0.5 / (4 * 1000**2)
    expected = by_image.var(ddof=1) / 1000 + slack_a - noise
    assert result.image_sd**2 == pytest.approx(expected)
    assert result.seed_sd**2 == pytest.approx(max(B.mean(1).var(ddof=1) / 4, noise + slack_b))


def test_compare_methods_of_two_seeds_with_one_difference_is_not_certain():
    """Two seeds with 3 errors less each: a t-test over seeds has p 0 and an interval of width 0."""
    a, b = errors(2, 10_000, 0.01), errors(2, 10_000, 0.01, seed=1)
    b[:] = a
    for run in range(2):
        b[run, np.flatnonzero(a[run])[:3]] = False
    result = compare_methods(a, b, paired=True, seeds_a=[0, 1], seeds_b=[0, 1])
    assert result.difference == pytest.approx(-0.0003)
    assert result.p > 0.05 and result.low < 0 < result.high


def test_compare_methods_of_equal_networks_has_a_width():
    for runs in (2, 5):
        same = np.repeat(A[:1], runs, 0)
        result = compare_methods(same, same)
        assert result.low < 0 < result.high
        assert (result.difference, result.p) == (0, 1)


def test_compare_methods_paired_takes_common_seeds_in_any_order():
    expected = compare_methods(A[1:], B[1:], paired=True, seeds_a=[1, 2, 3], seeds_b=[1, 2, 3])
    b, seeds = B[[0, 3, 1, 2]], [9, 3, 1, 2]
    result = compare_methods(A, b, paired=True, seeds_a=[0, 1, 2, 3], seeds_b=seeds)
    assert result.runs_a == result.runs_b == 3
    assert result[:9] == pytest.approx(expected[:9])


def test_compare_methods_paired_without_common_seed_is_an_error():
    with pytest.raises(UserError, match=r"share no seed \(0, 1 and 5, 6\)"):
        compare_methods(A[:2], B[:2], paired=True, seeds_a=[0, 1], seeds_b=[5, 6])


def test_compare_methods_paired_profits_from_what_seeds_share():
    shared = np.random.default_rng(0).random((6, 1)) * 0.3
    rng = np.random.default_rng(1)
    a, b = (rng.random((6, 3000)) < shared + rate for rate in (0.2, 0.22))
    seeds = {"seeds_a": range(6), "seeds_b": range(6)}
    paired = compare_methods(a, b, paired=True, **seeds)
    assert paired.standard_error < 0.4 * compare_methods(a, b).standard_error


def test_compare_methods_with_one_teacher_is_about_that_teacher():
    plain, result = compare_methods(A, B), compare_methods(A, B, teachers_b=["t"] * 4)
    assert result.conditional_on == ("teacher_b",)
    assert result._replace(conditional_on=()) == plain


def test_compare_methods_has_teachers_as_units():
    teachers = ["s", "s", "t", "u"]
    result = compare_methods(A, B, teachers_b=teachers)
    means = np.array([B[:2].mean(0), B[2], B[3]])
    assert result.conditional_on == () and result.paired is None
    assert result.difference == pytest.approx(means.mean() - A.mean())
    one_each = compare_methods(A, B, teachers_b=[0, 1, 2, 3])
    assert one_each == compare_methods(A, B)


def test_compare_methods_includes_the_variance_between_teachers():
    rng = np.random.default_rng(0)
    teacher = np.repeat([0.2, 0.3, 0.25], 4)
    b = rng.random((12, 4000)) < teacher[:, None]
    labels = np.repeat(["s", "t", "u"], 4).tolist()
    ignored, result = compare_methods(b * 0, b), compare_methods(b * 0, b, teachers_b=labels)
    assert result.seed_sd == pytest.approx(0.05 / np.sqrt(3), rel=0.1)
    assert result.seed_sd > 1.5 * ignored.seed_sd and result.dof < 3


def test_compare_methods_keeps_the_variance_of_seeds_within_teachers():
    rates = np.array([0.1, 0.5, 0.3, 0.3])  # teachers agree on average, their seeds do not
    b = np.random.default_rng(0).random((4, 5000)) < rates[:, None]
    result = compare_methods(b * 0, b, teachers_b=["s", "s", "t", "t"])
    assert result.seed_sd == pytest.approx(np.sqrt(0.08 / 2) / 2, rel=0.1)


def test_compare_methods_pairs_methods_with_the_same_teachers():
    teachers = ["s", "t", "s", "t"]
    result = compare_methods(A, B[::-1], teachers_a=teachers, teachers_b=teachers[::-1])
    assert result.paired == "teachers"
    a, b = (np.array([x[::2].mean(0), x[1::2].mean(0)]) for x in (A, B))
    assert result.difference == pytest.approx((b - a).mean())
    assert compare_methods(A, B, teachers_a=teachers, teachers_b=[1, 2, 3, 4]).paired is None


def test_compare_methods_detects_what_statsmodels_power_does():
    result = compare_methods(as_runs([0.31, 0.36, 0.32]), as_runs([0.36, 0.39, 0.45]))
    effect = result.smallest_detectable / result.standard_error / np.sqrt(result.dof + 1)
    power = TTestPower().power(effect, result.dof + 1, 0.05, df=result.dof)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_compare_methods_detects_less_with_more_seeds_down_to_the_images_limit():
    rng = np.random.default_rng(0)
    p, q = rng.random((2, 2000)) * 0.4  # methods that err on different images
    result = [
        compare_methods(rng.random((s, 2000)) < p, rng.random((s, 2000)) < q) for s in (3, 12, 200)
    ]
    detectable = [one.smallest_detectable for one in result]
    limit = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * (p - q).std() / np.sqrt(2000)
    assert detectable == sorted(detectable, reverse=True)
    assert all(one.smallest_detectable_limit == pytest.approx(limit, rel=0.15) for one in result)
    assert detectable[-1] == pytest.approx(limit, rel=0.05)


@pytest.mark.parametrize("shapes", [((2, 5), (2, 6)), ((0, 5), (2, 5)), ((2, 1), (2, 1))])
def test_compare_methods_needs_runs_on_the_same_images(shapes):
    with pytest.raises(AssertionError, match="same images"):
        compare_methods(*map(np.zeros, shapes))


def test_compare_methods_needs_errors_from_0_to_1():
    with pytest.raises(AssertionError, match="0 to 1"):
        compare_methods(np.full((2, 3), 2.0), np.zeros((2, 3)))


@pytest.mark.slow
def test_compare_methods_is_calibrated(tmp_path):
    """The quick mode of the benchmark: no test or interval is liberal beyond its sampling error."""
    script = Path(__file__).parents[2] / "benchmarks" / "calibration.py"
    table = tmp_path / "quick.csv"
    subprocess.run([sys.executable, str(script), "--quick", "--out", str(table)], check=True)
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["nominal"] and row["test"] != "Wilson"]
    assert {"crossed", "crossed, paired", "jackknife"} < {row["test"] for row in rows}
    for row in rows:
        below = 1 if row["quantity"] == "coverage" else -1
        gap = below * (float(row["nominal"]) - float(row["measured"]))
        assert gap <= 0.015 + 3 * float(row["error"]), row
