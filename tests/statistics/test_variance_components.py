"""Statsmodels' ANOVA, SciPy's t-tests and simulation as references of the crossed variance."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from rdl_cli.statistics.variance_components import (
    ImagePart,
    UnitPart,
    crossed_variance,
    image_part,
    t_test_p,
    unit_part,
)


def table(units, images, seed=0, unit_sd=1.0, image_sd=1.0, noise_sd=1.0):
    rng = np.random.default_rng(seed)
    by_unit, by_image = rng.standard_normal((units, 1)), rng.standard_normal((1, images))
    return unit_sd * by_unit + image_sd * by_image + noise_sd * rng.standard_normal((units, images))


def variance_of(x):
    return crossed_variance(image_part(x.mean(0)), [unit_part(x)])


def test_image_part_has_the_variance_and_dof_of_a_mean():
    x = table(1, 400)[0]
    part = image_part(x, slack=0.1)
    assert part.variance == pytest.approx(stats.sem(x) ** 2 + 0.1)
    assert part.dof == pytest.approx(2 * 400 / (stats.kurtosis(x, fisher=False)) + 2)


def test_image_part_of_few_images_has_few_dof():
    x = np.zeros(1000)
    x[:10] = 1, -1, 1, -1, 1, -1, 1, -1, 1, -1
    assert image_part(x).dof == pytest.approx(22)
    assert image_part(np.zeros(1000), 0.1) == (0.1, 2)
    assert image_part(np.ones(5) * [1, -1, 1, -1, 0]).dof == 4


def test_unit_part_has_the_mean_squares_of_a_two_way_anova():
    x = table(4, 7)
    units, images = np.indices(x.shape)
    frame = pd.DataFrame({"x": x.ravel(), "unit": units.ravel(), "image": images.ravel()})
    anova = anova_lm(ols("x ~ C(unit) + C(image)", frame).fit())["mean_sq"]
    part = unit_part(x)
    assert part.variance == pytest.approx(anova["C(unit)"] / x.size)
    assert part.noise == pytest.approx(anova["Residual"] / x.size)
    assert (part.dof, part.floor) == (3, part.noise)
    total = variance_of(x)
    expected = (anova["C(unit)"] + anova["C(image)"] - anova["Residual"]) / x.size
    assert total.image + total.unit == pytest.approx(expected)


def test_unit_part_of_one_unit_is_unknown():
    assert unit_part(table(1, 5)) is None


def test_unit_part_is_at_least_what_its_units_contain():
    x = table(3, 50)
    assert unit_part(x, within=2.0).floor == 2.0
    assert unit_part(x, slack=2.0).floor == pytest.approx(2.0 + unit_part(x).noise)


@pytest.mark.parametrize("sds", [(1, 1, 3), (1, 0, 1), (0, 1, 1), (0.3, 0.3, 1)])
def test_crossed_variance_is_that_of_the_mean(sds):
    """Unbiased where both parts are large, never below otherwise."""
    tables = [table(5, 20, seed, *sds) for seed in range(1500)]
    true = np.var([x.mean() for x in tables])
    estimated = np.mean([sum(variance_of(x)[:2]) for x in tables])
    assert 0.9 * true < estimated < (1.12 if 0 not in sds and sds[2] != 1 else 1.6) * true


def test_crossed_variance_is_at_least_each_one_way_variance():
    for seed in range(50):
        x = table(3, 12, seed, 0.1, 0.1, 2.0)
        total = variance_of(x)
        one_way = x.mean(0).var(ddof=1) / 12, x.mean(1).var(ddof=1) / 3
        assert total.image + total.unit >= max(one_way) * (1 - 1e-12)


def test_crossed_variance_of_units_alone_has_welchs_degrees_of_freedom():
    a, b = table(6, 1), 2 * table(6, 1, seed=1)
    parts = [UnitPart(float(x.var(ddof=1)) / 6, 5, 0.0, 0.0) for x in (a, b)]
    total = crossed_variance(ImagePart(0.0, 9.0), parts)
    t = (a.mean() - b.mean()) / np.sqrt(total.unit)
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert total.dof == pytest.approx(welch.df[0])
    assert t_test_p(t, total.dof) == pytest.approx(welch.pvalue[0])


def test_crossed_variance_of_images_alone_has_theirs():
    assert crossed_variance(ImagePart(2.0, 9.0), [None]) == (2.0, 0.0, 9.0)


def test_crossed_variance_of_two_units_has_at_most_two_degrees_of_freedom():
    two = UnitPart(0.01, 1, 0.0, 0.0)
    assert crossed_variance(ImagePart(1.0, 99.0), [two]).dof == 2
    assert crossed_variance(ImagePart(1.0, 99.0), [two, two]).dof > 2


def test_crossed_variance_of_two_units_beside_more_depends_on_how_much_those_vary():
    images, two = ImagePart(1.0, 99.0), UnitPart(0.01, 1, 0.01, 0.01)
    still, moving = UnitPart(0.01, 9, 0.01, 0.01), UnitPart(10.0, 9, 0.01, 0.01)
    assert crossed_variance(images, [two, still]).dof > 50
    assert crossed_variance(images, [two, still], alike=False).dof == 2
    assert 2 < crossed_variance(images, [two, moving]).dof < 2.5 < 9


def test_t_test_p_agrees_with_scipy():
    x = table(1, 9)[0]
    t = x.mean() / stats.sem(x)
    assert t_test_p(t, 8) == pytest.approx(stats.ttest_1samp(x, 0).pvalue)


def test_statistics_need_no_torch():
    names = "crossed, intervals, jackknife, mcnemar, multiplicity, permutation"
    code = f"import sys\nfrom rdl_cli.statistics import {names}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
