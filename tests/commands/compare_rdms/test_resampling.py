"""Intervals, differences and p against plain loops."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from rdl_cli.commands.compare_rdms.resampling import (
    JackknifedBlocks,
    ResampledMeasure,
    SubjectBlock,
    permutation_p_values,
)
from rdl_cli.rsa.distances import mse
from rdl_cli.rsa.measures import MEASURES, measure_input, measure_traits
from rdl_cli.rsa.partial import partial_correlation
from rdl_cli.statistics.jackknife import mean_similarity, similarity_interval

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
        measure, torch.stack([measure_input(measure, rep, mse) for rep in reps]), False
    )


def test_select_takes_some_stimuli_in_any_order():
    stimuli = np.array([8, 1, 2, 0, 4, 5])
    selected, values = compared().select(stimuli), rdms()
    i, j = np.triu_indices(len(stimuli), 1)
    for a, b in ((0, 1), (0, 5), (2, 4)):
        parts = [squareform(values[k])[np.ix_(stimuli, stimuli)][i, j] for k in (a, b)]
        assert selected[a, b] == pytest.approx(spearmanr(*parts).statistic)


@pytest.mark.parametrize("name", MEASURED)
def test_select_and_shuffle_agree_without_a_change(name):
    once = compared(name)
    order = np.arange(N)
    np.testing.assert_allclose(once.select(order), once.matrix, atol=1e-12)
    np.testing.assert_allclose(once.shuffle(order), once.matrix, atol=1e-12)
    mixed = np.random.default_rng(3).permutation(N)
    np.testing.assert_allclose(
        once.select(mixed), once.matrix, atol=1e-10
    )  # all in another order is no other comparison
    assert np.abs(once.shuffle(mixed) - once.matrix).max() > 0.05


def test_shuffle_shuffles_one_side():
    order = np.random.default_rng(3).permutation(N)
    drawn, values = compared().shuffle(order), rdms()
    for i, j in ((0, 1), (4, 2)):
        other = squareform(squareform(values[j])[np.ix_(order, order)])
        assert drawn[i, j] == pytest.approx(spearmanr(values[i], other).statistic)


def test_subject_block_means_are_over_all_pairs_of_subjects():
    matrix = np.arange(36.0).reshape(6, 6)
    one, _, crossed, shared = blocks()
    assert crossed.mean(matrix) == matrix[1:4, 4:].mean()
    assert shared.mean(matrix) == matrix[1:4, 1:4].mean()
    assert (one.n_subjects, crossed.n_subjects, shared.n_subjects) == (3, 2, 3)


def jackknife(measure="spearman", seed=0):
    keyed = {(k, k + 1): block for k, block in enumerate(blocks())}
    return JackknifedBlocks(keyed, compared(measure), seed), keyed


@pytest.mark.parametrize("name", ["spearman", "cka", "skl"])
def test_jackknifed_blocks_intervals_hold_the_value(name):
    jackknifed, keyed = jackknife(name)
    matrix = compared(name).matrix
    low, high = measure_traits(MEASURES.find(name)).bounds
    for key, block in keyed.items():
        interval = jackknifed.interval(key)
        assert interval.estimate == pytest.approx(block.mean(matrix))
        assert low <= interval.low < interval.estimate < interval.high <= high
        assert interval.subjects in (1, 2, 3)


def test_jackknifed_blocks_are_that_of_plain_deletions():
    jackknifed, keyed = jackknife()
    values = rdms()
    i, j = np.triu_indices(N, 1)
    deleted = [
        [[spearmanr(a[keep], b[keep]).statistic for b in values] for a in values]
        for keep in ((i != k) & (j != k) for k in range(N))
    ]
    for key, block in keyed.items():
        full = block.select(compared().matrix)
        expected = mean_similarity(full, block.select(np.array(deleted)), block.shared)
        np.testing.assert_allclose(
            jackknifed.interval(key), similarity_interval(expected), atol=1e-9
        )


def test_jackknifed_blocks_test_differences_over_stimuli_and_subjects():
    one, two, *_ = blocks()
    jackknifed = JackknifedBlocks({(0, 1): one, (0, 2): two, (0, 3): one}, compared(), 0)
    same = jackknifed.test_difference((0, 1), (0, 3))
    assert (same.difference, same.low, same.high, same.p) == pytest.approx((0, 0, 0, 1))
    test = jackknifed.test_difference((0, 1), (0, 2))
    matrix = compared().matrix
    assert test.difference == pytest.approx(one.mean(matrix) - two.mean(matrix))
    assert test.low < test.difference < test.high and test.subjects == 2
    assert (test.p < 0.05) == (test.low > 0 or test.high < 0)
    back = jackknifed.test_difference((0, 2), (0, 1))
    assert (back.low, back.high, back.p) == pytest.approx((-test.high, -test.low, test.p))


def test_jackknifed_blocks_pair_the_subjects_that_differences_share():
    """A difference of two networks' similarities to the same subjects varies less than each."""
    rng = np.random.default_rng(0)
    truth = rng.random(36)
    brains = truth + 0.2 * rng.random((6, 36))
    models = np.stack([truth + 0.3 * rng.random(36)] * 2) + 1e-3 * rng.random((2, 36))
    measure = ResampledMeasure(
        MEASURES.find("pearson"), torch.from_numpy(np.concatenate([brains, models])), True
    )
    subjects = np.arange(6)
    keyed = {(0, k): SubjectBlock(subjects, np.array([5 + k]), False) for k in (1, 2)}
    jackknifed = JackknifedBlocks(keyed, measure, 0)
    error = jackknifed.test_difference((0, 1), (0, 2)).standard_error
    assert error < 0.1 * jackknifed.interval((0, 1)).standard_error


