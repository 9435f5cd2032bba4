"""Each format as its tool writes it, with all variations, and the files that are refused."""

import json
import pickle
import re
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import rsatoolbox
import scipy.io
import torch
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.raw_array import READERS
from rdl_cli.io.read import read_rdms

N = 5
RNG = np.random.default_rng(5)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(4)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
NAMES = ("face", "hand", "house", "tool", "tree")


def structs(names, rdms, **more):
    """A MATLAB struct array 1 × k."""
    out = np.empty(
        (1, len(names)),
        dtype=[("color", object), ("RDM", object), ("name", object), *((k, object) for k in more)],
    )
    for k, (name, rdm) in enumerate(zip(names, rdms, strict=True)):
        out[0, k] = (np.array([[0, 0, 1]], np.uint8), rdm, name, *more.values())
    return out


def mat73(path: Path, write) -> Path:
    """A MATLAB 7.3 file: HDF5 behind 512 bytes that say so."""
    with h5py.File(path, "w", userblock_size=512) as file:
        write(file)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


# MATLAB


def test_read_rdms_struct_names_give_region_subject_session(tmp_path):
    names = [
        "hIT | BE | Session: 1",
        "hIT | BE | Session: 2",
        "EVC | BE | Session: 1",
        "EVC | BE | Session: 2",
    ]
    scipy.io.savemat(tmp_path / "brain.mat", {"RDMs": structs(names, SQUARES).reshape(2, 1, 2)})
    it, evc = read_rdms([tmp_path / "brain.mat"])
    assert (it.region, it.subjects, it.sessions) == ("hIT", ("BE", "BE"), ("1", "2"))
    assert (evc.region, evc.sessions) == ("EVC", ("1", "2")) and np.array_equal(
        evc.values, VECTORS[2:]
    )


def test_read_rdms_struct_places_number_what_names_leave_open(tmp_path):
    scipy.io.savemat(
        tmp_path / "brain.mat", {"RDMs": structs(["hIT"] * 4, SQUARES).reshape(1, 2, 2)}
    )
    (it,) = read_rdms([tmp_path / "brain.mat"])
    assert it.subjects == ("1", "1", "2", "2") and it.sessions == ("1", "2", "1", "2")


def test_read_rdms_structs_of_row_vectors_with_an_extra_field_and_other_names(tmp_path):
    scipy.io.savemat(
        tmp_path / "v1.mat",
        {"RDMs": structs(["V1"], [VECTORS[0][None].astype(np.float32)], simmat=np.eye(N))},
    )
    (v1,) = read_rdms([tmp_path / "v1.mat"])
    assert v1.region == "V1" and np.array_equal(v1.values[0], VECTORS[0].astype(np.float32))
    nameless = np.empty(
        (1, 2), dtype=[("reprName", object), ("measModelName", object), ("RDM", object)]
    )
    nameless[0, 0], nameless[0, 1] = ("r", "conv1", VECTORS[:1]), ("r", "conv2", VECTORS[1:2])
    scipy.io.savemat(tmp_path / "a2020.mat", {"RDMs": nameless})
    assert [entry.region for entry in read_rdms([tmp_path / "a2020.mat"])] == ["conv1", "conv2"]


def test_read_rdms_bare_matrices_beside_other_variables_and_names_from_a_cell_or_char_matrix(
    tmp_path,
):
    more = {
        "animacy": SQUARES[1],
        "vectors": RNG.random((N, 12)),
        "color": np.array([[0, 0, 1]]),
        "n": 5,
    }
    for labels in (np.array(NAMES, dtype=object), np.array(NAMES)):
        scipy.io.savemat(tmp_path / "models.mat", {"V1": SQUARES[0], "labels": labels, **more})
        v1, animacy = read_rdms([tmp_path / "models.mat"])
        assert (v1.region, animacy.region, v1.stimuli) == ("V1", "animacy", NAMES)
        assert any("vectors" in note and "skipped" in note for note in v1.notes)


def test_read_rdms_an_old_version_4_file(tmp_path):
    scipy.io.savemat(tmp_path / "old.mat", {"IT": SQUARES[0]}, format="4")
    assert np.array_equal(read_rdms([tmp_path / "old.mat"])[0].values, VECTORS[:1])


