"""Stimuli of a comparison: the same in all sources, matched, limited, or refused."""

import numpy as np
import pytest
from comparisons import RNG, N, compare, noisy, stimuli, store
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError


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


def test_compare_rdms_takes_a_repeated_source_once(network, tmp_path):
    assert len(compare(network, network).representations) == 2
    (tmp_path / "again").mkdir()
    twin = store(tmp_path / "again" / "net.h5", {"one": noisy(1)})
    assert len({layer.name for layer in compare(network, twin).representations}) == 3


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
