"""rsatoolbox, SciPy and golden values as references; laws of every registered measure."""

import jaxtyping
import numpy as np
import pytest
import torch
from rsatoolbox.rdm import RDMs, compare
from scipy import stats

from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import inner_products, kernel_from_rdm
from rdl_cli.rsa.measures import MEASURES, MeasureTraits, measure_input, measure_traits
from rdl_cli.rsa.normalization import ranks

torch.set_num_threads(1)
NAMES = MEASURES.names()
RSATOOLBOX = {
    "pearson": "corr",
    "cosine": "cosine",
    "spearman": "spearman",
    "rho-a": "rho-a",
    "tau-a": "tau-a",
    "whitened-cosine": "cosine_cov",
    "whitened-correlation": "corr_cov",
}
RDM_MEASURES = [name for name in NAMES if measure_traits(MEASURES.find(name)).input == "rdm"]
KERNEL_MEASURES = [name for name in NAMES if measure_traits(MEASURES.find(name)).input == "kernel"]
WITH_GRADIENT = [name for name in NAMES if name not in ("spearman", "rho-a", "tau-a")]
mse = DISTANCES.find("mse")


def reps(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rdm(n, seed=0, ties=False):
    values = torch.rand(
        n * (n - 1) // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return (4 * values).round() if ties else values


def reference(name, a, b):
    with np.errstate(all="ignore"):
        return compare(
            RDMs(a.numpy().reshape(-1, a.shape[-1])),
            RDMs(b.numpy().reshape(-1, b.shape[-1])),
            method=RSATOOLBOX[name],
        )


@pytest.mark.parametrize("name", RDM_MEASURES)
@pytest.mark.parametrize("ties", [False, True])
def test_measures_are_rsatoolboxs(name, ties):
    a, b = rdm(12, 1, ties), rdm(12, 2, ties) + rdm(12, 1) / 2
    assert MEASURES.find(name)(a, b).item() == pytest.approx(
        reference(name, a, b).item(), abs=1e-12
    )


@pytest.mark.parametrize("name", RDM_MEASURES)
def test_measures_leave_out_nan_as_rsatoolbox_does(name):
    a, b = rdm(9, 1), rdm(9, 2)
    lost = torch.tensor([0, 3, 17, 30])
    a[lost] = torch.nan
    both = b.clone()
    both[lost] = torch.nan
    assert MEASURES.find(name)(a, both).item() == pytest.approx(
        reference(name, a, both).item(), abs=1e-10
    )
    assert MEASURES.find(name)(a, b) == MEASURES.find(name)(a, both)


def test_measures_have_golden_values():
    a = torch.arange(1.0, 7).double()
    b, tied = (
        torch.tensor([1, 3, 2, 4, 6, 5.0]).double(),
        torch.tensor([0, 0, 1, 1, 1, 1.0]).double(),
    )
    for name, value in (
        ("pearson", 0.8857142857),
        ("spearman", 0.8857142857),
        ("tau-a", 0.7333333333),
        ("cosine", 0.9780219780),
    ):
        assert MEASURES.find(name)(a, b).item() == pytest.approx(value, abs=5e-11)
    for name, value in (("spearman", 0.8280786712), ("tau-a", 0.5333333333)):
        assert MEASURES.find(name)(a, tied).item() == pytest.approx(value, abs=5e-11)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_scipys(ties):
    values = torch.stack((rdm(10, 0, ties), rdm(10, 1, ties)))
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values, axis=1))
    values[0, ::4], values[1, 3] = torch.nan, torch.inf
    expected = stats.rankdata(values, axis=1, nan_policy="omit")
    for given in (values, values.float(), values.repeat(3, 1, 1), values.T.contiguous().T):
        np.testing.assert_array_equal(ranks(given), np.broadcast_to(expected, given.shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [True, False])
def test_ranks_of_signs_zeros_and_infinities_are_scipys(dtype, exact):
    """Values that float32 holds are sorted as packed keys; a third of 1 in float64 is not."""
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, torch.inf, -torch.inf, 1, 1, -1])
    values = torch.cat([special, torch.randn(2000), torch.randint(-3, 3, (500,))]).to(dtype)
    values = values if exact else values / 3
    values = values[torch.randperm(len(values))].repeat(2, 1)
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values, axis=1))
    values[0, ::7], values[1, 5::9] = torch.nan, -torch.tensor(torch.nan)
    expected = stats.rankdata(values, axis=1, nan_policy="omit")
    np.testing.assert_array_equal(ranks(values), expected)


