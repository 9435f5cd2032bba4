"""The order of an RDM's vector is SciPy's, and its arithmetic is exact."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import (
    condensed_pairs,
    is_constant,
    n_from_pairs,
    pair_index,
    to_square,
)
from rdl_cli.rsa.distances import DISTANCES


def test_condensed_pairs_give_scipys_pdist():
    a = torch.randn(11, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = DISTANCES.find("euclidean")(a, a)[condensed_pairs(11)]
    np.testing.assert_allclose(values, pdist(a.numpy()), rtol=1e-12)
    np.testing.assert_array_equal(to_square(values), squareform(values.numpy()))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 17, 92])
def test_pair_index_inverts_condensed_pairs(n):
    i, j = condensed_pairs(n)
    places = torch.arange(n * (n - 1) // 2)
    assert torch.equal(pair_index(i, j, n), places)
    assert torch.equal(pair_index(j, i, n), places)
    assert n_from_pairs(len(places)) == n


@pytest.mark.parametrize("n", [50_000, 94_906_267, 1_000_000_007])
def test_pair_index_is_exact_where_floats_are_not(n):
    """From n = 94,906,267 on, 8k + 1 is no longer a float64."""
    pairs = n * (n - 1) // 2
    rows = [0, 1, 2, n // 3, n // 2, n - 3, n - 2]
    starts = [i * (2 * n - i - 1) // 2 for i in rows]
    i = torch.tensor(rows)
    assert pair_index(i, i + 1, n).tolist() == starts
    assert pair_index(torch.tensor(n - 1), i, n).tolist() == [
        start + n - 2 - row for start, row in zip(starts, rows, strict=True)
    ]
    assert pair_index(torch.tensor(n - 1), torch.tensor(n - 2), n).item() == pairs - 1
    assert n_from_pairs(pairs) == n
    with pytest.raises(UserError):
        n_from_pairs(pairs + 1)


@pytest.mark.parametrize("pairs", [0, 2, 4, 4185, 4187])
def test_n_from_pairs_refuses_a_number_that_is_no_triangle(pairs):
    with pytest.raises(UserError, match="are no RDM"):
        n_from_pairs(pairs)


def test_pair_index_of_small_integers_does_not_overflow():
    i, j = torch.tensor([70, 90], dtype=torch.uint8), torch.tensor([80, 2], dtype=torch.uint8)
    assert pair_index(i, j, 92).tolist() == [70 * 113 // 2 + 9, 2 * 181 // 2 + 87]


def test_to_square_keeps_gradients_and_batches():
    values = torch.rand(2, 3, 6, dtype=torch.float64, requires_grad=True)
    assert to_square(values).shape == (2, 3, 4, 4)
    assert torch.equal(to_square(values)[1, 2], to_square(values[1, 2]))
    assert torch.autograd.gradcheck(to_square, (values,))


def test_is_constant_takes_rounding_and_nan_for_nothing():
    rdm = torch.rand(2, 28, dtype=torch.float64)
    assert not is_constant(rdm) and not is_constant(1e-30 * rdm)
    assert is_constant(1 + 4e-16 * rdm) and is_constant((1 + 2e-7 * rdm).float())
    assert is_constant(torch.full((28,), torch.nan)) and is_constant(torch.zeros(28))
    rdm[0, 3] = torch.nan
    assert not is_constant(rdm)
    rounding = 5e-16 * torch.rand(28, dtype=torch.float64)  # SciPy's, of collinear patterns
    assert is_constant(rounding, "correlation") and not is_constant(rounding, "mse")
    assert is_constant(1e-7 * torch.rand(28), "cosine")
