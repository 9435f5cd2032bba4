"""A step of the student module: logits, terms, weights, and the stimuli's batch norm."""

import pytest
import torch
import torch.nn.functional as F
from brains import BRAIN_IMAGES, make_brain, make_brain_module, preprocess, run_steps
from loops import START, Pull, Stream, make_module

from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED


def test_student_module_returns_logits_and_all_terms():
    module = make_module(Pull(weight=0.25)).train()
    batch, seeds = Stream().batches[0], Seeds(0)
    seeds.seed_global("dropout")
    logits, terms = module(batch, START, seeds("objectives"))
    seeds.seed_global("dropout")
    assert torch.equal(logits, module.student(batch.images))
    assert {name: term.weight for name, term in terms.items()} == {"task": 1, "pull/hidden": 0.25}
    assert torch.equal(terms["task"].value, F.cross_entropy(logits, batch.labels))


def test_student_module_evaluates_without_objectives_and_dropout():
    module = make_module(Pull()).eval()
    logits, terms = module(Stream().batches[0])
    assert terms == {} and torch.equal(logits, module.student(Stream().batches[0].images))


def test_student_module_measures_gradient_fractions_in_the_first_step():
    module = make_module(Pull(weight=0.25), task_weight=2.0).train()
    batch = Stream().batches[0]
    Seeds(0).seed_global("dropout")
    _, terms = module(batch, START, Seeds(0)("objectives"))
    norms = []
    for term in terms.values():
        gradients = torch.autograd.grad(
            term.weight * term.value,
            list(module.parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        norms.append(float(torch.cat([g.flatten() for g in gradients if g is not None]).norm()))
    fractions = [term.grad_fraction for term in terms.values()]
    assert fractions == pytest.approx([norm / sum(norms) for norm in norms])
    _, later = module(batch, START._replace(step=1), Seeds(0)("objectives"))
    assert {term.grad_fraction for term in later.values()} == {0.0}


def test_student_module_silences_others_beside_an_exclusive_objective():
    rng = Seeds(0)("objectives")
    module = make_module(Pull(name="first", exclusive_epochs=2), Pull(name="other")).train()
    batch = Stream().batches[0]
    first_stage, later = (
        {name: term.weight for name, term in module(batch, START._replace(epoch=e), rng)[1].items()}
        for e in (1, 2)
    )
    assert first_stage == {"task": 0, "first/hidden": 0.5, "other/hidden": 0}
    assert later == {"task": 1, "first/hidden": 0.5, "other/hidden": 0.5}


def test_student_module_ignores_images_without_a_label():
    module = make_module().train()
    batch = Stream().batches[0]
    labels = torch.where(torch.arange(10) < 6, batch.labels, UNLABELLED)
    Seeds(0).seed_global("dropout")
    logits, terms = module(batch._replace(labels=labels), START, Seeds(0)("objectives"))
    assert torch.equal(terms["task"].value, F.cross_entropy(logits[:6], batch.labels[:6]))


def test_student_module_keeps_stimuli_out_of_the_tasks_batch_norm():
    task_only, with_brain = make_brain_module(None), make_brain_module(make_brain())
    (logits, terms), (other_logits, other_terms) = run_steps(task_only, 3), run_steps(with_brain, 3)
    assert torch.equal(logits, other_logits)
    assert torch.equal(terms["task"].value, other_terms["task"].value)
    state, other = task_only.student.state_dict(), with_brain.student.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_student_module_saves_the_stimuli_batch_norm():
    module = make_brain_module(make_brain())
    run_steps(module, 3)
    names = {name for name in module.state_dict() if name.startswith("stimulus_batchnorm.")}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert names == {f"stimulus_batchnorm.norm/{name}" for name in statistics}
    assert module.stimulus_batchnorm.get_buffer("norm/num_batches_tracked") == 3
    restored = make_brain_module(make_brain())
    restored.load_state_dict(module.state_dict())
    images = preprocess(BRAIN_IMAGES)
    exported, stimulus_bn = (
        restored.read_layers(images, ["hidden"], flag)["hidden"] for flag in (False, True)
    )
    assert torch.equal(stimulus_bn, module.read_layers(images, ["hidden"], True)["hidden"])
    assert not torch.allclose(exported, stimulus_bn)
    assert torch.equal(exported, module.student[:4].eval()(images)), "that of the exported model"
    assert not any("batchnorm" in name for name in make_brain_module(None).state_dict())


def test_read_layers_changes_no_state():
    module = make_brain_module(make_brain())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for stimulus_batchnorm in (False, True):
        module.read_layers(preprocess(BRAIN_IMAGES), ["hidden"], stimulus_batchnorm)
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