def test_ranks_of_integers_and_of_values_beyond_float32_are_scipys():
    whole = torch.tensor([2**53, 2**53 + 1, 3, -2, 3])
    assert ranks(whole).tolist() == [4, 5, 2.5, 1, 2.5]
    assert ranks(torch.tensor([1e300, 1e301, -1e300], dtype=torch.float64)).tolist() == [2, 3, 1]


def test_ranks_of_nothing_are_empty():
    assert ranks(torch.rand(3, 0)).shape == (3, 0) and ranks(torch.rand(0, 3)).shape == (0, 3)


def test_ranks_of_rounding_are_ties():
    values = 1 + 4e-16 * rdm(8)
    assert len(values.unique()) == 3
    values[3] = torch.nan
    assert ranks(values).nan_to_num(14).tolist() == [14.0] * 28
    for name in ("spearman", "rho-a", "tau-a", "pearson"):
        assert MEASURES.find(name)(1 + 4e-16 * rdm(8), rdm(8)) == 0


def test_rho_a_is_spearman_averaged_over_broken_ties():
    a, b = rdm(5, 1, ties=True), rdm(5, 2)
    broken = MEASURES.find("spearman")(
        a + 1e-6 * torch.rand(4000, 10, generator=torch.Generator().manual_seed(0)), b
    )
    assert MEASURES.find("rho-a")(a, b).item() == pytest.approx(
        broken.mean().item(), abs=4 * broken.std().item() / 4000**0.5
    )


def test_whitened_cosine_weights_by_the_inverse_noise_covariance():
    a, b, n = rdm(7, 1), rdm(7, 2), 7
    i, j = condensed_pairs(n)
    contrasts = torch.nn.functional.one_hot(i, n) - torch.nn.functional.one_hot(j, n)
    weight = torch.linalg.inv((contrasts @ contrasts.T).double() ** 2)
    value = a @ weight @ b / ((a @ weight @ a) * (b @ weight @ b)).sqrt()
    assert MEASURES.find("whitened-cosine")(a, b).item() == pytest.approx(value.item(), abs=1e-12)


