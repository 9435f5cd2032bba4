"""A comparison of representations, or a self-check, for a terminal and as CSV."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from rdl_cli.cli.render.tables import add_row, empty_table
from rdl_cli.commands.compare.method_pairs import format_p
from rdl_cli.commands.compare_rdms.results import (
    LayerPair,
    MeasureTable,
    RdmComparison,
    SimilarityDifference,
)
from rdl_cli.commands.compare_rdms.self_check import SelfCheck
from rdl_cli.core.safe_text import format_csv

COLUMNS = (
    *("table", "measure", "reference", "first", "second", "value", "low", "high", "p", "p_holm"),
    *("n_subjects", "n_stimuli", "n_pairs", "settings"),
)

CHECK_COLUMNS = ("layer", "measure", "copy", "value", "expected", "deviation", "passed")
DECIMALS = 3


def to_rich(result: RdmComparison | SelfCheck) -> RenderableType:
    """Return tables for a terminal, with a legend."""
    if isinstance(result, SelfCheck):
        return _check_table(result)
    title = f"{result.n_stimuli} stimuli, aligned by {result.align}"
    layers = empty_table(title, "representation", "known as", "RDM's distance", "subjects")
    for layer in result.representations:
        known_as = layer.description if layer.kind == "RDM" else layer.kind
        add_row(layers, layer.name, known_as, layer.distance or "unknown", str(layer.n_subjects))
    parts = [part for table in result.tables for part in _tables(table, result)]
    return Group(layers, *parts, Text(legend(result), style="dim"))


def to_csv(result: RdmComparison | SelfCheck) -> str:
    """Return one table; the first column of a comparison names the kind of row.

    The kinds are `pair`, `difference` (the value is that of first minus second), `ceiling` (low and
    high are its bounds) and `explained` (the value is R²: of all, or what `first` adds).
    """
    if isinstance(result, SelfCheck):
        return format_csv(CHECK_COLUMNS, result.as_dict()["checks"])
    rows: list[dict[str, Any]] = []
    for table in result.tables:
        settings = _format_settings(table)
        common = {
            "measure": table.measure,
            "n_stimuli": result.n_stimuli,
            "settings": settings,
        }
        rows += [common | row for row in _rows(table)]
    return format_csv(COLUMNS, rows)


def legend(result: RdmComparison) -> str:
    """Return what the numbers mean, a sentence to a line."""
    lines = []
    if any(layer.n_subjects > 1 for layer in result.representations):
        lines += [
            "A region of several subjects is compared subject by subject, and the values averaged;"
            " REGION@mean is the RDM of their mean.",
            "The true model of a region has a value between its ceilings.",
        ]
    pairs = [pair for table in result.tables for pair in table.pairs]
    if result.n_resamples and pairs:
        lines.append(
            "95 %: jackknife over stimuli, and over subjects if there are several."
            f" p: {result.n_resamples:,} orders of the stimuli, one-sided."
        )
        if any(pair.n_subjects == 2 for pair in pairs):
            lines.append("With two subjects an interval has at most two degrees of freedom.")
        n_tests = max(len(table.pairs) for table in result.tables)
        smallest = n_tests / (result.n_resamples + 1)
        too_few = (
            f" None of {n_tests:,} pairs can get below {smallest:.2g} with so few orders:"
            " increase --n-resamples, or name fewer --layers."
        )
        holm = "Holm corrects p for all pairs of its table."
        lines.append(holm + (too_few if smallest > 0.05 else ""))
    if any(table.differences for table in result.tables):
        lines.append("A difference is first minus second, on the same stimuli; its p is two-sided.")
    if any(table.explained for table in result.tables):
        lines.append("R² is that of all others; unique is what one adds to the rest.")
    if any("controls" in table.settings for table in result.tables):
        lines.append("Values are partial correlations: the controls are regressed out of both.")
    if any("b" in table.settings for table in result.tables):
        lines.append("Bayesian values of different n, b or a can't be compared.")
    return "\n".join(lines)


def _rows(table: MeasureTable) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"table": "pair"} | vars(pair) for pair in table.pairs]
    for difference in table.differences:
        fields = dict(vars(difference))
        rows.append({"table": "difference", "value": fields.pop("difference")} | fields)
    rows += [
        {
            "table": "ceiling",
            "first": ceiling.region,
            "low": ceiling.lower,
            "high": ceiling.upper,
            "n_subjects": ceiling.n_subjects,
        }
        for ceiling in table.ceilings
    ]
    for explained in table.explained:
        common = {"table": "explained", "reference": explained.reference}
        rows.append(common | {"value": explained.total})
        for name, unique in zip(explained.predictors, explained.unique, strict=True):
            rows.append(common | {"first": name, "value": unique})
    return rows


def _tables(table: MeasureTable, result: RdmComparison) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(f"{table.measure} ({_format_settings(table)})", style="bold")
    ]
    if table.pairs:
        columns, rows = result.matrix(table)
        matrix = empty_table("All", "", *columns)
        for name, values in rows:
            add_row(matrix, name, *("—" if v is None else _format(v) for v in values))
        parts.append(matrix)
    n = result.n_stimuli
    has_gaps = table.pairs and min(pair.n_pairs for pair in table.pairs) < n * (n - 1) // 2
    if any(pair.p is not None for pair in table.pairs) or has_gaps:
        pairs = empty_table(
            "Pairs", "first", "second", "value", "95 %", "p", "Holm", "measured pairs"
        )
        for pair in table.pairs:
            add_row(
                pairs,
                pair.first,
                pair.second,
                _format(pair.value),
                *_format_test(pair),
                f"{pair.n_pairs:,}",
            )
        parts.append(pairs)
    if table.differences:
        title = "Differences of similarities to a reference"
        differences = empty_table(
            title, "reference", "first", "second", "difference", "95 %", "p", "Holm"
        )
        for row in table.differences:
            value = f"{row.difference:+.{DECIMALS}f}"
            add_row(differences, row.reference, row.first, row.second, value, *_format_test(row))
        parts.append(differences)
    if table.explained:
        explained = empty_table("Explained variance", "reference", "R²", "layer", "unique")
        for part in table.explained:
            for k, (name, unique) in enumerate(zip(part.predictors, part.unique, strict=True)):
                first = (part.reference, _format(part.total)) if k == 0 else ("", "")
                add_row(explained, *first, name, _format(unique))
        parts.append(explained)
    if table.ceilings:
        ceilings = empty_table("Noise ceilings", "region", "subjects", "lower", "upper")
        for c in table.ceilings:
            add_row(ceilings, c.region, str(c.n_subjects), _format(c.lower), _format(c.upper))
        parts.append(ceilings)
    return parts


def _check_table(result: SelfCheck) -> RenderableType:
    table = empty_table(
        f"Copies of each representation, {result.n_stimuli} stimuli",
        *("layer", "measure", "copy", "value", "theory", "off by", ""),
    )
    for check in result.checks:
        if check.expected is None or check.deviation is None:
            theory, off, verdict = "sensitive", "–", ""
        else:
            theory, off = f"{check.expected:.6g}", f"{check.deviation:.1e}"
            verdict = "pass" if check.passed else "FAIL ←"
        value = f"{check.value:.6f}"
        add_row(table, check.layer, check.measure, check.copy, value, theory, off, verdict)
    passed = "Every measure gives" if result.passed else "Not every measure gives"
    return Group(table, Text(f"{passed} what theory says."))


def _format_settings(table: MeasureTable) -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in table.settings.items()
    )


def _format_test(row: LayerPair | SimilarityDifference) -> tuple[str, str, str]:
    """Return interval, p and corrected p, or dashes."""
    if row.low is None or row.high is None or row.p is None or row.p_holm is None:
        return "–", "–", "–"
    return f"[{_format(row.low)}, {_format(row.high)}]", format_p(row.p), format_p(row.p_holm)


def _format(value: float) -> str:
    return f"{value:.{DECIMALS}f}"
