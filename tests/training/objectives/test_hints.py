"""FitNets' hints: the linear prediction against plain loops, its shapes, and the two stages."""

import pytest
import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import LayerMatch, Progress
from rdl_cli.training.objectives.hints import make_regressor
from rdl_cli.training.student import TASK, StudentModule

MATCH = LayerMatch("student", "teacher")


def test_hints_predict_linearly_with_a_bias(world, student_reps, teacher_reps, target):
    objective = world.make("hints", target)
    (conv,) = objective.regressors
    weight, bias = conv.weight.detach(), conv.bias.detach()
    squares = []
    for s, t in zip(student_reps["conv"], teacher_reps["maps"], strict=True):
        for c in range(4):
            for row in range(4):
                for column in range(4):
                    predicted = float(bias[c]) + sum(
                        float(weight[c, k, 0, 0] * s[k, row, column]) for k in range(3)
                    )
                    squares.append((predicted - float(t[c, row, column])) ** 2)
    assert world.values(objective, student_reps)["hints/conv"].item() == pytest.approx(
        sum(squares) / len(squares), rel=1e-12
    )


@pytest.mark.parametrize(
    "student, teacher, kernel",
    [
        ((3, 4, 4), (5, 4, 4), (1, 1)),
        ((3, 8, 6), (5, 4, 4), (5, 3)),
        ((3, 4, 4), (3, 4, 4), (1, 1)),
    ],
)
def test_make_regressor_makes_sizes_agree_by_convolution(student, teacher, kernel):
    regressor = make_regressor(MATCH, student, teacher)
    assert (
        isinstance(regressor, nn.Conv2d)
        and regressor.kernel_size == kernel
        and regressor.bias is not None
    )
    assert regressor(torch.zeros(2, *student)).shape == (2, *teacher)


@pytest.mark.parametrize("student", [(6,), (3, 4, 4), (7, 6)])
def test_make_regressor_makes_a_matrix_for_units(student):
    assert make_regressor(MATCH, student, (9,))(torch.zeros(2, *student)).shape == (2, 9)


@pytest.mark.parametrize(
    "student, teacher", [((3, 4, 4), (5, 8, 8)), ((3, 4, 4), (5, 2, 6)), ((6,), (5, 4, 4))]
)
def test_make_regressor_refuses_a_larger_teacher(student, teacher):
    with pytest.raises(UserError, match="cannot predict") as caught:
        make_regressor(MATCH, student, teacher)
    assert str(student) in str(caught.value) and str(teacher) in str(caught.value)
    assert caught.value.hint


def test_hints_are_zero_for_a_perfect_prediction(world, student_reps, teacher_reps, target):
    objective = world.make("hints", target)
    conv = objective.regressors[0]
    teacher_reps["maps"][:] = conv(student_reps["conv"]).detach()
    assert world.values(objective, student_reps)["hints/conv"].item() == 0


@pytest.mark.parametrize(
    "spec, epochs, first",
    [("hints", 100, 10), ("hints", 5, 1), ("hints", 2, 1), ("hints:epochs=3", 5, 3)],
)
def test_hints_are_exclusive_in_the_first_stage(spec, epochs, first, world, student_reps, target):
    objective = world.make(spec, target)
    assert [objective.is_exclusive(Progress(e, epochs, 0, 1)) for e in range(epochs)] == [
        e < first for e in range(epochs)
    ]
    terms = [
        objective.terms(world.step(student_reps, epoch=e, epochs=epochs))["hints/conv"]
        for e in range(epochs)
    ]
    assert [t.weight for t in terms] == [float(e < first) for e in range(epochs)]
    assert terms[0].value.requires_grad and not terms[-1].value.requires_grad
    assert terms[0].value.item() == terms[-1].value.item()  # logged to the end


@pytest.mark.parametrize(
    "spec, epochs", [("hints", 1), ("hints:epochs=5", 5), ("hints:epochs=9", 5)]
)
def test_hints_leave_an_epoch_for_the_task(spec, epochs, world, target):
    with pytest.raises(UserError, match="leaves none"):
        world.make(spec, target).check(epochs, 100)


def test_hints_need_an_epoch(world, target):
    with pytest.raises(UserError, match="epochs=0"):
        world.make("hints:epochs=0", target)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 3, 1), nn.Linear(48, 5)

    def forward(self, images):
        return self.out(self.conv(images).flatten(1))


def test_hints_train_only_the_layers_below_in_the_first_stage(world, target):
    hints = world.make("hints:epochs=1", target)
    batch = world.batch()
    torch.manual_seed(0)
    module = StudentModule(Student().double(), [hints, world.make("kd", target)]).train()
    for epoch in (0, 1):
        module.zero_grad()
        _, terms = module(batch, Progress(epoch, 2, 0, 1), torch.Generator())
        assert {name for name, term in terms.items() if term.weight} == (
            {"hints/conv"} if epoch == 0 else {TASK, "kd/logits"}
        )
        sum(term.weight * term.value for term in terms.values() if term.weight).backward()
        trained = {
            name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None
        }
        below = {name for name, p in module.student.named_parameters() if p.grad is not None}
        assert trained == ({"student", "objective_modules"} if epoch == 0 else {"student"})
        assert below == (
            {"conv.weight", "conv.bias"}
            if epoch == 0
            else {"conv.weight", "conv.bias", "out.weight", "out.bias"}
        )
