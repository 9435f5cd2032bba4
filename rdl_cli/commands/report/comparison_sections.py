"""The sections of a report that follow from a comparison of errors alone."""

from rdl_cli.commands.compare.brain_similarity import BrainSimilaritySummary
from rdl_cli.commands.compare.compare import ALPHA, Comparison, MethodErrors, RunErrors
from rdl_cli.commands.compare.method_pairs import MethodPair, format_p
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
from rdl_cli.report.charts import Row, Value, draw_rows
from rdl_cli.report.page import Cell, Charts, Section, Table, Text


def question_section(comparison: Comparison) -> Section:
    """Return the question, and the comparison that was declared before the runs."""
    lines = [
        f"Do the {len(comparison.methods)} methods differ in their test error, if they are trained"
        " again and tested on other images? The test set has"
        f" {comparison.images:,} images; weights are those of the {comparison.epoch} epoch."
    ]
    if comparison.primary:
        one, other = comparison.primary
        lines.append(
            f"Declared before the runs: {one} − {other}. Its p is not corrected; all other pairs"
            " are exploratory, and corrected by Holm's method."
        )
        lines += [p.statement + "." for p in comparison.method_pairs if p.primary]
    elif comparison.method_pairs:
        lines.append(
            "No comparison was declared before the runs: all pairs are exploratory, and corrected"
            " by Holm's method."
        )
    return Section("Question", [Text(lines)])


def lead(comparison: Comparison) -> str:
    """Return the methods with the lowest and highest error, and the number of differences."""
    ordered = sorted(comparison.methods, key=lambda method: method.mean)
    best, worst = ordered[0], ordered[-1]
    text = f"{best.name} makes the fewest errors, {format_percent(best.mean)} %"
    if best is worst:
        return text + "."
    text += f"; {worst.name} makes the most, {format_percent(worst.mean)} %."
    tested = [pair for pair in comparison.method_pairs if pair.p is not None]
    if not tested:
        return text
    count = sum(pair.significant_after_holm for pair in tested)
    return f"{text} {count} of {len(tested)} pairs differ after correction (p < {ALPHA})."


def error_section(comparison: Comparison) -> Section:
    """Return the errors of methods and runs as a chart and as tables."""
    rows = []
    for k, method in enumerate(comparison.methods):
        runs = [run for run in comparison.runs if run.name in method.runs]
        singles = [_to_value(run, k) for run in runs]
        if len(runs) == 1:
            rows.append(Row(method.name, singles[0]))
            continue
        sd = method.sd or 0.0
        tip = f"{method.name}: {format_mean(method.mean, method.sd)} %, mean of {len(runs)} runs"
        mean = Value(100 * method.mean, tip, 100 * (method.mean - sd), 100 * (method.mean + sd), k)
        rows.append(Row(method.name, mean, singles))
    chart = draw_rows(f"Test error, {comparison.epoch} epoch", rows, "test error (%)")
    caption = (
        "Large dots: mean over seeds ± standard deviation. Small dots: single runs with their"
        " exact 95 % interval. A method of one run has that interval."
    )
    methods = Table(
        ["method", "runs", "error %, mean ± sd"],
        [_method_row(method) for method in comparison.methods],
        "Methods",
    )
    runs_table = Table(
        ["run", "seed", "errors", "error %", "95 %"],
        [
            [
                run.name,
                Cell(str(run.seed), run.seed),
                Cell(f"{run.errors:,}", run.errors),
                Cell(format_percent(run.rate), run.rate, strong=True),
                Cell(f"[{format_percent(run.low)}, {format_percent(run.high)}]", run.low),
            ]
            for run in comparison.runs
        ],
        title(comparison),
        folded=not comparison.one_run_each,
    )
    return Section("Errors", [Charts([chart], caption=caption), methods, runs_table])


def pair_section(comparison: Comparison) -> Section:
    """Return the matrix with arrows, and the tests of all pairs of methods."""
    methods = [method.name for method in comparison.methods]
    rows = [
        [row, *(_matrix_cell(comparison, row, column) for column in methods)]
        for row in matrix_rows(comparison)
    ]
    kind = "McNemar's exact test" if comparison.one_run_each else "Crossed test: seeds × images"
    matrix = Table(["", *methods], rows, kind, legend(comparison), sortable=False)
    columns = ["first", "second", "difference, % points", "p", "Holm", "better", "runs"]
    columns += ["smallest detectable, % points", "limit of these images"]
    pairs = Table(
        columns,
        [_pair_row(pair) for pair in comparison.method_pairs],
        "Pairs of methods",
        "Smallest detectable: the true difference that as many runs on as many images show with"
        " 80 % power. Limit: the same with any number of runs.",
    )
    return Section("Methods against one another", [matrix, pairs, *_run_pairs(comparison)])


