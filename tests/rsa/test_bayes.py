"""Exact cases, sandwiches and the paper's own method as references of the Bayesian distances."""

import math

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa import bayes
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES, measure_input, measure_traits

torch.set_num_threads(1)
NAMES = ["tv", "jsd", "js-distance", "hellinger", "skl"]
EXACT = {"tv": (0.16606407497, -0.23485931967), "jsd": (0.03968413232, -0.10605111388)}
OF_RATIOS = {"tv": bayes.total_variation, "jsd": bayes.jensen_shannon_divergence}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reps(n=40, d=12, seed=0):
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


def variances(v):
    return torch.tensor([[v]], dtype=torch.float64)


def pair(how, n=60):
    x = reps(n)
    return x, {
        "near": x + 0.3 * reps(n, seed=1),
        "mid": x + reps(n, seed=1),
        "far": reps(n, 5, seed=2),
    }[how]


def between(first, second, **options):
    return bayes.log_scales(
        bayes.prior_variance(inner_products(first), **options),
        bayes.prior_variance(inner_products(second), **options),
    )


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("reference", [False, True])
def test_total_variation_and_jsd_of_two_normals_are_the_integrals(name, reference):
    ratios = bayes.log_ratios(bayes.log_scales(variances(1), variances(2)), 1_000_000, generator())
    assert OF_RATIOS[name](ratios, reference=reference).item() == pytest.approx(
        EXACT[name][0], abs=1e-3
    )


@pytest.mark.parametrize("name", EXACT)
def test_gradients_between_two_normals_are_the_integrals(name):
    v = variances(1).requires_grad_()
    OF_RATIOS[name](
        bayes.log_ratios(bayes.log_scales(v, variances(2)), 1_000_000, generator())
    ).backward()
    assert v.grad.item() == pytest.approx(EXACT[name][1], abs=2e-3)


def test_symmetric_kl_and_hellinger_of_two_normals_are_exact():
    scales = bayes.log_scales(variances(1), variances(2))
    assert scales.item() == pytest.approx(-math.log(2) / 2)
    assert bayes.symmetric_kl(scales).item() == pytest.approx((0.5 + 2) / 4 - 0.5)
    assert bayes.hellinger_squared(scales).item() == pytest.approx(
        1 - math.sqrt(2 * math.sqrt(2) / 3)
    )


def test_symmetric_kl_and_hellinger_are_those_of_the_covariances():
    p, q = (bayes.prior_variance(inner_products(x)) for x in pair("mid"))
    scales = bayes.log_scales(p, q)
    value = (torch.linalg.solve(q, p).trace() + torch.linalg.solve(p, q).trace()) / 4 - len(p) / 2
    assert bayes.symmetric_kl(scales).item() == pytest.approx(value.item(), rel=1e-10)
    apart = torch.logdet((p + q) / 2) / 2 - (torch.logdet(p) + torch.logdet(q)) / 4
    assert bayes.hellinger_squared(scales).item() == pytest.approx(1 - math.exp(-apart), rel=1e-10)
    torch.testing.assert_close(
        (2 * scales).exp(), torch.linalg.eigvals(torch.linalg.solve(q, p)).real.sort().values
    )


def log_ratios_of_the_paper(p, q, n, draws):
    """Draws through Cholesky factors and two log densities of each, as in the paper's package."""
    normal = [
        torch.distributions.MultivariateNormal(torch.zeros(len(s), dtype=s.dtype), s)
        for s in (p, q)
    ]
    torch.manual_seed(draws)
    return torch.stack(
        [
            normal[0].log_prob(y) - normal[1].log_prob(y)
            for y in (density.sample((n,)) for density in normal)
        ]
    )


