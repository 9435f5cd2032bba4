"""MATLAB variables in structs and cells, and names that say a time in words."""

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms

N = 5
RNG = np.random.default_rng(6)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(3)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
NAMES = ("face", "hand", "house", "tool", "tree")


def save(path, version, held):
    """A .mat of version 5 or 7.3 that holds numbers, dictionaries (structs) and lists (cells)."""
    if version == "5":
        scipy.io.savemat(path, {name: _of_5(value) for name, value in held.items()})
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in held.items():
            _put_73(file, file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return path


def _of_5(value):
    if isinstance(value, dict):
        return {name: _of_5(entry) for name, entry in value.items()}
    if not isinstance(value, list):
        return value
    out = np.empty((1, len(value)), dtype=object)
    for k, entry in enumerate(value):
        out[0, k] = entry
    return out


def _put_73(file, group, name, value):
    if isinstance(value, dict):
        made = group.create_group(name)
        made.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, entry in value.items():
            _put_73(file, made, field, entry)
    elif isinstance(value, list):
        refs = file.require_group("#refs#")
        for k, entry in enumerate(value):
            _put_73(file, refs, f"{name}{k}", entry)
        held = np.array([[refs[f"{name}{k}"].ref] for k in range(len(value))], dtype=h5py.ref_dtype)
        group.create_dataset(name, data=held, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = (
            np.bytes_("cell")
        )
    elif isinstance(value, str):
        group[name] = np.array([[ord(c)] for c in value], np.uint16)
        group[name].attrs["MATLAB_class"] = np.bytes_("char")
    else:
        group[name] = np.ascontiguousarray(np.atleast_2d(value).T)
        group[name].attrs["MATLAB_class"] = np.bytes_("double")


def structs(names):
    out = np.empty((1, len(names)), dtype=[("RDM", object), ("name", object)])
    for k, name in enumerate(names):
        out[0, k] = (SQUARES[k], name)
    return out


def test_read_matlab_a_time_in_words_is_kept_as_the_session(tmp_path):
    names = [
        "IT | BE | Session: 1 | Time: early",
        "IT | BE | Session: 1 | Time: late",
        "IT | Time: -1.5e2 ms",
    ]
    scipy.io.savemat(tmp_path / "x.mat", {"RDMs": structs(names)})
    (it,) = read_rdms([tmp_path / "x.mat"])
    assert it.sessions == ("1 | Time: early", "1 | Time: late", "") and it.subjects == (
        "BE",
        "BE",
        "",
    )
    assert np.isnan(it.times[:2]).all() and it.times[2] == -150


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize(
    "values", [SQUARES, VECTORS[:, None], VECTORS[:, :, None]], ids=["squares", "rows", "columns"]
)
def test_read_matlab_a_cell_of_rdms_holds_subjects(version, values, tmp_path):
    (it,) = read_rdms([save(tmp_path / "x.mat", version, {"IT": [*values], "names": [*NAMES]})])
    assert (it.region, it.subjects, it.stimuli) == (
        "IT",
        ("1", "2", "3"),
        NAMES,
    ) and np.array_equal(it.values, VECTORS)


def test_read_matlab_a_cell_of_several_sizes_is_no_stack(tmp_path):
    with pytest.raises(UserError, match="holds no RDM; its variables: IT"):
        read_rdms([save(tmp_path / "x.mat", "5", {"IT": [SQUARES[0], SQUARES[0][:4, :4]]})])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_read_matlab_fields_of_structs_are_regions(version, tmp_path):
    held = {
        "data": {"IT": SQUARES[0], "fmri": {"V1": [*SQUARES]}, "names": [*NAMES], "by": "me"},
        "n": np.array([[5.0]]),
    }
    it, v1 = sorted(
        read_rdms([save(tmp_path / "x.mat", version, held)]), key=lambda entry: entry.region
    )
    assert (it.region, v1.region, it.stimuli, v1.subjects) == ("IT", "V1", NAMES, ("1", "2", "3"))
    assert np.array_equal(it.values, VECTORS[:1]) and np.array_equal(v1.values, VECTORS)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_read_matlab_fields_of_the_same_name_are_separated(version, tmp_path):
    held = {"IT": SQUARES[0], "lh": {"IT": SQUARES[1]}, "rh": {"IT": SQUARES[2]}}
    imported = {
        entry.region: entry.values[0]
        for entry in read_rdms([save(tmp_path / "x.mat", version, held)])
    }
    assert set(imported) == {"IT", "lh.IT", "rh.IT"} and np.array_equal(
        imported["rh.IT"], VECTORS[2]
    )