def test_read_rdms_version_73_is_transposed(tmp_path):
    def write(file):
        file["IT"] = np.ascontiguousarray(SQUARES.T)  # MATLAB's (4, n, n)
        file["EVC"] = SQUARES  # MATLAB's (n, n, 4)
        for name in ("IT", "EVC"):
            file[name].attrs["MATLAB_class"] = np.bytes_("double")

    evc, it = read_rdms([mat73(tmp_path / "fmri.mat", write)])
    assert np.array_equal(it.values, VECTORS) and np.array_equal(evc.values, VECTORS)


def test_read_rdms_version_73_struct_arrays_cells_and_chars(tmp_path):
    def write(file):
        def put(value):
            key = f"#refs#/{len(file['#refs#'])}"
            if isinstance(value, str):
                file[key] = np.array([[ord(c)] for c in value], np.uint16)
                file[key].attrs["MATLAB_class"] = np.bytes_("char")
            else:
                file[key] = np.ascontiguousarray(np.asarray(value).T)
                file[key].attrs["MATLAB_class"] = np.bytes_("double")
            return file[key].ref

        refs = h5py.special_dtype(ref=h5py.Reference)
        file.create_group("#refs#")
        group = file.create_group("RDMs")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, values in (
            ("RDM", SQUARES),
            ("name", [f"IT | S{s} | Session: {t}" for t in (1, 2) for s in (1, 2)]),
        ):
            held = np.array([put(v) for v in values], dtype=refs).reshape(
                2, 2, 1
            )  # MATLAB's (1, 2, 2)
            group.create_dataset(field, data=held, dtype=refs)
        file.create_dataset(
            "stimuli", data=np.array([[put(name) for name in NAMES]], dtype=refs), dtype=refs
        )
        file["stimuli"].attrs["MATLAB_class"] = np.bytes_("cell")

    (it,) = read_rdms([mat73(tmp_path / "brain.mat", write)])
    assert (
        it.subjects == ("S1", "S1", "S2", "S2")
        and it.sessions == ("1", "2", "1", "2")
        and it.stimuli == NAMES
    )
    assert np.array_equal(it.values, VECTORS[[0, 2, 1, 3]])


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("subjects_first", [True, False])
def test_read_rdms_algonauts_in_either_orientation(version, subjects_first, tmp_path):
    logical = SQUARES if subjects_first else np.moveaxis(SQUARES, 0, 2)
    if version == "5":
        scipy.io.savemat(tmp_path / "fmri.mat", {"IT_RDMs": logical, "EVC_RDMs": logical})
    else:
        mat73(
            tmp_path / "fmri.mat",
            lambda file: [
                file.create_dataset(name, data=logical.T) for name in ("IT_RDMs", "EVC_RDMs")
            ],
        )
    imported = read_rdms([tmp_path / "fmri.mat"])
    assert {entry.region for entry in imported} == {"IT_RDMs", "EVC_RDMs"}
    assert all(
        entry.subjects == ("1", "2", "3", "4") and np.array_equal(entry.values, VECTORS)
        for entry in imported
    )


def test_read_rdms_algonauts_meg_of_subjects_by_times(tmp_path):
    movie = np.stack([SQUARES[:3], SQUARES[1:]])  # 2 subjects × 3 times
    mat73(tmp_path / "meg.mat", lambda file: file.create_dataset("MEG_RDMs_late", data=movie.T))
    (meg,) = read_rdms([tmp_path / "meg.mat"])
    assert meg.subjects == ("1",) * 3 + ("2",) * 3 and meg.times == (0, 1, 2) * 2
    assert np.array_equal(meg.values, VECTORS[[0, 1, 2, 1, 2, 3]])


# rsatoolbox


def test_read_rdms_rsatoolbox_file(tmp_path):
    rdms = rsatoolbox.rdm.RDMs(
        VECTORS,
        dissimilarity_measure="squared euclidean",
        descriptors={"noise": np.eye(3)},
        rdm_descriptors={"roi": ["IT", "IT", "EVC", "EVC"], "subject": ["a", "b", "a", "b"]},
        pattern_descriptors={"category": ["x"] * N, "stimulus": list(NAMES)},
    )
    rdms.save(str(tmp_path / "rdms.h5"), file_type="hdf5")
    it, evc = read_rdms([tmp_path / "rdms.h5"])
    assert (it.region, it.subjects, it.distance, it.stimuli) == ("IT", ("a", "b"), "mse", NAMES)
    assert np.array_equal(evc.values, VECTORS[2:])