@pytest.mark.parametrize("how", ["near", "mid", "far"])
def test_log_ratios_have_the_distribution_of_the_papers_draws(how):
    p, q = (bayes.prior_variance(inner_products(x)) for x in pair(how))
    reference = log_ratios_of_the_paper(p, q, 40_000, 0)
    actual = bayes.log_ratios(bayes.log_scales(p, q), 40_000, generator())
    for side in (0, 1):
        error = reference[side].std() / 40_000**0.5
        assert abs(actual[side].mean() - reference[side].mean()) < 6 * error
        levels = torch.linspace(0.02, 0.98, 9, dtype=actual.dtype)
        assert (
            actual[side].quantile(levels) - reference[side].quantile(levels)
        ).abs().max() < 0.1 * reference[side].std()
    for of in OF_RATIOS.values():
        assert of(actual).item() == pytest.approx(of(reference, reference=True).item(), abs=0.02)


@pytest.mark.parametrize("how", ["near", "mid", "far"])
def test_hellinger_bounds_total_variation(how):
    scales = between(*pair(how))
    squared = bayes.hellinger_squared(scales)
    low, high = squared, (squared * (2 - squared)).sqrt()
    value = bayes.total_variation(bayes.log_ratios(scales, 10_000, generator()))
    assert 0 < low - 0.01 < value < high + 0.01 < 1.01


