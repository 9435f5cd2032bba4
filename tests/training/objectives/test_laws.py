"""Laws of every registered objective."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import OBJECTIVES, LayerMatch

NAMES = OBJECTIVES.names()
WITHOUT_TEACHER = {"dsn"}
OF_RDMS = {"rdl", "rsa", "cosine", "whitened"}
ZERO_FOR_EQUAL = {
    "rdl",
    "kd",
    "logits",
    "rkd",
    "sp",
    "pkt",
    "at",
    "cka",
    "rsa",
    "cosine",
    "whitened",
    "bayes",
    "bures",
    "procrustes",
    "skd",
}
INVARIANCES = {  # of features seen as rows; distances are mse
    "rdl": {"rotated", "shifted"},
    "kd": set(),
    "logits": set(),
    "rkd": {"scaled", "rotated", "shifted"},
    "sp": {"scaled", "rotated"},
    "pkt": {"scaled", "rotated"},
    "at": {"scaled"},
    "cka": {"scaled", "rotated", "shifted"},
    "bayes": {"scaled", "rotated"},
    "rsa": {"scaled", "rotated", "shifted"},
    "cosine": {"scaled", "rotated", "shifted"},
    "whitened": {"scaled", "rotated", "shifted"},
    "bures": {"scaled", "rotated", "shifted"},
    "procrustes": {"scaled", "rotated", "shifted"},
    "skd": {"scaled"},
    "hints": set(),
    "dsn": set(),
}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def require_gradients(objective, reps):
    """Return copies of the layers; those of the objective require gradients."""
    return {layer: r.clone().requires_grad_(layer in objective.layers) for layer, r in reps.items()}


def gradients(objective, reps, world):
    reps = require_gradients(objective, reps)
    terms = objective.terms(world.step(reps))
    sum(term.weight * term.value for term in terms.values()).backward()
    return [reps[layer].grad for layer in objective.layers]


def test_laws_cover_every_objective():
    assert set(NAMES) == set(INVARIANCES) == ZERO_FOR_EQUAL | WITHOUT_TEACHER | {"hints"}


def test_objective_gives_finite_scalars_with_gradients(name, world, student_reps, target):
    objective = world.make(name, target)
    reps = require_gradients(objective, student_reps)
    terms = objective.terms(world.step(reps))
    assert terms and all(
        t.startswith(name) and t.partition("/")[2] in objective.layers for t in terms
    )
    for term in terms.values():
        assert (
            term.value.shape == () and term.value.isfinite() and term.value > 0 and term.weight > 0
        )
        grads = torch.autograd.grad(
            term.value, [reps[layer] for layer in objective.layers], retain_graph=True
        )
        assert all(s.isfinite().all() and s.abs().max() > 0 for s in grads)


def test_objective_gradient_is_that_of_the_value(name, world, student_reps, target):
    objective = world.make(name, target)
    (layer,) = objective.layers
    x = student_reps[layer].clone().requires_grad_()
    for term, value in world.values(objective, student_reps | {layer: x}).items():
        (grad,) = torch.autograd.grad(value, x, retain_graph=True)
        for seed in range(3):
            direction = 1e-4 * world.random(world.N, x.shape[1:], 20 + seed)
            ahead, behind = (
                world.values(objective, student_reps | {layer: x.detach() + sign * direction})[term]
                for sign in (1, -1)
            )
            torch.testing.assert_close(
                (grad * direction).sum(), (ahead - behind) / 2, rtol=1e-5, atol=1e-11
            )


@pytest.mark.parametrize("spoil", ["all zero", "all equal", "one zero", "two equal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_objective_stays_finite_with_dead_units(name, spoil, dtype, world, student_reps, target):
    objective = world.make(name, target).to(dtype)
    spoilt = {layer: r.to(dtype) for layer, r in student_reps.items()}
    usual = max(g.abs().max() for g in gradients(objective, spoilt, world))
    for reps in spoilt.values():
        if spoil == "all zero":
            reps.zero_()
        elif spoil == "all equal":
            reps[:] = reps[0].clone()
        elif spoil == "one zero":
            reps[2] = 0
        else:
            reps[2] = reps[5]
    spoilt_gradients = gradients(objective, spoilt, world)
    assert all(torch.isfinite(v) for v in world.values(objective, spoilt).values())
    assert all(g.isfinite().all() for g in spoilt_gradients)
    if spoil in ("one zero", "two equal"):
        assert max(g.abs().max() for g in spoilt_gradients) < 1e4 * usual


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_objective_computes_halves_in_float32(name, half, world, student_reps, target):
    objective = world.make(name, target).float()
    narrow = {layer: r.to(half) for layer, r in student_reps.items()}
    with torch.autocast("cpu", torch.bfloat16):
        losses = world.values(objective, narrow)
    expected = world.values(objective, {layer: r.float() for layer, r in narrow.items()})
    assert all(v.dtype == torch.float32 for v in losses.values())
    torch.testing.assert_close(losses, expected)
    exact = world.values(objective.double(), {layer: r.double() for layer, r in narrow.items()})
    torch.testing.assert_close(
        {k: v.double() for k, v in losses.items()}, exact, rtol=1e-4, atol=1e-6
    )


def test_objective_ignores_the_order_of_images(name, world, student_reps, teacher_reps):
    order = torch.randperm(world.N, generator=torch.Generator().manual_seed(3))
    in_order = world.values(world.make(name, world.FakeTarget(teacher_reps)), student_reps)
    shuffled = world.make(name, world.FakeTarget({k: r[order] for k, r in teacher_reps.items()}))
    batch = world.batch(labels=world.batch().labels[order])
    torch.testing.assert_close(
        in_order,
        world.values(shuffled, {k: r[order] for k, r in student_reps.items()}, batch=batch),
    )


@pytest.mark.parametrize("change", ["scaled", "rotated", "shifted"])
def test_objective_has_its_invariances_and_no_others(name, change, world, student_reps, target):
    objective = world.make(name, target)
    (layer,) = objective.layers
    flat = student_reps[layer].flatten(1)
    changed = {
        "scaled": 3 * flat,
        "rotated": flat @ torch.linalg.qr(world.random(flat.shape[1], (flat.shape[1],), 9)).Q,
        "shifted": flat + world.random(1, (flat.shape[1],), 8),
    }[change]
    before = world.values(objective, student_reps)
    after = world.values(
        objective, student_reps | {layer: changed.reshape(student_reps[layer].shape)}
    )
    assert (change in INVARIANCES[name]) == all(
        torch.allclose(before[k], after[k], rtol=1e-9) for k in before
    )


@pytest.mark.parametrize("name", sorted(ZERO_FOR_EQUAL))
def test_objective_is_zero_for_equal_networks(name, world, teacher_reps):
    same = {"conv": teacher_reps["maps"], "logits": teacher_reps["logits"]}
    objective = world.make(
        name,
        world.FakeTarget(teacher_reps),
        shapes={k: tuple(r.shape[1:]) for k, r in same.items()},
    )
    for value in world.values(objective, same).values():
        torch.testing.assert_close(value, torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12)


def test_objective_gives_the_teacher_no_gradient(name, world, student_reps, teacher_reps):
    objective = world.make(name, world.FakeTarget(teacher_reps))
    for r in teacher_reps.values():
        r.requires_grad_()
    gradients(objective, student_reps, world)
    assert all(r.grad is None for r in teacher_reps.values())


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT_TEACHER))
def test_objective_needs_a_teacher(name, world):
    with pytest.raises(UserError, match="needs a teacher"):
        OBJECTIVES.make(name, world.context(None))


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - WITHOUT_TEACHER - {"kd", "skd", "logits", "rdl"})
)
def test_objective_needs_a_match(name, world, target):
    with pytest.raises(UserError, match="no layers"):
        OBJECTIVES.make(name, world.context(target, matches=()))


@pytest.mark.parametrize(
    "name, option",
    [(name, option) for name in NAMES for option in OBJECTIVES.options(name) if "weight" in option],
)
def test_objective_weight_is_its_option_and_not_negative(name, option, world, student_reps, target):
    spec = world.SPECS.get(name, name)
    spec += f"{',' if '=' in spec else ':'}{option}="
    assert 0.125 in {
        term.weight
        for term in world.make(f"{spec}0.125", target).terms(world.step(student_reps)).values()
    }
    with pytest.raises(UserError, match=f"{option}=-1"):
        OBJECTIVES.make(f"{spec}-1", world.context(target))


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT_TEACHER))
def test_objective_follows_rdms_or_refuses_them(name, world, student_reps, teacher_reps):
    brain = world.FakeTarget(teacher_reps, rdms_only=True)
    if name in OF_RDMS:
        expected = world.values(world.make(name, world.FakeTarget(teacher_reps)), student_reps)
        torch.testing.assert_close(world.values(world.make(name, brain), student_reps), expected)
    else:
        with pytest.raises(UserError, match="only RDMs"):
            world.make(name, brain)


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"at", "kd", "skd", "logits", "dsn"})
)  # the others compare maps, or a fixed layer
def test_objective_has_terms_for_each_match(name, world, student_reps, target):
    both = (LayerMatch("conv", "maps"), LayerMatch("flat", "units"))
    objective = world.make(name, target, matches=both)
    losses = world.values(objective, student_reps)
    assert {term.partition("/")[2] for term in losses} == {"conv", "flat"}
    alone = world.values(
        world.make(name, target, matches=both[:1]), student_reps
    )  # the first has the same regressor in both
    torch.testing.assert_close({k: losses[k] for k in alone}, alone)
