"""A comparison for a terminal, as CSV, as JSON and as Markdown."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rdl_cli.cli.render.tables import add_row, empty_table, markdown
from rdl_cli.commands.compare.compare import Comparison, MethodErrors
from rdl_cli.commands.compare.method_pairs import format_p
from rdl_cli.commands.compare.words import (
    arrow,
    find_pair,
    format_difference,
    format_mean,
    format_percent,
    legend,
    matrix_rows,
    title,
)
from rdl_cli.core.safe_text import format_csv

COLUMNS = (
    *("table", "first", "second", "first_path", "second_path", "seed", "runs"),
    *("errors", "rate", "sd", "low", "high", "difference", "b", "c", "p_exact", "p_mid"),
    *("standard_error", "dof", "image_sd", "seed_sd", "paired", "conditional_on", "dropped"),
    *("smallest_detectable", "smallest_detectable_limit", "primary"),
    *("p", "p_holm", "winner", "significant_after_holm"),
)

BRAIN_SIMILARITY = [
    *("layer ~ region", "stimuli", "method", "runs", "mean ± sd"),
    *("with each subject", "noise ceiling"),
]


def to_rich(comparison: Comparison) -> RenderableType:
    """Return tables of the runs, of the methods over seeds, and of all pairs, with a legend."""
    parts: list[RenderableType] = [_run_table(comparison)]
    if not comparison.one_run_each:
        parts.append(_method_table(comparison))
    if comparison.brain_similarities:
        parts.append(_brain_similarity_table(comparison))
    if comparison.method_pairs:
        parts.append(_matrix(comparison))
        if comparison.one_run_each:
            parts.append(_pair_table(comparison))
        else:
            parts.append(Text("\n".join(_statements(comparison)) + "\n"))
        parts.append(Text(legend(comparison), style="dim"))
    return Group(*parts)


def to_json(comparison: Comparison) -> str:
    """Return all of a comparison as JSON."""
    record = comparison.as_dict()
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return one table; its first column names the kind of row.

    The kinds are `run`, `pair` (of runs), `method` and `method_pair`.
    """
    path = {run.name: run.path for run in comparison.runs}
    rows: list[dict[str, Any]] = [
        _fields(run) | {"table": "run", "first": run.name, "first_path": run.path, "runs": 1}
        for run in comparison.runs
    ]
    rows += [
        _fields(pair)
        | {"table": "pair", "first_path": path[pair.first], "second_path": path[pair.second]}
        for pair in comparison.pairs
    ]
    rows += [
        {
            "table": "method",
            "first": method.name,
            "runs": len(method.runs),
            "rate": method.mean,
            "sd": method.sd,
        }
        for method in comparison.methods
    ]
    for pair in comparison.method_pairs:
        texts = {name: "; ".join(getattr(pair, name)) for name in ("conditional_on", "dropped")}
        runs = {"runs": f"{pair.runs_first}:{pair.runs_second}"}
        rows.append(_fields(pair) | texts | runs | {"table": "method_pair"})
    return format_csv(COLUMNS, rows)


def to_markdown(final: Comparison, best: Comparison, published: dict[str, float]) -> str:
    """Return a table of errors at the final and the best epoch, beside published ones."""
    columns = ("method", "runs", "error %, mean ± sd", "errors")
    header = [*columns, "error % at the best epoch", "errors"]
    rows = [[*header, "published error %"] if published else header]
    for method, at_best in zip(final.methods, best.methods, strict=True):
        row = [
            method.name,
            str(len(method.runs)),
            *_errors(final, method),
            *_errors(best, at_best),
        ]
        known = f"{published[method.name]:.2f}" if method.name in published else "–"
        rows.append([*row, known] if published else row)
    return markdown(rows)


def brain_similarity_to_markdown(comparison: Comparison) -> str:
    """Return a table of the brain similarity of each method."""
    return markdown([BRAIN_SIMILARITY, *_brain_similarity_rows(comparison)])


