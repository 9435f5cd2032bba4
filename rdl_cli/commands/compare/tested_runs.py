"""Load which test images each run gets wrong: from run folders or from a file of predictions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.runs.grouping import find_teacher, group_by_method, seed_draws_data
from rdl_cli.runs.prediction_table import read_tables
from rdl_cli.runs.run import Run, find_runs


@dataclass(frozen=True, eq=False)
class TestedRun:
    """A run's errors on the test images; equal images have equal places in all runs.

    Attributes:
        name: distinct among all compared runs.
        teacher: what the run learned from; "" for none.
        draws_data: whether the seed draws labels or stimuli, not only initialisation and order.
        wrong: (n,) bool.
    """

    __test__ = False  # no test class, whatever pytest takes from the name

    name: str
    path: str
    method: str
    seed: int
    teacher: str
    draws_data: bool
    wrong: np.ndarray


@dataclass(frozen=True, eq=False)
class _Answers:
    """Predictions before alignment."""

    source: str
    digests: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


def load_runs(runs_by_method: dict[str, list[Run]], epoch: str) -> list[TestedRun]:
    """Return the errors of each run, methods in their order.

    Raises:
        UserError: runs were tested on different images or labels, or on none.
    """
    methods = [(method, run) for method, runs in runs_by_method.items() for run in runs]
    answers = []
    for _, run in methods:
        p = run.predictions(epoch)
        answers.append(_Answers(str(run.path), p.digests, p.labels, p.predicted))
    return [
        TestedRun(
            _run_name(method, run.seed, find_teacher(run) or "", runs_by_method[method]),
            str(run.path),
            method,
            run.seed,
            find_teacher(run) or "",
            seed_draws_data(run),
            wrong,
        )
        for (method, run), wrong in zip(methods, _align(answers), strict=True)
    ]


def load_table(path: Path, epoch: str) -> list[TestedRun]:
    """Return the errors of each run in a file of `rdl reproduce --predictions`.

    Raises:
        UserError: the file is damaged, or its runs were tested on different images.
    """
    tables = read_tables(path)
    if len(tables) > 1:
        sizes = ", ".join(f"{len(table.labels):,} images" for table in tables)
        raise UserError(
            f"{path} holds runs tested on {len(tables)} sets of images ({sizes})",
            hint="name the run folders of one set in place of the file",
        )
    return [
        TestedRun(
            method if table.methods.count(method) == 1 else f"{method} seed {seed}",
            f"{path}:{method}/seed{seed}",
            method,
            seed,
            teacher,
            draws_data,
            predicted != table.labels,
        )
        for table in tables
        for method, seed, teacher, draws_data, predicted in zip(
            table.methods,
            table.seeds,
            table.teachers,
            table.draws_data,
            table.predicted[epoch],
            strict=True,
        )
    ]


def find_methods(paths: Iterable[Path]) -> dict[str, list[Run]]:
    """Return the runs at or below the paths by method. UserError if there is none."""
    runs_by_method = group_by_method(find_runs(paths))
    if not runs_by_method:
        raise UserError("no run is named", hint="rdl compare RUN...")
    return runs_by_method


def _run_name(method: str, seed: int, teacher: str, runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return method
    same_seed = sum(run.seed == seed for run in runs) > 1
    return f"{method} seed {seed}" + (f" ({Path(teacher).name})" if same_seed else "")


def _align(answers: list[_Answers]) -> Iterable[np.ndarray]:
    """Yield the errors of each run in one order of images."""
    reference: _Answers | None = None
    for one in answers:
        if len(one.labels) == 0:
            raise UserError(f"the run {one.source} was tested on no image")
        # by label too: equal images may occur twice with two labels
        order = np.lexsort((one.labels, one.digests))
        aligned = _Answers(one.source, one.digests[order], one.labels[order], one.predicted[order])
        reference = reference or aligned
        _require_same_images(reference, aligned)
        yield aligned.predicted != aligned.labels


def _require_same_images(one: _Answers, other: _Answers) -> None:
    if not np.array_equal(one.digests, other.digests):
        common = (Counter(one.digests.tolist()) & Counter(other.digests.tolist())).total()
        raise UserError(
            f"{one.source} was tested on {len(one.digests):,} images and {other.source} on"
            f" {len(other.digests):,}; {common:,} of them are the same",
            hint="compare runs that were tested on the same images: one data set, one image size",
        )
    if differ := int((one.labels != other.labels).sum()):
        raise UserError(
            f"{differ:,} of {len(one.labels):,} test images have one label in {one.source} and"
            f" another in {other.source}",
            hint="compare runs of one data set with the same classes",
        )
