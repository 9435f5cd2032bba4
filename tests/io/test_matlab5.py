"""MATLAB files read from their bytes hold what SciPy finds in them, and no flipped byte crashes or stalls."""

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from rdl_cli.io import matlab5

RNG = np.random.default_rng(1)


def struct_array(shape, **fields):
    out = np.empty(shape, dtype=[(key, object) for key in fields])
    for k, at in enumerate(np.ndindex(shape)):
        out[at] = tuple(make(k) for make in fields.values())
    return out


HELD = {
    **{
        f"x_{dtype}": RNG.integers(0, 100, (2, 3, 4)).astype(dtype)
        for dtype in ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    },
    "logical": np.array([[True, False]]),
    "nothing": np.zeros((0, 0)),
    "scalar": 3.5,
    "word": "Hände",
    "words": np.array(["a", "bc", "def"]),
    "cell": np.array(["one", np.eye(2), "three"], dtype=object),
    "equal": np.array([None, None], dtype=object),
    "deep": struct_array(
        (2, 3),
        RDM=lambda k: np.full((2, 2), k),
        name=lambda k: f"n{k}",
        inner=lambda k: {"a": {"b": k}},
    ),
    "empty": struct_array((0, 1), RDM=lambda k: k),
}
HELD["equal"][:] = [np.eye(2), np.ones((2, 2))]


def alike(ours, theirs) -> bool:
    """Ours against SciPy's `loadmat`, which has structured arrays for structs and arrays of str for text."""
    if theirs.dtype.names:
        return ours.shape == theirs.shape and all(
            alike(ours[at][k], theirs[at][k])
            for at in np.ndindex(theirs.shape)
            for k in theirs.dtype.names
        )
    if theirs.dtype == object:
        return ours.shape == theirs.shape and all(
            alike(ours[at], theirs[at]) for at in np.ndindex(theirs.shape)
        )
    if theirs.dtype.kind == "U":
        words = [str(word).strip() for word in theirs.flat]
        return ([ours] if isinstance(ours, str) else list(ours)) == (words or [""])
    return (
        ours.shape == theirs.shape and ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    )


@pytest.mark.parametrize("compressed", [True, False])
def test_what_scipy_finds(compressed, tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", HELD, do_compression=compressed)
    theirs = {
        key: value
        for key, value in scipy.io.loadmat(tmp_path / "x.mat").items()
        if not key.startswith("__")
    }
    ours = matlab5.variables((tmp_path / "x.mat").read_bytes())
    assert list(ours) == list(theirs) == matlab5.names((tmp_path / "x.mat").read_bytes())
    for key, value in theirs.items():
        assert alike(ours[key], value), key


def test_what_is_no_rdm_is_none(tmp_path):
    scipy.io.savemat(
        tmp_path / "x.mat",
        {"c": np.array([[1j]]), "s": scipy.sparse.csc_matrix(np.eye(3)), "x": np.eye(2)},
    )
    ours = matlab5.variables((tmp_path / "x.mat").read_bytes())
    assert ours["c"] is None and ours["s"] is None and np.array_equal(ours["x"], np.eye(2))


def test_the_other_byte_order():
    def element(kind, body):
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    numbers = (
        element(6, struct.pack(">II", 6, 0))
        + element(5, struct.pack(">ii", 1, 2))
        + element(1, b"IT")
        + element(9, struct.pack(">dd", 1.5, -2))
    )
    ours = matlab5.variables(b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + element(14, numbers))
    assert ours["IT"].tolist() == [[1.5, -2]] and ours["IT"].dtype.isnative


def test_flipped_and_missing_bytes_are_errors_not_crashes(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", HELD)
    sound = (tmp_path / "x.mat").read_bytes()
    outcomes = set()
    for _ in range(1500):
        data = bytearray(sound[: RNG.integers(128, len(sound))] if RNG.random() < 0.2 else sound)
        for place in RNG.integers(0, len(data), RNG.integers(1, 12)):
            data[place] ^= int(RNG.integers(1, 256))
        try:
            matlab5.variables(bytes(data))
            outcomes.add("read")
        except (ValueError, KeyError, UnicodeDecodeError, struct.error, RecursionError) as error:
            outcomes.add(type(error).__name__)
    assert "ValueError" in outcomes
