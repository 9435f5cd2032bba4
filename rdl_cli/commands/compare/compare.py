"""Which of several trained networks is better, and how sure that is.

Two kinds of chance are kept apart. McNemar's test is about *images*: would these two networks differ on other pictures?
The t-interval over seeds is about *training*: would these two methods differ if they were trained again, and tested on
these pictures? Counts are never summed over seeds, because the same pictures answered by three networks are not three
times as many pictures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rdl_cli.commands.compare.brain_similarity import (
    BrainSimilaritySummary,
    summarise_brain_similarity,
)
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.runs.grouping import group_by_method
from rdl_cli.runs.run import Run, find_runs
from rdl_cli.statistics.intervals import newcombe, over_seeds, wilson
from rdl_cli.statistics.mcnemar import mcnemar
from rdl_cli.statistics.multiplicity import holm
from rdl_cli.statistics.student import p_over_seeds

SCHEMA = "rdl-compare/1"
ALPHA = 0.05


@dataclass(frozen=True)
class RunErrors:
    """One run on the test images. `rate` is a share, with Wilson's 95 % interval `low` to `high`; `name` is unlike any other's."""

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
    """Two runs on the same images: `b` that only the first gets right, `c` that only the second gets right.

    `difference` is the second's error rate minus the first's, (b - c) / n, with Newcombe's 95 % interval. `holm` is the
    exact p, corrected for all pairs of runs. `better` names the better run where the exact p is below 0.05, and
    `kept` says that Holm's is below it too.
    """

    first: str
    second: str
    b: int
    c: int
    exact: float
    mid_p: float
    difference: float
    low: float
    high: float
    holm: float
    better: str | None
    kept: bool


@dataclass(frozen=True)
class MethodErrors:
    """Runs that differ in their seed alone. `mean` is that of their error rates, `sd` between them (None for one run)."""

    name: str
    runs: tuple[str, ...]
    mean: float
    sd: float | None


@dataclass(frozen=True)
class MethodPair:
    """Two methods, run against run of the same seed (a single run against a single run whatever their seeds).

    With several seeds `difference` is the mean over seeds of the second's error rate minus the first's, with Student's 95 %
    interval; with one it is the pair's own, with Newcombe's. Two kinds of chance could make a method look better, so `p` is
    the larger of two: `p_seeds` of the t-test over seeds (None for one seed) and `p_images`, the median over seeds of McNemar's
    exact p. `holm` corrects `p` for all pairs of methods; `better` and `kept` as in `Pair`. All are None without a common seed.
    """

    first: str
    second: str
    pairs: tuple[RunPair, ...]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_seeds: float | None = None
    p_images: float | None = None
    p: float | None = None
    holm: float | None = None
    better: str | None = None
    kept: bool = False

    @property
    def second_better(self) -> int:
        """In how many seeds the second method makes fewer errors."""
        return sum(pair.difference < 0 for pair in self.pairs)

    @property
    def ties(self) -> int:
        return sum(pair.difference == 0 for pair in self.pairs)

    @property
    def statement(self) -> str:
        """What can be said of the two methods, in words that keep seeds and images apart; counts are `b`:`c`."""
        if self.difference is None or self.low is None or self.high is None:
            return f"{self.second} and {self.first} have no seed in common: not compared"
        points = f"{100 * self.difference:+.2f} percentage points [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"
        by_seed = ", ".join(f"{format_p(pair.exact)} ({pair.b}:{pair.c})" for pair in self.pairs)
        if self.p_seeds is None:
            return (
                f"{self.second} against {self.first}, one run each: {points}; McNemar p {by_seed}"
            )
        ties = f" ({self.ties} tied)" if self.ties else ""
        return (
            f"{self.second} better than {self.first} in {self.second_better} of {len(self.pairs)} seeds{ties}; "
            f"mean difference {points} over seeds, t-test p {format_p(self.p_seeds)}; McNemar p by seed {by_seed}"
        )


@dataclass(frozen=True)
class Comparison:
    """Everything that `rdl compare` shows, renders and exports. `baseline` is the method that all pairs have first, if one was named.

    `brain_similarities` are those of students of a brain, with the weights of the final epoch.
    """

    epoch: str
    images: int
    baseline: str | None
    runs: tuple[RunErrors, ...]
    pairs: tuple[RunPair, ...]
    methods: tuple[MethodErrors, ...]
    method_pairs: tuple[MethodPair, ...]
    brain_similarities: tuple[BrainSimilaritySummary, ...] = ()

    @property
    def one_run_each(self) -> bool:
        return len(self.methods) == len(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data: `schema`, then the fields of the classes above; rates are shares, not percent."""
        said = [
            {"second_better": pair.second_better, "ties": pair.ties, "statement": pair.statement}
            for pair in self.method_pairs
        ]
        plain = asdict(self)
        plain["method_pairs"] = [
            record | more for record, more in zip(plain["method_pairs"], said, strict=True)
        ]
        return {"schema": SCHEMA, "alpha": ALPHA} | plain


