"""What goes out comes back bit for bit, and rsatoolbox itself opens it."""

import zipfile

import numpy as np
import pytest
import rsatoolbox
import scipy.io
from scipy.spatial.distance import squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms
from rdl_cli.io.write import WRITERS, write_rdms
from rdl_cli.rsa.rdms import RDMs

SUFFIX = {"rsatoolbox": ".h5", "mat": ".mat", "npz": ".npz"}
RNG = np.random.default_rng(2)
NAMES = ("face", "hand", "house", "tree")


def rdms(
    region="IT",
    k=4,
    n=4,
    dtype=np.float64,
    distance="correlation",
    stimuli=NAMES,
    subjects=None,
    sessions=None,
    times=None,
) -> RDMs:
    values = RNG.random((k, n * (n - 1) // 2)).astype(dtype)
    subjects = subjects or tuple(f"s{i // 2}" for i in range(k))
    sessions = sessions or tuple(str(i % 2 + 1) for i in range(k))
    return RDMs(
        values,
        distance,
        region,
        stimuli=stimuli,
        subjects=subjects,
        sessions=sessions,
        times=times or (),
    )


def there_and_back(path, out, format):
    write_rdms(path / f"x{SUFFIX[format]}", out, format)
    return read_rdms([path / f"x{SUFFIX[format]}"], n=out[0].n_stimuli)


def same(a: RDMs, b: RDMs) -> bool:
    facts = [
        (x.region, x.n_stimuli, x.subjects, x.sessions, tuple(map(str, x.times)), x.stimuli)
        for x in (a, b)
    ]
    return facts[0] == facts[1] and np.array_equal(a.values, b.values, equal_nan=True)


@pytest.mark.parametrize("format", WRITERS.names())
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_write_rdms_regions_subjects_sessions_names_and_nan_survive(format, dtype, tmp_path):
    out = [rdms("IT", dtype=dtype), rdms("V1 (left)", dtype=dtype)]
    out[0].values[1, 3] = np.nan
    back = there_and_back(tmp_path, out, format)
    assert all(map(same, back, out)) and len(back) == 2
    if format != "mat":  # rsatoolbox_matlab has no place for the measure
        assert [entry.distance for entry in back] == ["correlation"] * 2


@pytest.mark.parametrize("format", WRITERS.names())
def test_write_rdms_times_survive(format, tmp_path):
    times = (-100.0, 0.0, 1.1, 12345.0)
    out = [rdms(subjects=("a",) * 4, sessions=("",) * 4, times=times)]
    (back,) = there_and_back(tmp_path, out, format)
    assert back.times == times and same(back, out[0])


@pytest.mark.parametrize("format", WRITERS.names())
def test_write_rdms_names_beyond_ascii_survive(format, tmp_path):
    out = [rdms(stimuli=("Gesicht", "Hände", "maison", "木"), subjects=("Jürgen", "b", "c", "d"))]
    assert same(there_and_back(tmp_path, out, format)[0], out[0])


def test_write_rdms_thousands_of_names_beyond_ascii_are_refused_for_rsatoolbox(tmp_path):
    out = [rdms(n=3000, k=1, stimuli=tuple(f"Bäume {i}" * 3 for i in range(3000)))]
    with pytest.raises(UserError, match="only ASCII"):
        write_rdms(tmp_path / "x.h5", out, "rsatoolbox")
    assert not list(tmp_path.iterdir())


def test_write_rdms_rsatoolbox_opens_it(tmp_path):
    out = [rdms(distance="mse"), rdms("V1", distance="mse")]
    write_rdms(tmp_path / "x.h5", out, "rsatoolbox")
    opened = rsatoolbox.rdm.load_rdm(str(tmp_path / "x.h5"))
    assert np.array_equal(opened.dissimilarities, np.concatenate([entry.values for entry in out]))
    assert opened.dissimilarity_measure == "squared euclidean"
    assert list(opened.pattern_descriptors["stimulus"]) == list(NAMES)
    assert opened.rdm_descriptors["roi"] == ["IT"] * 4 + ["V1"] * 4
    assert opened.rdm_descriptors["subject"] == ["s0", "s0", "s1", "s1"] * 2
    part = opened.subset("roi", "V1").subset_pattern("stimulus", ["face", "tree"])
    assert np.array_equal(part.dissimilarities, out[1].values[:, [2]])


def test_write_rdms_rsatoolbox_keeps_measures_that_differ(tmp_path):
    out = [rdms(distance="mse"), rdms("V1", distance="crossnobis")]
    back = there_and_back(tmp_path, out, "rsatoolbox")
    assert [entry.distance for entry in back] == ["mse", "crossnobis"]
    assert rsatoolbox.rdm.load_rdm(str(tmp_path / "x.h5")).dissimilarity_measure is None


def test_write_rdms_matlab_gets_masks_by_subjects_by_sessions_of_squares(tmp_path):
    out = [rdms("IT"), rdms("V1")]
    write_rdms(tmp_path / "x.mat", out, "mat")
    structs = scipy.io.loadmat(tmp_path / "x.mat")["RDMs"]
    assert structs.shape == (2, 2, 2)
    assert structs[1, 0, 1]["name"].item() == "V1 | s0 | Session: 2"
    assert np.array_equal(structs[1, 0, 1]["RDM"], squareform(out[1].values[1]))


def test_write_rdms_matlab_gets_a_row_where_combinations_are_missing(tmp_path):
    out = [rdms("IT", k=3), rdms("V1")]
    assert all(map(same, there_and_back(tmp_path, out, "mat"), out))
    assert scipy.io.loadmat(tmp_path / "x.mat")["RDMs"].shape == (1, 7)


def test_write_rdms_numpy_needs_no_pickle(tmp_path):
    out = [rdms()]
    write_rdms(tmp_path / "x.npz", out, "npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as held:
        assert np.array_equal(held["IT"], out[0].values) and held["IT.subject"].tolist() == [
            "s0",
            "s0",
            "s1",
            "s1",
        ]


@pytest.mark.parametrize("name", ["file", "allow_pickle"])
def test_write_rdms_numpy_takes_layers_called_as_its_own_keywords(name, tmp_path):
    out = [rdms(name)]
    (back,) = there_and_back(tmp_path, out, "npz")
    assert same(back, out[0])


def test_write_rdms_numpy_is_written_as_savez_compressed_does(tmp_path):
    out = rdms()
    write_rdms(tmp_path / "x.npz", [out], "npz")
    with np.load(tmp_path / "x.npz") as held:
        np.savez_compressed(tmp_path / "numpys.npz", **held)
    ours, numpys = (zipfile.ZipFile(tmp_path / name) for name in ("x.npz", "numpys.npz"))
    assert [(i.filename, i.CRC, i.compress_type, i.file_size) for i in ours.infolist()] == [
        (i.filename, i.CRC, i.compress_type, i.file_size) for i in numpys.infolist()
    ]


def test_write_rdms_different_numbers_of_stimuli_are_refused(tmp_path):
    with pytest.raises(UserError, match="IT of 4, V1 of 3"):
        write_rdms(tmp_path / "x.npz", [rdms(), rdms("V1", n=3, stimuli=None)], "npz")
    with pytest.raises(UserError, match="did you mean `rsatoolbox`"):
        write_rdms(tmp_path / "x.npz", [rdms()], "rsatools")
