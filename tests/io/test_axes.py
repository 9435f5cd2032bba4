"""All arrangements of RDMs give the same vectors; ambiguous ones are refused."""

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.axes import infer_axes
from rdl_cli.io.read import read_rdms
from rdl_cli.rsa.rdms import RDMs

N, K, T = 7, 4, 5
RNG = np.random.default_rng(7)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(K)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
MOVIE = np.stack(
    [
        [squareform(pdist(RNG.normal(size=(N, 9)), "correlation")) for _ in range(T)]
        for _ in range(K)
    ]
)
UPPER = np.triu_indices(N, 1)

STACKS = {
    "k n n": SQUARES,
    "n n k": np.moveaxis(SQUARES, 0, 2),
    "n k n": np.moveaxis(SQUARES, 0, 1),
    "k p": VECTORS,
    "p k": VECTORS.T,
    "k 1 p": VECTORS[:, None],
}


@pytest.mark.parametrize("layout", STACKS)
@pytest.mark.parametrize("suffix", ["npy", "npz", "mat"])
def test_infer_axes_stacks_of_subjects(layout, suffix, tmp_path):
    path = tmp_path / f"IT.{suffix}"
    array = STACKS[layout]
    if suffix == "npy":
        np.save(path, array)
    elif suffix == "npz":
        np.savez(path, array)
    else:
        scipy.io.savemat(path, {"IT": array})
    (imported,) = read_rdms([path], n=N)
    assert imported.region == "IT" and np.array_equal(imported.values, VECTORS)
    assert imported.subjects == ("1", "2", "3", "4") and any(
        "subject" in note for note in imported.notes
    )


@pytest.mark.parametrize(
    "array", [SQUARES[0], VECTORS[0], VECTORS[:1], VECTORS[:1].T], ids=["n n", "p", "1 p", "p 1"]
)
def test_infer_axes_single_rdms_have_no_subject(array, tmp_path):
    np.save(tmp_path / "it.npy", array)
    (imported,) = read_rdms([tmp_path / "it.npy"])
    assert (
        np.array_equal(imported.values, VECTORS[:1])
        and imported.subjects == ("",)
        and np.isnan(imported.times[0])
    )


def test_infer_axes_subjects_by_times(tmp_path):
    np.save(tmp_path / "meg.npy", MOVIE)
    (imported,) = read_rdms([tmp_path / "meg.npy"])
    assert np.array_equal(imported.values, MOVIE[:, :, *UPPER].reshape(K * T, -1))
    assert imported.subjects[:6] == ("1",) * 5 + ("2",) and imported.times[:6] == (0, 1, 2, 3, 4, 0)


def test_infer_axes_times_that_the_file_names_show_which_axis_they_are(tmp_path):
    seconds = np.arange(T) / 10 - 0.1
    scipy.io.savemat(tmp_path / "meg.mat", {"IT": MOVIE.transpose(2, 3, 1, 0), "time": seconds})
    (imported,) = read_rdms([tmp_path / "meg.mat"])
    assert imported.times[:T] == (-100, -100, -100, -100, -100) or imported.times[:K] == (-100,) * K
    assert set(imported.times) == {-100, 0, 100, 200, 300}
    assert np.array_equal(
        imported.values, MOVIE.transpose(1, 0, 2, 3)[:, :, *UPPER].reshape(K * T, -1)
    )


def test_infer_axes_times_without_subjects(tmp_path):
    scipy.io.savemat(
        tmp_path / "meg.mat", {"IT": MOVIE[0].transpose(1, 2, 0), "times": np.arange(T) * 100.0}
    )
    (imported,) = read_rdms([tmp_path / "meg.mat"])
    assert imported.times == (0, 100, 200, 300, 400) and imported.subjects == ("",) * T


def test_infer_axes_two_axes_after_the_stimuli_are_asked_for(tmp_path):
    np.save(tmp_path / "meg.npy", MOVIE.transpose(2, 3, 0, 1))
    with pytest.raises(UserError, match="can be subjects, sessions or times") as error:
        read_rdms([tmp_path / "meg.npy"])
    assert "--axes" in error.value.hint
    (imported,) = read_rdms([tmp_path / "meg.npy"], axes=("i", "j", "subject", "session"))
    assert imported.sessions[:5] == ("1", "2", "3", "4", "5") and imported.subjects[4:6] == (
        "1",
        "2",
    )
    assert np.array_equal(imported.values[T], MOVIE[1, 0][UPPER])


def test_infer_axes_as_many_subjects_as_stimuli_are_separated_by_symmetry():
    stack = np.stack([squareform(pdist(RNG.normal(size=(N, 9)))) for _ in range(N)])
    for axes in ((0, 1, 2), (1, 0, 2), (1, 2, 0)):
        layout = infer_axes(stack.transpose(axes), "stack")
        assert layout.rest == ("subject",) and np.array_equal(layout.array, stack)


