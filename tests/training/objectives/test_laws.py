"""Laws of every registered objective."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import OBJECTIVES, LayerMatch

NAMES = OBJECTIVES.names()
TEACHERLESS = {"dsn"}
FROM_RDMS = {"rdl", "rsa", "cosine", "whitened"}
ZERO_FOR_THE_TEACHER = {
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
}
INVARIANT = {  # of features seen as rows; distances are mse
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
    "hints": set(),
    "dsn": set(),
}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def tapped(objective, reps):
    """The taps that the objective reads, ready to be differentiated."""
    return {layer: r.clone().requires_grad_(layer in objective.layers) for layer, r in reps.items()}


def gradients(objective, reps, world):
    reps = tapped(objective, reps)
    terms = objective.terms(world.step(reps))
    sum(term.weight * term.value for term in terms.values()).backward()
    return [reps[layer].grad for layer in objective.layers]


def test_every_objective_has_its_laws():
    assert set(NAMES) == set(INVARIANT) == ZERO_FOR_THE_TEACHER | TEACHERLESS | {"hints"}


def test_gives_finite_scalars_with_gradients(name, world, mine, target):
    objective = world.make(name, target)
    reps = tapped(objective, mine)
    terms = objective.terms(world.step(reps))
    assert terms and all(
        t.startswith(name) and t.partition("/")[2] in objective.layers for t in terms
    )
    for term in terms.values():
        assert (
            term.value.shape == () and term.value.isfinite() and term.value > 0 and term.weight > 0
        )
        slopes = torch.autograd.grad(
            term.value, [reps[layer] for layer in objective.layers], retain_graph=True
        )
        assert all(s.isfinite().all() and s.abs().max() > 0 for s in slopes)


def test_gradient_is_that_of_the_value(name, world, mine, target):
    objective = world.make(name, target)
    (layer,) = objective.layers
    x = mine[layer].clone().requires_grad_()
    for term, value in world.values(objective, mine | {layer: x}).items():
        (slope,) = torch.autograd.grad(value, x, retain_graph=True)
        for seed in range(3):
            way = 1e-4 * world.random(world.N, x.shape[1:], 20 + seed)
            ahead, behind = (
                world.values(objective, mine | {layer: x.detach() + sign * way})[term]
                for sign in (1, -1)
            )
            torch.testing.assert_close(
                (slope * way).sum(), (ahead - behind) / 2, rtol=1e-5, atol=1e-11
            )


@pytest.mark.parametrize("spoil", ["all zero", "all alike", "one zero", "two alike"])
@pytest.mark.parametrize("width", [torch.float32, torch.float64])
def test_dead_units_do_no_harm(name, spoil, width, world, mine, target):
    objective = world.make(name, target).to(width)
    spoilt = {layer: r.to(width) for layer, r in mine.items()}
    usual = max(g.abs().max() for g in gradients(objective, spoilt, world))
    for reps in spoilt.values():
        if spoil == "all zero":
            reps.zero_()
        elif spoil == "all alike":
            reps[:] = reps[0].clone()
        elif spoil == "one zero":
            reps[2] = 0
        else:
            reps[2] = reps[5]
    found = gradients(objective, spoilt, world)
    assert all(torch.isfinite(v) for v in world.values(objective, spoilt).values())
    assert all(g.isfinite().all() for g in found)
    if spoil in ("one zero", "two alike"):
        assert max(g.abs().max() for g in found) < 1e4 * usual


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(name, half, world, mine, target):
    objective = world.make(name, target).float()
    narrow = {layer: r.to(half) for layer, r in mine.items()}
    with torch.autocast("cpu", torch.bfloat16):
        found = world.values(objective, narrow)
    expected = world.values(objective, {layer: r.float() for layer, r in narrow.items()})
    assert all(v.dtype == torch.float32 for v in found.values())
    torch.testing.assert_close(found, expected)
    exact = world.values(objective.double(), {layer: r.double() for layer, r in narrow.items()})
    torch.testing.assert_close(
        {k: v.double() for k, v in found.items()}, exact, rtol=1e-4, atol=1e-6
    )


def test_the_order_of_images_does_not_matter(name, world, mine, theirs):
    order = torch.randperm(world.N, generator=torch.Generator().manual_seed(3))
    one = world.values(world.make(name, world.FakeTarget(theirs)), mine)
    shuffled = world.make(name, world.FakeTarget({k: r[order] for k, r in theirs.items()}))
    shown = world.batch(labels=world.batch().labels[order])
    torch.testing.assert_close(
        one, world.values(shuffled, {k: r[order] for k, r in mine.items()}, of=shown)
    )


@pytest.mark.parametrize("change", ["scaled", "rotated", "shifted"])
def test_is_blind_to_what_it_should_be_and_to_nothing_else(name, change, world, mine, target):
    objective = world.make(name, target)
    (layer,) = objective.layers
    flat = mine[layer].flatten(1)
    changed = {
        "scaled": 3 * flat,
        "rotated": flat @ torch.linalg.qr(world.random(flat.shape[1], (flat.shape[1],), 9)).Q,
        "shifted": flat + world.random(1, (flat.shape[1],), 8),
    }[change]
    before = world.values(objective, mine)
    after = world.values(objective, mine | {layer: changed.reshape(mine[layer].shape)})
    assert (change in INVARIANT[name]) == all(
        torch.allclose(before[k], after[k], rtol=1e-9) for k in before
    )


@pytest.mark.parametrize("name", sorted(ZERO_FOR_THE_TEACHER))
def test_is_zero_where_student_and_teacher_are_equal(name, world, theirs):
    same = {"conv": theirs["maps"], "logits": theirs["logits"]}
    objective = world.make(
        name, world.FakeTarget(theirs), shapes={k: tuple(r.shape[1:]) for k, r in same.items()}
    )
    for value in world.values(objective, same).values():
        torch.testing.assert_close(value, torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12)


def test_nothing_flows_into_the_teacher(name, world, mine, theirs):
    objective = world.make(name, world.FakeTarget(theirs))
    for r in theirs.values():
        r.requires_grad_()
    gradients(objective, mine, world)
    assert all(r.grad is None for r in theirs.values())


@pytest.mark.parametrize("name", sorted(set(NAMES) - TEACHERLESS))
def test_a_teacher_is_needed(name, world):
    with pytest.raises(UserError, match="needs a teacher"):
        OBJECTIVES.make(name, world.setting(None))


@pytest.mark.parametrize("name", sorted(set(NAMES) - TEACHERLESS - {"kd", "logits", "rdl"}))
def test_a_match_is_needed(name, world, target):
    with pytest.raises(UserError, match="no layers"):
        OBJECTIVES.make(name, world.setting(target, matches=()))


@pytest.mark.parametrize(
    "name, option",
    [(name, option) for name in NAMES for option in OBJECTIVES.options(name) if "weight" in option],
)
def test_a_weight_is_what_it_counts_and_never_negative(name, option, world, mine, target):
    spec = world.SPECS.get(name, name)
    spec += f"{',' if '=' in spec else ':'}{option}="
    assert 0.125 in {
        term.weight for term in world.make(f"{spec}0.125", target).terms(world.step(mine)).values()
    }
    with pytest.raises(UserError, match=f"{option}=-1"):
        OBJECTIVES.make(f"{spec}-1", world.setting(target))


@pytest.mark.parametrize("name", sorted(set(NAMES) - TEACHERLESS))
def test_brains_teach_by_their_rdm_where_the_method_allows(name, world, mine, theirs):
    brain = world.FakeTarget(theirs, rdms_only=True)
    if name in FROM_RDMS:
        known = world.values(world.make(name, world.FakeTarget(theirs)), mine)
        torch.testing.assert_close(world.values(world.make(name, brain), mine), known)
    else:
        with pytest.raises(UserError, match="only RDMs"):
            world.make(name, brain)


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"at", "kd", "logits", "dsn"})
)  # those compare maps, or a layer of their own
def test_each_match_has_its_terms(name, world, mine, target):
    both = (LayerMatch("conv", "maps"), LayerMatch("flat", "units"))
    objective = world.make(name, target, matches=both)
    found = world.values(objective, mine)
    assert {term.partition("/")[2] for term in found} == {"conv", "flat"}
    alone = world.values(
        world.make(name, target, matches=both[:1]), mine
    )  # the first has the same regressor either way
    torch.testing.assert_close({k: found[k] for k in alone}, alone)
