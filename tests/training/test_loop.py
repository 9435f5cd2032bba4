"""The module's step and the loop, without files: what is read, weighed, added up and yielded."""

import math

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch
from rdl_cli.training.loop import StudentModule, error_rate, evaluate, fit
from rdl_cli.training.objective import Objective, Progress, Term

torch.set_num_threads(1)
START = Progress(0, 4, 0, 3)


class Stream:
    """Three batches of ten two-dimensional points, the same in every epoch."""

    def __init__(self, n=10):
        rng = torch.Generator().manual_seed(0)
        self.batches = []
        for step in range(3):
            images, labels = torch.randn(n, 2, generator=rng), torch.arange(n) % 2
            self.batches.append(
                Batch(
                    images + labels[:, None],
                    labels,
                    torch.arange(n) + n * step,
                    torch.zeros_like(labels),
                )
            )

    def __len__(self):
        return len(self.batches)

    def epoch(self, seeds, epoch, rank=0, world=1):
        yield from self.batches

    def in_order(self):
        yield from self.batches


class Pull(Objective):
    """Pulls the hidden layer's mean towards 1, with a head of its own."""

    def __init__(self, weight=0.5, name="pull", first=0):
        super().__init__(("hidden",))
        torch.manual_seed(1)
        self.weight, self.name, self.first, self.head = weight, name, first, nn.Linear(4, 1)

    def is_exclusive(self, progress):
        return progress.epoch < self.first

    def terms(self, step):
        return {
            f"{self.name}/hidden": Term(
                (self.head(step.reps["hidden"]) - 1).square().mean(), self.weight
            )
        }


def module(*objectives, **options):
    torch.manual_seed(0)
    student = nn.Sequential()
    for name, layer in {
        "hidden": nn.Linear(2, 4),
        "relu": nn.ReLU(),
        "dropout": nn.Dropout(0.5),
        "readout": nn.Linear(4, 2),
    }.items():
        student.add_module(name, layer)
    return StudentModule(student, objectives, **options)


def run(
    of,
    epochs=4,
    resume=None,
    lr=0.1,
    stream=None,
    schedule=lambda time: 1 - time / 4,
    momentum=0.9,
    precision="32-true",
):
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    optimizer = torch.optim.SGD(of.parameters(), lr=lr, momentum=momentum)
    wrapped, optimizer = fabric.setup(of, optimizer)
    yield from fit(
        wrapped, optimizer, stream or Stream(), Stream(), schedule, epochs, Seeds(0), fabric, resume
    )