def to_list(comparison: Comparison) -> str:
    """Return a list item for every pair of methods."""
    return "\n".join(f"- {line.strip()}" for line in _statements(comparison))


def _fields(record: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name in COLUMNS}


def _run_table(comparison: Comparison) -> Table:
    table = empty_table(title(comparison), "run", "seed", "errors", "error %", "95 %")
    for run in comparison.runs:
        interval = f"[{format_percent(run.low)}, {format_percent(run.high)}]"
        add_row(
            table,
            run.name,
            str(run.seed),
            f"{run.errors:,}",
            format_percent(run.rate),
            interval,
        )
    return table


def _method_table(comparison: Comparison) -> Table:
    table = empty_table("Methods, over seeds", "method", "runs", "error %, mean ± sd")
    for method in comparison.methods:
        add_row(table, method.name, str(len(method.runs)), format_mean(method.mean, method.sd))
    return table


def _brain_similarity_table(comparison: Comparison) -> Table:
    table = empty_table("Brain similarity (Spearman), over seeds", *BRAIN_SIMILARITY)
    for row in _brain_similarity_rows(comparison):
        add_row(table, *row)
    return table


def _brain_similarity_rows(comparison: Comparison) -> list[list[str]]:
    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = []
    for summary in comparison.brain_similarities:
        mean = text(summary.spearman) + ("" if summary.sd is None else f" ± {summary.sd:.3f}")
        lower, upper = summary.noise_ceiling_lower, summary.noise_ceiling_upper
        rows.append(
            [
                f"{summary.layer} ~ {summary.region}",
                summary.stimuli,
                summary.method,
                str(summary.runs),
                mean,
                text(summary.mean_subject_spearman),
                "–" if lower is None else f"{text(lower)} – {text(upper)}",
            ]
        )
    return rows


def _matrix(comparison: Comparison) -> Table:
    name = "McNemar's exact p" if comparison.one_run_each else "Pairs of methods"
    methods = [method.name for method in comparison.methods]
    table = empty_table(name, "", *methods)
    for row in matrix_rows(comparison):
        add_row(table, row, *(_cell(comparison, row, column) for column in methods))
    return table


def _cell(comparison: Comparison, row: str, column: str) -> str:
    if row == column:
        return "—"
    pair = find_pair(comparison, row, column)
    if pair.p is None:
        return "no common seed"
    p = f"{format_p(pair.p)} {arrow(pair, row)}".strip()
    return p if comparison.one_run_each else f"{format_difference(pair, row)}\np {p}"


def _pair_table(comparison: Comparison) -> Table:
    columns = ("first", "second", "b", "c", "exact p", "mid-p", "Holm", "", "difference, % points")
    table = empty_table("Pairs", *columns)
    for pair in comparison.method_pairs:
        assert pair.p_exact is not None and pair.p_mid is not None, "one run against one"
        add_row(
            table,
            pair.first,
            pair.second,
            f"{pair.b:,}",
            f"{pair.c:,}",
            format_p(pair.p_exact),
            format_p(pair.p_mid),
            "primary" if pair.p_holm is None else format_p(pair.p_holm),
            arrow(pair, pair.first),
            format_difference(pair, pair.first),
        )
    return table


def _statements(comparison: Comparison) -> Sequence[str]:
    """Return a line for each pair, the primary comparison first."""
    pairs = sorted(comparison.method_pairs, key=lambda pair: not pair.primary)
    return [
        f"{arrow(pair, pair.first):2} {'primary: ' if pair.primary else ''}{pair.statement}"
        for pair in pairs
    ]


def _errors(comparison: Comparison, method: MethodErrors) -> tuple[str, str]:
    """Return a method's mean error and the number of errors of each of its runs."""
    counts = [f"{run.errors:,}" for run in comparison.runs if run.name in method.runs]
    return format_mean(method.mean, method.sd), ", ".join(counts)