def compare(paths: Iterable[Path], epoch: str = "final", baseline: str | None = None) -> Comparison:
    """The runs at or below the paths, each against each, or each against the runs of the method called `baseline`.

    `epoch` is one of `stores.run.EPOCHS`. UserError where runs did not see the same test images or the same labels.
    """
    by_method = group_by_method(find_runs(paths))
    if not by_method:
        raise UserError("no run is named", hint="rdl compare RUN...")
    if baseline is not None:
        if baseline not in by_method:
            raise unknown_name("method", baseline, by_method)
        by_method = {baseline: by_method[baseline]} | by_method
    scores, right = [], {}
    for (method, run), answers in zip(
        _expand_runs(by_method),
        _load_predictions([run for _, run in _expand_runs(by_method)], epoch),
        strict=True,
    ):
        errors = len(answers) - int(answers.sum())
        name = method if len(by_method[method]) == 1 else f"{method} seed {run.seed}"
        scores.append(
            RunErrors(name, str(run.path), method, run.seed, errors, *wilson(errors, len(answers)))
        )
        right[name] = answers
    pairs = _pairs(
        [
            (a, b)
            for a, b in combinations(scores, 2)
            if baseline is None or a.method == baseline != b.method
        ],
        right,
    )
    found = [[score for score in scores if score.method == method] for method in by_method]
    method_pairs = _method_pairs(
        [(a, b) for a, b in combinations(found, 2) if baseline in (None, a[0].method)], pairs
    )
    images = len(right[scores[0].name])
    alike = summarise_brain_similarity(by_method) if epoch == "final" else ()
    return Comparison(
        epoch,
        images,
        baseline,
        tuple(scores),
        pairs,
        tuple(map(_method, found)),
        method_pairs,
        alike,
    )


def _expand_runs(by_method: dict[str, list[Run]]) -> list[tuple[str, Run]]:
    return [(method, run) for method, runs in by_method.items() for run in runs]


def _load_predictions(runs: list[Run], epoch: str) -> Iterator[np.ndarray]:
    """Which test images each run gets right (n,), in one order for all. UserError where the images or their labels differ."""
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for run in runs:
        found = run.predictions(epoch)
        if len(found.labels) == 0:
            raise UserError(f"the run {run.path} was tested on no image")
        order = np.lexsort(
            (found.labels, found.digests)
        )  # equal pictures may occur twice, even with two labels
        digests, labels = found.digests[order], found.labels[order]
        if reference is None:
            reference = digests, labels
        _check_same(runs[0], *reference, run, digests, labels)
        yield found.predicted[order] == labels