def copied(state):
    """A state as a file would keep it."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state


def test_a_step_gives_logits_and_all_terms():
    of = module(Pull(weight=0.25)).train()
    batch = Stream().batches[0]
    seeds = Seeds(0)
    seeds.fix("dropout")
    logits, terms = of(batch, START, seeds("objectives"))
    seeds.fix("dropout")
    assert torch.equal(logits, of.student(batch.images)) and list(terms) == ["task", "pull/hidden"]
    assert (
        torch.equal(terms["task"].value, F.cross_entropy(logits, batch.labels))
        and terms["task"].weight == 1
    )
    assert terms["pull/hidden"].weight == 0.25


def test_evaluation_is_the_student_alone_without_dropout():
    of = module(Pull()).eval()
    logits, terms = of(Stream().batches[0])
    assert terms == {} and torch.equal(logits, of.student(Stream().batches[0].images))


def test_shares_are_of_the_gradients_norm_and_only_in_an_epochs_first_step():
    of = module(Pull(weight=0.25), task_weight=2.0).train()
    batch = Stream().batches[0]
    Seeds(0).fix("dropout")
    _, terms = of(batch, START, Seeds(0)("objectives"))
    norms = []
    for name in ("task", "pull/hidden"):
        slopes = torch.autograd.grad(
            terms[name].weight * terms[name].value,
            list(of.parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        norms.append(float(torch.cat([s.flatten() for s in slopes if s is not None]).norm()))
    assert [terms[name].grad_fraction for name in terms] == pytest.approx(
        [norm / sum(norms) for norm in norms]
    )
    _, later = of(batch, START._replace(step=1), Seeds(0)("objectives"))
    assert {term.grad_fraction for term in later.values()} == {0.0}


def test_an_objective_that_is_alone_silences_all_others():
    rng = Seeds(0)("objectives")
    of = module(Pull(name="first", first=2), Pull(name="other")).train()
    batch = Stream().batches[0]
    weights = [
        {name: term.weight for name, term in of(batch, START._replace(epoch=e), rng)[1].items()}
        for e in (1, 2)
    ]
    assert weights[0] == {"task": 0, "first/hidden": 0.5, "other/hidden": 0}
    assert weights[1] == {"task": 1, "first/hidden": 0.5, "other/hidden": 0.5}


def test_silent_terms_do_not_move_what_is_behind_them():
    """Momentum and weight decay would move parameters whose gradient is 0, but not those without one."""
    of = module(Pull(name="first", first=4))
    before = of.student.readout.weight.detach().clone()
    for _ in run(of):
        pass
    assert (
        torch.equal(of.student.readout.weight, before)
        and of.objectives[0].head.weight.grad is not None
    )


def test_unlabelled_images_count_in_no_label():
    of = module().train()
    batch = Stream().batches[0]
    some = batch._replace(labels=torch.where(torch.arange(10) < 6, batch.labels, UNLABELLED))
    Seeds(0).fix("dropout")
    logits, terms = of(some, START, Seeds(0)("objectives"))
    assert torch.equal(terms["task"].value, F.cross_entropy(logits[:6], batch.labels[:6]))


def test_the_loop_is_plain_sgd():
    """The same numbers as a loop written out."""
    mine = [(epoch.row, copied(epoch.state)) for epoch in run(module(Pull()))]
    of = module(Pull()).train()
    optimizer = torch.optim.SGD(of.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(4):
        Seeds(0).fix("dropout", epoch, 0)
        total = 0.0
        for step, batch in enumerate(Stream().batches):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - (epoch + step / 3) / 4)
            logits, terms = of(batch, Progress(epoch, 4, step, 3), Seeds(0)("objectives"))
            optimizer.zero_grad()
            (terms["task"].value + 0.5 * terms["pull/hidden"].value).backward()
            optimizer.step()
            total += float(terms["task"].value.detach())
        row, state = mine[epoch]
        assert row["train/task"] == pytest.approx(total / 3, rel=1e-6) and row["epoch"] == epoch
        assert all(
            torch.equal(value, state["module"][name]) for name, value in of.state_dict().items()
        )
        logits, labels = evaluate(of, Stream())
        assert row["validation_error"] == error_rate(logits, labels) and row[
            "validation_loss"
        ] == float(F.cross_entropy(logits, labels))
        of.train()


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_resumed_after_any_epoch_is_never_stopped(stop):
    whole = [(epoch.row, copied(epoch.state)) for epoch in run(module(Pull()))]
    broken = []
    for epoch in run(module(Pull())):
        broken.append((epoch.row, copied(epoch.state)))
        if epoch.number == stop:
            break
    torch.manual_seed(99)
    torch.rand(5)
    rest = [(epoch.row, copied(epoch.state)) for epoch in run(module(Pull()), resume=broken[-1][1])]
    for (row, state), (expected_row, expected) in zip(broken + rest, whole, strict=True):
        assert list(row.items()) == list(expected_row.items())
        assert all(
            torch.equal(state["module"][name], tensor)
            for name, tensor in expected["module"].items()
        )
        assert state["epoch"] == expected["epoch"]


def test_a_loss_that_is_not_finite_is_named():
    class Bad(Pull):
        def terms(self, step):
            late = step.progress.epoch == 1 and step.progress.step == 2
            return {"bad/hidden": Term(step.reps["hidden"].sum() * (math.nan if late else 1), 0.1)}

    with pytest.raises(UserError, match="`bad/hidden` in epoch 2, step 3") as met:
        list(run(module(Bad())))
    assert "--objective" in met.value.hint
    with pytest.raises(UserError, match=r"not finite: `task` in epoch 1, step [23]"):
        list(run(module(), lr=1e38))


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(UserError, match="nothing has a weight in epoch 1"):
        list(run(StudentModule(module().student, [], task_weight=0.0)))


def test_outputs_that_are_not_finite_are_no_predictions():
    of = module()
    of.student.readout.bias.data[0] = math.nan  # no loss says so after the last step of training
    with pytest.raises(UserError, match=r"outputs are not finite for (\d+) of \1 images"):
        evaluate(of, Stream())


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_autocast_reaches_the_student_and_logits_come_back_wide(precision):
    seen = []

    class Look(Pull):
        def terms(self, step):
            seen.append(step.reps["hidden"].dtype)
            return super().terms(step)

    rows = [epoch.row for epoch in run(module(Look()), precision=precision)]
    assert set(seen) == {torch.bfloat16 if precision == "bf16-mixed" else torch.float32}
    assert (
        rows[-1]["train/pull/hidden"] < rows[0]["train/pull/hidden"]
        and rows[0]["grad_fraction/pull/hidden"] > 0
    )


def test_evaluate_keeps_order_mode_and_the_last_partial_batch():
    of = module().train()
    stream = Stream()
    stream.batches[2] = Batch(*(part[:3] for part in stream.batches[2]))
    logits, labels = evaluate(of, stream)
    assert of.training and logits.shape == (23, 2) and logits.dtype == torch.float32
    assert labels.tolist() == ([0, 1] * 5) * 2 + [0, 1, 0]
    assert torch.equal(logits[20:], of.student.eval()(stream.batches[2].images).detach())
