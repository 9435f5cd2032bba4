"""`--against`: rows × columns, tests corrected over these pairs alone."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from rdl_cli.cli.render.rdm_comparison import to_rich
from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError
from rdl_cli.statistics.multiplicity import holm
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

N = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a store of three layers of one RDM, and of two regions of four subjects."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(N, 4))
    stimuli = Stimuli(np.array([f"{k:064x}" for k in range(N)], "S64"))
    path = tmp_path_factory.mktemp("against") / "s.h5"
    counts = {"conv": 1, "pool": 1, "fc": 1, "IT": 4, "EVC": 4}
    specs = [
        RdmSpec(name, count, "float64", "mse", name, "", tuple("abcd"[:count]) if count > 1 else ())
        for name, count in counts.items()
    ]
    with create_store(path, stimuli, {}, specs, "f") as writer:
        for spec in specs:
            for k in range(spec.count):
                writer.write_rdm(spec.name, k, 0, pdist(truth + rng.normal(size=truth.shape)))
    return path


def compare(path, **changes):
    return compare_rdms(
        [path], CompareRdmsSettings(n_resamples=200, device="cpu", **changes)
    ).tables[0]


def test_compare_rdms_against_corrects_over_rows_times_columns_alone(path):
    table, everything = compare(path, against=["IT,EVC"]), compare(path)
    assert [(pair.first, pair.second) for pair in table.pairs] == [
        (layer, region) for region in ("IT", "EVC") for layer in ("conv", "pool", "fc")
    ]
    assert len(everything.pairs) == 10
    by_name = {frozenset((pair.first, pair.second)): pair for pair in everything.pairs}
    for pair in table.pairs:
        other = by_name[frozenset((pair.first, pair.second))]
        assert pair.value == pytest.approx(other.value) and pair.n_subjects == 4
        assert (pair.low, pair.high) == pytest.approx((other.low, other.high))
        assert pair.p_holm <= other.p_holm + 0.02
    corrected = holm([pair.p for pair in table.pairs])
    assert np.allclose([pair.p_holm for pair in table.pairs], corrected)


def test_compare_rdms_against_tests_layers_of_one_region_as_references_do(path):
    table, known = compare(path, against=["IT", "EVC"]), compare(path, reference=["IT"])
    differences = [(d.reference, d.first, d.second) for d in table.differences]
    pairs = [("conv", "pool"), ("conv", "fc"), ("pool", "fc")]
    assert differences == [(region, *pair) for region in ("IT", "EVC") for pair in pairs]
    same = {(d.reference, d.first, d.second): d for d in known.differences}
    for d in table.differences[:3]:
        other = same[d.reference, d.first, d.second]
        assert (d.difference, d.low, d.high, d.p) == pytest.approx(
            (other.difference, other.low, other.high, other.p)
        )
    assert np.allclose(
        [d.p_holm for d in table.differences], holm([d.p for d in table.differences])
    )


def test_compare_rdms_against_prints_rows_and_columns(path):
    result = compare_rdms(
        [path], CompareRdmsSettings(n_resamples=0, device="cpu", against=["IT", "EVC"])
    )
    columns, rows = result.matrix(result.tables[0])
    assert columns == ["IT", "EVC"] and [name for name, _ in rows] == ["conv", "pool", "fc"]
    assert all(value is not None for _, values in rows for value in values)
    record = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert record["tables"][0]["values"][0][1] is None, "conv and pool are not compared"
    matrix = to_rich(result).renderables[2]
    assert [str(column.header) for column in matrix.columns] == ["", "IT", "EVC"]
    assert matrix.row_count == 3


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"against": ["V9"]}, "there is no layer for --against `V9`"),
        ({"against": ["*"]}, "--against names all layers: conv, pool, fc, IT, EVC"),
        ({"against": ["IT"], "reference": ["EVC"]}, "--against is IT and --reference is EVC"),
    ],
)
def test_compare_rdms_against_refuses_what_it_cannot_compare(changes, fact, path):
    with pytest.raises(UserError) as caught:
        compare(path, **changes)
    assert fact in str(caught.value) and caught.value.hint
