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
OF_RATIOS = {"tv": bayes.total_variation, "jsd": bayes.divergence}


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


def between(mine, theirs, **options):
    return bayes.log_scales(
        bayes.prior_variance(inner_products(mine), **options),
        bayes.prior_variance(inner_products(theirs), **options),
    )


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("reference", [False, True])
def test_two_normals_of_variance_1_and_2(name, reference):
    ratios = bayes.log_ratios(bayes.log_scales(variances(1), variances(2)), 1_000_000, generator())
    assert OF_RATIOS[name](ratios, reference=reference).item() == pytest.approx(
        EXACT[name][0], abs=1e-3
    )


@pytest.mark.parametrize("name", EXACT)
def test_the_slope_between_two_normals(name):
    v = variances(1).requires_grad_()
    OF_RATIOS[name](
        bayes.log_ratios(bayes.log_scales(v, variances(2)), 1_000_000, generator())
    ).backward()
    assert v.grad.item() == pytest.approx(EXACT[name][1], abs=2e-3)


def test_closed_forms_between_two_normals():
    scales = bayes.log_scales(variances(1), variances(2))
    assert scales.item() == pytest.approx(-math.log(2) / 2)
    assert bayes.symmetric_kl(scales).item() == pytest.approx((0.5 + 2) / 4 - 0.5)
    assert bayes.hellinger_squared(scales).item() == pytest.approx(
        1 - math.sqrt(2 * math.sqrt(2) / 3)
    )


def test_closed_forms_are_those_of_the_covariances():
    p, q = (bayes.prior_variance(inner_products(x)) for x in pair("mid"))
    scales = bayes.log_scales(p, q)
    found = (torch.linalg.solve(q, p).trace() + torch.linalg.solve(p, q).trace()) / 4 - len(p) / 2
    assert bayes.symmetric_kl(scales).item() == pytest.approx(found.item(), rel=1e-10)
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
            for y in (each.sample((n,)) for each in normal)
        ]
    )


@pytest.mark.parametrize("how", ["near", "mid", "far"])
def test_turned_draws_have_the_law_of_the_papers(how):
    p, q = (bayes.prior_variance(inner_products(x)) for x in pair(how))
    theirs = log_ratios_of_the_paper(p, q, 40_000, 0)
    ours = bayes.log_ratios(bayes.log_scales(p, q), 40_000, generator())
    for side in (0, 1):
        error = theirs[side].std() / 40_000**0.5
        assert abs(ours[side].mean() - theirs[side].mean()) < 6 * error
        levels = torch.linspace(0.02, 0.98, 9, dtype=ours.dtype)
        assert (
            ours[side].quantile(levels) - theirs[side].quantile(levels)
        ).abs().max() < 0.1 * theirs[side].std()
    for of in OF_RATIOS.values():
        assert of(ours).item() == pytest.approx(of(theirs, reference=True).item(), abs=0.02)


@pytest.mark.parametrize("how", ["near", "mid", "far"])
def test_hellinger_holds_total_variation_between_two_numbers(how):
    scales = between(*pair(how))
    squared = bayes.hellinger_squared(scales)
    low, high = squared, (squared * (2 - squared)).sqrt()
    value = bayes.total_variation(bayes.log_ratios(scales, 10_000, generator()))
    assert 0 < low - 0.01 < value < high + 0.01 < 1.01