def _check_same(
    one: Run,
    digests: np.ndarray,
    labels: np.ndarray,
    other: Run,
    its_digests: np.ndarray,
    its_labels: np.ndarray,
) -> None:
    if not np.array_equal(digests, its_digests):
        shared = (Counter(digests.tolist()) & Counter(its_digests.tolist())).total()
        raise UserError(
            f"{one.path} was tested on {len(digests):,} images and {other.path} on {len(its_digests):,}; {shared:,} of them are the same",
            hint="compare runs that were tested on the same images: one data set, one image size",
        )
    if differ := int((labels != its_labels).sum()):
        raise UserError(
            f"{differ:,} of {len(labels):,} test images have one label in {one.path} and another in {other.path}",
            hint="compare runs of one data set with the same classes",
        )


def _pairs(
    wanted: list[tuple[RunErrors, RunErrors]], right: dict[str, np.ndarray]
) -> tuple[RunPair, ...]:
    tests = [mcnemar(right[a.name], right[b.name]) for a, b in wanted]
    found = []
    for (a, b), test, corrected in zip(
        wanted, tests, holm([test.exact for test in tests]).tolist(), strict=True
    ):
        difference = newcombe(test.both_right, test.only_a, test.only_b, test.neither)
        verdict = _verdict(a.name, b.name, difference.estimate, test.exact, corrected)
        found.append(
            RunPair(
                a.name,
                b.name,
                test.only_a,
                test.only_b,
                test.exact,
                test.mid_p,
                *difference,
                corrected,
                *verdict,
            )
        )
    return tuple(found)


def _method(runs: list[RunErrors]) -> MethodErrors:
    rates = [run.rate for run in runs]
    return MethodErrors(
        runs[0].method,
        tuple(run.name for run in runs),
        float(np.mean(rates)),
        float(np.std(rates, ddof=1)) if runs[1:] else None,
    )


def _method_pairs(
    wanted: list[tuple[list[RunErrors], list[RunErrors]]], pairs: tuple[RunPair, ...]
) -> tuple[MethodPair, ...]:
    of = {(pair.first, pair.second): pair for pair in pairs}
    matched = [
        [
            of[a.name, b.name]
            for a in one
            for b in other
            if a.seed == b.seed or len(one) == len(other) == 1
        ]
        for one, other in wanted
    ]
    found = [
        _method_pair(one[0].method, other[0].method, tuple(each))
        for (one, other), each in zip(wanted, matched, strict=True)
    ]
    corrected = iter(holm([pair.p for pair in found if pair.p is not None]).tolist())
    return tuple(pair if pair.p is None else _apply_holm(pair, next(corrected)) for pair in found)


def _method_pair(first: str, second: str, pairs: tuple[RunPair, ...]) -> MethodPair:
    if not pairs:
        return MethodPair(first, second, pairs)
    p_images = median(pair.exact for pair in pairs)
    if len(pairs) == 1:
        return MethodPair(
            first,
            second,
            pairs,
            pairs[0].difference,
            pairs[0].low,
            pairs[0].high,
            None,
            p_images,
            p_images,
        )
    differences = [pair.difference for pair in pairs]
    p_seeds = p_over_seeds(differences)
    return MethodPair(
        first, second, pairs, *over_seeds(differences), p_seeds, p_images, max(p_seeds, p_images)
    )


def _apply_holm(pair: MethodPair, corrected: float) -> MethodPair:
    assert pair.difference is not None and pair.p is not None, (
        f"{pair.first} and {pair.second} were not tested"
    )
    better, kept = _verdict(pair.first, pair.second, pair.difference, pair.p, corrected)
    return replace(pair, holm=corrected, better=better, kept=kept)


def _verdict(
    first: str, second: str, difference: float, p: float, corrected: float
) -> tuple[str | None, bool]:
    """Who is better, if p says that anyone is, and whether Holm's p says so too."""
    return (second if difference < 0 else first, corrected < ALPHA) if p < ALPHA else (None, False)


def format_p(p: float) -> str:
    """A p-value with two digits that count."""
    return (
        "<0.001" if p < 0.001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    )
