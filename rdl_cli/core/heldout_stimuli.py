"""The stimuli that a run holds out: a fraction, a number, a fold, or the names in a file."""

import re
from math import isfinite
from typing import NamedTuple

from rdl_cli.core.errors import UserError

HINT = "use 0.25, 40, folds:4, folds:4/0, or a text file of stimulus names"


class HeldoutStimuli(NamedTuple):
    """What `--stimuli-heldout` asks for; without any of these nothing is held out.

    Args:
        amount: a fraction of the stimuli below 1, or their number; the run's seed draws them.
        folds: the number of folds of the stimuli, equal in all runs.
        fold: the fold that is held out; None for the run's seed modulo `folds`.
        file: text file of stimulus names, a line each.
    """

    amount: float = 0.0
    folds: int = 0
    fold: int | None = None
    file: str = ""

    @property
    def depends_on_seed(self) -> bool:
        """Whether runs of different seeds hold out different stimuli."""
        return bool(self.amount) or (bool(self.folds) and self.fold is None)


def parse_heldout(text: str | float | None) -> HeldoutStimuli:
    """Return what the text of `--stimuli-heldout` asks for. UserError if it is out of range.

    >>> parse_heldout("folds:4/1")
    HeldoutStimuli(amount=0.0, folds=4, fold=1, file='')
    """
    text = "" if text is None else str(text).strip()
    if not text:
        return HeldoutStimuli()
    if text.startswith("folds:"):
        match = re.fullmatch(r"folds:(\d{1,6})(?:/(\d{1,6}))?", text)
        folds = int(match[1]) if match else 0
        fold = int(match[2]) if match and match[2] else None
        if folds < 2 or (fold is not None and fold >= folds):
            raise UserError(
                f"--stimuli-heldout is {text}; folds:N/K needs N of at least 2, and K from 0 to"
                " N - 1",
                hint="use folds:4 (each seed holds out fold SEED modulo 4), or folds:4/0",
            )
        return HeldoutStimuli(folds=folds, fold=fold)
    try:
        amount = float(text)
    except ValueError:
        return HeldoutStimuli(file=text)
    if not isfinite(amount) or amount < 0 or (amount > 1 and amount != int(amount)):
        raise UserError(
            f"--stimuli-heldout is {text}; a fraction below 1 or a whole number is needed",
            hint=HINT,
        )
    return HeldoutStimuli(amount=amount)