@pytest.mark.parametrize("how", ["near", "mid", "far"])
@pytest.mark.parametrize("name", OF_RATIOS)
def test_the_default_estimator_varies_less_and_means_the_same(name, how):
    scales, of = between(*pair(how)), OF_RATIOS[name]
    runs = [bayes.log_ratios(scales, 256, generator(k)) for k in range(200)]
    ours, theirs = (
        torch.stack([of(r, reference=reference) for r in runs]) for reference in (False, True)
    )
    assert abs(ours.mean() - theirs.mean()) < 5 * theirs.std() / 200**0.5
    assert ours.std() < theirs.std() * (0.6 if name == "jsd" else 1)
    assert (ours >= 0).all() and (ours <= 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_is_exactly_0_and_turning_and_scaling_change_nothing(name):
    x, found = reps(), MEASURES.find(name)
    assert measure_traits(found).same == 0
    assert found(inner_products(x), inner_products(x)) == 0
    turned = 7 * x @ torch.linalg.qr(reps(12, 12, seed=3)).Q
    assert found(inner_products(x), inner_products(turned)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_who_is_first_does_not_matter(name):
    x, y = pair("mid")
    tolerance = {"hellinger": 1e-12, "skl": 1e-10}.get(name, 0.02)
    found = MEASURES.find(name)
    assert found(inner_products(x), inner_products(y)).item() == pytest.approx(
        found(inner_products(y), inner_products(x)).item(), abs=tolerance
    )


@pytest.mark.parametrize("name", ["tv", "js-distance", "hellinger"])
def test_the_metrics_keep_the_triangle(name):
    found = MEASURES.find(name)
    kernels = [inner_products(reps(40, d, seed)) for seed, d in enumerate((3, 6, 12, 12, 30))]
    sides = torch.tensor([[found(a, b) for b in kernels] for a in kernels])
    assert (sides[:, None, :] <= sides[:, :, None] + sides[None] + 0.01).all()


def test_an_offset_matters_unless_stimuli_are_centred():
    x = reps()
    for name, far in (("tv", 0.9), ("hellinger", 0.6)):
        plain, centring = MEASURES.find(name), MEASURES.find(f"{name}:center=stimuli")
        assert plain(measure_input(plain, x, None), measure_input(plain, x + 5, None)) > far
        assert centring(
            measure_input(centring, x, None), measure_input(centring, x + 5, None)
        ).item() == pytest.approx(0, abs=1e-6)
        assert centring(inner_products(x), inner_products(x + 5)).item() == pytest.approx(
            0, abs=1e-6
        )


def test_centring_features_is_what_the_papers_code_does_and_turns_with_the_axes():
    x, found = reps() + 0.5, MEASURES.find("hellinger:center=features")
    rows = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(measure_input(found, x, None), rows @ rows.T)
    turned = x @ torch.linalg.qr(reps(12, 12, seed=3)).Q
    assert found(measure_input(found, x, None), measure_input(found, turned, None)) > 0.01


def test_the_prior_has_one_unit_of_variance_a_stimulus():
    sigma = bayes.prior_variance(inner_products(reps(50)), b=0.01)
    assert sigma.trace().item() == pytest.approx(50)
    noise = torch.linalg.eigvalsh(sigma)[0].item()
    assert noise == pytest.approx(50 * 0.01 / 1.5)
    assert torch.equal(
        bayes.prior_variance(torch.zeros(3, 3), a=0.25), 0.25 * torch.eye(3, dtype=torch.float64)
    )


def test_settings_tell_all_that_a_value_depends_on():
    expected = {
        "n": 100,
        "b": 0.01,
        "a": 0.5,
        "center": "none",
        "samples": 10_000,
        "seed": 0,
        "reference": False,
    }
    assert bayes.settings(MEASURES.find("jsd"), 100) == pytest.approx(expected)
    found = bayes.settings(MEASURES.find("tv:a=0.1,seed=3,samples=5,reference=yes"), 10)
    assert (found["a"], found["seed"], found["samples"], found["reference"]) == (0.1, 3, 5, True)
    assert found["b"] == pytest.approx(0.1 / 0.9 / 10)
    assert set(bayes.settings(MEASURES.find("skl"), 10)) == {"n", "b", "a", "center"}


@pytest.mark.parametrize("options", [{"a": 0.0}, {"a": 1.0}, {"b": 0.0}, {"b": -1.0}])
def test_a_share_of_noise_that_is_none_is_refused(options):
    with pytest.raises(UserError, match="noise's"):
        bayes.prior_variance(inner_products(reps()), **options)


@pytest.mark.parametrize("a", [1e-6, 0.999])
def test_little_and_much_noise_stay_finite(a):
    """With fewer units than stimuli Σ is nearly singular: eigenvalues of the ratio span 1e14."""
    scales = between(reps(80, 3), reps(80, 4, seed=1), a=a)
    ratios = bayes.log_ratios(scales, 500, generator())
    assert torch.isfinite(ratios).all()
    assert bayes.total_variation(ratios).item() == pytest.approx(1 if a < 0.1 else 0, abs=0.05)


@pytest.mark.parametrize("name", ["tv:samples=64", "jsd:samples=64", "hellinger", "skl"])
def test_gradients_are_those_of_the_draws(name):
    found, fixed = MEASURES.find(name), inner_products(reps(6, 4, seed=1))
    assert torch.autograd.gradcheck(
        lambda x: found(inner_products(x), fixed), (reps(6, 4).requires_grad_(),), atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_student_like_its_teacher_has_a_finite_gradient(name):
    x = reps().requires_grad_()
    MEASURES.find(name)(inner_products(x), inner_products(x.detach())).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["jsd", "skl"])
def test_features_learn_a_geometry(name):
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
            else bayes.divergence(bayes.log_ratios(scales, 256, generator(step)))
        )
        start = loss.item() if start is None else start
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.25 * start


def test_many_draws_are_made_in_blocks():
    scales = torch.linspace(-1, 1, 5000, dtype=torch.float64)
    ratios = bayes.log_ratios(scales, 1000, generator())
    assert ratios.shape == (2, 1000) and len(ratios[0].unique()) == 1000


@pytest.mark.parametrize("name", ["tv", "jsd", "js-distance"])
@pytest.mark.parametrize("samples", [0, -1])
def test_no_draws_tell_nothing(name, samples):
    one, other = (inner_products(reps(5, seed=seed)) for seed in (0, 1))
    with pytest.raises(UserError, match=f"samples={samples} draws tell nothing"):
        MEASURES.find(f"{name}:samples={samples}")(one, other)
