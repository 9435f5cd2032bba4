"""Laws of every registered distance, and SciPy as the reference."""

import pytest
import torch
from scipy.spatial.distance import cdist

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.distances import DISTANCES

torch.set_num_threads(1)
NAMES = DISTANCES.names()
SCIPY = {
    "mse": lambda a, b: cdist(a, b, "sqeuclidean") / a.shape[1],
    "sqeuclidean": lambda a, b: cdist(a, b, "sqeuclidean"),
    "euclidean": lambda a, b: cdist(a, b, "euclidean"),
    "cosine": lambda a, b: cdist(a, b, "cosine"),
    "correlation": lambda a, b: cdist(a, b, "correlation"),
}
HOMOGENEOUS = {"mse": 2, "sqeuclidean": 2, "euclidean": 1, "cosine": 0, "correlation": 0}


def reps(n, *shape, seed=0, dtype=torch.float64):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rotation(d):
    return torch.linalg.qr(reps(d, d, seed=9)).Q


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def distance(name):
    return DISTANCES.find(name)


def test_distances_all_have_a_reference():
    assert set(NAMES) == set(SCIPY) == set(HOMOGENEOUS)


def test_distances_are_scipys(name, distance):
    a, b = reps(7, 12), reps(5, 12, seed=1) + 0.3
    torch.testing.assert_close(
        distance(a, b), torch.from_numpy(SCIPY[name](a.numpy(), b.numpy())), rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(
        distance(a, a), torch.from_numpy(SCIPY[name](a.numpy(), a.numpy())), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_distances_are_symmetric_with_a_zero_diagonal_and_never_negative(distance, dtype):
    a = reps(40, 3, 5, 7).to(dtype)
    for b in (a, a.detach(), a.clone()):
        distances = distance(a, b)
        assert distances.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert (distances.diagonal() == 0).all()
        assert (distances >= 0).all() and (distances[~torch.eye(40, dtype=torch.bool)] > 0).all()
    assert torch.equal(distance(a, a), distance(a, a).T)
    torch.testing.assert_close(distance(a, a[:9]), distance(a[:9], a).T)


def test_distances_of_blocks_and_flat_units_are_equal(distance):
    a = reps(9, 2, 3, 4)
    flat = a.flatten(1)
    assert torch.equal(distance(a, a), distance(flat, flat))
    torch.testing.assert_close(distance(a[:4], a[4:]), distance(a, a)[:4, 4:])


@pytest.mark.parametrize(
    "dtype,units", [(torch.float32, 30_000), (torch.float64, 30_000), (torch.float32, 3)]
)
def test_distances_of_identical_rows_are_exactly_0(distance, dtype, units):
    a = reps(20, units, dtype=dtype).relu() + 3
    a[[3, 17, 12]] = a[5].clone()
    distances = distance(a, a)
    assert (distances[5, [3, 17, 12]] == 0).all() and (distances[[3, 17], [17, 12]] == 0).all()
    assert (distance(a, a.flip(0)).flip(1).diagonal() == 0).all()


def test_distances_scale_by_their_degree(name, distance):
    a = reps(8, 10)
    torch.testing.assert_close(distance(3 * a, 3 * a), 3 ** HOMOGENEOUS[name] * distance(a, a))


def test_distances_of_tiny_units_are_exact(name, distance):
    """Magnetoencephalography in tesla, float32: squares of 1e-13 are no rounding noise."""
    a = reps(8, 10, dtype=torch.float32)
    tiny = (1e-13 * a).requires_grad_()
    distances = distance(tiny, tiny)
    torch.testing.assert_close(
        distances, 1e-13 ** HOMOGENEOUS[name] * distance(a, a), rtol=1e-4, atol=0
    )
    distances.sum().backward()
    assert torch.isfinite(tiny.grad).all()


def test_distances_but_correlation_are_invariant_to_rotation(name, distance):
    a = reps(8, 10) + 0.5
    turned = a @ rotation(10)
    same = torch.allclose(distance(turned, turned), distance(a, a))
    assert same == (name != "correlation")


def test_distances_but_cosine_are_invariant_to_a_common_offset(name, distance):
    a = reps(8, 10)
    same = torch.allclose(distance(a + 2, a + 2), distance(a, a))
    assert same == (name != "cosine")


@pytest.mark.parametrize("name", ["mse", "sqeuclidean", "euclidean"])
def test_distances_in_float32_survive_a_common_pattern(name):
    """Features 50 ± 0.01: without the shift float32 is wrong by 9 x, half below 0."""
    a = (50 + 0.01 * reps(64, 200)).float()
    exact = DISTANCES.find(name)(a.double(), a.double())
    distances = DISTANCES.find(name)(a, a).double()
    off = ~torch.eye(64, dtype=torch.bool)
    assert ((distances - exact).abs() / exact)[off].max() < 2e-6
    b = (50 + 0.01 * reps(30, 200, seed=4)).float()
    torch.testing.assert_close(
        DISTANCES.find(name)(a, b).double(),
        DISTANCES.find(name)(a.double(), b.double()),
        rtol=2e-6,
        atol=0,
    )


@pytest.mark.parametrize("name", ["cosine", "correlation"])
def test_correlation_survives_a_large_offset(name):
    a = (1000 + reps(30, 50)).float()
    off = ~torch.eye(30, dtype=torch.bool)
    error = (
        (DISTANCES.find(name)(a, a).double() / DISTANCES.find(name)(a.double(), a.double()) - 1)[
            off
        ]
        .abs()
        .max()
    )
    assert (
        error < {"cosine": 2e-4, "correlation": 2e-6}[name]
    )  # the angles themselves are 1e-3 wide; r is not


def test_distances_ignore_autocast(distance):
    a = reps(16, 64, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distance(a, a)
    assert inside.dtype == torch.float32 and torch.equal(inside, distance(a, a))


def test_distances_have_the_gradients_of_their_formula(distance):
    a, b = reps(4, 6).requires_grad_(), reps(3, 6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (a, b))
    off = ~torch.eye(4, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: distance(x, x)[off], (a,))
    assert torch.autograd.gradcheck(lambda x: distance(x, b.detach()), (a,))


def test_distances_with_one_side_detached_have_half_the_gradient(distance):
    """The surrogate of Eq. 4 relies on it: item pair occurs twice, once for either end."""
    a, weights = reps(6, 5).requires_grad_(), reps(6, 6, seed=2)
    weights = weights + weights.T
    (both,) = torch.autograd.grad((weights * distance(a, a)).sum(), a)
    (one,) = torch.autograd.grad((weights * distance(a, a.detach())).sum(), a)
    torch.testing.assert_close(both, 2 * one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize(
    "rows",
    [
        torch.zeros(5, 4),
        torch.full((5, 4), 0.1),
        torch.full((5, 4), 60000.0),
        torch.arange(5.0)[:, None].expand(5, 4),
        torch.cat([torch.zeros(2, 4), torch.eye(4)]),
        torch.cat([torch.eye(4), torch.eye(4)]),
        torch.cat([1e-7 * torch.eye(4), torch.eye(4)]),
        torch.ones(1, 4),
        torch.eye(1),
    ],
    ids=[
        "zeros",
        "constant",
        "large",
        "constant rows",
        "dead rows",
        "copies",
        "nearly dead",
        "one stimulus",
        "one unit",
    ],
)
def test_distances_of_degenerate_rows_have_finite_values_and_gradients(distance, rows, dtype):
    for detached in (False, True):
        a = rows.to(dtype).clone().requires_grad_()
        distances = distance(a, a.detach() if detached else a)
        ((distances - 1) ** 2).sum().backward()
        assert torch.isfinite(distances).all() and (distances.diagonal() == 0).all()
        assert torch.isfinite(a.grad).all()


def test_distances_bound_the_gradient_of_a_nearly_dead_row():
    a = torch.cat([1e-12 * torch.eye(4), torch.eye(4)]).double().requires_grad_()
    DISTANCES.find("cosine")(a, a).sum().backward()
    assert 1 < a.grad.abs().max() < 1e5


def test_cosine_and_correlation_of_rows_without_a_direction_are_0_or_one_half():
    a = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 2, 3]])
    expected = torch.tensor([[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]])
    torch.testing.assert_close(DISTANCES.find("cosine")(a, a), expected)
    torch.testing.assert_close(DISTANCES.find("correlation")(a + 0.1, a + 0.1), expected)


def test_distances_take_integers_and_half_precision(distance):
    pictures = torch.randint(
        0, 256, (4, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(
        distance(pictures, pictures), distance(pictures.float(), pictures.float())
    )


def test_distances_have_the_wider_dtype(distance):
    a = reps(4, 6)
    assert distance(a.half(), a).dtype == distance(a, a.float()).dtype == torch.float64
    assert distance(a.half(), a.float()).dtype == torch.float32


def test_distances_of_no_rows_are_empty(distance):
    assert distance(torch.zeros(3, 2, 2), torch.zeros(0, 2, 2)).shape == (3, 0)


def test_distances_suggest_the_nearest_name():
    with pytest.raises(UserError, match="did you mean `correlation`"):
        DISTANCES.find("corelation")


def test_distances_include_a_users_own():
    assert DISTANCES.find("torch:cdist")(torch.eye(2), torch.eye(2)).shape == (2, 2)


@pytest.mark.parametrize("name", ["correlation", "cosine"])
@pytest.mark.parametrize("offset", [0, 100, -1e4])
def test_correlation_and_cosine_of_collinear_patterns_are_exactly_0(name, offset):
    """Rounding errors of 1e-32 are no geometry; of data stored in float32 they are 1e-11."""
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(95, generator=rng, dtype=torch.float64) + (offset if name == "cosine" else 0)
    scale = torch.rand(30, 1, generator=rng, dtype=torch.float64) * 2.5 + 0.5
    patterns = scale * base + (0 if name == "cosine" else offset + scale.flip(0))
    for x in (patterns, patterns.float(), patterns.float().double()):
        assert (DISTANCES.find(name)(x, x) == 0).all()
        assert (DISTANCES.find(name)(x[:9], x) == 0).all()
    other = patterns + 1e-3 * torch.randn(30, 95, generator=rng, dtype=torch.float64)
    assert (DISTANCES.find(name)(other, other) > 0).sum() == 30 * 29
