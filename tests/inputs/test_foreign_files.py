"""Files of RDMs as other programs write them, each from a report of a wrong or refused import."""

import json
import struct
import unicodedata
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import rsatoolbox
import torch
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix
from scipy.spatial.distance import squareform

from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms
from rdl_cli.io.responses import read_responses
from rdl_cli.rsa.response_distances import RESPONSE_DISTANCES

RNG = np.random.default_rng(0)


def make_rdm(n: int) -> np.ndarray:
    rdm = RNG.random((n, n))
    rdm = rdm + rdm.T
    np.fill_diagonal(rdm, 0)
    return rdm


RDM = make_rdm(8)
VECTOR = squareform(RDM)
MODEL = (np.arange(8)[:, None] // 4 != np.arange(8)[None] // 4).astype(float)


def write_table(path: Path, rdm: np.ndarray, names: list[str]) -> Path:
    rows = [f"{name},{','.join(map(str, row))}" for name, row in zip(names, rdm, strict=True)]
    path.write_text("\n".join([f",{','.join(names)}", *rows]), "utf-8")
    return path


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        pixels = RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_read_rdms_names_match_composed_or_decomposed(form, tmp_path):
    names = ["Müsli", "Käse", "Löwe", "Apfel", "Bär", "Tür"]
    composed = [unicodedata.normalize("NFC", name) for name in names]
    images = write_images(tmp_path / "images", [unicodedata.normalize(form, n) for n in names])
    rdm = make_rdm(6)
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "".join(f"{n}.png,{'food' if k < 4 else 'b'}\n" for k, n in enumerate(composed))
    )
    settings = ImportSettings(stimuli=str(images), labels=str(labels))
    file = write_table(tmp_path / "rdm.csv", rdm, composed)
    store = import_rdms([file], tmp_path / "s.h5", settings)
    assert np.array_equal(store.rdms("rdm").values[0], squareform(rdm))
    assert [unicodedata.normalize("NFC", name) for name in store.stimuli.names] == [
        f"{name}.png" for name in composed
    ]
    assert store.stimuli.labels.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("file", "mark", "head"),
    [
        ("labels.csv", ";", "\ufeffname;category\r\n"),
        ("labels.csv", ",", "name,category\n"),
        ("labels.txt", "\t", ""),
    ],
)
def test_read_rdms_categories_are_read_with_any_separator(file, mark, head, tmp_path):
    names = [f"img{k}.png" for k in range(8)]
    lines = [f"{name}{mark}{'face' if k < 4 else 'house'}\n" for k, name in enumerate(names)]
    (tmp_path / file).write_text(head + "".join(lines), "utf-8")
    rdm = write_table(tmp_path / "rdm.csv", RDM, names)
    store = import_rdms([rdm], tmp_path / "s.h5", ImportSettings(labels=str(tmp_path / file)))
    assert store.stimuli.labels.tolist() == [0] * 4 + [1] * 4


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def string_array(name: bytes) -> bytes:
    """A string array (since R2016b) as MATLAB writes it: class mxOPAQUE, 17."""
    numbers = element(6, struct.pack("<6I", 0xDD000000, 2, 1, 1, 1, 1))
    head = element(6, struct.pack("<II", 13, 0)) + element(5, struct.pack("<ii", 6, 1))
    flags = element(6, struct.pack("<II", 17, 0))
    names = element(1, name) + element(1, b"MCOS") + element(1, b"string")
    return element(14, flags + names + element(14, head + element(1, b"") + numbers))


@pytest.mark.parametrize("compressed", [False, True])
def test_read_rdms_a_string_array_beside_an_rdm_is_left_out_by_name(compressed, tmp_path):
    path = tmp_path / "x.mat"
    savemat(path, {"RDM": RDM}, do_compression=compressed)
    extra = string_array(b"names") + string_array(b"subjects")
    if compressed:
        packed = zlib.compress(string_array(b"names"))
        extra = struct.pack("<II", 15, len(packed)) + packed
    path.write_bytes(path.read_bytes() + extra)
    (rdms,) = read_rdms([path])
    assert np.array_equal(rdms.values[0], VECTOR)
    left_out = "`names` (string)" if compressed else "`subjects` (string), `1 more` (objects)"
    assert any(left_out in note for note in rdms.notes)


