"""The loop, without files: equal to plain SGD, resumable, and only with finite numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from loops import Pull, Stream, make_module, run_fit

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.training.loop import evaluate
from rdl_cli.training.metrics import error_rate
from rdl_cli.training.objective import Progress, Term
from rdl_cli.training.student import StudentModule


def copy_state(state):
    """Return a copy, as a file would hold it."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: copy_state(value) for key, value in state.items()}
    return [copy_state(value) for value in state] if isinstance(state, list) else state


def collect(epochs):
    """Return row and state of each epoch; states are references, so each is copied at once."""
    return [(epoch.row, copy_state(epoch.state)) for epoch in epochs]


def test_fit_equals_sgd_written_out():
    epochs = collect(run_fit(make_module(Pull())))
    module = make_module(Pull()).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for epoch, (row, state) in enumerate(epochs):
        Seeds(0).seed_global("dropout", epoch, 0)
        total = 0.0
        for step, batch in enumerate(Stream().batches):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - (epoch + step / 3) / 4)
            logits, terms = module(batch, Progress(epoch, 4, step, 3), Seeds(0)("objectives"))
            optimizer.zero_grad()
            (terms["task"].value + 0.5 * terms["pull/hidden"].value).backward()
            optimizer.step()
            total += float(terms["task"].value.detach())
        assert row["train/task"] == pytest.approx(total / 3, rel=1e-6) and row["epoch"] == epoch
        weights = module.state_dict()
        assert all(torch.equal(value, state["module"][name]) for name, value in weights.items())
        logits, labels = evaluate(module, Stream())
        assert row["validation_error"] == error_rate(logits, labels)
        assert row["validation_loss"] == float(F.cross_entropy(logits, labels))
        module.train()


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_fit_resumes_to_the_bit_after_any_epoch(stop):
    uninterrupted = collect(run_fit(make_module(Pull())))
    interrupted = []
    for epoch in run_fit(make_module(Pull())):
        interrupted += collect([epoch])
        if epoch.number == stop:
            break
    torch.manual_seed(99)
    torch.rand(5)
    rest = collect(run_fit(make_module(Pull()), resume=interrupted[-1][1]))
    for (row, state), (expected_row, expected) in zip(
        interrupted + rest, uninterrupted, strict=True
    ):
        assert list(row.items()) == list(expected_row.items())
        assert state["epoch"] == expected["epoch"]
        for name, tensor in expected["module"].items():
            assert torch.equal(state["module"][name], tensor)


def test_fit_counts_time_and_images_outside_the_row():
    epochs = list(run_fit(make_module()))
    assert all(epoch.seconds > 0 and epoch.images == 30 for epoch in epochs)
    assert not any("second" in name for name in epochs[0].row)


def test_fit_leaves_parameters_behind_silent_terms():
    """Momentum and weight decay would move parameters with a gradient of 0."""
    module = make_module(Pull(exclusive_epochs=4))
    before = module.student.readout.weight.detach().clone()
    for _ in run_fit(module):
        pass
    assert torch.equal(module.student.readout.weight, before)
    assert module.objectives[0].head.weight.grad is not None


def test_fit_names_the_term_that_is_not_finite():
    class Bad(Pull):
        def terms(self, step):
            is_bad = step.progress.epoch == 1 and step.progress.step == 2
            factor = math.nan if is_bad else 1
            return {"bad/hidden": Term(step.reps["hidden"].sum() * factor, 0.1)}

    with pytest.raises(UserError, match="`bad/hidden` in epoch 2, step 3") as caught:
        list(run_fit(make_module(Bad())))
    assert "--objective" in caught.value.hint
    with pytest.raises(UserError, match=r"not finite: `task` in epoch 1, step [23]"):
        list(run_fit(make_module(), lr=1e38))


def test_fit_refuses_a_loss_without_terms():
    with pytest.raises(UserError, match="every term of the loss has weight 0 in epoch 1"):
        list(run_fit(StudentModule(make_module().student, [], task_weight=0.0)))


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_fit_autocasts_the_student(precision):
    dtypes = set()

    class Recording(Pull):
        def terms(self, step):
            dtypes.add(step.reps["hidden"].dtype)
            return super().terms(step)

    rows = [epoch.row for epoch in run_fit(make_module(Recording()), precision=precision)]
    assert dtypes == {torch.bfloat16 if precision == "bf16-mixed" else torch.float32}
    assert rows[-1]["train/pull/hidden"] < rows[0]["train/pull/hidden"]
    assert rows[0]["grad_fraction/pull/hidden"] > 0


def test_evaluate_refuses_logits_that_are_not_finite():
    module = make_module()
    module.student.readout.bias.data[0] = math.nan  # as after a last step, which no loss follows
    with pytest.raises(UserError, match=r"outputs are not finite for (\d+) of \1 images"):
        evaluate(module, Stream())


def test_evaluate_keeps_order_mode_and_the_last_partial_batch():
    module = make_module().train()
    stream = Stream()
    stream.batches[2] = Batch(*(part[:3] for part in stream.batches[2]))
    logits, labels = evaluate(module, stream)
    assert module.training and logits.shape == (23, 2) and logits.dtype == torch.float32
    assert labels.tolist() == ([0, 1] * 5) * 2 + [0, 1, 0]
    assert torch.equal(logits[20:], module.student.eval()(stream.batches[2].images).detach())
