"""Layer matches are parsed, and objectives add the layers that they follow."""

import pytest

from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.layer_matches import (
    has_unused_parameters,
    objective_class,
    parse_layer_matches,
    teacher_layers,
)
from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import LayerMatch


def test_parse_layer_matches_reads_pairs_and_equal_names():
    assert parse_layer_matches(["a=b,c", "d.0=e.1"]) == (
        LayerMatch("a", "b"),
        LayerMatch("c", "c"),
        LayerMatch("d.0", "e.1"),
    )


@pytest.mark.parametrize(
    "items, message",
    [
        (["fc="], "does not name two layers"),
        (["=fc"], "does not name two layers"),
        (["fc=pool1", "fc"], "names the student's layer `fc` twice: with `pool1` and with `fc`"),
    ],
)
def test_parse_layer_matches_refuses_half_and_repeated_matches(items, message):
    with pytest.raises(UserError, match=message):
        parse_layer_matches(items)


@pytest.mark.parametrize(
    "objectives, layers",
    [
        ([], ["IT"]),
        (["rsa"], ["IT"]),
        (["kd"], ["logits"]),
        (["rdl:pairs=5", "kd"], ["IT", "logits"]),
        (["dsn:layers=fc"], []),
    ],
)
def test_teacher_layers_are_those_of_matches_and_objectives(objectives, layers):
    matches = (LayerMatch("fc", "IT"), LayerMatch("pool1", "IT"))
    assert teacher_layers(objectives, matches) == layers


def test_objective_class_refuses_what_is_no_objective():
    with pytest.raises(UserError, match="is not an objective"):
        objective_class("collections:OrderedDict")


@pytest.mark.parametrize(
    "settings, expected",
    [
        (TrainingSettings(), False),
        (StudentSettings(objective=["rdl"]), False),
        (StudentSettings(objective=["rdl"], task_weight=0.0), True),
        (StudentSettings(objective=["hints:epochs=2"]), True),
    ],
)
def test_has_unused_parameters_in_hint_epochs_and_without_a_task(settings, expected):
    assert has_unused_parameters(settings) == expected
