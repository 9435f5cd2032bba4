"""The texts of --stimuli-heldout."""

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.heldout_stimuli import HeldoutStimuli, parse_heldout


@pytest.mark.parametrize(
    ("text", "expected", "depends_on_seed"),
    [
        ("", HeldoutStimuli(), False),
        (None, HeldoutStimuli(), False),
        ("0", HeldoutStimuli(), False),
        ("0.25", HeldoutStimuli(amount=0.25), True),
        (0.25, HeldoutStimuli(amount=0.25), True),
        ("40", HeldoutStimuli(amount=40), True),
        ("folds:4", HeldoutStimuli(folds=4), True),
        ("folds:4/0", HeldoutStimuli(folds=4, fold=0), False),
        ("lists/heldout.txt", HeldoutStimuli(file="lists/heldout.txt"), False),
    ],
)
def test_parse_heldout_reads_amounts_folds_and_files(text, expected, depends_on_seed):
    asked = parse_heldout(text)
    assert asked == expected and asked.depends_on_seed is depends_on_seed


@pytest.mark.parametrize(
    "text", ["-1", "1.5", "nan", "inf", "folds:1", "folds:4/4", "folds:x", "folds:4/", "folds:-4/0"]
)
def test_parse_heldout_refuses_values_out_of_range(text):
    with pytest.raises(UserError, match=f"--stimuli-heldout is {text}; ") as error:
        parse_heldout(text)
    assert error.value.hint
