"""The tables of objectives, measures and distances: complete, and true of the code."""

import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import center_kernel, inner_products
from rdl_cli.rsa.measures import MEASURES, measure_traits
from rdl_cli.training.objective import (
    OBJECTIVES,
    LayerMatch,
    ObjectiveContext,
    Progress,
    StepContext,
)
from rdl_cli.training.targets import LiveTarget, root_mean_square

DOCS = Path(__file__).resolve().parents[2] / "docs"
N, UNITS, CLASSES = 7, (3, 2, 2), 4
SPECS = {"dsn": "dsn:layers=layer"}
CHANGES = ("rotation", "scale", "offset", "order")


def read_rows(page: str, heading: str) -> dict[str, dict[str, str]]:
    """Return the rows of the first table below a heading, by name, as column → cell."""
    lines = (DOCS / page).read_text(encoding="utf-8").partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    header, _, *rows = table
    assert all(len(row) == len(header) for row in rows), f"{page}: a cell holds a `|`"
    return {row[0].strip("`| "): dict(zip(header, row, strict=True)) for row in rows}


OBJECTIVE_ROWS = read_rows("objectives.md", "# Objectives")
MEASURE_ROWS = read_rows("measures.md", "## Measures")
DISTANCE_ROWS = read_rows("measures.md", "## Distances")


