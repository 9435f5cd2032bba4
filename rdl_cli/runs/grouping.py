"""Runs that are one method, trained again with other seeds, under one name."""

import re
from collections import Counter
from itertools import pairwise

from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run


def group_by_method(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs by method, under names that differ, in the order they came; within a method by seed, each seed once.

    Where a method has a seed twice (trained again, perhaps by other code), its folders count as methods of their own.
    UserError where one folder or one label holds a seed twice.
    """
    seeds = Counter((run.method, run.seed) for run in runs)
    twice = {method for (method, _), count in seeds.items() if count > 1}
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, run.name if run.method in twice else ""), []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: run.seed)
        for one, other in pairwise(group):
            if one.seed == other.seed:
                fact = f"{one.path} and {other.path} are one method ({one.name}) and have one seed ({one.seed})"
                raise UserError(
                    fact,
                    hint="leave one of them out, or give them different labels (--label) when they are trained",
                )
    named = dict(zip(_names(list(groups.values())), groups.values(), strict=True))
    assert len(named) == len(groups), f"{len(groups)} methods share the names {', '.join(named)}"
    return named


def _names(groups: list[list[Run]]) -> list[str]:
    """The shortest name of each method that no other has: its label or folder without the seed, its whole path, its first run's."""
    short = []
    for group in groups:
        names = {run.name for run in group}
        if len(names) > 1:
            names = {_without_seed(run) for run in group}
        short.append(names.pop() if len(names) == 1 else group[0].name)
    folders = [str(group[0].path if len(group) == 1 else group[0].path.parent) for group in groups]
    firsts = [str(group[0].path) for group in groups]
    return [
        next(names[i] for names in (short, folders, firsts) if names.count(names[i]) == 1)
        for i in range(len(groups))
    ]


def _without_seed(run: Run) -> str:
    """The label as it is, for `rdl-100` may be its whole name, or the folder without the number at its end.

    Only where the folders of one method differ: all seeds of `resnet18/seed0`, `resnet18/seed1` are called resnet18.
    """
    return run.label or re.sub(r"[-_.]?(seed)?[-_.]?\d+$", "", run.name)