def test_infer_axes_what_stays_ambiguous_is_refused_without_axes():
    same = np.ones((3, 3, 3))
    for i in range(3):
        same[i, i, :] = same[i, :, i] = same[:, i, i] = 0  # symmetric over every pair of axes
    with pytest.raises(UserError, match="3 ways") as error:
        infer_axes(same, "cube")
    assert "--axes" in error.value.hint
    assert infer_axes(same, "cube", axes=("i", "subject", "j")).rest == ("subject",)


def test_infer_axes_triangular_numbers_of_subjects_need_the_number_of_stimuli():
    stack = np.tile(VECTORS, (2, 1))[:6]  # 6 = 4·3/2 subjects, 21 = 7·6/2 pairs
    with pytest.raises(UserError, match="2 ways"):
        infer_axes(stack, "vectors")
    assert infer_axes(stack, "vectors", n=N).array.shape == (6, 21)
    assert infer_axes(stack, "vectors", n=4).array.shape == (21, 6)


@pytest.mark.parametrize(
    "axes,fact",
    [
        (("i", "j", "subjekt"), "no axis `subjekt`"),
        (("i", "pair"), "name no RDM"),
        (("i", "j"), "has 3 axes"),
        (("i", "subject", "j"), "is no RDM"),
    ],
)
def test_infer_axes_axes_that_do_not_fit_are_refused(axes, fact):
    with pytest.raises(UserError, match=fact):
        infer_axes(SQUARES, "stack", axes=axes)


def test_infer_axes_wrong_lengths_name_the_nearest():
    with pytest.raises(UserError, match="no RDM of any number") as error:
        infer_axes(np.zeros(4187), "vector")
    assert "92 stimuli have 4,186" in error.value.hint
    with pytest.raises(UserError, match="no RDM of 91 stimuli"):
        infer_axes(np.zeros(4186), "vector", n=91)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_infer_axes_a_single_number_is_refused(shape, tmp_path):
    np.save(tmp_path / "it.npy", np.full(shape, 0.5))
    with pytest.raises(UserError, match=r"it is a single number, 0\.5, and no RDM"):
        read_rdms([tmp_path / "it.npy"])


@given(st.integers(3, 9), st.integers(0, 2**31), st.data())
@settings(max_examples=30, deadline=None)
def test_infer_axes_reordering_is_that_of_the_square(n, seed, data):
    values = np.random.default_rng(seed).random((2, n * (n - 1) // 2))
    rows = data.draw(st.permutations(range(n)))
    for before, after in zip(values, RDMs(values).subset(rows).values, strict=True):
        assert np.array_equal(squareform(after), squareform(before)[np.ix_(rows, rows)])


@pytest.mark.parametrize(
    "dtype,width",
    [
        ("uint8", "float32"),
        ("int16", "float32"),
        ("int32", "float64"),
        ("bool", "float32"),
        ("float16", "float32"),
    ],
)
def test_infer_axes_integers_become_floats_that_hold_them_exactly(dtype, width, tmp_path):
    square = np.array([[0, 1, 2], [1, 0, 0], [2, 0, 0]]).astype(dtype)
    np.save(tmp_path / "m.npy", square)
    (imported,) = read_rdms([tmp_path / "m.npy"])
    assert imported.values.dtype == width and imported.values.tolist() == [
        [float(square[0, 1]), float(square[0, 2]), 0.0]
    ]


def test_infer_axes_regions_are_chosen_renamed_and_joined(tmp_path):
    np.savez(tmp_path / "brain.npz", IT_RDMs=SQUARES, V1=SQUARES[0], V2=SQUARES[1])
    assert [entry.region for entry in read_rdms([tmp_path / "brain.npz"], regions=("V*",))] == [
        "V1",
        "V2",
    ]
    (it,) = read_rdms([tmp_path / "brain.npz"], regions=("IT=IT_RDMs",))
    assert it.region == "IT" and it.subjects == ("1", "2", "3", "4")
    for s in (1, 2):
        np.save(tmp_path / f"sub{s}.npy", SQUARES[s])
    (joined,) = read_rdms([tmp_path / "sub1.npy", tmp_path / "sub2.npy"], regions=("IT=sub*",))
    assert (
        joined.region == "IT"
        and joined.subjects == ("sub1", "sub2")
        and np.array_equal(joined.values, VECTORS[1:3])
    )


@pytest.mark.parametrize("n", [11, 16, 92])
def test_infer_axes_asks_about_n_by_n_minus_1(n):
    """A square without its diagonal has the shape of n subjects' upper triangles."""
    with pytest.raises(UserError, match=f"{n} × {n - 1}. can be an RDM that lost") as caught:
        infer_axes(RNG.random((n, n - 1)), "x")
    assert "--axes subject,pair" in caught.value.hint
    assert infer_axes(RNG.random((n, n - 1)), "x", axes=("subject", "pair")).rest == ("subject",)
