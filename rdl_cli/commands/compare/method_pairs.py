"""Compare two methods by their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdl_cli.commands.compare.tested_runs import TestedRun
from rdl_cli.statistics.crossed import MethodDifference, compare_methods

CONDITIONS = {
    "network_a": "one network of {first}",
    "network_b": "one network of {second}",
    "teacher_a": "one teacher of {first}",
    "teacher_b": "one teacher of {second}",
}
ONE_TEACHER = {"teacher_a", "teacher_b"}


@dataclass(frozen=True)
class MethodPair:
    """The difference of two methods, over seeds × images; one run against one by McNemar's test.

    Attributes:
        primary: whether this is the comparison declared before the runs.
        runs_first, runs_second: the numbers of runs compared.
        difference: the second's error rate minus the first's, with its 95 % interval. All numbers
            are None if the seed draws the data and the methods share no seed.
        standard_error, dof: of the difference.
        image_sd, seed_sd: spread of the difference over other images and over other seeds.
        paired: the factor whose draws both methods share: `seeds`, `teachers` or None.
        conditional_on: what has one draw, whose variance is not included.
        dropped: runs left out because the other method lacks their seed.
        smallest_detectable: the true difference that as many runs find with 80 % power, estimated;
            `smallest_detectable_limit`: that any number of runs on as many images find. It is 0
            if the methods err on the same images up to the noise of the seeds.
        n_images: number of test images.
        b, c, p_exact, p_mid: McNemar's counts and p of one run against one.
        p: of one run against one p_exact, else of the crossed test.
        p_holm: corrected for all exploratory pairs; None for the primary comparison.
        winner: the better method if p < .05; `significant_after_holm`: if p_holm is, too.
    """

    first: str
    second: str
    primary: bool
    runs_first: int
    runs_second: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    dof: float | None = None
    image_sd: float | None = None
    seed_sd: float | None = None
    paired: str | None = None
    conditional_on: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    smallest_detectable: float | None = None
    smallest_detectable_limit: float | None = None
    n_images: int = 0
    b: int | None = None
    c: int | None = None
    p_exact: float | None = None
    p_mid: float | None = None
    p: float | None = None
    p_holm: float | None = None
    winner: str | None = None
    significant_after_holm: bool = False

    @property
    def statement(self) -> str:
        """Return the comparison as one sentence, without the two methods' own errors."""
        if self.difference is None or self.p is None:
            return (
                f"{self.second} − {self.first}: no seed in common, and the seed draws their labels"
                " or stimuli: not compared"
            )
        points = "{:+.2f} points [{:+.2f}, {:+.2f}]".format(
            *(100 * value for value in (self.difference, self.low or 0.0, self.high or 0.0))
        )
        if self.p_exact is not None and self.p_mid is not None:
            test = (
                f"McNemar p {format_p(self.p_exact)} (mid-p {format_p(self.p_mid)},"
                f" {self.b}:{self.c})"
            )
        else:
            test = f"p {format_p(self.p)} ({self.dof:.0f} degrees of freedom)"
        parts = [f"{self.second} − {self.first}: {points}, {test}"]
        if self.p_holm is not None:
            parts.append(f"Holm {format_p(self.p_holm)}")
        parts.append(f"{self.runs_second} against {self.runs_first} runs")
        if self.paired:
            parts.append(f"paired by {self.paired}")
        if self.dropped:
            parts.append(f"without {', '.join(self.dropped)}")
        if self.conditional_on:
            parts.append(f"for {' and '.join(self.conditional_on)}")
        parts.append(
            f"80 % power at about {100 * (self.smallest_detectable or 0):.2f} points"
            f" (limit of these images {self.format_limit()})"
        )
        return "; ".join(parts)

    def format_limit(self) -> str:
        """Return the limit of the images in % points; a value below one image is not resolved."""
        limit, one_image = self.smallest_detectable_limit or 0.0, 1 / self.n_images
        return f"{100 * limit:.2f}" if limit >= one_image else f"< {100 * one_image:.2g}, one image"


def compare_pair(
    first: Sequence[TestedRun], second: Sequence[TestedRun], primary: bool = False
) -> MethodPair:
    """Compare two methods' runs; corrections for several pairs are the caller's.

    Runs are paired by seed where the seed draws the labels or stimuli of both methods.
    """
    paired = all(run.draws_data for run in (*first, *second))
    names = first[0].method, second[0].method
    dropped: tuple[str, ...] = ()
    if paired:
        common = {run.seed for run in first} & {run.seed for run in second}
        dropped = tuple(run.name for run in (*first, *second) if run.seed not in common)
        if not common:
            return MethodPair(*names, primary, len(first), len(second), dropped=dropped)
    result = compare_methods(
        np.stack([run.wrong for run in first]),
        np.stack([run.wrong for run in second]),
        paired=paired,
        seeds_a=[run.seed for run in first],
        seeds_b=[run.seed for run in second],
        teachers_a=_teachers(first),
        teachers_b=_teachers(second),
    )
    test = result.mcnemar
    return MethodPair(
        *names,
        primary,
        result.runs_a,
        result.runs_b,
        difference=result.difference,
        low=result.low,
        high=result.high,
        standard_error=result.standard_error,
        dof=result.dof,
        image_sd=result.image_sd,
        seed_sd=result.seed_sd,
        paired=result.paired,
        conditional_on=_describe_conditions(result, first, second),
        dropped=dropped,
        smallest_detectable=result.smallest_detectable,
        smallest_detectable_limit=result.smallest_detectable_limit,
        n_images=len(first[0].wrong),
        b=test.only_a if test else None,
        c=test.only_b if test else None,
        p_exact=test.exact if test else None,
        p_mid=test.mid_p if test else None,
        p=test.exact if test else result.p,
    )


def format_p(p: float) -> str:
    """Return a p-value with two significant digits."""
    if p < 0.001:
        return "<0.001"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _teachers(runs: Sequence[TestedRun]) -> list[str] | None:
    return [run.teacher for run in runs] if all(run.teacher for run in runs) else None


def _describe_conditions(
    result: MethodDifference, first: Sequence[TestedRun], second: Sequence[TestedRun]
) -> tuple[str, ...]:
    """Name what has one draw; a teacher that both methods share is named once."""
    conditions = list(result.conditional_on)
    texts: list[str] = []
    shared = set(_teachers(first) or ()) == set(_teachers(second) or ())
    if set(conditions) >= ONE_TEACHER and shared:
        conditions = [name for name in conditions if name not in ONE_TEACHER]
        texts = [f"one teacher ({Path(first[0].teacher).name})"]
    names = {"first": first[0].method, "second": second[0].method}
    return (*(CONDITIONS[name].format(**names) for name in conditions), *texts)
