"""Intervals and p against plain loops of the same draws."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr, t

from rdl_cli.commands.compare_rdms.resampling import (
    ResampledMeasure,
    SubjectBlock,
    bootstrap_intervals,
    permutation_p_values,
)
from rdl_cli.rsa.distances import mse
from rdl_cli.rsa.measures import MEASURES, measure_input, measure_traits

torch.set_num_threads(1)
N = 9
SIZES = (1, 3, 2)
MEASURED = [
    name for name in MEASURES.names() if name not in ("tv", "jsd", "js-distance", "hellinger")
]


def rdms():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(N, 4))
    return np.stack([pdist(truth + rng.normal(size=(N, 4))) for _ in range(sum(SIZES))])


def blocks():
    sides = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])
    return [
        SubjectBlock(sides[i], sides[j], shared)
        for i, j, shared in ((0, 1, False), (0, 2, False), (1, 2, False), (1, 1, True))
    ]


def compared(name="spearman"):
    measure = MEASURES.find(name)
    if measure_traits(measure).input == "rdm":
        return ResampledMeasure(measure, torch.from_numpy(rdms()), True)
    reps = [
        torch.randn(N, 5, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        for k in range(sum(SIZES))
    ]
    return ResampledMeasure(
        measure, torch.stack([measure_input(measure, each, mse) for each in reps]), False
    )


def drawn_by_hand(a, b, stimuli):
    values = [squareform(x)[np.ix_(stimuli, stimuli)] for x in (a, b)]
    i, j = np.triu_indices(N, 1)
    keep = stimuli[i] != stimuli[j]
    return spearmanr(*(v[i, j][keep] for v in values)).statistic


def test_a_draw_leaves_out_the_pair_of_a_stimulus_with_itself():
    stimuli = np.array([0, 0, 1, 2, 3, 4, 5, 5, 8])
    found, values = compared().drawn(stimuli), rdms()
    for i, j in ((0, 1), (0, 5), (2, 4)):
        assert found[i, j] == pytest.approx(drawn_by_hand(values[i], values[j], stimuli))


@pytest.mark.parametrize("name", MEASURED)
def test_drawing_and_shuffling_agree_with_no_change(name):
    once = compared(name)
    order = np.arange(N)
    np.testing.assert_allclose(once.drawn(order), once.all, atol=1e-12)
    np.testing.assert_allclose(once.shuffled(order), once.all, atol=1e-12)
    mixed = np.random.default_rng(3).permutation(N)
    np.testing.assert_allclose(
        once.drawn(mixed), once.all, atol=1e-10
    )  # all in another order is no other comparison
    assert np.abs(once.shuffled(mixed) - once.all).max() > 0.05


def test_shuffling_shuffles_one_side():
    order = np.random.default_rng(3).permutation(N)
    found, values = compared().shuffled(order), rdms()
    for i, j in ((0, 1), (4, 2)):
        other = squareform(squareform(values[j])[np.ix_(order, order)])
        assert found[i, j] == pytest.approx(spearmanr(values[i], other).statistic)


def test_every_draw_of_subjects_is_a_fair_one():
    matrix = np.arange(36.0).reshape(6, 6)
    _, _, crossed, shared = blocks()
    every = np.arange(12)
    assert crossed.value(matrix, every) == crossed.value(matrix) == matrix[1:4, 4:].mean()
    assert shared.value(matrix, every) == shared.value(matrix) == matrix[1:4, 1:4].mean()
    rng = np.random.default_rng(0)
    draws = rng.integers(12, size=(4000, 12))
    for block in blocks()[:3]:
        found = np.array([block.value(matrix, subjects) for subjects in draws])
        known = sum(
            side.var() / len(rows)
            for side, rows in (
                (6 * np.arange(6)[block.student], block.student),
                (np.arange(6)[block.teacher], block.teacher),
            )
        )
        assert found.mean() == pytest.approx(
            block.value(matrix), abs=0.3
        ) and found.var() == pytest.approx(known, rel=0.1)
    both = np.array([shared.value(matrix, subjects) for subjects in draws])
    assert both.var() == pytest.approx(
        (7 * np.arange(3)).var() / 3, rel=0.1
    )  # the same subjects on both sides


def test_intervals_hold_the_corrected_variance():
    once = compared()
    found = bootstrap_intervals(blocks(), once, N, 200, 0)
    again = bootstrap_intervals(blocks(), once, N, 200, 0)
    other = bootstrap_intervals(blocks(), once, N, 200, 1)
    assert found == again != other
    for block, each in zip(blocks(), found, strict=True):
        assert (
            each.estimate == pytest.approx(block.value(once.all))
            and each.low < each.estimate < each.high
        )
    rng = np.random.default_rng(5)
    values = rdms()
    sd = np.std(
        [drawn_by_hand(values[0], values[1], rng.integers(N, size=N)) for _ in range(400)], ddof=1
    )
    (alone,) = bootstrap_intervals(
        [SubjectBlock(np.array([0]), np.array([1]), False)], once, N, 400, 0
    )
    assert (alone.high - alone.low) / 2 == pytest.approx(
        t.ppf(0.975, N - 1) * sd * (N / (N - 1)) ** 0.5, rel=0.15
    )


@pytest.mark.parametrize(("name", "sign"), [("spearman", 1), ("cka", 1), ("skl", -1)])
def test_p_is_small_for_what_is_related_and_not_for_what_is_not(name, sign):
    measure = MEASURES.find(name)
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(N, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    reps = [x, x + 0.1 * torch.randn(N, 5, generator=generator, dtype=torch.float64), y]
    once = ResampledMeasure(
        measure,
        torch.stack([measure_input(measure, each, mse) for each in reps]),
        measure_traits(measure).input == "rdm",
    )
    ones = [np.array([k]) for k in range(3)]
    p = permutation_p_values(
        [SubjectBlock(ones[0], ones[1], False), SubjectBlock(ones[0], ones[2], False)],
        once,
        N,
        99,
        0,
        sign,
    )
    assert p[0] == 0.01 and p[1] > 0.05
