"""A comparison as LaTeX: the paper's Tables 3 (errors) and 2 (pairs), with booktabs."""

from rdl_cli.commands.compare.compare import Comparison
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

ESCAPES = {sign: "\\" + sign for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "←": r"$\leftarrow$",
}
ARROWS = {"": "", "↑": r"\uparrow", "←": r"\leftarrow"}


def to_latex(comparison: Comparison) -> str:
    r"""Return the tables; they need `\usepackage{booktabs}`."""
    header = ["Method", r"Error (\%)"]
    parts = [_table(title(comparison), "errors", "lr", [header, *_error_rows(comparison)], "")]
    if comparison.method_pairs:
        names = [method.name for method in comparison.methods]
        rows = [["", *map(escape_latex, names)]]
        rows += [
            [escape_latex(row), *(_cell(comparison, row, column) for column in names)]
            for row in matrix_rows(comparison)
        ]
        columns = "l" + "c" * len(names)
        parts.append(_table("Pairs of methods", "pairs", columns, rows, legend(comparison)))
    return "\n".join(parts)


def escape_latex(text: str) -> str:
    """Return the text with LaTeX's special characters escaped."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def _error_rows(comparison: Comparison) -> list[list[str]]:
    if comparison.one_run_each:
        return [
            [
                escape_latex(run.name),
                f"{format_percent(run.rate)}"
                f" [{format_percent(run.low)}, {format_percent(run.high)}]",
            ]
            for run in comparison.runs
        ]
    return [
        [
            escape_latex(method.name),
            escape_latex(f"{format_mean(method.mean, method.sd)} ({len(method.runs)})"),
        ]
        for method in comparison.methods
    ]


def _cell(comparison: Comparison, row: str, column: str) -> str:
    if row == column:
        return "---"
    pair = find_pair(comparison, row, column)
    if pair.p is None:
        return ""
    mark = ARROWS[arrow(pair, row).rstrip("*")] + ("^{*}" if pair.significant_after_holm else "")
    value = format_p(pair.p) if comparison.one_run_each else format_difference(pair, row)
    return f"${value}{' ' + mark if mark else ''}$"


def _table(caption: str, label: str, columns: str, rows: list[list[str]], notes: str) -> str:
    header, *body = [" & ".join(cells) + r" \\" for cells in rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        header,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if notes:
        lines += [r"\par\smallskip", rf"{{\footnotesize {escape_latex(notes)}\par}}"]
    return "\n".join([*lines, r"\end{table}", ""])
