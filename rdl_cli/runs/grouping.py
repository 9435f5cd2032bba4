"""Group runs into methods: a method's runs differ in their seed alone."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from rdl_cli.core.errors import UserError
from rdl_cli.core.heldout_stimuli import parse_heldout
from rdl_cli.runs.run import Run


def group_by_method(runs: list[Run]) -> dict[str, list[Run]]:
    """Return the runs by method under distinct names, in the order of the first run of each.

    Runs of a method are sorted by seed and teacher. Where a method has a seed and teacher twice
    (trained again, perhaps by other code), each of its folders is a method.

    Raises:
        UserError: one folder or one label has a seed and teacher twice.
    """
    counts = Counter((run.method, *_draw(run)) for run in runs)
    repeated = {method for (method, *_), count in counts.items() if count > 1}
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        key = run.method, run.name if run.method in repeated else ""
        groups.setdefault(key, []).append(run)
    for group in groups.values():
        group.sort(key=_draw)
        for one, other in pairwise(group):
            if _draw(one) == _draw(other):
                raise UserError(
                    f"{one.path} and {other.path} are one method ({one.name}) and have one seed"
                    f" ({one.seed})",
                    hint="leave one of them out, or train them with different labels (--label)",
                )
    names = _names(list(groups.values()))
    assert len(set(names)) == len(groups), f"{len(groups)} methods share the names {names}"
    return dict(zip(names, groups.values(), strict=True))


def seed_draws_data(run: Run) -> bool:
    """Return True if the seed draws the labelled images or decides on the held-out stimuli.

    Runs of equal seed then share these draws; otherwise only initialisation and order.
    """
    heldout = parse_heldout(run.config.get("stimuli_heldout"))
    return run.config.get("train_size") is not None or heldout.depends_on_seed


def find_teacher(run: Run) -> str | None:
    """Return the path of the store or run that a run learned from; None for none."""
    for parent in run.provenance.get("parents", ()):
        if parent["kind"] in ("store", "run"):
            return str(parent["path"])
    return None


def _draw(run: Run) -> tuple[int, str]:
    return run.seed, find_teacher(run) or ""


def _names(groups: Sequence[list[Run]]) -> list[str]:
    """Return the shortest unique name of each method.

    Its label or folder without the seed, its whole path, or its first run's path.
    """
    short = []
    for group in groups:
        names = {run.name for run in group}
        if len(names) > 1:
            names = {_strip_seed(run) for run in group}
        short.append(names.pop() if len(names) == 1 else group[0].name)
    folders = [str(group[0].path if len(group) == 1 else group[0].path.parent) for group in groups]
    first_runs = [str(group[0].path) for group in groups]
    return [
        next(names[i] for names in (short, folders, first_runs) if names.count(names[i]) == 1)
        for i in range(len(groups))
    ]


def _strip_seed(run: Run) -> str:
    """Return the label as it is, or the folder's name without the number at its end.

    A label such as `rdl-100` may end in a number that is no seed.
    """
    return run.label or re.sub(r"[-_.]?(seed)?[-_.]?\d+$", "", run.name)
