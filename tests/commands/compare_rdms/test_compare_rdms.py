"""Comparisons of representations: values computed independently."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from comparisons import QUICK, RNG, N, compare, noisy, store, subjects
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES, measure_traits

BRAIN = Path(__file__).resolve().parents[3] / "../shared/data/brain"
needs_brains = pytest.mark.skipif(
    not BRAIN.exists(), reason="the brain RDMs are not beside this checkout"
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