def test_read_rdms_rsatoolbox_without_descriptors(tmp_path):
    rsatoolbox.rdm.RDMs(VECTORS).save(str(tmp_path / "rdms.hdf5"), file_type="hdf5")
    (it,) = read_rdms([tmp_path / "rdms.hdf5"])
    assert it.region == "rdms" and it.subjects == ("1", "2", "3", "4") and it.stimuli is None
    assert any("taken as 4 subjects" in note for note in it.notes) and any(
        "have numbers" in note for note in it.notes
    )


def test_read_rdms_rsatoolbox_movies_keep_their_times(tmp_path):
    rdms = rsatoolbox.rdm.RDMs(VECTORS, rdm_descriptors={"time": [-0.1, 0.0, 0.1, 0.25]})
    rdms.save(str(tmp_path / "rdms.h5"), file_type="hdf5")
    assert read_rdms([tmp_path / "rdms.h5"])[0].times == (-100, 0, 100, 250)


def test_read_rdms_rsatoolbox_long_form(tmp_path):
    rdms = rsatoolbox.rdm.RDMs(
        VECTORS[:2],
        rdm_descriptors={"subject": ["a", "b"]},
        pattern_descriptors={"stimulus": list(NAMES)},
    )
    rdms.to_df().to_csv(tmp_path / "rdms.csv", index=False)
    (imported,) = read_rdms([tmp_path / "rdms.csv"])
    assert (
        imported.subjects == ("a", "b")
        and imported.stimuli == NAMES
        and np.array_equal(imported.values, VECTORS[:2])
    )


# Net2Brain, dnnbrain, Meadows


def test_read_rdms_net2brain_skips_the_pickled_meta_and_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    np.savez(
        tmp_path / "RDM_layer1.npz",
        rdm=VECTORS[0].astype(np.float32),
        stimuli_name=np.array(NAMES),
        layer_name=np.array("layer1"),
        meta=np.array(Bomb(), dtype=object),
    )
    (layer,) = read_rdms([tmp_path / "RDM_layer1.npz"])
    assert (layer.region, layer.stimuli, layer.values.dtype) == ("layer1", NAMES, np.float32)
    assert any("meta" in note for note in layer.notes)


def test_read_rdms_net2brain_pt_loads_only_without_pickles(tmp_path):
    held = {
        "rdm": torch.from_numpy(VECTORS[0]),
        "stimuli_name": list(NAMES),
        "layer_name": "fc",
        "meta": {"distance": "correlation"},
    }
    torch.save(held, tmp_path / "rdm.pt")
    (fc,) = read_rdms([tmp_path / "rdm.pt"])
    assert (fc.region, fc.distance, fc.stimuli) == ("fc", "correlation", NAMES) and np.array_equal(
        fc.values, VECTORS[:1]
    )
    torch.save({**held, "meta": Path("x")}, tmp_path / "rdm.pt")
    with pytest.raises(UserError, match="without running") as error:
        read_rdms([tmp_path / "rdm.pt"])
    assert "np.savez" in error.value.hint


def test_read_rdms_net2brain_brain_folders(tmp_path):
    np.savez(tmp_path / "fmri_IT.npz", SQUARES)
    (it,) = read_rdms([tmp_path / "fmri_IT.npz"])
    assert it.region == "fmri_IT" and len(it.subjects) == 4


@pytest.mark.parametrize("type_,array,k", [("bRDM", VECTORS[0], 1), ("dRDM", VECTORS, 4)])
def test_read_rdms_dnnbrain(type_, array, k, tmp_path):
    with h5py.File(tmp_path / "x.rdm.h5", "w") as file:
        file.attrs["type"] = type_
        file.create_dataset("V1", data=array, compression="gzip")
        file.create_dataset("IT", data=array, compression="gzip")
    imported = read_rdms([tmp_path / "x.rdm.h5"])
    assert [entry.region for entry in imported] == ["IT", "V1"] and np.array_equal(
        imported[0].values, VECTORS[:k]
    )
    assert imported[0].sessions == (("",) if k == 1 else ("1", "2", "3", "4"))


def test_read_rdms_meadows_single(tmp_path):
    path = tmp_path / "Meadows_myExp_v_v2_cuddly-bunny_3_1D.mat"
    scipy.io.savemat(
        path, {"rdmutv": VECTORS[:1], "stimuli": np.array([f"{name}.png" for name in NAMES])}
    )
    (imported,) = read_rdms([path])
    assert (imported.region, imported.subjects, imported.distance) == (
        "myExp task 3",
        ("cuddly-bunny",),
        "euclidean",
    )
    assert imported.stimuli == tuple(f"{name}.png" for name in NAMES)


