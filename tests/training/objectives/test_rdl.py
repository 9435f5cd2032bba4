"""RDL against the paper's equations: a worked example, the surrogate and the exact gradient."""

from itertools import combinations

import pytest
import torch

from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.training.objectives import rdl

CLOSED = ("mse", "sqeuclidean")
F = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
WORKED_EXAMPLE = {
    ("sqeuclidean", "eq4"): (1.0, [[4 / 3, -8 / 3], [-8 / 3, 0], [0, 16 / 3]]),
    ("sqeuclidean", "pairs"): (1.0, [[2, -4], [-2, 0], [0, 4]]),
    ("mse", "eq4"): (1.625, [[1, 4 / 3], [-2, 0], [0, -8 / 3]]),
    ("mse", "pairs"): (1.625, [[1.5, 2], [-1.5, 0], [0, -2]]),
}


def error(f, t, counts, distance, estimator):
    """The error of one layer."""
    return rdl.weighted_errors([f], t[None], counts, [distance], estimator)[0]


def value_and_gradient(f, t, counts, distance, estimator):
    """Value and gradient of the error."""
    f = f.clone().requires_grad_()
    value = error(f, t, counts, distance, estimator)
    value.backward()
    return value.detach(), f.grad


def count_pairs(pairs, n):
    """Return how often each pair of a list occurs, which may have repeats."""
    counts = torch.zeros(n, n, dtype=torch.float64)
    for i, j in pairs:
        counts[i, j] += 1
        if i != j:
            counts[j, i] += 1
    return counts


def surrogate(f, t, pairs, distance):
    """Return L_surr pair by pair: each image moves, its partners are fixed.

    Its gradient is Eq. 4, its half the value.
    """
    partners = {}
    for i, j in pairs:
        if i != j:
            partners.setdefault(i, []).append(j)
            partners.setdefault(j, []).append(i)
    total = 0
    for i, others in partners.items():
        for j in others:
            r = DISTANCES.find(distance)(f[i : i + 1], f[j : j + 1].detach())[0, 0]
            total = total + 2 / len(partners) / len(others) * (r - t[i, j]) ** 2
    return total


def eq4(f, t, pairs, scale=1.0):
    """Eq. 4 as it is printed."""
    distance = DISTANCES.find("sqeuclidean")(f, f) * scale
    present = {i for pair in pairs for i in pair if pair[0] != pair[1]}
    gradient = torch.zeros_like(f)
    for i in present:
        partners = [b if a == i else a for a, b in pairs if a != b and i in (a, b)]
        for j in partners:
            gradient[i] += (
                8
                * scale
                / len(present)
                / len(partners)
                * (distance[i, j] - t[i, j])
                * (f[i] - f[j])
            )
    return gradient


@pytest.fixture
def f():
    return torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def t():
    other = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return DISTANCES.find("mse")(other, other)


PAIRS = [(0, 1), (0, 2), (0, 5), (3, 4), (1, 2), (2, 6), (0, 6), (5, 6)]
ODD = {
    "distinct": PAIRS,
    "repeated": [*PAIRS, (0, 1), (3, 4), (1, 0)],
    "self": [*PAIRS, (2, 2), (5, 5)],
    "star": [(0, k) for k in range(1, 7)],
}


@pytest.mark.parametrize(("distance", "estimator"), WORKED_EXAMPLE)
def test_weighted_errors_give_the_worked_example(distance, estimator):
    value, gradient = WORKED_EXAMPLE[distance, estimator]
    t = torch.tensor([[0, 2, 3], [2, 0, 4], [3, 4, 0]], dtype=torch.float64)
    actual = value_and_gradient(
        torch.tensor(F, dtype=torch.float64),
        t,
        count_pairs([(0, 1), (0, 2)], 3),
        distance,
        estimator,
    )
    torch.testing.assert_close(
        actual[0], torch.tensor(value, dtype=torch.float64), rtol=0, atol=1e-15
    )
    torch.testing.assert_close(
        actual[1], torch.tensor(gradient, dtype=torch.float64), rtol=0, atol=2e-15
    )


