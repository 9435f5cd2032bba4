"""Which layers and which measures an objective compares."""

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.training.layer_objectives import measures
from rdl_cli.training.objective import OBJECTIVES, LayerMatch

POOL, OUT = LayerMatch("conv", "maps"), LayerMatch("logits", "head")


@pytest.mark.parametrize("name", ["kd", "logits"])
def test_logits_need_no_saying(name):
    family = OBJECTIVES.find(name)
    assert (
        family.select_matches((POOL,))
        == family.select_matches(())
        == (LayerMatch("logits", "logits"),)
    )
    assert family.select_matches((POOL, OUT)) == (OUT,)


def test_all_matches_are_used_where_nothing_else_is_said():
    assert OBJECTIVES.find("sp").select_matches((POOL, OUT)) == (POOL, OUT)
    assert OBJECTIVES.find("dsn").select_matches((POOL, OUT)) == ()


@pytest.mark.parametrize("name", ["kd", "logits"])
def test_ten_classes_teach_no_hundred(name, world, theirs):
    with pytest.raises(UserError, match=r"\(5,\).*\(7,\)") as caught:
        world.make(name, world.FakeTarget(theirs | {"logits": theirs["units"]}))
    assert "rdl" in caught.value.hint


def test_attention_needs_maps(world, target):
    with pytest.raises(UserError, match="compares maps"):
        world.make("at", target, matches=(LayerMatch("flat", "maps"),))
    with pytest.raises(UserError, match="compares maps"):
        world.make("at", target, matches=(LayerMatch("conv", "units"),))


@pytest.mark.parametrize("value", ["0", "-2"])
def test_temperature_is_above_zero(value, world, target):
    with pytest.raises(UserError, match=f"temperature={float(value)}"):
        world.make(f"kd:temperature={value}", target)


def test_few_images_have_no_debiased_cka(world, mine, theirs):
    objective = world.make("cka:estimator=debiased", world.FakeTarget(theirs))
    assert world.values(objective, {layer: r[:4] for layer, r in mine.items()})[
        "cka/conv"
    ].isfinite()
    objective.check(1, 4)
    with pytest.raises(UserError, match="4 images at least; a step has 3"):
        objective.check(1, 3)


@pytest.mark.parametrize(
    ("spec", "least"),
    [("rdl", 2), ("rsa", 3), ("cosine", 3), ("cka", 2), ("bayes", 2), ("rkd", 3), ("sp", 2)],
)
def test_a_geometry_of_too_few_images_is_refused(spec, least, world, target):
    objective = world.make(spec, target)
    objective.check(1, least)
    with pytest.raises(
        UserError, match=f"`{spec}` compares {least} images at least; a step has {least - 1}"
    ):
        objective.check(1, least - 1)


def test_the_student_is_measured_as_the_rdm_is(world, theirs):
    stored = world.FakeTarget(theirs, rdms_only=True, distance="correlation")
    assert measures(stored, "maps", None) == ("correlation", "correlation")
    assert measures(stored, "maps", "cosine") == (
        "cosine",
        "cosine",
    )  # which the store then refuses
    assert measures(world.FakeTarget(theirs), "maps", "euclidean") == ("euclidean", "euclidean")


def test_an_rdm_that_no_student_has_is_taken_as_it_is(world, mine, theirs):
    brain = world.FakeTarget(theirs, rdms_only=True, distance="crossnobis")
    assert measures(brain, "maps", "correlation") == ("correlation", "crossnobis")
    with pytest.raises(UserError, match="crossnobis") as caught:
        world.make("rsa", brain)
    assert "distance=" in caught.value.hint
    pairs = condensed_pairs(world.N)
    a = DISTANCES.find("correlation")(mine["conv"], mine["conv"])[pairs].numpy()
    b = brain.distances("maps", world.batch(), "crossnobis")[pairs].numpy()
    found = world.values(world.make("rsa:distance=correlation", brain), mine)["rsa/conv"]
    assert float(found) == pytest.approx(1 - np.corrcoef(a, b)[0, 1], rel=1e-9)


@pytest.mark.parametrize("name", ["rsa", "cosine", "whitened"])
def test_pairs_that_were_not_measured_are_left_out(name, world, mine, theirs):
    class Holes(world.FakeTarget):
        def distances(self, layer, comparison_batch, distance):
            found = super().distances(layer, comparison_batch, distance)
            for a, b in ((2, 5), (0, 1)):
                found[(comparison_batch.ids[:, None] == a) & (comparison_batch.ids == b)] = found[
                    (comparison_batch.ids[:, None] == b) & (comparison_batch.ids == a)
                ] = torch.nan
            return found

    whole, holes = (
        world.make(name, kind(theirs, rdms_only=True)) for kind in (world.FakeTarget, Holes)
    )
    reps = {layer: r.clone().requires_grad_() for layer, r in mine.items()}
    (value,) = world.values(holes, reps).values()
    assert value.isfinite() and not torch.allclose(value, *world.values(whole, reps).values())
    assert torch.autograd.grad(value, reps["conv"])[0].isfinite().all()
    if name != "whitened":
        i, j = condensed_pairs(world.N)
        left = ~(((i == 2) & (j == 5)) | ((i == 0) & (j == 1)))
        a, b = (DISTANCES.find("mse")(r, r)[i, j][left] for r in (mine["conv"], theirs["maps"]))
        a, b = (a - a.mean(), b - b.mean()) if name == "rsa" else (a, b)
        torch.testing.assert_close(value, 1 - torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("scale, offset", [(7.0, 0.0), (1.0, 3.0), (0.2, 5.0)])
def test_units_of_the_rdm_do_not_matter(scale, offset, world, mine, theirs):
    class Other(world.FakeTarget):
        def distances(self, layer, comparison_batch, distance):
            return scale * super().distances(layer, comparison_batch, distance) + offset

    for name in ("rsa", "cosine", "whitened"):
        before, after = (
            world.values(world.make(name, kind(theirs)), mine)[f"{name}/conv"]
            for kind in (world.FakeTarget, Other)
        )
        assert torch.allclose(before, after, rtol=1e-9) == (name == "rsa" or offset == 0)
