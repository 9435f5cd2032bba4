"""Every formula of an objective against plain loops over images and units."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from rdl_cli.rsa.kernel_measures import procrustes_cosine
from rdl_cli.rsa.kernels import inner_products
from rdl_cli.rsa.measures import MEASURES
from rdl_cli.training.objective import LayerMatch


def flat(reps):
    return reps.reshape(len(reps), -1).numpy()


def distance(x, i, j):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(x[i], x[j], strict=True)))


def dot(a, b):
    return sum(float(p) * float(q) for p, q in zip(a, b, strict=True))


def huber(error):
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


def kd(s, t, temperature=4.0):
    total = 0.0
    for zs, zt in zip(flat(s), flat(t), strict=True):
        p, q = log_softmax(zt / temperature), log_softmax(zs / temperature)
        total += sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    return {"kd": temperature**2 * total / len(s)}


def logits(s, t):
    return {
        "logits": sum(dot(a - b, a - b) for a, b in zip(flat(s), flat(t), strict=True))
        / (2 * len(s))
    }


def rkd(s, t):
    x, y = flat(s), flat(t)
    n = len(x)

    def relative(z):
        d = [[distance(z, i, j) for j in range(n)] for i in range(n)]
        mean = np.mean([d[i][j] for i in range(n) for j in range(n) if i != j])
        return np.array(d) / mean

    def angle(z, i, j, k):
        a, b = z[i] - z[j], z[k] - z[j]
        return 0.0 if j in (i, k) else dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))

    angles = [
        huber(angle(x, i, j, k) - angle(y, i, j, k))
        for i in range(n)
        for j in range(n)
        for k in range(n)
    ]
    return {
        "rkd-distance": np.mean([huber(e) for e in (relative(x) - relative(y)).flat]),
        "rkd-angle": np.mean(angles),
    }


def sp(s, t):
    def normalised(z):
        rows = [[dot(a, b) for b in z] for a in z]
        return np.array([[v / math.sqrt(dot(row, row)) for v in row] for row in rows])

    return {"sp": ((normalised(flat(s)) - normalised(flat(t))) ** 2).sum() / len(s) ** 2}


def pkt(s, t):
    def probabilities(z):
        k = np.array(
            [[(dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) + 1) / 2 for b in z] for a in z]
        )
        return k / k.sum(1, keepdims=True)

    q, p = probabilities(flat(s)), probabilities(flat(t))
    return {
        "pkt": sum(
            a * math.log((a + 1e-7) / (b + 1e-7)) for a, b in zip(p.flat, q.flat, strict=True)
        )
        / len(s) ** 2
    }


def at(s, t):
    def attention(image):
        _, height, width = image.shape
        strength = [
            float((image[:, r, c] ** 2).mean()) for r in range(height) for c in range(width)
        ]
        return np.array(strength) / math.sqrt(dot(strength, strength))

    return {
        "at": np.mean(
            [(attention(a) - attention(b)) ** 2 for a, b in zip(s.numpy(), t.numpy(), strict=True)]
        )
    }


def cka(s, t):
    """In feature form: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)."""
    x, y = (z - z.mean(0) for z in (flat(s), flat(t)))
    return {"cka": 1 - np.sum((y.T @ x) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)}


def hsic1(k, m):
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ones = np.ones(n)
    inner = (
        np.trace(k @ m)
        + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        - 2 * (ones @ k @ m @ ones) / (n - 2)
    )
    return inner / (n * (n - 3))


def cka_debiased(s, t):
    k, m = (flat(z) @ flat(z).T for z in (s, t))
    return {"cka": 1 - hsic1(k, m) / math.sqrt(hsic1(k, k) * hsic1(m, m))}


def log_cka(s, t):
    return {"cka": math.log(cka(s, t)["cka"])}


def bures(s, t):
    """In feature form: the nuclear norm of the centered cross-product."""
    x, y = (z - z.mean(0) for z in (flat(s), flat(t)))
    nuclear = np.linalg.svd(x.T @ y, compute_uv=False).sum()
    return {"bures": 1 - nuclear / np.linalg.norm(x) / np.linalg.norm(y)}


def procrustes(s, t):
    return {"procrustes": 2 / math.pi * math.acos(1 - bures(s, t)["bures"])}


def skd(s, t, temperature=2.0):
    x, y = (
        (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True) for z in (s.numpy(), t.numpy())
    )
    p, q = (torch.from_numpy(z / temperature).softmax(1).numpy() for z in (x, y))
    gram = ((x @ x.T - y @ y.T) / x.shape[1]) ** 2
    kl = np.sum(q * np.log(q / p)) / len(x)
    return {"skd": temperature**2 * kl, "skd-gram": gram.mean()}


def rdm(x, measure="mse"):
    pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
    if measure == "correlation":
        return np.array([1 - np.corrcoef(x[i], x[j])[0, 1] for i, j in pairs])
    return np.array([distance(x, i, j) ** 2 / x.shape[1] for i, j in pairs])


def rsa(s, t):
    return {"rsa": 1 - np.corrcoef(rdm(flat(s)), rdm(flat(t)))[0, 1]}


def rsa_correlation(s, t):
    return {"rsa": 1 - np.corrcoef(rdm(flat(s), "correlation"), rdm(flat(t), "correlation"))[0, 1]}


def cosine(s, t):
    a, b = rdm(flat(s)), rdm(flat(t))
    return {"cosine": 1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))}


def whitened(s, t):
    """With V = (CCᵀ)∘(CCᵀ) written out, C the contrasts of all pairs."""
    n = len(s)
    contrasts = np.array([np.eye(n)[i] - np.eye(n)[j] for i in range(n) for j in range(i + 1, n)])
    inverse = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    a, b = rdm(flat(s)), rdm(flat(t))
    return {"whitened": 1 - a @ inverse @ b / math.sqrt((a @ inverse @ a) * (b @ inverse @ b))}


REFERENCES = {
    "kd": kd,
    "kd:temperature=1.5": lambda s, t: kd(s, t, 1.5),
    "logits": logits,
    "rkd": rkd,
    "sp": sp,
    "pkt": pkt,
    "at": at,
    "cka": cka,
    "bures": bures,
    "procrustes": procrustes,
    "skd": skd,
    "skd:temperature=1.5": lambda s, t: skd(s, t, 1.5),
    "cka:estimator=debiased": cka_debiased,
    "cka:log=true": log_cka,
    "rsa": rsa,
    "rsa:distance=correlation": rsa_correlation,
    "cosine": cosine,
    "whitened": whitened,
}


@pytest.mark.parametrize("spec", REFERENCES)
def test_objective_agrees_with_plain_loops(spec, world, student_reps, teacher_reps, target):
    compares_logits = spec.startswith(("kd", "skd", "logits"))
    student, teacher = (
        (student_reps["logits"], teacher_reps["logits"])
        if compares_logits
        else (student_reps["conv"], teacher_reps["maps"])
    )
    layer = "logits" if compares_logits else "conv"
    losses = world.values(world.make(spec, target), student_reps)
    expected = {
        f"{name}/{layer}": torch.tensor(value, dtype=torch.float64)
        for name, value in REFERENCES[spec](student, teacher).items()
    }
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)


def test_kd_approaches_the_squares_of_centred_logits(world, student_reps, teacher_reps, target):
    difference = [
        z - z.mean(1, keepdim=True) for z in (student_reps["logits"], teacher_reps["logits"])
    ]
    limit = float((difference[0] - difference[1]).square().sum(1).mean() / (2 * world.CLASSES))
    deviations = [
        abs(
            float(
                world.values(world.make(f"kd:temperature={t}", target), student_reps)["kd/logits"]
            )
            / limit
            - 1
        )
        for t in (10, 100, 1000)
    ]
    assert (
        deviations[0] > deviations[1] > deviations[2]
        and deviations[1] < 0.01
        and deviations[2] < 0.001
    )


def test_kd_has_the_gradient_of_cross_entropy_with_soft_labels(
    world, student_reps, teacher_reps, target
):
    student = student_reps["logits"].requires_grad_()
    (value,) = world.values(world.make("kd", target), student_reps).values()
    (losses,) = torch.autograd.grad(value, student)
    entropy = torch.nn.functional.cross_entropy(
        student / 4, (teacher_reps["logits"] / 4).softmax(1)
    )
    torch.testing.assert_close(losses, torch.autograd.grad(16 * entropy, student)[0])


def test_cka_of_unrelated_noise_is_near_0_only_if_debiased(world):
    reps = {"wide": world.random(32, (2000,), 0), "logits": world.random(32, (5,), 1)}
    target = world.FakeTarget({"other": world.random(32, (500,), 2)})
    options = {
        "matches": [LayerMatch("wide", "other")],
        "shapes": {"wide": (2000,), "logits": (5,)},
    }
    biased, debiased = (
        1 - float(world.values(world.make(spec, target, **options), reps)["cka/wide"])
        for spec in ("cka", "cka:estimator=debiased")
    )
    assert 0.95 < biased < 0.975 and abs(debiased) < 0.1


def test_cka_logarithm_has_a_floor(world, teacher_reps):
    objective = world.make(
        "cka:log=true", world.FakeTarget(teacher_reps), shapes={"conv": (4, 4, 4), "logits": (5,)}
    )
    (value,) = world.values(
        objective, {"conv": teacher_reps["maps"], "logits": teacher_reps["logits"]}
    ).values()
    assert float(value) == pytest.approx(math.log(1e-6))


def test_at_averages_the_larger_map_down(world, student_reps, teacher_reps):
    finer = {"conv": world.random(world.N, (3, 8, 8), 4), "logits": student_reps["logits"]}
    pooled = finer["conv"].unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    target = world.FakeTarget(teacher_reps)
    objective = world.make("at", target, shapes={"conv": (3, 8, 8), "logits": (5,)})
    expected = at(pooled, teacher_reps["maps"])["at"]
    assert float(world.values(objective, finer)["at/conv"]) == pytest.approx(expected, rel=1e-12)
    swapped = world.make("at", world.FakeTarget({"maps": finer["conv"]}))
    torch.testing.assert_close(
        world.values(swapped, student_reps)["at/conv"],
        torch.tensor(at(student_reps["conv"], pooled)["at"]),
    )


@pytest.mark.parametrize("name", ["bures", "procrustes"])
def test_procrustes_losses_are_one_minus_the_measure(
    name, world, student_reps, teacher_reps, target
):
    kernels = (
        inner_products(reps.flatten(1)) for reps in (student_reps["conv"], teacher_reps["maps"])
    )
    (value,) = world.values(world.make(name, target), student_reps).values()
    assert float(value) == pytest.approx(1 - float(MEASURES.find(name)(*kernels)), abs=1e-12)


@pytest.mark.parametrize("widths", [(3, 4), (9, 4), (9, 12)])
def test_procrustes_losses_pass_gradcheck(widths, world):
    x, y = (world.random(7, (width,), width).requires_grad_() for width in widths)
    assert torch.autograd.gradcheck(lambda x: procrustes_cosine(x, y.detach()), x)