@pytest.mark.parametrize("distance", DISTANCES.names())
@pytest.mark.parametrize("pairs", ODD.values(), ids=ODD)
def test_eq4_is_the_gradient_of_the_surrogate(distance, pairs, f, t):
    value, gradient = value_and_gradient(f, t, count_pairs(pairs, 7), distance, "eq4")
    x = f.clone().requires_grad_()
    expected = surrogate(x, t, pairs, distance)
    expected.backward()
    torch.testing.assert_close(value, expected.detach() / 2, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradient, x.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pairs", ODD.values(), ids=ODD)
def test_eq4_equals_the_printed_equation(pairs, f, t):
    for distance, scale in (("sqeuclidean", 1.0), ("mse", 1 / 5)):
        torch.testing.assert_close(
            value_and_gradient(f, t, count_pairs(pairs, 7), distance, "eq4")[1],
            eq4(f, t, pairs, scale),
        )


def test_eq4_is_eq3_over_all_pairs_and_no_true_gradient_over_some(f, t):
    every = list(combinations(range(7), 2))
    eq3 = eq4(f, t, every)
    for estimator in ("eq4", "pairs", "all"):
        torch.testing.assert_close(
            value_and_gradient(f, t, count_pairs(every, 7), "sqeuclidean", estimator)[1], eq3
        )
    assert (
        value_and_gradient(f, t, count_pairs(every, 7), "mse", "eq4")[1].sum(0).abs().max() < 1e-14
    )
    assert (
        value_and_gradient(f, t, count_pairs(PAIRS, 7), "mse", "eq4")[1].sum(0).abs().max() > 0.01
    ), "a true one would leave the mean alone"


def test_eq2_is_the_value_of_all_pairs(f, t):
    for distance in DISTANCES:
        expected = (DISTANCES.find(distance)(f, f) - t)[condensed_pairs(7)].square().mean()
        for estimator in ("eq4", "pairs", "all"):
            torch.testing.assert_close(
                value_and_gradient(f, t, 1 - torch.eye(7), distance, estimator)[0], expected
            )


@pytest.mark.parametrize("distance", DISTANCES.names())
def test_eq4_passes_gradcheck_on_regular_pair_graphs(distance, f, t):
    graphs = {
        "all": 1 - torch.eye(7),
        "ring": count_pairs([(k, (k + 1) % 7) for k in range(7)], 7),
        "edges": count_pairs([(0, 1), (2, 3)], 7),
    }
    for counts in graphs.values():
        assert torch.autograd.gradcheck(
            lambda x, c=counts: error(x, t, c, distance, "eq4"), f.requires_grad_()
        )
    assert torch.autograd.gradcheck(
        lambda x: error(x, t, count_pairs(PAIRS, 7), distance, "pairs"), f
    )
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda x: error(x, t, count_pairs(PAIRS, 7), distance, "eq4"), f)


@pytest.mark.parametrize("estimator", ["eq4", "pairs"])
def test_eq4_is_unbiased_over_samples_of_pairs(estimator, t):
    """All 210 draws of 4 of the 10 pairs of 5 images: their mean gradient is Eq. 3."""
    f = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    t = t[:5, :5]
    draws = list(combinations(combinations(range(5), 2), 4))
    mean = sum(
        value_and_gradient(f, t, count_pairs(pairs, 5), "sqeuclidean", estimator)[1]
        for pairs in draws
    ) / len(draws)
    assert len(draws) == 210
    torch.testing.assert_close(mean, eq4(f, t, list(combinations(range(5), 2))), rtol=0, atol=1e-13)


