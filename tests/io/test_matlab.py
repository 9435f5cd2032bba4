"""MATLAB variables have MATLAB's axes and stored widths; damaged files end in a UserError."""

import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from rdl_cli.core.errors import UserError
from rdl_cli.io.child import read_file
from rdl_cli.io.matlab import Unread, is_struct_array, iterate_leaves, read_variables, to_strings

RNG = np.random.default_rng(1)


def struct_array(shape, **fields):
    out = np.empty(shape, dtype=[(key, object) for key in fields])
    for k, at in enumerate(np.ndindex(shape)):
        out[at] = tuple(make(k) for make in fields.values())
    return out


VARIABLES = {
    **{
        f"x_{dtype}": RNG.integers(0, 100, (2, 3, 4)).astype(dtype)
        for dtype in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    },
    "logical": np.array([[True, False]]),
    "nothing": np.zeros((0, 0)),
    "word": "Hände",
    "words": np.array(["a", "bc", "def"]),
    "cell": np.array(["one", np.eye(2), "three"], dtype=object),
    "deep": struct_array(
        (2, 3),
        RDM=lambda k: np.full((2, 2), k),
        name=lambda k: f"n{k}",
        inner=lambda k: {"a": {"b": k}},
    ),
    "empty": struct_array((0, 1), RDM=lambda k: k),
}


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def path(request, tmp_path: Path) -> Path:
    scipy.io.savemat(tmp_path / "x.mat", VARIABLES, do_compression=request.param)
    return tmp_path / "x.mat"


def test_read_variables_numbers_keep_their_axes_and_width(path):
    variables = read_variables(path)
    assert list(variables) == list(VARIABLES)
    for name, value in VARIABLES.items():
        if name.startswith("x_"):
            assert variables[name].dtype == value.dtype
            assert np.array_equal(variables[name], value)
    assert variables["logical"].tolist() == [[1, 0]] and variables["nothing"].shape == (0, 0)


def test_read_variables_text_cells_and_struct_arrays(path):
    variables = read_variables(path)
    assert variables["word"] == "Hände" and to_strings(variables["words"]) == ("a", "bc", "def")
    cell = variables["cell"]
    assert cell.shape == (1, 3) and cell[0, 0] == "one" and np.array_equal(cell[0, 1], np.eye(2))
    deep = variables["deep"]
    assert is_struct_array(deep) and deep.shape == (2, 3)
    assert deep[1, 2]["name"] == "n5" and (deep[1, 2]["RDM"] == 5).all()
    assert deep[0, 1]["inner"].flat[0]["a"].flat[0]["b"].item() == 1
    assert not is_struct_array(variables["empty"])


def test_iterate_leaves_opens_lone_structs_only(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"a": {"b": {"c": 1.0}}, "s": VARIABLES["deep"]})
    leaves = dict(iterate_leaves(read_variables(tmp_path / "x.mat")))
    assert list(leaves) == [("a", "b", "c"), ("s",)]


def test_read_variables_the_other_byte_order_becomes_native():
    data = Path(scipy.io.matlab.__file__).parent / "tests/data/big_endian.mat"
    if not data.exists():
        pytest.skip("SciPy is installed without its test data")
    assert all(
        value.dtype.isnative
        for value in read_variables(data).values()
        if isinstance(value, np.ndarray)
    )


def test_read_variables_functions_are_left_out_by_kind():
    data = Path(scipy.io.matlab.__file__).parent / "tests/data"
    if not data.exists():
        pytest.skip("SciPy is installed without its test data")
    for file in data.glob("*func*.mat"):
        values = [value for _, value in iterate_leaves(read_variables(file))]
        assert any(isinstance(value, Unread) for value in values)


@pytest.mark.parametrize("seed", range(4))
def test_read_variables_flipped_and_missing_bytes_end_in_arrays_or_one_error(path, seed):
    """SciPy's parser can crash on such files: the reading process ends, the command does not."""
    rng = np.random.default_rng(seed)
    sound, errors = path.read_bytes(), 0
    for _ in range(40):
        data = bytearray(sound[: rng.integers(128, len(sound))] if rng.random() < 0.2 else sound)
        for place in rng.integers(0, len(data), rng.integers(1, 12)):
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        start = time.process_time()
        try:
            read_file("rdms", path)
        except UserError as error:
            errors += 1
            assert str(path) in str(error) and "\n" not in str(error)
        assert time.process_time() - start < 10
    assert errors
