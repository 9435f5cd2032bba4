"""Compare two methods by their errors on the same images, over training seeds × images.

A network's error on an image depends on the image, on the training seed and on both. The mean
difference D of two methods has the variance of a crossed random-effects model:

    Var D = image part + seed part,    seed part = s²_A/S_A + s²_B/S_B

s² is the variance of the runs' error rates and S their number. The image part is the variance of
the images' mean differences over n, minus the seeds' noise in it. Neither part is taken below
what that noise implies, so Var D is at least each of the two one-way variances.

The test asks whether the methods would differ on other images and after other trainings.
docs/statistics.md shows its measured level, coverage and power.
"""

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtrinc, stdtrit

from rdl_cli.core.errors import UserError
from rdl_cli.statistics.intervals import newcombe
from rdl_cli.statistics.mcnemar import McNemar, mcnemar
from rdl_cli.statistics.variance_components import crossed_variance, image_part, t_test_p, unit_part

LEVEL, POWER = 0.95, 0.8

Factor = Literal["seeds", "teachers"]
Condition = Literal["network_a", "network_b", "teacher_a", "teacher_b"]
Labels = Sequence[Hashable]
Errors = NDArray[np.float64]


class MethodDifference(NamedTuple):
    """The difference of two methods' error rates and its uncertainty.

    Args:
        difference: B's error rate minus A's.
        low, high: its 95 % interval.
        p: two-sided; for one run against one the mid-p of McNemar's test.
        standard_error: √Var D; its square is image_sd² + seed_sd².
        dof: degrees of freedom of the standard error.
        image_sd: spread of D over other images.
        seed_sd: spread of D over other seeds, or other teachers if a method has several.
        runs_a, runs_b: the numbers of runs compared.
        paired: the factor whose draws both methods share.
        conditional_on: factors with one draw, whose variance is not included.
        smallest_detectable: true difference with 80 % power (two-sided .05, as many runs).
        smallest_detectable_limit: the same for any number of runs on as many images.
        mcnemar: counts and exact p of one run against one.
    """

    difference: float
    low: float
    high: float
    p: float
    standard_error: float
    dof: float
    image_sd: float
    seed_sd: float
    runs_a: int
    runs_b: int
    paired: Factor | None
    conditional_on: tuple[Condition, ...]
    smallest_detectable: float
    smallest_detectable_limit: float
    mcnemar: McNemar | None


class _Units(NamedTuple):
    """A method's mean errors by unit, (units, images).

    `within` is the variance of the method's mean from seeds within teachers.
    """

    means: Errors
    labels: list[Hashable]
    within: float = 0.0


