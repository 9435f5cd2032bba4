"""A comparison as a person reads it (rich), as a paper prints it (LaTeX), and as a program takes it (CSV, JSON)."""

import csv
import io
import json

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rdl_cli.cli.render.tables import add_row, empty_table, format_percent, markdown
from rdl_cli.commands.compare.compare import ALPHA, Comparison, MethodErrors, MethodPair, format_p

COLUMNS = (
    *(
        "table",
        "first",
        "second",
        "first_path",
        "second_path",
        "seed",
        "runs",
        "errors",
        "rate",
        "sd",
        "low",
        "high",
    ),
    *(
        "difference",
        "b",
        "c",
        "exact",
        "mid_p",
        "p_seeds",
        "p_images",
        "p",
        "holm",
        "better",
        "kept",
    ),
)
BRAIN_SIMILARITY = [
    "layer ~ region",
    "stimuli",
    "method",
    "runs",
    "mean ± sd",
    "with each subject",
    "noise ceiling",
]
LATEX_SIGNS = {sign: "\\" + sign for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "←": r"$\leftarrow$",
}


def to_rich(found: Comparison) -> RenderableType:
    """The runs; over seeds the methods; the paper's table of pairs; and the evidence for each pair."""
    parts: list[RenderableType] = [_runs(found)]
    if not found.one_run_each:
        parts.append(_methods(found))
    if found.brain_similarities:
        parts.append(_brain_similarity_table(found))
    if found.method_pairs:
        parts.append(_matrix(found))
        parts.append(_pairs(found) if found.one_run_each else _statements(found))
        parts.append(Text(legend(found), style="dim"))
    return Group(*parts)


