"""Which RDMs a text like `IT@BE@mean` names."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from rdl_cli.core.errors import UserError
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.select import select, select_one, split_layer
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

N, PAIRS = 4, 6
VALUES = np.arange(6 * PAIRS, dtype=np.float32).reshape(6, PAIRS)
PLAIN = {"subjects": (), "sessions": (), "times": ()}
STACKS = {
    "IT": {"subjects": ("BE", "KO", "SN") * 2, "sessions": ("1",) * 3 + ("2",) * 3, "times": ()},
    "V1": {"subjects": tuple("123456"), "sessions": (), "times": ()},
    "meg": {
        "subjects": ("1",) * 3 + ("2",) * 3,
        "sessions": (),
        "times": (-100.0, 50.0, 150.5) * 2,
    },
    "a@b": PLAIN,
    "a": PLAIN,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "s.h5"
    count = {name: 6 if name in ("IT", "V1", "meg") else 1 for name in STACKS}
    specs = [
        RdmSpec(name, count[name], "float32", "correlation", name, "1 - r", **labels)
        for name, labels in STACKS.items()
    ]
    digests = np.array([f"{i:064x}" for i in range(N)], "S64")
    with create_store(path, Stimuli(digests), {"command": "test"}, specs, "f") as writer:
        for spec in specs:
            for k in range(spec.count):
                values = VALUES[k].copy()
                if spec.name == "V1":
                    values[0], values[1] = np.nan, np.nan if k else 7
                writer.write_rdm(spec.name, k, 0, values)
    return Store.open(path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("IT", range(6)),
        ("IT@KO", [1, 4]),
        ("IT@subjectKO", [1, 4]),
        ("IT@session2", [3, 4, 5]),
        ("IT@session2@KO", [4]),
        ("IT@KO@session2", [4]),
        ("V1@3", [2]),
        ("V1@subject3", [2]),
        ("meg@150.5ms", [2, 5]),
        ("meg@-100ms@2", [3]),
        ("a@b", [0]),
        ("a", [0]),
    ],
)
def test_select_narrows_by_each_part(store, text, rows):
    rdms = select(store, text)
    assert (
        len(rdms.values) == len(rdms.subjects) == len(rdms.sessions) == len(rdms.times) == len(rows)
    )
    everything = store.rdms(rdms.region)
    np.testing.assert_array_equal(rdms.values, everything.values[list(rows)])
    assert rdms.subjects == tuple(everything.subjects[k] for k in rows)


@pytest.mark.parametrize("text", ["IT@mean", "IT@session1@mean", "IT@mean@session1", "IT@BE@mean"])
def test_select_averages_what_the_other_parts_leave(store, text):
    rdms = select(store, text)
    rest = select(store, text.replace("@mean", ""))
    assert len(rdms.values) == 1 and rdms.values.dtype == np.float64
    np.testing.assert_allclose(rdms.values[0], rest.values.mean(0))
    assert f"mean of {len(rest.values)} RDMs" in rdms.notes[-1]


def test_select_averages_what_is_measured(store):
    values = select(store, "V1@mean").values[0]
    assert math.isnan(values[0]) and values[1] == 7
    np.testing.assert_allclose(values[2:], VALUES[:, 2:].mean(0))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("IT@XX", "BE, KO, SN, session1, session2, mean"),
        ("meg@150ms", "1, 2, -100ms, 50ms, 150.5ms, mean"),
        ("a@mea", "without parts"),
        ("IT@", "BE"),
    ],
)
def test_select_lists_the_parts_for_an_unknown_one(store, text, known):
    with pytest.raises(UserError, match="no part") as caught:
        select(store, text)
    assert known in caught.value.hint


def test_select_lists_the_layers_for_an_unknown_one(store):
    with pytest.raises(UserError, match="no layer `It`; did you mean `IT`") as caught:
        select(store, "It@mean")
    assert "meg" in caught.value.hint


def test_select_one_refuses_several(store):
    assert select_one(store, "IT@BE@session1").values.shape == (1, PAIRS)
    assert select_one(store, "a@b").notes == ("a@b",)
    with pytest.raises(UserError, match=r"6 RDMs \(3 subjects, 2 sessions\)") as caught:
        select_one(store, "IT")
    assert "IT@mean, IT@BE" in caught.value.hint
    for hint in caught.value.hint.removeprefix("choose one: ").split(", "):
        assert len(select(store, hint).values) < 6


def test_split_layer_takes_names_with_an_at_sign(store):
    assert (
        split_layer(store, "a@b") == ("a@b", [])
        and split_layer(store, "a@b@mean") == ("a@b", ["mean"])
        and split_layer(store, "a@mean") == ("a", ["mean"])
    )


def test_select_leaves_sessions_to_average_by_subject(store):
    rdms = store.rdms("IT").mean_over_sessions()
    assert rdms.subjects == ("BE", "KO", "SN")
    np.testing.assert_allclose(rdms.values, (VALUES[:3] + VALUES[3:]) / 2)
    assert len(store.rdms("a").mean_over_sessions()) == 1
    with pytest.raises(UserError, match="3 time points") as caught:
        store.rdms("meg").mean_over_sessions()
    assert "@-100ms" in caught.value.hint
    assert select(store, "meg@50ms").mean_over_sessions().subjects == ("1", "2")


def test_select_rdms_subset_keeps_the_order_of_the_rows(store):
    rdms = store.rdms("IT")
    rows = np.array([2, 0, 3])
    for values, part in zip(rdms.values, rdms.subset(rows).values, strict=True):
        np.testing.assert_array_equal(squareform(part), squareform(values)[rows][:, rows])
    assert rdms.subset(rows).subjects == rdms.subjects
