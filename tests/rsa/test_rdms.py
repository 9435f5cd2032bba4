"""The type RDMs: its order, its parts and its means agree with SciPy and NumPy."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.rdms import RDMs, n_from_pairs

N = 6
VALUES = np.random.default_rng(0).random((4, N * (N - 1) // 2)).astype(np.float32)
FOUR = RDMs(VALUES, "correlation", "IT", "1 - r", tuple("abcdef"), ("p", "q") * 2, tuple("1122"))


def test_rdms_fill_missing_labels_and_keep_their_number():
    rdms = RDMs(VALUES)
    assert (len(rdms), rdms.n_stimuli) == (4, N)
    assert rdms.subjects == rdms.sessions == ("",) * 4 and all(map(math.isnan, rdms.times))
    with pytest.raises(AssertionError, match="4 RDMs need 4 subjects"):
        RDMs(VALUES, subjects=("a",))


def test_to_square_is_scipys_squareform():
    expected = np.stack([squareform(values) for values in VALUES])
    np.testing.assert_array_equal(FOUR.to_square(), expected)
    assert FOUR.to_square().dtype == np.float32


@pytest.mark.parametrize("rows", [[4, 1, 0, 5], [2], range(N), np.array([5, 0])])
def test_subset_is_the_square_of_those_stimuli_in_that_order(rows):
    part = FOUR.subset(rows)
    expected = FOUR.to_square()[:, list(rows)][:, :, list(rows)]
    np.testing.assert_array_equal(part.to_square(), expected)
    assert part.stimuli == tuple("abcdef"[row] for row in rows)
    assert (part.region, part.subjects, part.distance) == ("IT", FOUR.subjects, "correlation")


def test_mean_leaves_out_what_is_not_measured():
    values = VALUES.copy()
    values[:3, 0], values[:, 1] = np.nan, np.nan
    mean = RDMs(values).mean()
    assert mean.values.dtype == np.float64 and mean.values.shape == (1, 15)
    assert mean.values[0, 0] == values[3, 0] and np.isnan(mean.values[0, 1])
    np.testing.assert_allclose(mean.values[0, 2:], values[:, 2:].mean(0), rtol=1e-6)


def test_mean_over_sessions_keeps_subjects():
    by_subject = FOUR.mean_over_sessions()
    assert by_subject.subjects == ("p", "q")
    np.testing.assert_allclose(by_subject.values, (VALUES[:2] + VALUES[2:]) / 2, rtol=1e-6)


def test_select_narrows_and_describe_counts():
    assert FOUR.describe() == "4 RDMs (2 subjects, 2 sessions)"
    assert FOUR.parts == ["p", "q", "session1", "session2"]
    np.testing.assert_array_equal(FOUR.select("session2").select("q").values, VALUES[3:])
    np.testing.assert_array_equal(FOUR.select("mean").values, FOUR.mean().values)
    with pytest.raises(UserError, match="no part `sessio2`; did you mean `session2`"):
        FOUR.select("sessio2")


def test_tensor_is_a_copy():
    tensor = FOUR.tensor()
    tensor[0, 0] = -1
    assert FOUR.values[0, 0] != -1 and tensor.dtype.is_floating_point


def test_n_from_pairs_refuses_other_lengths():
    assert [n_from_pairs(n * (n - 1) // 2) for n in (2, 3, 92)] == [2, 3, 92]
    with pytest.raises(UserError, match="4,187 distances are no RDM: 92 stimuli have 4,186"):
        n_from_pairs(4187)


def test_rdms_need_no_torch():
    code = "import sys, rdl_cli.rsa.rdms; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