def to_json(found: Comparison) -> str:
    return json.dumps(found.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(found: Comparison) -> str:
    """One rectangle; its first column says what a row is: `run`, `pair` (of runs), `method` or `method_pair`."""
    path = {run.name: run.path for run in found.runs}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in found.runs:
        about = {
            "first": run.name,
            "first_path": run.path,
            "seed": run.seed,
            "runs": 1,
            "errors": run.errors,
        }
        writer.writerow(
            about | {"table": "run", "rate": run.rate, "low": run.low, "high": run.high}
        )
    for pair in found.pairs:
        fields = {name: value for name, value in vars(pair).items() if name in COLUMNS}
        paths = {"first_path": path[pair.first], "second_path": path[pair.second]}
        writer.writerow(fields | paths | {"table": "pair"})
    for method in found.methods:
        writer.writerow(
            {
                "table": "method",
                "first": method.name,
                "runs": len(method.runs),
                "rate": method.mean,
                "sd": method.sd,
            }
        )
    for each in found.method_pairs:
        fields = {name: value for name, value in vars(each).items() if name in COLUMNS}
        writer.writerow(fields | {"table": "method_pair", "runs": len(each.pairs)})
    return text.getvalue()


def to_latex(found: Comparison) -> str:
    """The paper's Tables 3 (errors) and 2 (pairs), in plain LaTeX without packages."""
    parts = [
        _latex_table(_title(found) + ".", "lr", ["Method", r"Error (\%)"], _latex_errors(found))
    ]
    if found.method_pairs:
        names = [method.name for method in found.methods]
        rows = [
            [escape_latex(row), *(_latex_cell(found, row, column) for column in names)]
            for row in _matrix_rows(found)
        ]
        parts.append(
            _latex_table(
                legend(found), "l" + "c" * len(names), ["", *map(escape_latex, names)], rows
            )
        )
    return "\n".join(parts)


def to_markdown(final: Comparison, best: Comparison, published: dict[str, float]) -> str:
    """Errors with the weights of both epochs, and beside them those that were published where there are any."""
    header = [
        "method",
        "runs",
        "error %, mean ± sd",
        "errors",
        "error % at the best epoch",
        "errors",
    ]
    lines = [[*header, "published error %"] if published else header]
    for method, other in zip(final.methods, best.methods, strict=True):
        line = [method.name, str(len(method.runs)), *_scored(final, method), *_scored(best, other)]
        known = f"{published[method.name]:.2f}" if method.name in published else "–"
        lines.append([*line, known] if published else line)
    return markdown(lines)


def brain_similarity_to_markdown(found: Comparison) -> str:
    """How like a brain the students of each method became."""
    return markdown([BRAIN_SIMILARITY, *_brain_similarity_rows(found)])


def to_list(found: Comparison) -> str:
    """What every pair of methods comes to, a line each."""
    return "\n".join(f"- {line.strip()}" for line in _statements(found).plain.splitlines() if line)


def escape_latex(text: str) -> str:
    """The text with the signs that LaTeX takes for commands made plain."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def legend(found: Comparison) -> str:
    """What the arrows and numbers mean, a sentence to a line."""
    if found.one_run_each:
        lines = [
            "p is that of McNemar's exact test; b, c: images that only the first, only the second gets right.",
            "Differences are the second's error minus the first's, with Newcombe's 95 % interval.",
        ]
    else:
        lines = [
            "A cell sets the column against the row: in how many seeds it is better, its mean error minus the row's with Student's 95 % "
            "interval over seeds, McNemar's exact p in each seed.",
            "p is the larger of two: of a t-test over seeds (would it be so if they were trained again?) and the median over seeds of "
            "McNemar's (on other images?).",
            "Counts b:c are images that only the one, only the other gets right; they are never summed over seeds.",
        ]
    tested = sum(pair.p is not None for pair in found.method_pairs)
    arrows = f"↑ the column is better, ← the row is: p < {ALPHA}; * also after Holm's correction over {tested} pair{'s' if tested != 1 else ''}."
    return "\n".join([arrows, *lines])


def arrow(pair: MethodPair, row: str) -> str:
    """`↑` where the column's method is better, `←` where the row's is, `*` behind it where Holm's correction keeps it."""
    if pair.better is None:
        return ""
    return ("←" if pair.better == row else "↑") + ("*" if pair.kept else "")


def _title(found: Comparison) -> str:
    return f"Test error on {found.images:,} images, {found.epoch} epoch"


def _runs(found: Comparison) -> Table:
    table = empty_table(_title(found), "run", "seed", "errors", "error %", "95 %")
    for run in found.runs:
        add_row(
            table,
            run.name,
            str(run.seed),
            f"{run.errors:,}",
            format_percent(run.rate),
            f"[{format_percent(run.low)}, {format_percent(run.high)}]",
        )
    return table


def _methods(found: Comparison) -> Table:
    table = empty_table("Methods, over seeds", "method", "seeds", "error %, mean ± sd")
    for method in found.methods:
        add_row(table, method.name, str(len(method.runs)), _mean(method.mean, method.sd))
    return table


def _brain_similarity_table(found: Comparison) -> Table:
    table = empty_table("Brain similarity to the brain (Spearman), over seeds", *BRAIN_SIMILARITY)
    for row in _brain_similarity_rows(found):
        add_row(table, *row)
    return table


def _brain_similarity_rows(found: Comparison) -> list[list[str]]:
    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = []
    for each in found.brain_similarities:
        mean = text(each.spearman) if each.sd is None else f"{each.spearman:.3f} ± {each.sd:.3f}"
        ceiling = (
            "–"
            if each.noise_ceiling_lower is None
            else f"{text(each.noise_ceiling_lower)} – {text(each.noise_ceiling_upper)}"
        )
        rows.append(
            [
                f"{each.layer} ~ {each.region}",
                each.stimuli,
                each.method,
                str(each.runs),
                mean,
                text(each.mean_subject_spearman),
                ceiling,
            ]
        )
    return rows


def _matrix(found: Comparison) -> Table:
    title = "McNemar's exact p" if found.one_run_each else "Pairs of methods"
    table = empty_table(title, "", *(method.name for method in found.methods))
    for row in _matrix_rows(found):
        add_row(table, row, *(_cell(found, row, method.name) for method in found.methods))
    return table


def _matrix_rows(found: Comparison) -> list[str]:
    return [method.name for method in found.methods if found.baseline in (None, method.name)]


def _cell(found: Comparison, row: str, column: str) -> str:
    if row == column:
        return "—"
    pair = _between(found, row, column)
    if pair.difference is None:
        return "no common seed"
    mark = arrow(pair, row)
    if len(pair.pairs) == 1:
        return f"{format_p(pair.pairs[0].exact)} {mark}".strip()
    better = (
        pair.second_better
        if column == pair.second
        else len(pair.pairs) - pair.second_better - pair.ties
    )
    by_seed = " ".join(format_p(each.exact) for each in pair.pairs)
    if len(pair.pairs) > 5:
        by_seed = f"{format_p(min(each.exact for each in pair.pairs))} to {format_p(max(each.exact for each in pair.pairs))}"
    return f"{better}/{len(pair.pairs)} {mark}".strip() + f"\n{_difference(pair, row)}\np {by_seed}"


def _difference(pair: MethodPair, row: str) -> str:
    """The column's error minus the row's in % points, with its interval."""
    assert pair.difference is not None and pair.low is not None and pair.high is not None, (
        "methods without a common seed do not differ"
    )
    mean, low, high = (
        (pair.difference, pair.low, pair.high)
        if row == pair.first
        else (-pair.difference, -pair.high, -pair.low)
    )
    return f"{_points(mean)} [{_points(low)}, {_points(high)}]"


def _pairs(found: Comparison) -> Table:
    table = empty_table(
        "Pairs", "first", "second", "b", "c", "exact p", "mid-p", "Holm", "", "difference, % points"
    )
    for pair, each in zip(found.pairs, found.method_pairs, strict=True):
        p = [format_p(value) for value in (pair.exact, pair.mid_p, pair.holm)]
        add_row(
            table,
            pair.first,
            pair.second,
            f"{pair.b:,}",
            f"{pair.c:,}",
            *p,
            arrow(each, pair.first),
            _difference(each, pair.first),
        )
    return table


def _statements(found: Comparison) -> Text:
    lines = []
    for pair in found.method_pairs:
        holm = "" if pair.holm is None else f"; Holm {format_p(pair.holm)}"
        lines.append(f"{arrow(pair, pair.first):2} {pair.statement}{holm}")
    return Text("\n".join(lines) + "\n")


def _between(found: Comparison, one: str, other: str) -> MethodPair:
    return next(pair for pair in found.method_pairs if {pair.first, pair.second} == {one, other})


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


def _mean(mean: float, sd: float | None) -> str:
    return format_percent(mean) if sd is None else f"{format_percent(mean)} ± {format_percent(sd)}"


def _scored(found: Comparison, method: MethodErrors) -> tuple[str, str]:
    """A method's mean error, and how many images each of its runs got wrong."""
    return _mean(method.mean, method.sd), ", ".join(
        f"{run.errors:,}" for run in found.runs if run.name in method.runs
    )


def _latex_errors(found: Comparison) -> list[list[str]]:
    if found.one_run_each:
        return [
            [
                escape_latex(run.name),
                f"{format_percent(run.rate)} [{format_percent(run.low)}, {format_percent(run.high)}]",
            ]
            for run in found.runs
        ]
    rows = [
        (method.name, _mean(method.mean, method.sd), len(method.runs)) for method in found.methods
    ]
    return [[escape_latex(name), escape_latex(f"{mean} ({n})")] for name, mean, n in rows]


def _latex_cell(found: Comparison, row: str, column: str) -> str:
    if row == column:
        return "---"
    pair = _between(found, row, column)
    if pair.difference is None:
        return ""
    mark = {"": "", "↑": r"\uparrow", "←": r"\leftarrow"}[arrow(pair, row).rstrip("*")] + (
        "^{*}" if pair.kept else ""
    )
    what = format_p(pair.pairs[0].exact) if len(pair.pairs) == 1 else _difference(pair, row)
    return f"${what}{' ' + mark if mark else ''}$"


def _latex_table(caption: str, columns: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [" & ".join(cells) + r" \\" for cells in (header, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