def unchanged_by(row: dict[str, str]) -> set[str]:
    """Return the changes that a row lists."""
    return {change for change in CHANGES if change in row["unchanged by"]}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotate(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    return (flat @ torch.linalg.qr(random(flat.shape[1], flat.shape[1], seed=9)).Q).view_as(x)


REP_CHANGES = {
    "rotation": rotate,
    "scale": lambda x: 1.7 * x,
    "offset": lambda x: x + random(1, *x.shape[1:], seed=8),
}
RDM_CHANGES = {
    "scale": lambda r: 1.7 * r,
    "offset": lambda r: r + 0.3,
    "order": lambda r: r**3 + r,
}


@pytest.mark.parametrize(
    ("rows", "registry"),
    [(OBJECTIVE_ROWS, OBJECTIVES), (MEASURE_ROWS, MEASURES), (DISTANCE_ROWS, DISTANCES)],
    ids=["objectives", "measures", "distances"],
)
def test_tables_have_a_row_for_every_member(rows, registry):
    assert sorted(rows) == registry.names()


@pytest.mark.parametrize("name", DISTANCES.names())
def test_distances_are_unchanged_by_what_the_table_lists_and_no_more(name):
    x, distance = random(N, 5), DISTANCES.find(name)
    unchanged = {
        change
        for change, apply in REP_CHANGES.items()
        if torch.allclose(distance(apply(x), apply(x)), distance(x, x), atol=1e-5)
    }
    assert unchanged == unchanged_by(DISTANCE_ROWS[name])


@pytest.mark.parametrize("name", MEASURES.names())
def test_measures_are_unchanged_by_what_the_table_lists_and_no_more(name):
    measure, row = MEASURES.find(name), MEASURE_ROWS[name]
    traits = measure_traits(measure)
    assert row["compares"] == ("RDMs" if traits.input == "rdm" else "kernels")
    if traits.input == "rdm":
        first, second = random(21).abs() + 0.1, random(21, seed=1).abs() + 0.1
        changed = {change: apply(first) for change, apply in RDM_CHANGES.items()}
    else:
        x, second = random(N, 5), inner_products(random(N, 6, seed=1))
        first = inner_products(x)
        changed = {change: inner_products(apply(x)) for change, apply in REP_CHANGES.items()}
    value = measure(first, second)
    unchanged = {
        change for change, other in changed.items() if abs(measure(other, second) - value) < 1e-6
    }
    assert unchanged == unchanged_by(row)


@pytest.mark.parametrize("name", MEASURES.names())
def test_measures_have_the_range_and_the_gradient_of_the_table(name):
    measure, row = MEASURES.find(name), MEASURE_ROWS[name]
    traits = measure_traits(measure)
    low, high = (f"{bound:g}".replace("-", "−") for bound in traits.bounds)
    assert row["range"].startswith(f"from {low}" if high == "inf" else f"{low} to {high}")
    assert ("identical: 0" in row["range"]) == (traits.identity_value == 0)
    if traits.input == "rdm":
        first, second = random(21).abs().requires_grad_(), random(21, seed=1).abs()
    else:
        first = inner_products(random(N, 5)).requires_grad_()
        second = inner_products(random(N, 6, seed=1))
    assert measure(first, second).requires_grad == row["gradient"].startswith("yes")


class Setup:
    """An objective on one layer of N images, with a linear teacher that runs along."""

    def __init__(self, name: str):
        logits = name in ("kd", "skd", "logits")
        self.layer = "logits" if logits else "layer"
        self.shape = (CLASSES,) if logits else UNITS
        teacher_layers = OrderedDict(layer=nn.Tanh(), flat=nn.Flatten(), out=nn.Linear(12, CLASSES))
        teacher = nn.Sequential(teacher_layers).double()
        torch.nn.init.normal_(teacher.out.weight, generator=torch.Generator().manual_seed(3))
        self.batch = Batch(
            random(N, *UNITS, seed=4), torch.arange(N) % CLASSES, torch.arange(N), torch.zeros(N)
        )
        shapes = {"layer": UNITS, "logits": (CLASSES,)}
        self.target = LiveTarget(teacher, [self.layer], shapes)
        self.match = LayerMatch(self.layer, self.layer)
        context = ObjectiveContext(
            (self.match,), self.target, {self.layer: self.shape}, CLASSES, self.batch, Seeds(0)
        )
        spec = SPECS.get(name, name)
        if name == "bayes":
            spec = "bayes:measure=skl"
        self.objective = OBJECTIVES.make(spec, context).double()
        self.x = random(N, *self.shape, seed=5)
        with torch.no_grad():
            reps = self.target.representations(self.layer, self.batch)
        self.y = reps.double()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the unweighted loss at the beginning of training."""
        step = StepContext(
            self.batch,
            x,
            self.batch,
            {self.layer: x},
            Progress(0, 10, 0, 10),
            torch.Generator().manual_seed(0),
        )
        return sum(term.value for term in self.objective.terms(step).values())

    def gradient(self) -> torch.Tensor:
        x = self.x.clone().requires_grad_()
        return torch.autograd.grad(self.loss(x), x)[0].flatten(1)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_objectives_are_unchanged_by_what_the_table_lists_and_no_more(name):
    setup = Setup(name)
    value = setup.loss(setup.x)
    unchanged = {
        change
        for change, apply in REP_CHANGES.items()
        if torch.allclose(setup.loss(apply(setup.x)), value, rtol=1e-4)
    }
    assert unchanged == unchanged_by(OBJECTIVE_ROWS[name])


def from_rdm_gradient(x: torch.Tensor, by_distance: torch.Tensor) -> torch.Tensor:
    """Return the gradient of x from that of the condensed `mse` distances."""
    square = x.new_zeros(len(x), len(x))
    square[condensed_pairs(len(x))] = by_distance
    square = square + square.T
    return 2 / x.shape[1] * (square.sum(1, keepdim=True) * x - square @ x)


def rdm_of(x: torch.Tensor) -> torch.Tensor:
    return DISTANCES.find("mse")(x, x)[condensed_pairs(len(x))]


def unit(a: torch.Tensor) -> torch.Tensor:
    return a / a.norm()


def gradient_rdl(setup, x, y):
    distances = DISTANCES.find("mse")
    residual = distances(x, x) - distances(y, y)
    fixed = setup.target.fix_distance(setup.layer, None)
    size = root_mean_square(fixed, setup.batch, Seeds(0))
    factor = 8 / (x.shape[1] * N * (N - 1) * size**2)
    return factor * (residual.sum(1, keepdim=True) * x - residual @ x)


def gradient_of_cosine(x, r, t):
    rho = unit(r) @ unit(t)
    return from_rdm_gradient(x, -(unit(t) - rho * unit(r)) / r.norm())


def gradient_whitened(setup, x, y):
    i, j = condensed_pairs(N)
    contrasts = x.new_zeros(len(i), N)
    contrasts[range(len(i)), i], contrasts[range(len(i)), j] = 1, -1
    inverse = (contrasts @ contrasts.T).square().inverse()
    r, t = rdm_of(x), rdm_of(y)
    length = (r @ inverse @ r).sqrt()
    r_unit, t_unit = r / length, t / (t @ inverse @ t).sqrt()
    rho = r_unit @ inverse @ t_unit
    return from_rdm_gradient(x, -inverse @ (t_unit - rho * r_unit) / length)


def gradient_cka(setup, x, y):
    k, g = center_kernel(x @ x.T), center_kernel(y @ y.T)
    return -2 / k.norm() * (unit(g) - (unit(k) * unit(g)).sum() * unit(k)) @ x


def gradient_bures(setup, x, y):
    x, y = (z - z.mean(0) for z in (x, y))
    u, s, vh = torch.linalg.svd(x.T @ y)
    c = s.sum() / x.norm() / y.norm()
    return -(unit(y) @ vh.T @ u.T - c * unit(x)) / x.norm()


def gradient_procrustes(setup, x, y):
    cx, cy = (z - z.mean(0) for z in (x, y))
    c = torch.linalg.svdvals(cx.T @ cy).sum() / cx.norm() / cy.norm()
    return gradient_bures(setup, x, y) * 2 / math.pi / (1 - c**2).sqrt()


def gradient_skd(setup, x, y):
    x = x.clone().requires_grad_()
    s, t = (nn.functional.normalize(z - z.mean(1, keepdim=True)) for z in (x, y))
    scale = CLASSES**0.5
    by_class = 2 / N * (torch.softmax(scale * s / 2, 1) - torch.softmax(scale * t / 2, 1))
    by_unit = scale * by_class + 4 / N**2 * (s @ s.T - t @ t.T) @ s
    return torch.autograd.grad((s * by_unit.detach()).sum(), x)[0]


def gradient_sp(setup, x, y):
    k, g = x @ x.T, y @ y.T
    lengths = k.norm(dim=1, keepdim=True)
    k_unit, g_unit = k / lengths, g / g.norm(dim=1, keepdim=True)
    difference = k_unit - g_unit
    projected = difference - (difference * k_unit).sum(1, keepdim=True) * k_unit
    a = 2 / (N**2 * lengths) * projected
    return (a + a.T) @ x


def gradient_bayes(setup, x, y):
    share = N * 0.1 / (1 + N * 0.1)
    k = (x @ x.T).requires_grad_()
    g = y @ y.T
    p, q = ((1 - share) * N / m.trace() * m + share * torch.eye(N).double() for m in (k, g))
    by_covariance = (q.inverse() - p.inverse() @ q @ p.inverse()).detach() / 4
    by_kernel = torch.autograd.grad((p * by_covariance).sum(), k)[0]
    return (by_kernel + by_kernel.T) @ x


def gradient_pkt(setup, x, y):
    x = x.clone().requires_grad_()
    q, p = ((1 + nn.functional.normalize(z) @ nn.functional.normalize(z).T) for z in (x, y))
    q, p = q / q.sum(1, keepdim=True), p / p.sum(1, keepdim=True)
    by_q = (-p / (N**2 * q)).detach()
    return torch.autograd.grad((q * by_q).sum(), x)[0]


def gradient_at(setup, x, y):
    maps = setup.x.clone().requires_grad_()
    a, b = (
        nn.functional.normalize(z.square().mean(1).flatten(1))
        for z in (maps, setup.y.view_as(maps))
    )
    by_map = (2 * (a - b) / a.numel()).detach()
    return torch.autograd.grad((a * by_map).sum(), maps)[0].flatten(1)


def gradient_hints(setup, x, y):
    (regressor,) = setup.objective.regressors
    weight, bias = regressor.weight.detach()[:, :, 0, 0], regressor.bias.detach()
    maps, teacher = setup.x, setup.y.view_as(setup.x)
    residual = torch.einsum("qp,nphw->nqhw", weight, maps) + bias[:, None, None] - teacher
    return torch.einsum("qp,nqhw->nphw", weight, 2 * residual / residual.numel()).flatten(1)


def gradient_dsn(setup, x, y):
    (head,) = setup.objective.heads
    weight = head.weight.detach()
    probability = torch.softmax(x @ weight.T + head.bias.detach(), 1)
    return (probability - nn.functional.one_hot(setup.batch.labels, CLASSES)) @ weight / N


GRADIENTS = {
    "rdl": gradient_rdl,
    "rsa": lambda setup, x, y: gradient_of_cosine(
        x, *(r - r.mean() for r in (rdm_of(x), rdm_of(y)))
    ),
    "cosine": lambda setup, x, y: gradient_of_cosine(x, rdm_of(x), rdm_of(y)),
    "whitened": gradient_whitened,
    "cka": gradient_cka,
    "bures": gradient_bures,
    "procrustes": gradient_procrustes,
    "skd": gradient_skd,
    "sp": gradient_sp,
    "bayes": gradient_bayes,
    "pkt": gradient_pkt,
    "at": gradient_at,
    "hints": gradient_hints,
    "kd": lambda setup, x, y: 4 / N * (torch.softmax(x / 4, 1) - torch.softmax(y / 4, 1)),
    "logits": lambda setup, x, y: (x - y) / N,
    "dsn": gradient_dsn,
}


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "rkd"])
def test_objectives_have_the_gradient_of_the_table(name):
    setup = Setup(name)
    expected = GRADIENTS[name](setup, setup.x.flatten(1), setup.y.flatten(1))
    assert math.isfinite(float(expected.norm()))
    assert torch.allclose(setup.gradient(), expected, rtol=1e-3, atol=1e-4 * float(expected.norm()))