@pytest.mark.parametrize("estimator", ["eq4", "pairs", "all"])
@pytest.mark.parametrize("distance", DISTANCES.names())
def test_weighted_errors_leave_out_missing_pairs(distance, estimator, f, t):
    """A NaN equals a pair that was not drawn, a row of NaN an image that was not there."""
    holes = t.clone()
    holes[0, 1] = holes[1, 0] = float("nan")
    holes[4] = holes[:, 4] = float("nan")
    measured = [pair for pair in PAIRS if pair != (0, 1) and 4 not in pair]
    for actual, expected in zip(
        value_and_gradient(f, holes, count_pairs(PAIRS, 7), distance, estimator),
        value_and_gradient(f, t, count_pairs(measured, 7), distance, estimator),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)
    value, gradient = value_and_gradient(
        f, torch.full_like(t, float("nan")), count_pairs(PAIRS, 7), distance, estimator
    )
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("estimator", ["eq4", "pairs", "all"])
@pytest.mark.parametrize("distance", CLOSED)
def test_weighted_errors_agree_in_closed_and_generic_form(distance, estimator, f, t, monkeypatch):
    closed = value_and_gradient(f, t, count_pairs(ODD["repeated"], 7), distance, estimator)
    monkeypatch.setitem(DISTANCES._members, "the same", DISTANCES.find(distance))
    for actual, expected in zip(
        value_and_gradient(f, t, count_pairs(ODD["repeated"], 7), "the same", estimator),
        closed,
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "distances", [("mse", "sqeuclidean", "mse"), ("mse", "cosine", "correlation")]
)
@pytest.mark.parametrize("fit", ["none", "scale", "affine"])
@pytest.mark.parametrize("estimator", ["eq4", "pairs", "all"])
def test_weighted_errors_treat_layers_independently(estimator, fit, distances, t):
    """Values and gradients, for all shapes and memory layouts, with pairs missing in a layer."""
    rng = torch.Generator().manual_seed(6)
    reps = [
        torch.randn(7, *shape, dtype=torch.float64, generator=rng)
        for shape in ((4, 3, 3), (2, 5, 5), (11,))
    ]
    reps[1] = reps[1].to(memory_format=torch.channels_last)
    teacher = torch.stack([t, 2 * t, t.square()])
    teacher[1, 2, 3] = teacher[1, 3, 2] = float("nan")
    counts = count_pairs(PAIRS, 7)
    together = [r.clone().requires_grad_() for r in reps]
    values = rdl.weighted_errors(together, teacher, counts, distances, estimator, fit)
    (values * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    for k, r in enumerate(reps):
        alone = r.flatten(1).clone().requires_grad_()
        value = rdl.weighted_errors(
            [alone], teacher[k : k + 1], counts, distances[k : k + 1], estimator, fit
        )[0]
        torch.testing.assert_close(values[k], value, rtol=1e-12, atol=1e-14)
        value.backward()
        torch.testing.assert_close(
            together[k].grad.flatten(1), (k + 1) * alone.grad, rtol=1e-10, atol=1e-12
        )


def test_weighted_errors_keep_precision_with_large_offsets(t):
    """Features 50 ± 0.01 in float32: a Gram matrix around 0 would be wrong by a factor of 9."""
    noise = 0.01 * torch.randn(
        7, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    exact = value_and_gradient(50 + noise, t * 1e-4, count_pairs(PAIRS, 7), "mse", "eq4")
    for actual, expected in zip(
        value_and_gradient((50 + noise).float(), t * 1e-4, count_pairs(PAIRS, 7), "mse", "eq4"),
        exact,
        strict=True,
    ):
        torch.testing.assert_close(actual.double(), expected, rtol=2e-2, atol=0)


def test_draw_pairs_draws_distinct_pairs_evenly():
    rng = torch.Generator().manual_seed(0)
    total = sum(rdl.draw_pairs(6, 4, rng) for _ in range(3000))
    assert torch.equal(total, total.T) and not total.diagonal().any()
    often = total[condensed_pairs(6)] / 3000
    assert often.sum() == pytest.approx(4) and (often - 4 / 15).abs().max() < 0.04
    assert rdl.draw_pairs(6, 4, rng).max() == 1
