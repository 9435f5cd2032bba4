"""Compare trained networks and methods by their errors on the same test images.

Two networks are compared by McNemar's test: would these two differ on other images? Two methods
are compared by their runs, over training seeds × images: would the methods differ if they were
trained again and tested on other images (statistics/crossed.py)? Counts are never summed over
seeds, because an image that three networks answer is not three images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdl_cli.commands.compare.brain_similarity import (
    BrainSimilaritySummary,
    summarise_brain_similarity,
)
from rdl_cli.commands.compare.method_pairs import MethodPair, compare_pair
from rdl_cli.commands.compare.tested_runs import (
    TestedRun,
    find_methods,
    load_runs,
    load_table,
)
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.frames import make_frame
from rdl_cli.runs.prediction_table import SUFFIX
from rdl_cli.statistics.intervals import clopper_pearson, newcombe
from rdl_cli.statistics.mcnemar import mcnemar
from rdl_cli.statistics.multiplicity import holm

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = "rdl-compare/2"
ALPHA = 0.05


@dataclass(frozen=True)
class RunErrors:
    """A run's errors on the test images; `low` to `high` is the exact 95 % interval of `rate`."""

    name: str
    path: str
    method: str
    seed: int
    errors: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class RunPair:
    """Two networks on the same images, by McNemar's test.

    Attributes:
        b, c: images that only the first, only the second gets right.
        p_exact, p_mid: the exact test's p and the less conservative mid-p.
        difference: the second's error rate minus the first's, (b - c) / n, with Newcombe's
            95 % interval.
        p_holm: p_exact corrected for all pairs of runs.
        winner: the better run if p_exact < .05; `significant_after_holm`: if p_holm is, too.
    """

    first: str
    second: str
    b: int
    c: int
    p_exact: float
    p_mid: float
    difference: float
    low: float
    high: float
    p_holm: float
    winner: str | None
    significant_after_holm: bool


