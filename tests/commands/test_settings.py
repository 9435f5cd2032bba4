import dataclasses
import typing

import pytest

from rdl_cli.commands import settings as module
from rdl_cli.commands.settings import (
    CompareRdmsSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.errors import UserError

CLASSES = [
    value
    for value in vars(module).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize("settings", CLASSES)
def test_settings_have_a_type_a_help_text_and_valid_defaults(settings):
    for name, hint in typing.get_type_hints(settings, include_extras=True).items():
        _, help_text = typing.get_args(hint)
        assert help_text[0].islower() or help_text.split()[0].isupper() or "=" in help_text, name
    getattr(settings(), "check", lambda: None)()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TrainingSettings(batch_size=0), "--batch-size is 0; at least 1 is needed"),
        (TrainingSettings(lr=float("nan")), "--lr is nan; it cannot be negative or infinite"),
        (TrainingSettings(momentum=1.0), "--momentum is 1.0; below 1 is needed"),
        (TrainingSettings(use_unlabelled=True), "all training images are labelled"),
        (TrainingSettings(seed=1, seeds="0,1"), "--seeds is 0,1 and --seed is 1"),
        (TrainingSettings(seeds="0..2,1"), "names the seed 1 more than once"),
        (StudentSettings(stimuli_heldout="1.5"), "--stimuli-heldout is 1.5; a fraction below 1"),
        (StudentSettings(grad_fraction=["rsa=1"]), "`--grad-fraction rsa=1` is not an objective"),
        (StudentSettings(grad_fraction=["a=.5,b=.5"]), "--grad-fraction add up to 1; below 1"),
        (ExportSettings(image_size=0), "--image-size is 0; at least 1 is needed"),
        (CompareRdmsSettings(n_resamples=19), "--n-resamples is 19; 0, or at least 20"),
    ],
)
def test_check_refuses_values_out_of_range(settings, message):
    with pytest.raises(UserError) as error:
        settings.check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("seeds", "expected"), [("", [0]), ("0..2", [0, 1, 2]), ("3, 5..6", [3, 5, 6]), ("7..7", [7])]
)
def test_seed_list_reads_ranges_and_lists(seeds, expected):
    assert TrainingSettings(seeds=seeds).seed_list() == expected


@pytest.mark.parametrize("seeds", ["4..0", "a", "1,,2", "1.5", "-1"])
def test_seed_list_refuses_other_texts(seeds):
    with pytest.raises(UserError, match="is not a list of seeds"):
        TrainingSettings(seeds=seeds).seed_list()


def test_grad_fractions_take_a_trailing_comma():
    fractions = StudentSettings(grad_fraction=["rsa=0.1, kd=.2,"]).grad_fractions()
    assert fractions == {"rsa": 0.1, "kd": 0.2}


def test_seed_list_asks_back_whether_one_number_is_a_count_or_a_seed():
    with pytest.raises(UserError, match="read as 5 seeds, or as the one seed 5") as error:
        TrainingSettings(seeds="5").seed_list()
    assert error.value.hint == "pass --seeds 0..4 for 5 runs, or --seed 5 for one"


@pytest.mark.parametrize("seeds", ["0..20000", "0..9999,0..9999", "1..999999999"])
def test_seed_list_refuses_too_many_at_once(seeds):
    with pytest.raises(UserError, match="more than 10,000 seeds"):
        TrainingSettings(seeds=seeds).seed_list()
