"""A comparison in words and numbers, as tables for a terminal, LaTeX and HTML share them."""

from rdl_cli.commands.compare.compare import ALPHA, Comparison
from rdl_cli.commands.compare.method_pairs import MethodPair


def legend(comparison: Comparison) -> str:
    """Return what the arrows and numbers mean, one sentence a line."""
    exploratory = sum(pair.p is not None and not pair.primary for pair in comparison.method_pairs)
    plural = "s" if exploratory != 1 else ""
    lines = [
        f"↑ the column is better, ← the row is: p < {ALPHA}; * also after Holm's correction over"
        f" {exploratory} exploratory pair{plural}."
    ]
    if comparison.primary:
        one, other = comparison.primary
        lines.append(f"{one} − {other} was declared before the runs; its p is not corrected.")
    if comparison.one_run_each:
        lines += [
            "p is of McNemar's exact test; b, c: images that only the first, only the second gets"
            " right.",
            "Differences are the second's error minus the first's, with Newcombe's 95 % interval.",
        ]
    else:
        lines += [
            "A cell is the column's mean error minus the row's in % points, with its 95 % interval"
            " and p over seeds and images together: would the methods differ if they were trained"
            " again and tested on other images?",
            "One run against one is McNemar's exact test of these two networks.",
            "A method with one run, or with one teacher, is compared as that network or with that"
            " teacher; others are not included.",
        ]
    return "\n".join(lines)


def arrow(pair: MethodPair, row: str) -> str:
    """Return `↑` if the column's method is better, `←` if the row's is; `*` after Holm."""
    if pair.winner is None:
        return ""
    return ("←" if pair.winner == row else "↑") + ("*" if pair.significant_after_holm else "")


def find_pair(comparison: Comparison, one: str, other: str) -> MethodPair:
    """Return the pair of two methods in either order."""
    return next(p for p in comparison.method_pairs if {p.first, p.second} == {one, other})


def title(comparison: Comparison) -> str:
    """Return which errors the comparison is about."""
    return f"Test error on {comparison.images:,} images, {comparison.epoch} epoch"


def matrix_rows(comparison: Comparison) -> list[str]:
    """Return the methods of the matrix's rows: all, or the baseline."""
    baseline = comparison.baseline
    return [method.name for method in comparison.methods if baseline in (None, method.name)]


def format_mean(mean: float, sd: float | None) -> str:
    """Return a mean rate in %, with its sd if there is one."""
    return format_percent(mean) if sd is None else f"{format_percent(mean)} ± {format_percent(sd)}"


def format_difference(pair: MethodPair, row: str) -> str:
    """Return the column's error minus the row's in % points, with its interval."""
    assert pair.difference is not None and pair.low is not None and pair.high is not None, (
        "methods that were not compared have no difference"
    )
    values = [pair.difference, pair.low, pair.high]
    if row != pair.first:
        values = [-pair.difference, -pair.high, -pair.low]
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * value for value in values))


def format_percent(rate: float) -> str:
    """Return a rate in %, without the sign."""
    return f"{100 * rate:.2f}"
