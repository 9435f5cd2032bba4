"""Tables of a measure: settings, intervals, differences, ceilings, controls, measured pairs."""

import numpy as np
import pytest
import torch
from comparisons import RNG, TRUTH, N, compare, noisy, stimuli, store, subjects
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rdl_cli.commands.compare_rdms.measure_table import describe_measure
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.measures import MEASURES, measure_traits
from rdl_cli.rsa.partial import partial_correlation


def test_compare_rdms_gives_a_noise_ceiling_alone(tmp_path):
    path = store(tmp_path / "s.h5", {"IT": (subjects(5, 20), tuple("abcde"), "correlation")})
    (ceiling,) = compare(path).tables[0].ceilings
    assert 0 < ceiling.lower < ceiling.upper < 1 and ceiling.n_subjects == 5
    with pytest.raises(UserError, match="nothing to compare `IT@mean` with"):
        compare(path, layers=["IT@mean"])
    assert not compare(path, layers=["IT@a", "IT@b"]).tables[0].ceilings


def test_compare_rdms_describes_bayesian_settings(network):
    result = compare(
        network, measure=["jsd:b=0.02,samples=500,seed=3", "skl", "spearman", "cka-debiased"]
    )
    settings = [table.settings for table in result.tables]
    assert settings[0] | {"a": 0} == {
        "n": N,
        "b": pytest.approx(0.02),
        "a": 0,
        "center": "none",
        "samples": 500,
        "seed": 3,
        "reference": False,
    }
    assert settings[0]["a"] == pytest.approx(N * 0.02 / (1 + N * 0.02)) and settings[1][
        "b"
    ] == pytest.approx(0.01)
    assert settings[2] == settings[3] == {"n": N}


