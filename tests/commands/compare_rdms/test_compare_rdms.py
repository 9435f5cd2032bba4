"""Comparisons of representations: the same stimuli or none, and values computed independently."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.compare_rdms.measure_table import describe_measure
from rdl_cli.commands.compare_rdms.self_check import INVARIANT_TO_OFFSET_OF_DISTANCES, self_check
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import CompareRdmsSettings, ImportSettings
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES, measure_traits
from rdl_cli.rsa.partial import partial_correlation
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

BRAIN = Path(__file__).resolve().parents[3] / "../shared/data/brain"
needs_brains = pytest.mark.skipif(
    not BRAIN.exists(), reason="the brain RDMs are not beside this checkout"
)
N = 12
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(N, 6))
QUICK = {"tv": "tv:samples=200", "jsd": "jsd:samples=200", "js-distance": "js-distance:samples=200"}


def digest(k):
    return f"{k:064x}"


def stimuli(ids=range(N), named=True, labels=None, known=True):
    digests = np.array([digest(k) if known else "" for k in ids], "S64")
    return Stimuli(digests, np.array([f"{k}.png" for k in ids]) if named else None, labels)


def store(path, layers, about=None):
    """Write activations (n ...) and RDMs: `{name: array | (RDMs (k, p), subjects, distance)}`."""
    specs = []
    for name, value in layers.items():
        if isinstance(value, tuple):
            specs.append(RdmSpec(name, len(value[0]), "float64", value[2], name, "", value[1]))
        else:
            specs.append(ActivationSpec(name, value.shape[1:], "float32", ("identity",), "mse"))
    with create_store(
        path, stimuli() if about is None else about, {"command": "test"}, specs, "f"
    ) as writer:
        for name, value in layers.items():
            if isinstance(value, tuple):
                for k, values in enumerate(value[0]):
                    writer.write_rdm(name, k, 0, values)
            else:
                writer.write(name, 0, value.astype(np.float32), 0)
    return path


def noisy(seed, amount=1.0, d=6):
    rng = np.random.default_rng(seed)
    return TRUTH @ rng.normal(size=(6, d)) + amount * rng.normal(size=(N, d))


def subjects(count, seed, amount=1.0):
    return np.stack([pdist(noisy(seed + s, amount), "correlation") for s in range(count)])


def compare(*paths, **settings):
    return compare_rdms(
        list(paths), CompareRdmsSettings(**{"n_resamples": 0, "device": "cpu"} | settings)
    )


@pytest.fixture
def network(tmp_path):
    return store(tmp_path / "net.h5", {"one": noisy(1).reshape(N, 3, 2), "two": noisy(2)})


@pytest.fixture
def brain(tmp_path):
    names = tuple("abcde")
    layers = {
        "V1": (subjects(5, 10), names, "correlation"),
        "IT": (subjects(5, 20), names, "correlation"),
        "model": (subjects(1, 30), (), "mse"),
    }
    return store(
        tmp_path / "brain.h5", layers | {"ape": (subjects(2, 40), ("x", "y"), "correlation")}
    )


def test_compare_rdms_compares_layers_within_and_across_sources(network, brain):
    result = compare(network, brain)
    assert [layer.name for layer in result.representations] == [
        "net/one",
        "net/two",
        "brain/V1",
        "brain/IT",
        "brain/model",
        "brain/ape",
    ]
    assert [layer.n_subjects for layer in result.representations] == [
        1,
        1,
        5,
        5,
        1,
        2,
    ] and result.n_stimuli == N
    (table,) = result.tables
    values = np.array(table.values)
    assert (
        len(table.pairs) == 15
        and np.array_equal(values, values.T)
        and (values.diagonal() == 1).all()
    )
    rdms = [pdist(noisy(k).astype(np.float32), "sqeuclidean")[None] for k in (1, 2)]
    rdms += [subjects(5, 10), subjects(5, 20), subjects(1, 30), subjects(2, 40)]
    for i, first in enumerate(rdms):
        for j in range(i):
            known = np.mean([spearmanr(a, b).statistic for a in first for b in rdms[j]])
            assert values[i, j] == pytest.approx(known, abs=1e-6), (i, j)


@pytest.mark.parametrize("name", MEASURES.names())
def test_compare_rdms_gives_the_values_of_the_measure(name, network):
    measure = MEASURES.find(QUICK.get(name, name))
    result = compare(network, measure=[QUICK.get(name, name)])
    reps = [torch.from_numpy(noisy(k).astype(np.float32)).double() for k in (1, 2)]
    known = measure_traits(measure)
    inputs = [
        torch.from_numpy(pdist(r, "sqeuclidean") / 6)
        if known.input == "rdm"
        else inner_products(r, known.centering)
        for r in reps
    ]
    assert result.tables[0].pairs[0].value == pytest.approx(float(measure(*inputs)), abs=1e-6)
    assert result.tables[0].identity_value == result.tables[0].values[0][0] == known.identity_value


def test_compare_rdms_gives_a_noise_ceiling_alone(tmp_path):
    path = store(tmp_path / "s.h5", {"IT": (subjects(5, 20), tuple("abcde"), "correlation")})
    (ceiling,) = compare(path).tables[0].ceilings
    assert 0 < ceiling.lower < ceiling.upper < 1 and ceiling.n_subjects == 5
    with pytest.raises(UserError, match="nothing to compare `IT@mean` with"):
        compare(path, layers=["IT@mean"])
    assert not compare(path, layers=["IT@a", "IT@b"]).tables[0].ceilings


def test_compare_rdms_takes_the_mean_as_one_rdm(brain, network):
    (pair,) = compare(brain, layers=["IT@mean,model"]).tables[0].pairs
    assert (
        pair.value
        == pytest.approx(spearmanr(subjects(5, 20).mean(0), subjects(1, 30)[0]).statistic)
        and pair.n_subjects == 1
    )
    assert (
        "mean of 5 RDMs" in compare(brain, layers=["IT@mean,model"]).representations[0].description
    )


def test_compare_rdms_selects_layers_by_names_and_globs(network, brain):
    def chosen(*layers):
        return [layer.name for layer in compare(network, brain, layers=layers).representations]

    assert chosen("t*", "IT") == ["net/two", "brain/IT"]
    assert chosen("model", "one") == ["net/one", "brain/model"]
    assert chosen("IT@a", "V1@a", "two") == ["net/two", "brain/IT@a", "brain/V1@a"]
    with pytest.raises(UserError, match="no layer `Two`; did you mean `two`"):
        chosen("Two")
    with pytest.raises(UserError, match="no part `z`"):
        chosen("IT@z", "two")


def test_compare_rdms_refuses_different_stimuli_with_counts(network, tmp_path):
    other = store(tmp_path / "other.h5", {"one": noisy(3)}, stimuli(range(100, 100 + N)))
    with pytest.raises(
        UserError, match=rf"holds {N} stimuli.*holds {N} stimuli; none of them"
    ) as caught:
        compare(network, other)
    assert "--align position" in caught.value.hint
    assert compare(network, other, align="position").align == "position"
    with pytest.raises(UserError, match="none"):
        compare(network, other, align="name")
    longer = store(
        tmp_path / "longer.h5", {"one": RNG.normal(size=(N + 1, 3))}, stimuli(range(N + 1))
    )
    with pytest.raises(UserError, match=f"{N + 1} stimuli; they cannot be matched by position"):
        compare(network, longer, align="position")


@pytest.mark.parametrize("align", ["digest", "name"])
def test_compare_rdms_matches_stimuli_in_any_order(align, network, tmp_path, capfd):
    order = np.random.default_rng(7).permutation(N + 3)
    more = np.concatenate([noisy(2), RNG.normal(size=(3, 6))])
    shuffled = store(tmp_path / "shuffled.h5", {"two": more[order]}, stimuli(order))
    result = compare(network, shuffled, align=align, layers=["two"])
    assert result.n_stimuli == N and result.tables[0].pairs[0].value == pytest.approx(1)
    assert f"the {N} stimuli that all have" in capfd.readouterr().err
    rdms = store(
        tmp_path / "rdms.h5", {"two": (pdist(more[order])[None], (), "euclidean")}, stimuli(order)
    )
    assert compare(network, rdms, align=align, layers=["two"]).tables[0].pairs[
        0
    ].value == pytest.approx(1)


def test_compare_rdms_matches_equal_images_by_occurrence(tmp_path):
    ids = [0, 0, 1, 2, 3, 3]
    reps = RNG.normal(size=(6, 4))
    order = [2, 0, 5, 4, 3, 1]
    a = store(tmp_path / "a.h5", {"x": reps}, stimuli(ids, named=False))
    b = store(
        tmp_path / "b.h5",
        {"x": reps[[2, 0, 4, 5, 3, 1]]},
        stimuli([ids[k] for k in order], named=False),
    )
    assert compare(a, b).tables[0].pairs[0].value == pytest.approx(1)
    with pytest.raises(UserError, match="no names"):
        compare(a, b, align="name")


def test_compare_rdms_needs_digests_to_match_by_them(network, tmp_path):
    blind = store(tmp_path / "blind.h5", {"x": noisy(3)}, stimuli(known=False))
    with pytest.raises(UserError, match="has no digests") as caught:
        compare(network, blind)
    assert "--align name" in caught.value.hint
    assert compare(network, blind, align="name").n_stimuli == N
    store(tmp_path / "alone.h5", {"x": noisy(3), "y": noisy(4)}, stimuli(known=False))
    assert compare(tmp_path / "alone.h5").tables[0].pairs  # one store needs no matching


def test_compare_rdms_refuses_fewer_than_four_stimuli(tmp_path, network):
    three = store(tmp_path / "three.h5", {"x": noisy(1)[:3], "y": noisy(2)[:3]}, stimuli(range(3)))
    for sources in ([three], [network, three]):
        with pytest.raises(UserError, match="needs 4"):
            compare(*sources)
    assert (
        compare(
            store(tmp_path / "four.h5", {"x": noisy(1)[:4], "y": noisy(2)[:4]}, stimuli(range(4)))
        ).n_stimuli
        == 4
    )


def test_compare_rdms_limits_stimuli_to_the_first_of_each_class(tmp_path, capfd):
    labels = np.array([0] * 8 + [1] * 4)
    path = store(tmp_path / "s.h5", {"x": noisy(1), "y": noisy(2)}, stimuli(labels=labels))
    pair = compare(path, max_stimuli=6).tables[0].pairs[0]
    rows = [0, 1, 2, 8, 9, 10]
    known = spearmanr(
        *(pdist(noisy(k)[rows].astype(np.float32), "sqeuclidean") for k in (1, 2))
    ).statistic
    assert pair.value == pytest.approx(known) and "3 of each class" in capfd.readouterr().err


def test_compare_rdms_takes_kernels_from_squared_distances_only(tmp_path):
    layers = {"net": noisy(1)} | {
        d: (pdist(noisy(2), d)[None], (), d) for d in ("sqeuclidean", "euclidean", "correlation")
    }
    path = store(tmp_path / "s.h5", layers)
    values = [
        compare(path, layers=["net", d], measure=["cka"]).tables[0].pairs[0].value
        for d in ("sqeuclidean", "euclidean")
    ]
    known = MEASURES.find("cka")(
        *(inner_products(torch.from_numpy(noisy(k)), "stimuli") for k in (1, 2))
    )
    assert values == pytest.approx([float(known)] * 2, abs=1e-6)
    with pytest.raises(UserError, match="in `correlation`; kernels come from squared") as caught:
        compare(path, layers=["net", "correlation"], measure=["cka"])
    assert "whitened-cosine" in caught.value.hint
    with pytest.raises(UserError, match="around the mean stimulus") as caught:
        compare(path, layers=["net", "sqeuclidean"], measure=["skl"])
    spec = "skl:center=stimuli"
    result = compare(path, layers=["net", "sqeuclidean"], measure=[spec]).tables[0].pairs[0].value
    assert result == pytest.approx(
        float(
            MEASURES.find(spec)(
                *(inner_products(torch.from_numpy(noisy(k)), "stimuli") for k in (1, 2))
            )
        ),
        rel=1e-5,
    )


def test_compare_rdms_refuses_a_prior_of_impossible_distances(tmp_path):
    path = store(
        tmp_path / "s.h5",
        {"x": (RNG.random((1, N * (N - 1) // 2)), (), "sqeuclidean"), "y": noisy(1)},
    )
    with pytest.raises(UserError, match="no patterns have such distances"):
        compare(path, measure=["jsd:center=stimuli"])
    assert compare(path, measure=["cka"]).tables


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


def test_compare_rdms_computes_rdms_in_the_given_distance(network, brain):
    result = compare(network, brain, layers=["one,IT@mean"], distance="correlation")
    known = spearmanr(
        pdist(noisy(1).astype(np.float32), "correlation"), subjects(5, 20).mean(0)
    ).statistic
    assert result.tables[0].pairs[0].value == pytest.approx(known, abs=1e-6)
    with pytest.raises(UserError, match="no distance `corelation`"):
        compare(network, distance="corelation")


def test_compare_rdms_refuses_a_constant_rdm(tmp_path):
    path = store(
        tmp_path / "s.h5", {"x": (np.ones((1, N * (N - 1) // 2)), (), "mse"), "y": noisy(1)}
    )
    with pytest.raises(UserError, match="1 everywhere"):
        compare(path)


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


def test_compare_rdms_refuses_nonsense(network, tmp_path):
    for settings, says in [
        ({"n_resamples": 5}, "--n-resamples is 5"),
        ({"n_resamples": -1}, "--n-resamples is -1"),
        ({"max_stimuli": 3}, "--max-stimuli is 3"),
    ]:
        with pytest.raises(UserError, match=says):
            compare(network, **settings)
    with pytest.raises(UserError, match="no store and no run"):
        compare()
    with pytest.raises(UserError, match="no measure `spearmen`; did you mean `spearman`"):
        compare(network, measure=["spearmen"])
    with pytest.raises(UserError, match="there is no store"):
        compare(tmp_path / "nothing.h5")


def test_compare_rdms_takes_a_repeated_source_once(network, tmp_path):
    assert len(compare(network, network).representations) == 2
    (tmp_path / "again").mkdir()
    twin = store(tmp_path / "again" / "net.h5", {"one": noisy(1)})
    assert len({layer.name for layer in compare(network, twin).representations}) == 3


def test_compare_rdms_as_dict_is_plain_json(network, brain):
    result = json.loads(
        json.dumps(
            compare(
                network,
                brain,
                n_resamples=20,
                layers=["one,IT,ape@mean"],
                measure=["spearman", "cosine"],
            ).as_dict(),
            allow_nan=False,
        )
    )
    assert result["schema"] == "rdl-compare-rdms/2" and result["n_stimuli"] == N
    assert (
        np.array(result["tables"][1]["values"]).shape == (3, 3)
        and len(result["tables"][0]["ceilings"]) == 1
    )


def test_compare_rdms_reads_runs_on_their_images(teacher, student, request, capfd):
    store_of_run = request.getfixturevalue("store")  # its name here is the function's above
    result = compare(teacher, student, max_stimuli=40, layers=["pool1,fc"])
    assert [layer.name for layer in result.representations] == [
        "teacher/pool1",
        "teacher/fc",
        "student/pool1",
        "student/fc",
    ] and result.n_stimuli == 40
    assert "4 of each class" in capfd.readouterr().err
    everything = compare(teacher, max_stimuli=40)
    names = [layer.name for layer in everything.representations]
    assert {"pool1", "pool2", "fc", "readout"} <= set(names) and not {
        "logits",
        "dropout",
        "flatten",
        "pool1.0",
    } & set(names)
    assert "pixels" not in names
    (pair,) = compare(teacher, max_stimuli=40, layers=["pixels,conv1"]).tables[0].pairs
    assert (pair.first, pair.second) == ("pixels", "conv1") and 0.3 < pair.value < 1
    same = compare(
        teacher,
        store_of_run,
        layers=["pool2"],
        max_stimuli=40,
        split="train",
        measure=["cka", "skl"],
    )
    assert same.tables[0].pairs[0].value == pytest.approx(1, abs=1e-6) and same.tables[1].pairs[
        0
    ].value == pytest.approx(0, abs=1e-5)
    with pytest.raises(UserError, match="none of them"):
        compare(teacher, store_of_run, layers=["pool2"], split="test")


def test_compare_rdms_compares_pixels_if_named(tmp_path):
    images = RNG.integers(0, 256, (N, 1, 4, 4), dtype=np.uint8)
    seen = stimuli()._replace(images=images, digests=pixel_digests(images))
    path = store(tmp_path / "s.h5", {"x": noisy(1)}, seen)
    assert [layer.name for layer in compare(path, layers=["*"]).representations] == ["x", "pixels"]
    twin = store(tmp_path / "t.h5", {"x": noisy(2)}, seen)
    assert [layer.name for layer in compare(path, twin, layers=["x,pixels"]).representations] == [
        "s/x",
        "s/pixels",
        "t/x",
    ]
    (pair,) = compare(path, layers=["pixels,x"]).tables[0].pairs
    known = spearmanr(
        pdist(images.reshape(N, -1).astype(float), "sqeuclidean"),
        pdist(noisy(1).astype(np.float32), "sqeuclidean"),
    ).statistic
    assert pair.value == pytest.approx(known)
    with pytest.raises(UserError, match="nothing to compare"):
        compare(path)


@needs_brains
def test_compare_rdms_of_real_brains(tmp_path):
    cichy, krieg, judged = (
        tmp_path / "cichy92.h5",
        tmp_path / "krieg92.h5",
        tmp_path / "behaviour.h5",
    )
    import_rdms(
        [BRAIN / "cichy92/target_fmri.mat"],
        cichy,
        ImportSettings(
            stimuli=str(BRAIN / "cichy92/92images"),
            distance="correlation",
            regions=["EVC=EVC_RDMs,IT=IT_RDMs"],
        ),
    )
    pictures = str(BRAIN / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat")
    import_rdms(
        [BRAIN / "krieg92/92_brainRDMs.mat"],
        krieg,
        ImportSettings(stimuli=pictures, distance="correlation"),
    )
    import_rdms(
        [BRAIN / "krieg92/92_behavRDMs.mat"],
        judged,
        ImportSettings(stimuli=pictures, distance="arrangement"),
    )
    with pytest.raises(UserError, match=r"holds 92 stimuli.*holds 92 stimuli; none") as caught:
        compare(cichy, krieg)
    assert "--align position" in caught.value.hint
    known = {
        "EVC": (0.242, 0.392),
        "IT": (0.453, 0.542),
        "hIT": (0.372, 0.666),
        "simJudge": (0.477, 0.577),
    }
    for path in (cichy, krieg, judged):
        for ceiling in compare(path).tables[0].ceilings:
            assert (round(ceiling.lower, 3), round(ceiling.upper, 3)) == known.pop(ceiling.region)
    assert not known
    (pair,) = compare(cichy, krieg, layers=["IT@mean,hIT@mean"], align="position").tables[0].pairs
    assert round(pair.value, 3) == 0.557
    (pair,) = compare(krieg, judged, layers=["*@mean"]).tables[0].pairs
    assert round(pair.value, 3) == 0.392


@pytest.mark.parametrize("name", MEASURES.names())
def test_self_check_of_copies_gives_what_theory_says(name, network, brain):
    spec = QUICK.get(name, name)
    sources = (
        [network] if measure_traits(MEASURES.find(name)).input == "kernel" else [network, brain]
    )
    for distance in ("mse", "correlation"):
        result = self_check(
            sources, CompareRdmsSettings(measure=[spec], distance=distance, device="cpu")
        )
        assert result.passed and result.as_dict()["passed"]
        checks = {(check.layer.rpartition("/")[2], check.copy): check for check in result.checks}
        assert all(checks["one", copy].expected is not None for copy in ("identical", "scaled"))
        if name in ("jsd", "skl"):
            assert checks["one", "offset"].expected is None and checks["one", "offset"].value > 0.01
    if measure_traits(MEASURES.find(name)).input == "rdm":
        assert (checks["V1", "offset"].expected is None) == (
            name not in INVARIANT_TO_OFFSET_OF_DISTANCES
        )
        assert (
            checks["one", "rotated"].expected is None
            and abs(checks["one", "rotated"].value - 1) > 1e-3
        )  # not blind: correlation


def test_self_check_can_fail(network, monkeypatch):
    monkeypatch.setattr(
        "rdl_cli.commands.compare_rdms.self_check.rotate",
        lambda reps, generator: reps * torch.arange(1, reps.shape[1] + 1),
    )
    result = self_check([network], CompareRdmsSettings(measure=["cka"], device="cpu"))
    assert not result.passed and {
        check.copy for check in result.checks if check.passed is False
    } == {"rotated"}


def test_self_check_of_ties_has_its_theory(tmp_path):
    path = store(tmp_path / "s.h5", {"x": (np.round(subjects(1, 3), 1), (), "mse")})
    result = self_check([path], CompareRdmsSettings(measure=["rho-a", "tau-a"], device="cpu"))
    assert result.passed and all(0.5 < check.expected < 1 for check in result.checks)


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