def test_read_rdms_meadows_multi_brings_stimuli_into_one_order(tmp_path):
    path = tmp_path / "Meadows_myExp_v_v2_arrangement_1D.mat"
    back = squareform(SQUARES[1][::-1, ::-1], checks=False)
    held = {
        "rdmutv_able_fox": VECTORS[:1],
        "stimuli_able_fox": np.array(NAMES),
        "rdmutv_calm_owl": back[None],
        "stimuli_calm_owl": np.array(NAMES[::-1]),
    }
    scipy.io.savemat(path, held)
    (imported,) = read_rdms([path])
    assert (imported.region, imported.subjects, imported.stimuli) == (
        "arrangement",
        ("able-fox", "calm-owl"),
        NAMES,
    )
    assert np.array_equal(imported.values, VECTORS[:2]) and any(
        "orders" in note for note in imported.notes
    )


def test_read_rdms_meadows_tree(tmp_path):
    path = tmp_path / "Meadows_myExp_v_v1_cuddly-bunny_tree.json"
    stimuli = [{"name": name} for name in NAMES]
    tasks = [
        {"task": {"task_type": "consent"}},
        {
            "task": {"task_type": "multiarrange", "name": "arrange"},
            "stimuli": stimuli,
            "rdm": VECTORS[0].tolist(),
        },
    ]
    path.write_text(json.dumps({"tasks": tasks}))
    (imported,) = read_rdms([path])
    assert (imported.region, imported.subjects, imported.stimuli) == (
        "arrange",
        ("cuddly-bunny",),
        NAMES,
    )
    assert np.array_equal(imported.values, VECTORS[:1])


# tables


def lines(square, mark=",", names=(), corner="", side=True, head=True, missing="nan"):
    rows = [[missing if np.isnan(v) else repr(float(v)) for v in row] for row in square]
    if names and side:
        rows = [[name, *row] for name, row in zip(names, rows, strict=True)]
    if names and head:
        rows = [[corner, *names] if side else list(names), *rows]
    return "\n".join(mark.join(row) for row in rows) + "\n"


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"names": NAMES, "corner": "stimulus"},
        {"names": NAMES, "side": False},
        {"names": NAMES, "head": False},
    ],
    ids=str,
)
def test_read_rdms_squares_of_text(mark, options, tmp_path):
    (tmp_path / "it.csv").write_text(lines(SQUARES[0], mark, **options))
    (imported,) = read_rdms([tmp_path / "it.csv"])
    assert (
        np.array_equal(imported.values, VECTORS[:1])
        and imported.stimuli == (NAMES if options else None)
        and imported.region == "it"
    )


def test_read_rdms_a_blank_corner_names_and_a_blank_diagonal_does_not(tmp_path):
    (tmp_path / "it.csv").write_text(lines(SQUARES[0], names=("0", "1", "2", "3", "4")))
    assert read_rdms([tmp_path / "it.csv"])[0].stimuli == ("0", "1", "2", "3", "4")
    blank = SQUARES[0] + np.diag([np.nan] * N)
    (tmp_path / "it.csv").write_text(lines(blank, missing=""))
    (imported,) = read_rdms([tmp_path / "it.csv"])
    assert imported.stimuli is None and np.array_equal(imported.values, VECTORS[:1])


def test_read_rdms_decimal_commas_comments_and_a_byte_order_mark(tmp_path):
    (tmp_path / "it.csv").write_text(
        "# from a spreadsheet\n" + lines(SQUARES[0], ";").replace(".", ","), "utf-8-sig"
    )
    assert np.array_equal(read_rdms([tmp_path / "it.csv"])[0].values, VECTORS[:1])


def test_read_rdms_a_half_that_is_blank_is_mirrored_on_request(tmp_path):
    half = np.where(np.tri(N, k=-1, dtype=bool), np.nan, SQUARES[0])
    (tmp_path / "it.tsv").write_text(lines(half, "\t", missing=""))
    with pytest.raises(UserError, match="not symmetric"):
        read_rdms([tmp_path / "it.tsv"])
    assert np.array_equal(
        read_rdms([tmp_path / "it.tsv"], repairs=("mirror",))[0].values, VECTORS[:1]
    )


def test_read_rdms_vectors_of_text(tmp_path):
    np.savetxt(tmp_path / "it.txt", VECTORS[0], fmt="%.17g")
    assert np.array_equal(read_rdms([tmp_path / "it.txt"])[0].values, VECTORS[:1])
    np.savetxt(tmp_path / "its.csv", VECTORS, delimiter=",", fmt="%.17g")
    (imported,) = read_rdms([tmp_path / "its.csv"], n=N)
    assert np.array_equal(imported.values, VECTORS) and len(imported.subjects) == 4