def test_describe_measure_of_a_users_measure_is_not_bayesian(tmp_path, monkeypatch):
    (tmp_path / "measure_of_a_user.py").write_text(
        "def alike(x, y, *, a=1.0, b=0.0, center='none'):\n    return (x * y).sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_measure(MEASURES.find("measure_of_a_user:alike:b=2"), N) == {"n": N, "b": 2.0}
    assert {name for name in MEASURES.names() if measure_traits(MEASURES.find(name)).bayesian} == {
        "tv",
        "jsd",
        "js-distance",
        "hellinger",
        "skl",
    }


def test_compare_rdms_leaves_out_missing_pairs(tmp_path):
    values = subjects(1, 3)
    values[0, [0, 5]] = np.nan
    path = store(tmp_path / "s.h5", {"x": (values, (), "correlation"), "y": noisy(1)})
    there = ~np.isnan(values[0])
    known = spearmanr(
        values[0][there], pdist(noisy(1).astype(np.float32), "sqeuclidean")[there]
    ).statistic
    result = compare(path, n_resamples=20)
    assert (
        result.tables[0].pairs[0].value == pytest.approx(known, abs=1e-6)
        and result.tables[0].pairs[0].low < known
    )
    with pytest.raises(UserError, match="with missing distances"):
        compare(
            store(tmp_path / "t.h5", {"x": (values, (), "mse"), "y": noisy(1)}), measure=["cka"]
        )


def test_compare_rdms_tests_differences_to_a_reference(network, brain):
    settings = {"layers": ["one", "two", "IT", "V1@mean"], "n_resamples": 50}
    (table,) = compare(network, brain, reference=["IT"], **settings).tables
    names = ["net/one", "net/two", "brain/V1@mean"]
    assert [(row.first, row.second) for row in table.differences] == [
        (names[0], names[1]),
        (names[0], names[2]),
        (names[1], names[2]),
    ]
    value = {frozenset((pair.first, pair.second)): pair.value for pair in table.pairs}
    for row in table.differences:
        assert row.reference == "brain/IT" and row.n_subjects == 5
        first, second = (value[frozenset(("brain/IT", n))] for n in (row.first, row.second))
        assert row.difference == pytest.approx(first - second)
        assert row.low < row.difference < row.high and row.p <= row.p_holm <= 1
    plain = compare(network, brain, **settings).tables[0]
    assert plain.pairs == table.pairs and not plain.differences
    (explained,) = table.explained
    assert explained.predictors == tuple(names)
    assert 0 < max(explained.unique) <= explained.total < 1
    with pytest.raises(UserError, match="no layer for --reference `LO`"):
        compare(network, brain, reference=["LO"], **settings)
    with pytest.raises(UserError, match="needs two other layers"):
        compare(network, reference=["one"])


def test_compare_rdms_finds_a_difference_that_is_there_and_none_that_is_not(tmp_path):
    rng = np.random.default_rng(3)
    brains = TRUTH + 0.3 * rng.normal(size=(6, N, 6))
    rdms = np.stack([pdist(patterns, "correlation") for patterns in brains])
    near, far = TRUTH + 0.3 * rng.normal(size=(N, 6)), rng.normal(size=(N, 6))
    layers = {"IT": (rdms, tuple("abcdef"), "correlation")}
    layers |= {"near": near, "near too": near.copy(), "far": far}
    (table,) = compare(
        store(tmp_path / "s.h5", layers), reference=["IT"], n_resamples=100, distance="correlation"
    ).tables
    equal, *different = table.differences
    assert equal.difference == 0 and equal.p == 1
    assert all(row.difference > 0 and row.p < 0.05 for row in different)


def test_compare_rdms_controls_for_other_layers(network, brain):
    settings = {"layers": ["one", "two", "model"], "control_for": ["V1@mean"]}
    (table,) = compare(network, brain, **settings, n_resamples=30).tables
    rdms = [pdist(noisy(k).astype(np.float32), "sqeuclidean") for k in (1, 2)]
    rdms = torch.from_numpy(np.stack([*rdms, subjects(1, 30)[0]]))
    controls = torch.from_numpy(subjects(5, 10).mean(0))[None]
    expected = partial_correlation(MEASURES.find("spearman"), rdms, rdms, controls)
    np.testing.assert_allclose(np.array(table.values), expected, atol=1e-6)
    assert table.settings["controls"] == "brain/V1@mean"
    assert all(pair.low < pair.value < pair.high for pair in table.pairs)
    with pytest.raises(UserError, match="has 5 subjects") as caught:
        compare(network, brain, layers=["one", "two"], control_for=["V1"])
    assert "V1@mean" in caught.value.hint
    with pytest.raises(UserError, match="Pearson's r or Spearman's"):
        compare(network, brain, **settings, measure=["cosine"])


def test_compare_rdms_counts_measured_pairs_and_refuses_a_handful(tmp_path):
    values = subjects(3, 3)
    values[1, 10:] = np.nan
    path = store(tmp_path / "s.h5", {"x": (values, tuple("abc"), "mse"), "y": noisy(1)})
    assert compare(path).tables[0].pairs[0].n_pairs == 10
    values[1, 5:] = np.nan
    path = store(tmp_path / "t.h5", {"x": (values, tuple("abc"), "mse"), "y": noisy(1)})
    with pytest.raises(UserError, match="share 5 measured pairs of stimuli; at least 6") as caught:
        compare(path)
    assert "@mean" in caught.value.hint
    assert compare(path, layers=["x@mean", "y"]).tables[0].pairs[0].n_pairs == 66


def test_compare_rdms_keeps_intervals_of_correlations_within_1(tmp_path):
    four = {"x": (RNG.random((1, 6)), (), "mse"), "y": (RNG.random((1, 6)), (), "mse")}
    path = store(tmp_path / "s.h5", four, stimuli(range(4)))
    for measure, lowest in (("spearman", -1), ("cka", 0)):
        (pair,) = compare(path, n_resamples=100, measure=[measure]).tables[0].pairs
        assert lowest <= pair.low <= pair.value <= pair.high <= 1
