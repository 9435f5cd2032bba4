"""Each fault of an RDM is named with its values, and repaired only on request."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms
from rdl_cli.io.validation import REPAIRS

N = 6
SOUND = squareform(pdist(np.random.default_rng(3).normal(size=(N, 8)), "correlation"))
UPPER = np.triu_indices(N, 1)


def damaged(change) -> np.ndarray:
    square = SOUND.copy()
    change(square)
    return square


def asymmetric(square):
    square[1, 4] = 0.25


def half(square):
    square[np.tril_indices(N)] = 0


def half_nan(square):
    square[np.tril_indices(N)] = np.nan


def diagonal(square):
    square[2, 2] = 0.5


def similarity(square):
    square[:] = 1 - square


def negative(square):
    square[0, 3] = square[3, 0] = -0.125


def infinite(square):
    square[0, 3] = square[3, 0] = np.inf


def constant(square):
    square[:] = 1 - np.eye(N)


def unmeasured(square):
    square[4] = square[:, 4] = np.nan


FAULTS = [
    (asymmetric, r"not symmetric: 0\.25 for stimuli 2 and 5", "symmetrise"),
    (half, "not symmetric", "mirror"),
    (half_nan, "not symmetric", "mirror"),
    (diagonal, r"has 0\.5 on its diagonal at stimulus 3", "zero-diagonal"),
    (similarity, "has 1 on its diagonal", "one-minus"),
    (negative, r"negative distances: -0\.125 for stimuli 1 and 4", "clip-negative"),
    (infinite, "is infinite at stimuli 1 and 4", "inf-as-nan"),
    (constant, "is constant: every distance is 1", "keep-constant"),
    (unmeasured, "no measured distance for 1 of 6 stimuli: 5", "keep-unmeasured"),
]


@pytest.mark.parametrize("change,fact,repair", FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_validate_a_fault_is_named_and_its_hint_names_the_repair(change, fact, repair, tmp_path):
    path = tmp_path / "it.npy"
    np.save(path, np.stack([SOUND, damaged(change)]))
    with pytest.raises(UserError, match=fact) as error:
        read_rdms([path])
    assert "it.npy" in str(error.value) and "subject 2" in str(error.value)
    assert repair in error.value.hint
    if repair == "one-minus":
        np.save(path, np.stack([1 - SOUND, damaged(change)]))
    (imported,) = read_rdms([path], repairs=(repair,))
    if repair not in ("keep-constant", "keep-unmeasured"):
        assert any(imported.notes[2:]), "a repair is said"
    untouched = np.ones(len(UPPER[0]), bool)
    untouched &= ~np.isin(
        np.arange(len(UPPER[0])),
        [k for k, (i, j) in enumerate(zip(*UPPER, strict=True)) if (i, j) in ((1, 4), (0, 3))],
    )
    if repair not in ("keep-constant", "keep-unmeasured"):
        assert np.allclose(
            imported.values[1][untouched], SOUND[UPPER][untouched], rtol=0, atol=1e-15
        )


def test_validate_every_repair_has_a_fault():
    assert {repair for *_, repair in FAULTS} == set(REPAIRS)


def test_validate_repairs_change_only_their_fault(tmp_path):
    def repaired(change, repair):
        np.save(tmp_path / "it.npy", damaged(change))
        return squareform(
            read_rdms([tmp_path / "it.npy"], repairs=(repair,))[0].values[0], checks=False
        )

    assert repaired(asymmetric, "symmetrise")[1, 4] == (0.25 + SOUND[4, 1]) / 2
    assert repaired(negative, "clip-negative")[0, 3] == 0
    assert np.isnan(repaired(infinite, "inf-as-nan")[0, 3])
    assert np.isnan(repaired(unmeasured, "keep-unmeasured")[4, :4]).all()


def test_validate_a_repair_for_another_fault_does_not_help(tmp_path):
    np.save(tmp_path / "it.npy", damaged(asymmetric))
    with pytest.raises(UserError, match="not symmetric"):
        read_rdms([tmp_path / "it.npy"], repairs=("zero-diagonal",))


def test_validate_a_repair_unknown_is_refused(tmp_path):
    np.save(tmp_path / "it.npy", SOUND)
    with pytest.raises(UserError, match="did you mean `symmetrise`"):
        read_rdms([tmp_path / "it.npy"], repairs=("symmetrize",))


@pytest.mark.parametrize(
    "change", [lambda s: s * 0.7, lambda s: s + np.diag([0, 0.5, 0, 0, 0, 0])], ids=["all", "one"]
)
def test_validate_covariances_are_no_similarities(change, tmp_path):
    np.save(tmp_path / "it.npy", change(1 - SOUND))
    with pytest.raises(
        UserError,
        match=r"on its diagonal at stimulus \d \(\d such values\); a stimulus has similarity 1",
    ) as error:
        read_rdms([tmp_path / "it.npy"], repairs=("one-minus",))
    assert "zero-diagonal" in error.value.hint
    (imported,) = read_rdms([tmp_path / "it.npy"], repairs=("one-minus", "zero-diagonal"))
    assert np.allclose(imported.values, 1 - change(1 - SOUND)[UPPER])
    with pytest.raises(UserError, match="a stimulus is at distance 0 from itself") as error:
        read_rdms([tmp_path / "it.npy"])
    assert "one-minus" not in error.value.hint


@pytest.mark.parametrize("blank", [0, np.nan])
def test_validate_similarities_may_leave_their_diagonal_out(blank, tmp_path):
    np.save(tmp_path / "it.npy", np.where(np.eye(N), blank, 1 - SOUND))
    assert np.allclose(
        read_rdms([tmp_path / "it.npy"], repairs=("one-minus",))[0].values, SOUND[UPPER]
    )


def test_validate_a_constant_matrix_among_others_can_be_left_out(tmp_path):
    np.savez(tmp_path / "brain.npz", V1=SOUND, mask=np.zeros((N, N)))
    with pytest.raises(UserError, match="mask is constant: every distance is 0") as error:
        read_rdms([tmp_path / "brain.npz"])
    assert "--regions" in error.value.hint and "keep-constant" in error.value.hint
    assert read_rdms([tmp_path / "brain.npz"], regions=("V1",))[0].region == "V1"


def test_validate_crossnobis_may_be_negative(tmp_path):
    np.save(tmp_path / "it.npy", damaged(negative))
    (imported,) = read_rdms([tmp_path / "it.npy"], distance="crossnobis")
    assert imported.values.min() == -0.125 and imported.distance == "crossnobis"


def test_validate_rounding_is_no_fault_and_the_upper_triangle_stays_bit_for_bit(tmp_path):
    square = SOUND.copy()
    square[4, 1] += 1e-9
    square[3, 3] = -1e-16
    np.save(tmp_path / "it.npy", square)
    (imported,) = read_rdms([tmp_path / "it.npy"])
    assert np.array_equal(imported.values[0], SOUND[UPPER])


def test_validate_unmeasured_pairs_are_kept_and_counted(tmp_path):
    np.save(
        tmp_path / "it.npy",
        damaged(lambda s: (s.__setitem__((0, 3), np.nan), s.__setitem__((3, 0), np.nan))),
    )
    (imported,) = read_rdms([tmp_path / "it.npy"])
    assert np.isnan(imported.values).sum() == 1 and any(
        "1 of 15 distances not measured" in note for note in imported.notes
    )


def test_validate_nothing_but_nan_is_refused(tmp_path):
    np.save(tmp_path / "it.npy", np.full(15, np.nan))
    with pytest.raises(UserError, match="nothing but NaN"):
        read_rdms([tmp_path / "it.npy"])


def test_validate_a_damaged_variable_is_refused_beside_sound_ones_and_can_be_left_out(tmp_path):
    np.savez(tmp_path / "brain.npz", V1=SOUND, IT=damaged(asymmetric), labels=np.arange(4))
    with pytest.raises(UserError, match="IT is not symmetric"):
        read_rdms([tmp_path / "brain.npz"])
    (imported,) = read_rdms([tmp_path / "brain.npz"], regions=("V1",))
    assert imported.region == "V1"
    with pytest.raises(UserError, match=r"no region `V2`; did you mean `V1`"):
        read_rdms([tmp_path / "brain.npz"], regions=("V2",))