def test_read_rdms_a_three_dimensional_char_is_left_out_by_name(tmp_path):
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["RDM"] = RDM
        file["RDM"].attrs["MATLAB_class"] = np.bytes_("double")
        file["note"] = np.full((3, 4, 2), 97, np.uint16)
        file["note"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    (rdms,) = read_rdms([path])
    assert np.array_equal(rdms.values[0], VECTOR)
    assert any("`note` (3-D char)" in note for note in rdms.notes)


def test_read_rdms_sparse_logical_and_complex_rdms_are_read(tmp_path):
    path, keep = tmp_path / "x.mat", {"repairs": ()}
    for value in (csc_matrix(MODEL), MODEL.astype(bool)):
        savemat(path, {"modelRDM": value})
        assert np.array_equal(read_rdms([path], **keep)[0].values[0], squareform(MODEL))
    savemat(path, {"RDM": RDM.astype(complex)})
    assert np.array_equal(read_rdms([path])[0].values[0], VECTOR)
    savemat(path, {"RDM": RDM + 1j * RDM, "IT": RDM})
    assert [rdms.region for rdms in read_rdms([path])] == ["IT"]
    savemat(path, {"animacy": csc_matrix(MODEL), "IT": RDM})
    assert {rdms.region for rdms in read_rdms([path])} == {"animacy", "IT"}


@pytest.mark.parametrize("userblock", [0, 512])
def test_read_rdms_a_sparse_rdm_of_version_73_is_read(userblock, tmp_path):
    sparse, path = csc_matrix(MODEL), tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        group = file.create_group("modelRDM")
        group.attrs["MATLAB_sparse"] = np.uint64(8)
        group.attrs["MATLAB_class"] = np.bytes_("double")
        group["data"] = sparse.data
        group["ir"], group["jc"] = sparse.indices.astype("u8"), sparse.indptr.astype("u8")
    (rdms,) = read_rdms([path])
    assert rdms.region == "modelRDM" and np.array_equal(rdms.values[0], squareform(MODEL))


@pytest.mark.parametrize(
    ("roi", "subject"),
    [
        ("ROI", "Subject"),
        ("ROI", "subj"),
        ("roi_name", "participant_id"),
        ("Region", "sub"),
        ("roi", "subject"),
    ],
)
def test_read_rdms_rsatoolbox_descriptors_are_known_by_their_usual_names(roi, subject, tmp_path):
    values = RNG.random((6, 45))
    rdms = rsatoolbox.rdm.RDMs(
        values,
        "correlation",
        rdm_descriptors={roi: ["V1"] * 3 + ["IT"] * 3, subject: ["01", "02", "03"] * 2},
        pattern_descriptors={
            "category": ["face"] * 5 + ["house"] * 5,
            "stim": [f"s{k}" for k in range(10)],
        },
    )
    rdms.save(str(tmp_path / "x.h5"), file_type="hdf5")
    v1, it = read_rdms([tmp_path / "x.h5"])
    assert (v1.region, it.region) == ("V1", "IT")
    assert v1.subjects == it.subjects == ("01", "02", "03")
    assert np.array_equal(it.values, values[3:]) and it.stimuli[0] == "s0"


def test_read_rdms_rsatoolbox_rdms_that_an_unknown_descriptor_tells_apart_are_asked_for(tmp_path):
    rdms = rsatoolbox.rdm.RDMs(RNG.random((2, 45)), rdm_descriptors={"hemisphere": ["l", "r"]})
    rdms.save(str(tmp_path / "x.h5"), file_type="hdf5")
    with pytest.raises(UserError, match="by the descriptor `hemisphere`") as caught:
        read_rdms([tmp_path / "x.h5"])
    assert "rename it to roi" in caught.value.hint


def test_read_rdms_names_with_dots_keep_them(tmp_path):
    names = [
        f"00{k + 1}.{bird}" for k, bird in enumerate(["Auk", "Auk", "Gull", "Jay", "Jay", "Owl"])
    ]
    names = ["001.Albatross", "002.Auklet", "003.Jay", "003.Jay_2", "v1.2", "v1.3"]
    images = write_images(tmp_path / "images", names)
    file = write_table(tmp_path / "rdm.csv", make_rdm(6), names)
    store = import_rdms([file], tmp_path / "s.h5", ImportSettings(stimuli=str(images)))
    assert store.stimuli.names.tolist() == [f"{name}.png" for name in names]


@pytest.mark.parametrize("mark", [" ", "\t", ","])
def test_read_rdms_a_table_of_r_has_a_header_without_a_corner(mark, tmp_path):
    names = [f"stim {k}" for k in range(8)]
    head = mark.join(f'"{name}"' for name in names)
    rows = [
        mark.join([f'"{n}"', *map(repr, map(float, row))])
        for n, row in zip(names, RDM, strict=True)
    ]
    (tmp_path / "x.txt").write_text("\n".join([head, *rows]) + "\n")
    (rdms,) = read_rdms([tmp_path / "x.txt"])
    assert rdms.stimuli == tuple(names) and np.array_equal(rdms.values[0], VECTOR)


def test_read_rdms_a_printed_dist_of_r_is_refused_with_the_way_to_write_it(tmp_path):
    names = [f"stim{k}" for k in range(6)]
    rows = [" ".join([names[i], *(f"{RDM[i, j]:.6f}" for j in range(i))]) for i in range(1, 6)]
    (tmp_path / "x.txt").write_text("\n".join([" ".join(names[:-1]), *rows]) + "\n")
    with pytest.raises(UserError, match="cells, the first line has 5") as caught:
        read_rdms([tmp_path / "x.txt"])
    assert "write.csv(as.matrix(d))" in caught.value.hint


def test_read_rdms_a_meadows_tree_of_one_task_is_read(tmp_path):
    values = RNG.random(15)
    task = {
        "rdm": values.tolist(),
        "trials": [],
        "task": {"name": "arrange", "task_type": "multiarrange"},
        "stimuli": [{"name": f"s{k}", "id": str(k)} for k in range(6)],
    }
    path = tmp_path / "Meadows_exp_v_v2_happy-otter_2_tree.json"
    path.write_text(json.dumps(task))
    (rdms,) = read_rdms([path])
    assert (rdms.region, rdms.subjects) == ("arrange", ("happy-otter",))
    assert np.array_equal(rdms.values[0], values) and rdms.stimuli[5] == "s5"


@pytest.mark.parametrize("shape", [(10, 30), (4, 10, 30)])
def test_read_rdms_responses_in_hdf5_are_read(shape, tmp_path):
    responses = RNG.normal(size=shape)
    with h5py.File(tmp_path / "betas.h5", "w") as file:
        file["brain/V1"] = responses
    (rdms,) = read_responses([tmp_path / "betas.h5"], "correlation")
    runs = torch.from_numpy(responses.reshape(-1, 10, 30))
    expected = RESPONSE_DISTANCES.find("correlation")(runs).numpy()
    assert rdms.region == "V1" and np.array_equal(rdms.values[0], expected)


def test_read_rdms_two_files_of_the_same_stimuli_match_with_and_without_suffix(tmp_path):
    names = [f"img_{k + 1}" for k in range(8)]
    order = [3, 0, 1, 2, 4, 5, 7, 6]
    a = write_table(tmp_path / "a.csv", RDM, [f"{name}.png" for name in names])
    b = write_table(tmp_path / "b.csv", RDM[np.ix_(order, order)], [names[k] for k in order])
    (it,) = read_rdms([a, b], regions=("IT=*",))
    assert it.subjects == ("a", "b") and np.array_equal(it.values[0], it.values[1])
    store = import_rdms([a, b], tmp_path / "s.h5", ImportSettings())
    assert np.array_equal(store.rdms("a").values, store.rdms("b").values)


@pytest.mark.parametrize("kind", ["external link", "external storage", "virtual", "soft link"])
def test_read_rdms_hdf5_that_points_outside_is_refused(kind, tmp_path):
    np.save(tmp_path / "secret.npy", RDM)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["IT"] = RDM
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if kind == "external link":
            file["IT"] = h5py.ExternalLink("other.h5", "/IT")
        elif kind == "soft link":
            file["other"] = h5py.ExternalLink("other.h5", "/")
            file["IT"] = h5py.SoftLink("/other/IT")
        elif kind == "external storage":
            storage = [(str(tmp_path / "secret.npy"), 128, RDM.nbytes)]
            file.create_dataset("IT", RDM.shape, RDM.dtype, external=storage)
        else:
            layout = h5py.VirtualLayout(RDM.shape, RDM.dtype)
            layout[:] = h5py.VirtualSource("other.h5", "IT", RDM.shape)
            file.create_virtual_dataset("IT", layout)
    for read in (read_rdms, lambda paths: read_responses(paths, "correlation")):
        with pytest.raises(UserError, match=r"is a link to another file|are in other files"):
            read([tmp_path / "x.h5"])


@pytest.mark.parametrize("name", ["similarity", "cosine_similarities", "dissimilarity"])
def test_read_rdms_asks_about_triangles_that_are_called_similarities(name, tmp_path):
    np.savez(tmp_path / "x.npz", **{name: VECTOR})
    if name == "dissimilarity":
        assert np.array_equal(read_rdms([tmp_path / "x.npz"])[0].values[0], VECTOR)
        return
    with pytest.raises(UserError, match=f"called `{name}`, but RDMs hold dissimilarities"):
        read_rdms([tmp_path / "x.npz"])
    np.savez(tmp_path / "x.npz", **{name: 1 - VECTOR / 2})
    (rdms,) = read_rdms([tmp_path / "x.npz"], repairs=("one-minus",))
    np.testing.assert_allclose(rdms.values[0], VECTOR / 2)