def test_resampled_measure_regresses_controls_out():
    values = torch.from_numpy(rdms())
    resampled = ResampledMeasure(MEASURES.find("spearman"), values[:5], True, values[5:])
    expected = partial_correlation(MEASURES.find("spearman"), values[:5], values[:5], values[5:])
    np.testing.assert_allclose(resampled.matrix, expected, atol=1e-12)
    order = np.arange(N)
    np.testing.assert_allclose(resampled.select(order), expected, atol=1e-12)
    np.testing.assert_allclose(resampled.shuffle(order), expected, atol=1e-12)
    stimuli = np.array([0, 1, 2, 3, 5, 8])
    part = np.stack([squareform(squareform(v)[np.ix_(stimuli, stimuli)]) for v in rdms()])
    part = torch.from_numpy(part)
    expected = partial_correlation(MEASURES.find("spearman"), part[:5], part[:5], part[5:])
    np.testing.assert_allclose(resampled.select(stimuli), expected, atol=1e-12)


def test_count_pairs_counts_common_measurements():
    values = torch.from_numpy(rdms())
    values[0, :3], values[1, 2:5] = torch.nan, torch.nan
    counts = ResampledMeasure(MEASURES.find("spearman"), values, True).count_pairs()
    assert counts[0, 1] == 36 - 5 and counts[0, 2] == 33 and counts[2, 3] == 36
    assert (compared("cka").count_pairs() == 36).all()


@pytest.mark.parametrize(("name", "sign"), [("spearman", 1), ("cka", 1), ("skl", -1)])
def test_permutation_p_values_are_small_for_related_layers_only(name, sign):
    measure = MEASURES.find(name)
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(N, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    reps = [x, x + 0.1 * torch.randn(N, 5, generator=generator, dtype=torch.float64), y]
    once = ResampledMeasure(
        measure,
        torch.stack([measure_input(measure, rep, mse) for rep in reps]),
        measure_traits(measure).input == "rdm",
    )
    ones = [np.array([k]) for k in range(3)]
    p = permutation_p_values(
        [SubjectBlock(ones[0], ones[1], False), SubjectBlock(ones[0], ones[2], False)],
        once,
        99,
        0,
        sign,
    )
    assert p[0] == 0.01 and p[1] > 0.05