def test_whitened_cosine_of_squared_distances_is_cka():
    x, y = reps(20, 5, 1), reps(20, 9, 2) + 3
    a, b = mse(x, x)[condensed_pairs(20)], mse(y, y)[condensed_pairs(20)]
    value = MEASURES.find("cka")(inner_products(x), inner_products(y)).item()
    assert MEASURES.find("whitened-cosine")(a, b).item() == pytest.approx(value, abs=1e-12)
    assert MEASURES.find("cka")(kernel_from_rdm(a), kernel_from_rdm(b)).item() == pytest.approx(
        value, abs=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_invariant_to_rotation_and_scale(name):
    x = reps(14, 6)
    measure = MEASURES.find(name)
    turned = 7 * x @ torch.linalg.qr(reps(6, 6, seed=9)).Q
    value = measure(measure_input(measure, x, mse), measure_input(measure, turned, mse))
    # an angle of 0 is known to √eps
    tolerance = 1e-7 if name == "procrustes" else 1e-8
    assert value.item() == pytest.approx(measure_traits(measure).identity_value, abs=tolerance)
    other = measure(measure_input(measure, x, mse), measure_input(measure, reps(14, 6, 3), mse))
    assert abs(other - measure_traits(measure).identity_value) > 0.05


@pytest.mark.parametrize("name", [n for n in NAMES if n in RSATOOLBOX or n.startswith("cka")])
def test_measures_are_invariant_to_a_common_pattern(name):
    x, y = reps(14, 6), reps(14, 6, 3)
    measure = MEASURES.find(name)
    value = measure(measure_input(measure, x, mse), measure_input(measure, y, mse))
    assert measure(
        measure_input(measure, x + 50, mse), measure_input(measure, y, mse)
    ).item() == pytest.approx(value.item(), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_symmetric_and_invariant_to_the_order_of_stimuli(name):
    x, y, order = (
        reps(14, 6),
        reps(14, 4, 3),
        torch.randperm(14, generator=torch.Generator().manual_seed(0)),
    )
    measure = MEASURES.find(name)
    value = measure(measure_input(measure, x, mse), measure_input(measure, y, mse)).item()
    tolerance = 0.03 if name in ("tv", "jsd", "js-distance") else 1e-12
    assert measure(
        measure_input(measure, y, mse), measure_input(measure, x, mse)
    ).item() == pytest.approx(value, abs=tolerance)
    assert measure(
        measure_input(measure, x[order], mse), measure_input(measure, y[order], mse)
    ).item() == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", RDM_MEASURES)
def test_measures_compare_leading_dimensions_one_by_one(name):
    a, b = torch.stack([rdm(6, s) for s in range(4)]).reshape(2, 2, -1), rdm(6, 9)
    value = MEASURES.find(name)(a, b)
    assert value.shape == (2, 2)
    assert value[1, 0].item() == pytest.approx(MEASURES.find(name)(a[1, 0], b).item(), abs=1e-12)


@pytest.mark.parametrize("name", RDM_MEASURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measures_ignore_the_unit_of_a_distance(name, dtype):
    a, b = rdm(8, 1).to(dtype), rdm(8, 2).to(dtype)
    measure = MEASURES.find(name)
    assert measure(1e-26 * a, 1e9 * b).item() == pytest.approx(measure(a, b).item(), abs=1e-6)


@pytest.mark.parametrize("name", RDM_MEASURES)
def test_measures_compute_half_precision_and_integers_in_float32(name):
    a, b = (100 * rdm(8, 1)).round(), (100 * rdm(8, 2)).round()
    value = MEASURES.find(name)(a, b).item()
    for dtype in (torch.float16, torch.uint8):
        assert MEASURES.find(name)(a.to(dtype), b.to(dtype)).item() == pytest.approx(
            value, abs=1e-6
        )


@pytest.mark.parametrize("name", [n for n in NAMES if n in RSATOOLBOX or n.startswith("cka")])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_measures_are_0_for_constant_rdms(name, value):
    measure = MEASURES.find(name)
    flat = (
        torch.full((28,), value)
        if name in RSATOOLBOX
        else measure_input(measure, torch.full((8, 3), value), mse)
    )
    flat.requires_grad_(name in WITH_GRADIENT)
    other = rdm(8).float() if name in RSATOOLBOX else inner_products(reps(8, 3).float())
    if name in ("cosine", "whitened-cosine") and value:
        return  # to these two a constant RDM is one like any other
    result = measure(flat, other)
    assert result == 0
    if name in WITH_GRADIENT:
        result.backward()
        assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize(
    "name", [n for n in WITH_GRADIENT if n in RSATOOLBOX or n.startswith("cka")]
)
def test_measures_have_the_gradients_of_their_formula(name):
    measure = MEASURES.find(name)
    fixed = measure_input(measure, reps(6, 4, 3), mse)
    assert torch.autograd.gradcheck(
        lambda x: measure(measure_input(measure, x, mse), fixed), (reps(6, 4).requires_grad_(),)
    )


@pytest.mark.parametrize("name", [n for n in WITH_GRADIENT if n in RSATOOLBOX])
def test_measures_have_no_gradient_at_nan(name):
    a, b = rdm(7, 1).requires_grad_(), rdm(7, 2)
    b[4] = torch.nan
    MEASURES.find(name)(a, b).backward()
    assert torch.isfinite(a.grad).all() and a.grad[4] == 0 and a.grad.abs().sum() > 0


def test_measures_assert_equal_stimuli():
    with pytest.raises((AssertionError, jaxtyping.TypeCheckError)):
        MEASURES.find("pearson")(rdm(5), rdm(6))
    with pytest.raises(AssertionError, match="at least 4 stimuli"):
        MEASURES.find("cka-debiased")(inner_products(reps(3, 2)), inner_products(reps(3, 2)))


def test_measure_traits_of_a_users_measure_are_those_of_rdms():
    assert measure_traits(MEASURES.find("torch:dot")) == MeasureTraits()
