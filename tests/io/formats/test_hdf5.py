"""HDF5 of no tool's own: read by shape, after all tools' readers were asked."""

import h5py
import numpy as np
import pytest
import rsatoolbox
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.raw_array import READERS, find_arrays
from rdl_cli.io.read import read_rdms
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

N = 5
RNG = np.random.default_rng(5)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(4)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
NAMES = ("face", "hand", "house", "tool", "Bäume")


def put(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name.replace("__", "/")] = value
    return path


@pytest.mark.parametrize(
    "array,k",
    [(SQUARES[0], 1), (SQUARES, 4), (np.moveaxis(SQUARES, 0, 2), 4), (VECTORS, 4), (VECTORS[0], 1)],
    ids=str,
)
def test_read_hdf5_squares_stacks_and_triangles(array, k, tmp_path):
    (imported,) = read_rdms([put(tmp_path / "x.h5", anything=array)])
    assert imported.region == "anything" and np.array_equal(imported.values, VECTORS[:k])
    assert imported.subjects == (("1", "2", "3", "4") if k > 1 else ("",))


@pytest.mark.parametrize("kind", [h5py.string_dtype(), "S10"])
def test_read_hdf5_groups_and_names(kind, tmp_path):
    names = np.array([name.encode() for name in NAMES]).astype(kind)
    path = put(
        tmp_path / "x.hdf5",
        brain__IT=SQUARES,
        brain__V1=SQUARES[0],
        names=names,
        features=RNG.random((N, 12)),
        w=RNG.random((2, 3, 4, 4)),
        note="by me",
    )
    it, v1 = read_rdms([path])
    assert all(
        any(f"skipped: features {N} × 12, w 2 × 3 × 4 × 4" in note for note in entry.notes)
        for entry in (it, v1)
    )
    assert (it.region, v1.region, it.stimuli) == ("IT", "V1", NAMES) and np.array_equal(
        it.values, VECTORS
    )


def test_read_hdf5_regions_of_several_groups_keep_the_groups_name(tmp_path):
    path = put(tmp_path / "x.h5", s1__IT=SQUARES[0], s2__IT=SQUARES[1])
    assert [entry.region for entry in read_rdms([path])] == ["s1.IT", "s2.IT"]
    (it,) = read_rdms([path], regions=("IT=*.IT",))
    assert it.subjects == ("s1.IT", "s2.IT") and np.array_equal(it.values, VECTORS[:2])


def test_read_hdf5_a_tools_own_reader_comes_first(tmp_path):
    rdms = rsatoolbox.rdm.RDMs(VECTORS, rdm_descriptors={"roi": ["IT"] * 4})
    rdms.save(str(tmp_path / "rdms.h5"), file_type="hdf5")
    with h5py.File(put(tmp_path / "brain.rdm.h5", V1=VECTORS[0]), "a") as file:
        file.attrs["type"] = "bRDM"
    assert next(iter(READERS)) == "dnnbrain", (
        "the general reader stands between the others by its name"
    )
    assert [entry.region for entry in read_rdms([tmp_path / "rdms.h5"])] == ["IT"]
    assert all(
        entry.is_rdm
        for name in ("rdms.h5", "brain.rdm.h5")
        for entry in find_arrays(tmp_path / name)
    )


def test_read_hdf5_an_asymmetric_square_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"x\.h5: IT is not symmetric"):
        read_rdms([put(tmp_path / "x.h5", IT=np.triu(SQUARES[0]) * 2 + np.tril(SQUARES[0]))])


def test_read_hdf5_a_store_of_our_own_needs_no_import(tmp_path):
    spec = RdmSpec("IT", 1, "float64", "correlation")
    with create_store(
        tmp_path / "s.h5", Stimuli(np.array([b"x" * 64] * N)), {}, [spec], "key"
    ) as writer:
        writer.write_rdm("IT", 0, 0, VECTORS[0])
    with pytest.raises(UserError, match=r"s\.h5 is a store already"):
        read_rdms([tmp_path / "s.h5"])
