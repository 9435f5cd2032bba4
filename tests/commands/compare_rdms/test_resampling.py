"""Intervals and p against plain loops of the same draws."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr, t

from rdl_cli.commands.compare_rdms.resampling import (
    BootstrappedBlocks,
    ResampledMeasure,
    SubjectBlock,
    permutation_p_values,
)
from rdl_cli.rsa.distances import mse
from rdl_cli.rsa.measures import MEASURES, measure_input, measure_traits
from rdl_cli.rsa.partial import partial_correlation

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


def drawn_by_hand(a, b, stimuli):
    values = [squareform(x)[np.ix_(stimuli, stimuli)] for x in (a, b)]
    i, j = np.triu_indices(N, 1)
    keep = stimuli[i] != stimuli[j]
    return spearmanr(*(v[i, j][keep] for v in values)).statistic


def test_resample_leaves_out_pairs_of_a_stimulus_with_itself():
    stimuli = np.array([0, 0, 1, 2, 3, 4, 5, 5, 8])
    drawn, values = compared().resample(stimuli), rdms()
    for i, j in ((0, 1), (0, 5), (2, 4)):
        assert drawn[i, j] == pytest.approx(drawn_by_hand(values[i], values[j], stimuli))


@pytest.mark.parametrize("name", MEASURED)
def test_resample_and_shuffle_agree_without_a_change(name):
    once = compared(name)
    order = np.arange(N)
    np.testing.assert_allclose(once.resample(order), once.matrix, atol=1e-12)
    np.testing.assert_allclose(once.shuffle(order), once.matrix, atol=1e-12)
    mixed = np.random.default_rng(3).permutation(N)
    np.testing.assert_allclose(
        once.resample(mixed), once.matrix, atol=1e-10
    )  # all in another order is no other comparison
    assert np.abs(once.shuffle(mixed) - once.matrix).max() > 0.05


def test_shuffle_shuffles_one_side():
    order = np.random.default_rng(3).permutation(N)
    drawn, values = compared().shuffle(order), rdms()
    for i, j in ((0, 1), (4, 2)):
        other = squareform(squareform(values[j])[np.ix_(order, order)])
        assert drawn[i, j] == pytest.approx(spearmanr(values[i], other).statistic)


def test_subject_block_draws_subjects_fairly():
    matrix = np.arange(36.0).reshape(6, 6)
    _, _, crossed, shared = blocks()
    every = np.arange(12)
    assert crossed.mean(matrix, every) == crossed.mean(matrix) == matrix[1:4, 4:].mean()
    assert shared.mean(matrix, every) == shared.mean(matrix) == matrix[1:4, 1:4].mean()
    rng = np.random.default_rng(0)
    draws = rng.integers(12, size=(4000, 12))
    for block in blocks()[:3]:
        drawn = np.array([block.mean(matrix, subjects) for subjects in draws])
        known = sum(
            side.var() / len(rows)
            for side, rows in (
                (6 * np.arange(6)[block.first], block.first),
                (np.arange(6)[block.second], block.second),
            )
        )
        assert drawn.mean() == pytest.approx(
            block.mean(matrix), abs=0.3
        ) and drawn.var() == pytest.approx(known, rel=0.1)
    both = np.array([shared.mean(matrix, subjects) for subjects in draws])
    assert both.var() == pytest.approx(
        (7 * np.arange(3)).var() / 3, rel=0.1
    )  # the same subjects on both sides


BOUNDS = (-1.0, 1.0)


def bootstrap_intervals(blocks, resampled, n_resamples, seed):
    keyed = {(k, k): block for k, block in enumerate(blocks)}
    means = BootstrappedBlocks(keyed, resampled, n_resamples, seed)
    return [means.interval(key, (-np.inf, np.inf)) for key in keyed]


def test_bootstrapped_blocks_intervals_have_the_corrected_variance():
    resampled = compared()
    intervals = bootstrap_intervals(blocks(), resampled, 200, 0)
    assert intervals == bootstrap_intervals(blocks(), resampled, 200, 0)
    assert intervals != bootstrap_intervals(blocks(), resampled, 200, 1)
    for block, (low, high) in zip(blocks(), intervals, strict=True):
        assert low < block.mean(resampled.matrix) < high
    rng = np.random.default_rng(5)
    values = rdms()
    sd = np.std(
        [drawn_by_hand(values[0], values[1], rng.integers(N, size=N)) for _ in range(400)], ddof=1
    )
    single = SubjectBlock(np.array([0]), np.array([1]), False)
    ((low, high),) = bootstrap_intervals([single], resampled, 400, 0)
    assert (high - low) / 2 == pytest.approx(
        t.ppf(0.975, N - 1) * sd * (N / (N - 1)) ** 0.5, rel=0.15
    )


def test_bootstrapped_blocks_intervals_stay_within_the_bounds():
    keyed = {(k, k): block for k, block in enumerate(blocks())}
    means = BootstrappedBlocks(keyed, compared(), 50, 0)
    for key in keyed:
        low, high = means.interval(key, (-np.inf, np.inf))
        assert means.interval(key, BOUNDS) == (max(low, -1), min(high, 1))
        assert means.interval(key, (-0.01, 0.01)) == (max(low, -0.01), min(high, 0.01))


def test_bootstrapped_blocks_test_differences_on_the_same_resamples():
    resampled = compared()
    one, two = blocks()[0], blocks()[1]
    means = BootstrappedBlocks({(0, 1): one, (0, 2): two}, resampled, 200, 0)
    same = BootstrappedBlocks({(0, 1): one, (0, 2): one}, resampled, 200, 0)
    assert same.test_difference((0, 1), (0, 2)) == (0, 0, 1, 3)
    test = means.test_difference((0, 1), (0, 2))
    value = one.mean(resampled.matrix) - two.mean(resampled.matrix)
    assert test.low < value < test.high and test.n_subjects == 2
    assert (test.low + test.high) / 2 == pytest.approx(value)
    assert (test.p < 0.05) == (test.low > 0 or test.high < 0)
    back = means.test_difference((0, 2), (0, 1))
    assert (back.low, back.high, back.p) == pytest.approx((-test.high, -test.low, test.p))


def test_resampled_measure_regresses_controls_out():
    values = torch.from_numpy(rdms())
    resampled = ResampledMeasure(MEASURES.find("spearman"), values[:5], True, values[5:])
    expected = partial_correlation(MEASURES.find("spearman"), values[:5], values[:5], values[5:])
    np.testing.assert_allclose(resampled.matrix, expected, atol=1e-12)
    order = np.arange(N)
    np.testing.assert_allclose(resampled.resample(order), expected, atol=1e-12)
    np.testing.assert_allclose(resampled.shuffle(order), expected, atol=1e-12)
    stimuli = np.array([0, 0, 1, 2, 3, 4, 5, 5, 8])
    i, j = np.triu_indices(N, 1)
    keep = stimuli[i] != stimuli[j]
    drawn = np.stack([squareform(v)[np.ix_(stimuli, stimuli)][i, j][keep] for v in rdms()])
    drawn = torch.from_numpy(drawn)
    expected = partial_correlation(MEASURES.find("spearman"), drawn[:5], drawn[:5], drawn[5:])
    np.testing.assert_allclose(resampled.resample(stimuli), expected, atol=1e-12)


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
