"""FitNets' hints: the linear prediction as plain loops, its shapes, and the two stages."""

import pytest
import torch
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.training.loop import TASK, StudentModule
from rdl_cli.training.objective import LayerMatch, Progress
from rdl_cli.training.objectives.hints import regressor

POOL = LayerMatch("mine", "theirs")


def test_prediction_is_linear_with_a_bias(world, mine, theirs, target):
    objective = world.make("hints", target)
    (conv,) = objective.regressors
    weight, bias = conv.weight.detach(), conv.bias.detach()
    squares = []
    for s, t in zip(mine["conv"], theirs["maps"], strict=True):
        for c in range(4):
            for row in range(4):
                for column in range(4):
                    predicted = float(bias[c]) + sum(
                        float(weight[c, k, 0, 0] * s[k, row, column]) for k in range(3)
                    )
                    squares.append((predicted - float(t[c, row, column])) ** 2)
    assert world.values(objective, mine)["hints/conv"].item() == pytest.approx(
        sum(squares) / len(squares), rel=1e-12
    )


@pytest.mark.parametrize(
    "mine, theirs, kernel",
    [
        ((3, 4, 4), (5, 4, 4), (1, 1)),
        ((3, 8, 6), (5, 4, 4), (5, 3)),
        ((3, 4, 4), (3, 4, 4), (1, 1)),
    ],
)
def test_a_convolution_makes_sizes_agree(mine, theirs, kernel):
    made = regressor(POOL, mine, theirs)
    assert isinstance(made, nn.Conv2d) and made.kernel_size == kernel and made.bias is not None
    assert made(torch.zeros(2, *mine)).shape == (2, *theirs)


@pytest.mark.parametrize("mine", [(6,), (3, 4, 4), (7, 6)])
def test_a_matrix_predicts_what_has_no_space(mine):
    assert regressor(POOL, mine, (9,))(torch.zeros(2, *mine)).shape == (2, 9)


@pytest.mark.parametrize(
    "mine, theirs", [((3, 4, 4), (5, 8, 8)), ((3, 4, 4), (5, 2, 6)), ((6,), (5, 4, 4))]
)
def test_space_that_the_student_lacks_is_not_predicted(mine, theirs):
    with pytest.raises(UserError, match="cannot predict") as caught:
        regressor(POOL, mine, theirs)
    assert str(mine) in str(caught.value) and str(theirs) in str(caught.value) and caught.value.hint


def test_a_perfect_prediction_costs_nothing(world, mine, theirs, target):
    objective = world.make("hints", target)
    conv = objective.regressors[0]
    theirs["maps"][:] = conv(mine["conv"]).detach()
    assert world.values(objective, mine)["hints/conv"].item() == 0


@pytest.mark.parametrize(
    "spec, epochs, first",
    [("hints", 100, 10), ("hints", 5, 1), ("hints", 2, 1), ("hints:epochs=3", 5, 3)],
)
def test_stages(spec, epochs, first, world, mine, target):
    objective = world.make(spec, target)
    assert [objective.is_exclusive(Progress(e, epochs, 0, 1)) for e in range(epochs)] == [
        e < first for e in range(epochs)
    ]
    terms = [
        objective.terms(world.step(mine, epoch=e, epochs=epochs))["hints/conv"]
        for e in range(epochs)
    ]
    assert [t.weight for t in terms] == [float(e < first) for e in range(epochs)]
    assert terms[0].value.requires_grad and not terms[-1].value.requires_grad
    assert terms[0].value.item() == terms[-1].value.item()  # logged to the end


@pytest.mark.parametrize(
    "spec, epochs", [("hints", 1), ("hints:epochs=5", 5), ("hints:epochs=9", 5)]
)
def test_something_is_left_for_the_task(spec, epochs, world, target):
    with pytest.raises(UserError, match="leaves none"):
        world.make(spec, target).check(epochs, 100)


def test_a_first_stage_takes_an_epoch(world, target):
    with pytest.raises(UserError, match="epochs=0"):
        world.make("hints:epochs=0", target)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 3, 1), nn.Linear(48, 5)

    def forward(self, images):
        return self.out(self.conv(images).flatten(1))


def test_in_the_first_stage_only_what_is_below_the_hint_learns(world, target):
    hints = world.make("hints:epochs=1", target)
    shown = world.batch()
    torch.manual_seed(0)
    module = StudentModule(Student().double(), [hints, world.make("kd", target)]).train()
    for epoch in (0, 1):
        module.zero_grad()
        _, terms = module(shown, Progress(epoch, 2, 0, 1), torch.Generator())
        assert {name for name, term in terms.items() if term.weight} == (
            {"hints/conv"} if epoch == 0 else {TASK, "kd/logits"}
        )
        sum(term.weight * term.value for term in terms.values() if term.weight).backward()
        moved = {
            name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None
        }
        below = {name for name, p in module.student.named_parameters() if p.grad is not None}
        assert moved == ({"student", "objectives"} if epoch == 0 else {"student"})
        assert below == (
            {"conv.weight", "conv.bias"}
            if epoch == 0
            else {"conv.weight", "conv.bias", "out.weight", "out.bias"}
        )