@pytest.mark.parametrize("how", ["near", "mid", "far"])
@pytest.mark.parametrize("name", OF_RATIOS)
def test_default_estimators_vary_less_than_the_reference_with_the_same_mean(name, how):
    scales, of = between(*pair(how)), OF_RATIOS[name]
    runs = [bayes.log_ratios(scales, 256, generator(k)) for k in range(200)]
    actual, reference = (
        torch.stack([of(r, reference=reference) for r in runs]) for reference in (False, True)
    )
    assert abs(actual.mean() - reference.mean()) < 5 * reference.std() / 200**0.5
    assert actual.std() < reference.std() * (0.6 if name == "jsd" else 1)
    assert (actual >= 0).all() and (actual <= 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_0_for_identical_and_invariant_to_rotation_and_scale(name):
    x, measure = reps(), MEASURES.find(name)
    assert measure_traits(measure).identity_value == 0
    assert measure(inner_products(x), inner_products(x)) == 0
    turned = 7 * x @ torch.linalg.qr(reps(12, 12, seed=3)).Q
    assert measure(inner_products(x), inner_products(turned)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_symmetric(name):
    x, y = pair("mid")
    tolerance = {"hellinger": 1e-12, "skl": 1e-10}.get(name, 0.02)
    measure = MEASURES.find(name)
    assert measure(inner_products(x), inner_products(y)).item() == pytest.approx(
        measure(inner_products(y), inner_products(x)).item(), abs=tolerance
    )


@pytest.mark.parametrize("name", ["tv", "js-distance", "hellinger"])
def test_metrics_keep_the_triangle_inequality(name):
    measure = MEASURES.find(name)
    kernels = [inner_products(reps(40, d, seed)) for seed, d in enumerate((3, 6, 12, 12, 30))]
    sides = torch.tensor([[measure(a, b) for b in kernels] for a in kernels])
    assert (sides[:, None, :] <= sides[:, :, None] + sides[None] + 0.01).all()


def test_measures_see_an_offset_unless_stimuli_are_centered():
    x = reps()
    for name, far in (("tv", 0.9), ("hellinger", 0.6)):
        plain, centering = MEASURES.find(name), MEASURES.find(f"{name}:center=stimuli")
        assert plain(measure_input(plain, x, None), measure_input(plain, x + 5, None)) > far
        assert centering(
            measure_input(centering, x, None), measure_input(centering, x + 5, None)
        ).item() == pytest.approx(0, abs=1e-6)
        assert centering(inner_products(x), inner_products(x + 5)).item() == pytest.approx(
            0, abs=1e-6
        )


def test_center_features_is_the_papers_code_and_depends_on_the_axes():
    x, measure = reps() + 0.5, MEASURES.find("hellinger:center=features")
    rows = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(measure_input(measure, x, None), rows @ rows.T)
    turned = x @ torch.linalg.qr(reps(12, 12, seed=3)).Q
    assert measure(measure_input(measure, x, None), measure_input(measure, turned, None)) > 0.01


def test_prior_variance_has_trace_n():
    sigma = bayes.prior_variance(inner_products(reps(50)), b=0.01)
    assert sigma.trace().item() == pytest.approx(50)
    noise = torch.linalg.eigvalsh(sigma)[0].item()
    assert noise == pytest.approx(50 * 0.01 / 1.5)
    assert torch.equal(
        bayes.prior_variance(torch.zeros(3, 3), a=0.25), 0.25 * torch.eye(3, dtype=torch.float64)
    )


def test_describe_settings_lists_all_that_a_value_depends_on():
    expected = {
        "n": 100,
        "b": 0.01,
        "a": 0.5,
        "center": "none",
        "samples": 10_000,
        "seed": 0,
        "reference": False,
    }
    assert bayes.describe_settings(MEASURES.find("jsd"), 100) == pytest.approx(expected)
    value = bayes.describe_settings(MEASURES.find("tv:a=0.1,seed=3,samples=5,reference=yes"), 10)
    assert (value["a"], value["seed"], value["samples"], value["reference"]) == (0.1, 3, 5, True)
    assert value["b"] == pytest.approx(0.1 / 0.9 / 10)
    assert set(bayes.describe_settings(MEASURES.find("skl"), 10)) == {"n", "b", "a", "center"}


@pytest.mark.parametrize("options", [{"a": 0.0}, {"a": 1.0}, {"b": 0.0}, {"b": -1.0}])
def test_prior_variance_share_refuses_impossible_noise(options):
    with pytest.raises(UserError, match="noise's"):
        bayes.prior_variance(inner_products(reps()), **options)


@pytest.mark.parametrize("a", [1e-6, 0.999])
def test_measures_stay_finite_for_little_and_much_noise(a):
    """With fewer units than stimuli Σ is nearly singular: eigenvalues of the ratio span 1e14."""
    scales = between(reps(80, 3), reps(80, 4, seed=1), a=a)
    ratios = bayes.log_ratios(scales, 500, generator())
    assert torch.isfinite(ratios).all()
    assert bayes.total_variation(ratios).item() == pytest.approx(1 if a < 0.1 else 0, abs=0.05)


@pytest.mark.parametrize("name", ["tv:samples=64", "jsd:samples=64", "hellinger", "skl"])
def test_gradients_are_those_of_the_draws(name):
    measure, fixed = MEASURES.find(name), inner_products(reps(6, 4, seed=1))
    assert torch.autograd.gradcheck(
        lambda x: measure(inner_products(x), fixed), (reps(6, 4).requires_grad_(),), atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_for_identical_kernels(name):
    x = reps().requires_grad_()
    MEASURES.find(name)(inner_products(x), inner_products(x.detach())).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["jsd", "skl"])
def test_measures_train_features_to_a_geometry(name):
    """Random features reach those of a teacher; the paper's notebook too trains with b=0.1."""
    fixed = bayes.prior_variance(inner_products(reps(30, 8, seed=1)), b=0.1)
    x = reps(30, 12, seed=2).requires_grad_()
    adam = torch.optim.Adam([x], lr=0.03)
    start = None
    for step in range(200):
        scales = bayes.log_scales(bayes.prior_variance(inner_products(x), b=0.1), fixed)
        loss = (
            bayes.symmetric_kl(scales)
            if name == "skl"
            else bayes.jensen_shannon_divergence(bayes.log_ratios(scales, 256, generator(step)))
        )
        start = loss.item() if start is None else start
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.25 * start


def test_log_ratios_of_many_draws_are_computed_in_blocks():
    scales = torch.linspace(-1, 1, 5000, dtype=torch.float64)
    ratios = bayes.log_ratios(scales, 1000, generator())
    assert ratios.shape == (2, 1000) and len(ratios[0].unique()) == 1000


@pytest.mark.parametrize("name", ["tv", "jsd", "js-distance"])
@pytest.mark.parametrize("samples", [0, -1])
def test_check_samples_refuses_no_draws(name, samples):
    one, other = (inner_products(reps(5, seed=seed)) for seed in (0, 1))
    with pytest.raises(UserError, match=f"samples={samples}: at least 1 draw"):
        MEASURES.find(f"{name}:samples={samples}")(one, other)