def brain_section(comparison: Comparison) -> Section:
    """Return the brain similarity of the methods' layers as bars under the noise ceiling."""
    groups: dict[tuple[str, str, str], list[BrainSimilaritySummary]] = {}
    for summary in comparison.brain_similarities:
        key = summary.layer, summary.region, summary.stimuli
        groups.setdefault(key, []).append(summary)
    order = [method.name for method in comparison.methods]
    charts = []
    for (layer, region, stimuli), summaries in groups.items():
        has_ceiling = all(s.noise_ceiling_lower is not None for s in summaries)
        rows = []
        for s in summaries:
            value = s.mean_subject_spearman if has_ceiling else s.spearman
            assert value is not None, "a noise ceiling has subjects"
            tip = f"{s.method}, {layer} ~ {region}, {stimuli} stimuli: {value:.3f}"
            rows.append(Row(s.method, Value(value, tip, series=order.index(s.method))))
        lower = [s.noise_ceiling_lower for s in summaries if s.noise_ceiling_lower is not None]
        upper = [s.noise_ceiling_upper for s in summaries if s.noise_ceiling_upper is not None]
        band = (min(lower), max(upper)) if has_ceiling else None
        name = f"{layer} ~ {region}, {stimuli} stimuli"
        charts.append(draw_rows(name, rows, "Spearman's ρ of RDMs", bars=True, band=band))
    table = Table(
        ["layer ~ region", "stimuli", "method", "runs", "Spearman", "with each subject"],
        [
            [
                f"{s.layer} ~ {s.region}",
                s.stimuli,
                s.method,
                Cell(str(s.runs), s.runs),
                Cell(f"{s.spearman:.3f}" + (f" ± {s.sd:.3f}" if s.sd else ""), s.spearman),
                "–" if (m := s.mean_subject_spearman) is None else Cell(f"{m:.3f}", m),
            ]
            for s in comparison.brain_similarities
        ],
    )
    caption = "Means over runs. With several subjects: mean similarity with each subject's RDM."
    return Section("Brain similarity", [Charts(charts, caption=caption, values=table)])


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of a notebook: methods, runs and pairs."""
    parts = error_section(comparison).blocks
    if comparison.method_pairs:
        parts = [*parts, *pair_section(comparison).blocks[:2]]
    return [part for part in parts if isinstance(part, Table)]


def _to_value(run: RunErrors, series: int) -> Value:
    tip = f"{run.name}: {run.errors:,} errors, {format_percent(run.rate)} %"
    return Value(100 * run.rate, tip, 100 * run.low, 100 * run.high, series)


def _method_row(method: MethodErrors) -> list[Cell | str]:
    n = len(method.runs)
    mean = Cell(format_mean(method.mean, method.sd), method.mean, strong=True)
    return [method.name, Cell(str(n), n), mean]


def _matrix_cell(comparison: Comparison, row: str, column: str) -> Cell | str:
    if row == column:
        return "—"
    pair = find_pair(comparison, row, column)
    if pair.p is None:
        return Cell("no common seed", tip=pair.statement)
    p = f"p {format_p(pair.p)}"
    text = f"{arrow(pair, row)} {p}".strip()
    if not comparison.one_run_each:
        difference, _, interval = format_difference(pair, row).partition(" ")
        text = f"{difference}\n{interval}\n{text}"
    return Cell(text, tip=pair.statement, strong=pair.significant_after_holm)


def _pair_row(pair: MethodPair) -> list[Cell | str]:
    if pair.p is None or pair.difference is None:
        return [pair.first, pair.second, Cell("not compared", tip=pair.statement), *[""] * 6]
    holm = (
        Cell("declared", -1.0) if pair.p_holm is None else Cell(format_p(pair.p_holm), pair.p_holm)
    )
    smallest, limit = pair.smallest_detectable or 0.0, pair.smallest_detectable_limit or 0.0
    winner = pair.winner or ""
    return [
        pair.first,
        pair.second,
        Cell(format_difference(pair, pair.first), pair.difference, tip=pair.statement),
        Cell(format_p(pair.p), pair.p),
        holm,
        winner + ("*" if pair.significant_after_holm else ""),
        f"{pair.runs_first} : {pair.runs_second}",
        Cell(f"{100 * smallest:.2f}", smallest),
        Cell(pair.format_limit(), limit),
    ]


def _run_pairs(comparison: Comparison) -> list[Table]:
    """Return McNemar's tests of all pairs of runs, if a method has several."""
    if comparison.one_run_each or len(comparison.pairs) > 300:
        return []
    rows = [
        [
            pair.first,
            pair.second,
            Cell(f"{pair.b:,}", pair.b),
            Cell(f"{pair.c:,}", pair.c),
            Cell(f"{100 * pair.difference:+.2f}", pair.difference),
            Cell(format_p(pair.p_exact), pair.p_exact),
            Cell(format_p(pair.p_holm), pair.p_holm),
            (pair.winner or "") + ("*" if pair.significant_after_holm else ""),
        ]
        for pair in comparison.pairs
    ]
    columns = ["first", "second", "b", "c", "difference, % points", "exact p", "Holm", "better"]
    note = (
        "b, c: images that only the first, only the second gets right. These tests are about two"
        " networks, not about two methods."
    )
    return [Table(columns, rows, "Pairs of networks, McNemar's test", note, folded=True)]