@pytest.mark.parametrize("head", ["", "i,j,value\n"])
@pytest.mark.parametrize("start", [0, 1])
def test_read_rdms_long_form_of_numbers(head, start, tmp_path):
    pairs = zip(*np.triu_indices(N, 1), VECTORS[0], strict=True)
    shuffled = RNG.permutation(
        [f"{i + start},{j + start},{v!r}" for i, j, v in ((a, b, float(c)) for a, b, c in pairs)]
    )
    (tmp_path / "it.csv").write_text(head + "\n".join(shuffled))
    (imported,) = read_rdms([tmp_path / "it.csv"])
    assert np.array_equal(imported.values, VECTORS[:1]) and imported.stimuli is None


def test_read_rdms_long_form_of_three_stimuli_is_no_square(tmp_path):
    (tmp_path / "it.csv").write_text("1,2,0.5\n1,3,0.25\n2,3,0.75\n")
    assert read_rdms([tmp_path / "it.csv"])[0].values.tolist() == [[0.5, 0.25, 0.75]]


def test_read_rdms_long_form_with_subjects_times_and_a_pair_that_is_missing(tmp_path):
    rows = ["a,b,distance,subject,time_ms,roi"]
    for s, square in enumerate(SQUARES[:2]):
        for t in (100, 150):
            rows += [
                f"{NAMES[i]},{NAMES[j]},{float(square[i, j] * t)!r},s{s},{t},IT"
                for i, j in zip(*np.triu_indices(N, 1), strict=True)
            ]
    del rows[4]
    (tmp_path / "it.csv").write_text("\n".join(rows))
    (imported,) = read_rdms([tmp_path / "it.csv"])
    assert (imported.region, imported.subjects, imported.times) == (
        "IT",
        ("s0", "s0", "s1", "s1"),
        (100, 150, 100, 150),
    )
    assert imported.stimuli == NAMES and np.flatnonzero(np.isnan(imported.values)).tolist() == [3]


