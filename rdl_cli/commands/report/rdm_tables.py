"""The tables and charts of a report that follow from a comparison of representations alone."""

from rdl_cli.commands.compare.method_pairs import format_p
from rdl_cli.commands.compare_rdms.results import (
    LayerPair,
    MeasureTable,
    RdmComparison,
    SimilarityDifference,
)
from rdl_cli.report.charts import Chart, Row, Value, draw_rows
from rdl_cli.report.page import Cell, Table


def rdm_comparison_tables(comparison: RdmComparison) -> list[Table]:
    """Return the tables of a notebook: representations, and each measure's matrix and pairs."""
    tables = [representation_table(comparison)]
    for table in comparison.tables:
        tables += measure_tables(comparison, table)
    return tables


def representation_table(comparison: RdmComparison) -> Table:
    """Return how each representation is known."""
    rows = [
        [
            layer.name,
            layer.description if layer.kind == "RDM" else layer.kind,
            layer.distance or "unknown",
            Cell(str(layer.n_subjects), layer.n_subjects),
        ]
        for layer in comparison.representations
    ]
    caption = f"{comparison.n_stimuli} stimuli, aligned by {comparison.align}"
    return Table(["representation", "known as", "RDM's distance", "subjects"], rows, caption)


def measure_tables(comparison: RdmComparison, table: MeasureTable) -> list[Table]:
    """Return the tables of one measure: all values, pairs, differences and explained variance."""
    tables = []
    if table.pairs:
        columns, rows_by_name = comparison.matrix(table)
        matrix = [
            [name, *("—" if v is None else _number(v) for v in values)]
            for name, values in rows_by_name
        ]
        caption = f"{table.measure} ({format_settings(table)})"
        tables.append(Table(["", *columns], matrix, caption, sortable=False))
    if any(pair.p is not None for pair in table.pairs):
        columns = ["first", "second", "value", "95 %", "p", "Holm", "pairs of stimuli"]
        rows = [
            [
                pair.first,
                pair.second,
                _number(pair.value),
                *_test_cells(pair),
                Cell(f"{pair.n_pairs:,}", pair.n_pairs),
            ]
            for pair in table.pairs
        ]
        note = (
            "95 %: over other stimuli, and other subjects if there are several. p:"
            f" {comparison.n_resamples:,} orders of the stimuli, one-sided; Holm corrects it for"
            " all pairs."
        )
        tables.append(Table(columns, rows, f"Pairs, {table.measure}", note))
    if table.differences:
        columns = ["reference", "first", "second", "difference", "95 %", "p", "Holm"]
        differences = [
            [d.reference, d.first, d.second, _number(d.difference, "+"), *_test_cells(d)]
            for d in table.differences
        ]
        note = "A difference is first minus second, on the same resamples; its p is two-sided."
        caption = f"Differences of similarities to a reference, {table.measure}"
        tables.append(Table(columns, differences, caption, note))
    if table.explained:
        explained = [
            [part.reference, _number(part.total), name, _number(unique)]
            for part in table.explained
            for name, unique in zip(part.predictors, part.unique, strict=True)
        ]
        note = "R² is that of all layers together; unique is what one adds to the others."
        columns = ["reference", "R²", "layer", "unique"]
        tables.append(Table(columns, explained, "Explained variance", note))
    if table.ceilings:
        ceilings = [
            [c.region, Cell(str(c.n_subjects), c.n_subjects), _number(c.lower), _number(c.upper)]
            for c in table.ceilings
        ]
        tables.append(Table(["region", "subjects", "lower", "upper"], ceilings, "Noise ceilings"))
    return tables


def ceiling_charts(table: MeasureTable) -> list[Chart]:
    """Return for each region with a noise ceiling the similarity of all others to it, as bars."""
    charts = []
    for ceiling in table.ceilings:
        rows: list[Row] = []
        for pair in table.pairs:
            if ceiling.region in (pair.first, pair.second) and pair.first != pair.second:
                other = pair.second if pair.first == ceiling.region else pair.first
                rows.append(Row(other, _to_value(other, pair, len(rows))))
        if rows:
            name = f"{ceiling.region} ({ceiling.n_subjects} subjects)"
            band = ceiling.lower, ceiling.upper
            charts.append(draw_rows(name, rows, table.measure, bars=True, band=band))
    return charts


def format_settings(table: MeasureTable) -> str:
    """Return the settings that make two values comparable."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in table.settings.items()
    )


def _to_value(name: str, pair: LayerPair, series: int) -> Value:
    tip = f"{name}: {pair.value:.3f}"
    if pair.low is not None and pair.high is not None and pair.p_holm is not None:
        tip += f" [{pair.low:.3f}, {pair.high:.3f}], p after Holm {format_p(pair.p_holm)}"
    return Value(pair.value, tip, pair.low, pair.high, series)


def _number(value: float, sign: str = "") -> Cell:
    return Cell(f"{value:{sign}.3f}", value)


def _test_cells(row: LayerPair | SimilarityDifference) -> list[Cell | str]:
    if row.low is None or row.high is None or row.p is None or row.p_holm is None:
        return ["–", "–", "–"]
    return [
        Cell(f"[{row.low:.3f}, {row.high:.3f}]", row.low),
        Cell(format_p(row.p), row.p),
        Cell(format_p(row.p_holm), row.p_holm),
    ]