@dataclass(frozen=True)
class MethodErrors:
    """A method's mean error rate; `sd` between its runs is None for one run."""

    name: str
    runs: tuple[str, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Comparison:
    """Everything that `rdl compare` prints.

    Attributes:
        baseline: the first method of all pairs, if one was named.
        primary: the two methods of the comparison declared before the runs, if one was.
        brain_similarities: of students of a brain, with the weights of the final epoch.
    """

    epoch: str
    images: int
    baseline: str | None
    primary: tuple[str, str] | None
    runs: tuple[RunErrors, ...]
    pairs: tuple[RunPair, ...]
    methods: tuple[MethodErrors, ...]
    method_pairs: tuple[MethodPair, ...]
    brain_similarities: tuple[BrainSimilaritySummary, ...] = ()

    @property
    def one_run_each(self) -> bool:
        return len(self.methods) == len(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: `schema`, then the fields above; rates are fractions, not percent."""
        record = asdict(self)
        record["method_pairs"] = [
            fields | {"statement": pair.statement}
            for fields, pair in zip(record["method_pairs"], self.method_pairs, strict=True)
        ]
        return {"schema": SCHEMA, "alpha": ALPHA} | record

    def to_frame(self, table: str = "runs") -> "DataFrame":
        """Return one table: `runs`, `pairs`, `methods`, `method_pairs` or `brain_similarities`.

        Rates are fractions, not percent. UserError if pandas is not installed.
        """
        names = ("runs", "pairs", "methods", "method_pairs", "brain_similarities")
        return make_frame({name: getattr(self, name) for name in names}, table)

    def _repr_html_(self) -> str:
        """Return the tables of methods, runs and pairs, for a notebook."""
        from rdl_cli.commands.compare.words import legend
        from rdl_cli.commands.report.comparison_sections import comparison_tables
        from rdl_cli.report.html import render_tables

        return render_tables(comparison_tables(self), legend(self) if self.method_pairs else "")


def compare(
    paths: Iterable[Path],
    epoch: str = "final",
    baseline: str | None = None,
    primary: tuple[str, str] | None = None,
) -> Comparison:
    """Compare the runs at or below the paths, or those of one predictions.npz.

    Args:
        epoch: `final` or `best`, one of runs.run.EPOCHS.
        baseline: compare with this method only.
        primary: the comparison that was declared before the runs; its p is not corrected. All
            others are exploratory and corrected by Holm's method.

    Raises:
        UserError: runs were tested on different images; a method is unknown.
    """
    paths = list(paths)
    similarities: tuple[BrainSimilaritySummary, ...] = ()
    if any(path.suffix == SUFFIX and path.is_file() for path in paths):
        if len(paths) > 1:
            raise UserError(
                f"{len(paths)} paths are named, one of them a file of predictions",
                hint="compare one file, or run folders",
            )
        runs = load_table(paths[0], epoch)
    else:
        runs_by_method = find_methods(paths)
        runs = load_runs(runs_by_method, epoch)
        if epoch == "final":
            similarities = summarise_brain_similarity(runs_by_method)
    methods = _group(runs)
    for name in (baseline, *(primary or ())):
        if name is not None and name not in methods:
            raise unknown_name("method", name, methods)
    if baseline is not None:
        methods = {baseline: methods[baseline]} | methods
        runs = [run for group in methods.values() for run in group]
    return Comparison(
        epoch,
        len(runs[0].wrong),
        baseline,
        primary,
        tuple(_run_errors(run) for run in runs),
        _compare_runs(
            [
                (a, b)
                for a, b in combinations(runs, 2)
                if baseline in (None, a.method) and (baseline is None or b.method != baseline)
            ]
        ),
        tuple(_method_errors(name, group) for name, group in methods.items()),
        _compare_methods(
            [(a, b) for a, b in combinations(methods, 2) if baseline in (None, a)],
            methods,
            primary,
        ),
        similarities,
    )


def _group(runs: Sequence[TestedRun]) -> dict[str, list[TestedRun]]:
    methods: dict[str, list[TestedRun]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods


def _run_errors(run: TestedRun) -> RunErrors:
    errors = int(run.wrong.sum())
    rate = clopper_pearson(errors, len(run.wrong))
    return RunErrors(run.name, run.path, run.method, run.seed, errors, *rate)


def _method_errors(name: str, runs: Sequence[TestedRun]) -> MethodErrors:
    rates = [float(run.wrong.mean()) for run in runs]
    sd = float(np.std(rates, ddof=1)) if len(rates) > 1 else None
    return MethodErrors(name, tuple(run.name for run in runs), float(np.mean(rates)), sd)


def _compare_runs(pairs: Sequence[tuple[TestedRun, TestedRun]]) -> tuple[RunPair, ...]:
    tests = [mcnemar(~a.wrong, ~b.wrong) for a, b in pairs]
    corrected = holm([test.exact for test in tests]).tolist()
    results = []
    for (a, b), test, p_holm in zip(pairs, tests, corrected, strict=True):
        interval = newcombe(test.both_right, test.only_a, test.only_b, test.neither)
        winner = _winner(a.name, b.name, interval.estimate, test.exact)
        results.append(
            RunPair(
                a.name,
                b.name,
                test.only_a,
                test.only_b,
                test.exact,
                test.mid_p,
                *interval,
                p_holm,
                winner,
                winner is not None and p_holm < ALPHA,
            )
        )
    return tuple(results)


def _compare_methods(
    names: Sequence[tuple[str, str]],
    methods: dict[str, list[TestedRun]],
    primary: tuple[str, str] | None,
) -> tuple[MethodPair, ...]:
    """Compare methods; the primary comparison is uncorrected, all others are corrected by Holm."""
    pairs = [compare_pair(methods[a], methods[b], {a, b} == set(primary or ())) for a, b in names]
    exploratory = [pair.p for pair in pairs if not pair.primary and pair.p is not None]
    corrected = iter(holm(exploratory).tolist())
    results = []
    for pair in pairs:
        if pair.p is None or pair.difference is None:
            results.append(pair)
            continue
        winner = _winner(pair.first, pair.second, pair.difference, pair.p)
        p_holm = None if pair.primary else next(corrected)
        significant = winner is not None and (p_holm is None or p_holm < ALPHA)
        results.append(
            replace(pair, p_holm=p_holm, winner=winner, significant_after_holm=significant)
        )
    return tuple(results)


def _winner(first: str, second: str, difference: float, p: float) -> str | None:
    """Return the method with fewer errors, None if p is not below ALPHA."""
    if p >= ALPHA:
        return None
    return second if difference < 0 else first