def compare_methods(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    *,
    paired: bool = False,
    seeds_a: Labels | None = None,
    seeds_b: Labels | None = None,
    teachers_a: Labels | None = None,
    teachers_b: Labels | None = None,
) -> MethodDifference:
    """Return the difference of two methods' error rates with its interval and p.

    With one run of a method, the result is about that network. One run against one is McNemar's
    test with Newcombe's interval. With several teachers, the runs of each teacher are averaged,
    and teachers are the units in place of seeds; methods with the same teachers are paired.

    Args:
        errors_a, errors_b: (runs, images), from 0 to 1; True or 1 is an error. Images are the
            same, in one order.
        paired: whether equal seeds share labels or stimuli, not only initialisation and order.
            Seeds that one method lacks are left out, and teachers are not units.
        seeds_a, seeds_b: the seed of each run, distinct within a method; needed if paired.
        teachers_a, teachers_b: the teacher of each run; None for a method without teacher.

    Raises:
        UserError: paired methods have no seed in common.

    Example:
        >>> a = [[1, 1, 0, 0, 1, 0, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0, 0, 0, 1, 0]]
        >>> b = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
        >>> round(compare_methods(a, b).difference, 2)
        -0.25
    """
    a, b = np.asarray(errors_a, dtype=float), np.asarray(errors_b, dtype=float)
    assert a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] > 1 and len(a) and len(b), (
        f"errors of shapes {a.shape} and {b.shape} are not of runs on the same images"
    )
    assert all(x.min() >= 0 and x.max() <= 1 for x in (a, b)), "errors must be from 0 to 1"
    factor: Factor | None = None
    if paired:
        assert seeds_a is not None and seeds_b is not None, "pairs need the seeds of the runs"
        a, b = _common_seeds(a, b, list(seeds_a), list(seeds_b))
        x, y, factor = _Units(a, []), _Units(b, []), "seeds"
    else:
        x, y = _units(a, teachers_a), _units(b, teachers_b)
        if len(x.labels) > 1 and set(x.labels) == set(y.labels):
            y = y._replace(means=y.means[[y.labels.index(label) for label in x.labels]])
            factor = "teachers"
    n = a.shape[1]
    # Half an image more in each run differs than was seen (after Agresti & Min 2005). Without it
    # intervals cover .89 at 1 to 3 expected errors, and have no width where no image differs.
    slack_a, slack_b = (0.5 / (len(e) * n**2) for e in (a, b))
    if factor:
        parts = [unit_part(y.means - x.means, x.within + y.within, slack_a + slack_b)]
    else:
        parts = [unit_part(x.means, x.within, slack_a), unit_part(y.means, y.within, slack_b)]
    by_image = y.means.mean(0) - x.means.mean(0)
    difference, image = float(by_image.mean()), image_part(by_image, slack_a + slack_b)
    variance = crossed_variance(image, parts, alike=bool(x.labels) == bool(y.labels))
    se, dof = sqrt(variance.image + variance.unit), variance.dof
    half = float(stdtrit(dof, (1 + LEVEL) / 2)) * se
    low, high, p, test = difference - half, difference + half, t_test_p(difference / se, dof), None
    if len(a) == len(b) == 1 and set(np.unique([a, b])) <= {0, 1}:
        test = mcnemar(a[0] == 0, b[0] == 0)
        _, low, high = newcombe(test.both_right, test.only_a, test.only_b, test.neither)
        p = test.mid_p
    return MethodDifference(
        difference,
        low,
        high,
        p,
        se,
        dof,
        sqrt(variance.image),
        sqrt(variance.unit),
        len(a),
        len(b),
        factor,
        _conditions(a, b, teachers_a, teachers_b, paired),
        _detectable(dof) * se,
        _detectable(image.dof) * sqrt(variance.image),
        test,
    )


def _units(errors: Errors, teachers: Labels | None) -> _Units:
    """Return the runs, or their means by teacher if there are several teachers."""
    labels = list(dict.fromkeys(teachers or ()))
    if teachers is None or len(labels) < 2:
        return _Units(errors, [])
    groups = [errors[[teacher == label for teacher in teachers]] for label in labels]
    variances = [g.mean(1).var(ddof=1) / len(g) if len(g) > 1 else 0.0 for g in groups]
    within = float(sum(variances)) / len(groups) ** 2
    return _Units(np.stack([group.mean(0) for group in groups]), labels, within)


def _common_seeds(
    a: Errors, b: Errors, seeds_a: list[Hashable], seeds_b: list[Hashable]
) -> tuple[Errors, Errors]:
    common = [seed for seed in seeds_a if seed in seeds_b]
    if not common:
        listed = [", ".join(map(str, seeds)) for seeds in (seeds_a, seeds_b)]
        raise UserError(
            f"the methods share no seed ({listed[0]} and {listed[1]}), and the seed draws their"
            " labels or stimuli",
            hint="train both with the same seeds",
        )
    return a[[seeds_a.index(seed) for seed in common]], b[[seeds_b.index(seed) for seed in common]]


def _conditions(
    a: Errors, b: Errors, teachers_a: Labels | None, teachers_b: Labels | None, paired: bool
) -> tuple[Condition, ...]:
    conditions: tuple[tuple[Condition, bool], ...] = (
        ("network_a", len(a) == 1),
        ("network_b", len(b) == 1),
        ("teacher_a", bool(teachers_a) and (paired or len(set(teachers_a or ())) == 1)),
        ("teacher_b", bool(teachers_b) and (paired or len(set(teachers_b or ())) == 1)),
    )
    return tuple(name for name, holds in conditions if holds)


def _detectable(dof: float) -> float:
    """Return the difference over its standard error that is found with the power POWER."""
    return float(nctdtrinc(dof, 1 - POWER, stdtrit(dof, (1 + LEVEL) / 2)))