@pytest.mark.parametrize(
    "text,fact",
    [
        ("a,b,value\nx,y,1\nx,y,2\n", "for the second time"),
        ("a,b,value\nx,y,1\nx,z,far\ny,z,1\n", "`far` on line 3 is no number"),
        ("0,1,2\n1,0\n2,3,0\n", "line 2 has 2 cells, the first line has 3"),
        ("a,b,c,d\n1,2,3,4\n", "neither square nor long"),
        ("# nothing\n", "holds no table"),
        (",a,b,c\na,0,1,2\nc,1,0,3\nb,2,3,0\n", "column `b` where row is `c`"),
    ],
)
def test_read_rdms_refuses_other_tables(text, fact, tmp_path):
    (tmp_path / "it.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(fact)):
        read_rdms([tmp_path / "it.csv"])


# what is refused


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_read_rdms_a_pickle_is_never_opened(protocol, tmp_path):
    (tmp_path / "IT.pkl").write_bytes(pickle.dumps({"dissimilarities": VECTORS}, protocol))
    with pytest.raises(UserError, match="is a pickle") as error:
        read_rdms([tmp_path / "IT.pkl"])
    assert "np.savez" in error.value.hint


def test_read_rdms_object_arrays_are_not_opened(tmp_path):
    np.save(tmp_path / "it.npy", np.array({"rdm": 1}, dtype=object))
    with pytest.raises(UserError, match="only pickled objects"):
        read_rdms([tmp_path / "it.npy"])


def test_read_rdms_refuses_other_files(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_rdms([tmp_path / "none.npy"])
    (tmp_path / "empty.mat").touch()
    with pytest.raises(UserError, match="is empty"):
        read_rdms([tmp_path / "empty.mat"])
    (tmp_path / "x.bin").write_bytes(bytes(range(200, 256)))
    with pytest.raises(UserError, match="no format that is known"):
        read_rdms([tmp_path / "x.bin"])
    with h5py.File(tmp_path / "act.h5", "w") as file:
        file["layer1"] = RNG.random((N, 3, 4, 4))
    with pytest.raises(UserError, match="no known layout of RDMs"):
        read_rdms([tmp_path / "act.h5"])
    np.savez(tmp_path / "features.npz", conv1=RNG.random((1, 8, 4, 5)), fc=RNG.random((1, 10)))
    with pytest.raises(UserError, match=r"no RDM of 7 stimuli; its variables: conv1 1 × 8 × 4 × 5"):
        read_rdms([tmp_path / "features.npz"], n=7)


def test_read_rdms_a_format_can_be_insisted_on(tmp_path):
    np.save(tmp_path / "it.npy", SQUARES[0])
    assert read_rdms([tmp_path / "it.npy"], format="numpy")
    with pytest.raises(UserError, match="no RDM in the format `table`"):
        read_rdms([tmp_path / "it.npy"], format="table")
    with pytest.raises(UserError, match="did you mean `meadows`"):
        read_rdms([tmp_path / "it.npy"], format="meadow")


def test_read_rdms_one_region_from_a_file_for_each_session(tmp_path):
    for s in (1, 2):
        scipy.io.savemat(
            tmp_path / f"{s}.mat", {"RDMs": structs([f"IT | a | Session: {s}"], SQUARES[s : s + 1])}
        )
    (it,) = read_rdms([tmp_path / "1.mat", tmp_path / "2.mat"])
    assert it.sessions == ("1", "2") and np.array_equal(it.values, VECTORS[1:3])
    with pytest.raises(UserError, match="two RDMs of IT are both subject a, session 1"):
        read_rdms([tmp_path / "1.mat", tmp_path / "1.mat"])


def test_read_rdms_a_header_that_claims_more_than_the_file_can_hold_is_not_believed(tmp_path):
    scipy.io.savemat(tmp_path / "it.mat", {"RDMs": structs(["IT"], SQUARES[:1])})
    data = bytearray((tmp_path / "it.mat").read_bytes())
    assert data[164] == 1  # the second dimension of the struct array
    data[166] = 184
    data[4] ^= 0xFF  # and the signature is damaged as well
    (tmp_path / "it.mat").write_bytes(data)
    with pytest.raises(UserError, match=r"`RDMs` \(struct\) claims 96,469,000 bytes in a file of"):
        read_rdms([tmp_path / "it.mat"])


def _examples(tmp_path: Path) -> list[Path]:
    """One sound file of each format."""
    paths = [
        tmp_path / name
        for name in (
            "a.npy",
            "b.npz",
            "c.mat",
            "d.csv",
            "e.h5",
            "f.rdm.h5",
            "Meadows_x_v_v1_calm-owl_tree.json",
            "g.npz",
            "h.pt",
            "i.h5",
        )
    ]
    np.save(paths[0], SQUARES)
    np.savez_compressed(paths[1], IT=SQUARES, names=np.array(NAMES))
    scipy.io.savemat(paths[2], {"RDMs": structs(["IT | a", "IT | b"], SQUARES[:2])})
    paths[3].write_text(lines(SQUARES[0], names=NAMES))
    rsatoolbox.rdm.RDMs(VECTORS).save(str(paths[4]), file_type="hdf5")
    with h5py.File(paths[5], "w") as file:
        file.attrs["type"] = "bRDM"
        file["IT"] = VECTORS[0]
    tree = {
        "tasks": [
            {
                "task": {"task_type": "multiarrange"},
                "stimuli": [{"name": n} for n in NAMES],
                "rdm": VECTORS[0].tolist(),
            }
        ]
    }
    paths[6].write_text(json.dumps(tree))
    np.savez(paths[7], rdm=VECTORS[0], stimuli_name=np.array(NAMES), layer_name=np.array("fc"))
    torch.save({"rdm": torch.from_numpy(VECTORS[0]), "layer_name": "fc"}, paths[8])
    with h5py.File(paths[9], "w") as file:
        file["brain/IT"] = SQUARES
        file["names"] = list(NAMES)
    return paths


def test_read_rdms_damaged_files_of_every_format_end_in_a_user_error(tmp_path):
    rng = np.random.default_rng(11)
    paths = _examples(tmp_path)
    assert {
        "dnnbrain",
        "hdf5",
        "matlab",
        "meadows",
        "net2brain",
        "numpy",
        "rsatoolbox",
        "table",
    } == set(READERS)
    for path in paths:
        sound = path.read_bytes()
        assert read_rdms([path])
        cuts = [sound[:at] for at in rng.integers(0, len(sound), 12)]
        flips = []
        for place in rng.integers(0, len(sound), 25):
            data = bytearray(sound)
            data[place] ^= int(rng.integers(1, 256))
            flips.append(bytes(data))
        for data in [*cuts, *flips]:
            path.write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    for entry in read_rdms([path]):
                        assert np.isfinite(entry.values).any()
                except UserError as error:
                    assert str(error)
