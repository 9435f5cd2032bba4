"""The results of a comparison of representations, as data."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rdl_cli.core.frames import make_frame

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA = "rdl-compare-rdms/2"
TABLES = ("pairs", "differences", "ceilings", "explained")


@dataclass(frozen=True)
class ComparedRepresentation:
    """A representation as it was compared.

    Args:
        name: unique in the comparison.
        description: the RDMs that were selected or averaged.
        kind: what was known of it: activations, a kernel or RDMs.
        distance: of its RDM (measures of kernels use none).
        n_subjects: how many RDMs it has, one for each subject.
    """

    name: str
    description: str
    kind: str
    distance: str
    n_subjects: int


@dataclass(frozen=True)
class LayerPair:
    """The similarity of two representations.

    Args:
        first, second: their names.
        value: the mean over subjects, or over all pairs of subjects.
        n_pairs: measured pairs of stimuli; the fewest of any two subjects.
        n_subjects: of the side that has fewer, of those with several. The interval is over them
            as well.
        low, high: the 95 % interval; None without resamples.
        p: one-sided permutation test of relatedness.
        p_holm: p after Holm's correction for all pairs of the table.
    """

    first: str
    second: str
    value: float
    n_pairs: int
    n_subjects: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class SimilarityDifference:
    """The similarity of `first` to a reference, minus that of `second`, on the same stimuli.

    Args:
        reference, first, second: names of representations.
        difference: of the two similarities.
        n_subjects: the interval is over them as well; 1 for stimuli alone.
        low, high: the 95 % interval; None without resamples.
        p: two-sided, of Student's t over stimuli and subjects.
        p_holm: p after Holm's correction for all differences of the table.
    """

    reference: str
    first: str
    second: str
    difference: float
    n_subjects: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Ceiling:
    """The noise ceiling of a region (Nili et al. 2014): the true model's value is between both."""

    region: str
    n_subjects: int
    lower: float
    upper: float


@dataclass(frozen=True)
class ExplainedVariance:
    """How much of a reference's RDM the other representations explain, and each of them alone.

    Args:
        reference: the representation to explain; the mean over its subjects is given.
        total: R² of all predictors together.
        predictors: their names.
        unique: what each adds to the R² of all others.
    """

    reference: str
    total: float
    predictors: tuple[str, ...]
    unique: tuple[float, ...]


@dataclass(frozen=True)
class MeasureTable:
    """One measure of all pairs of representations.

    Args:
        measure: as it was typed.
        settings: all that makes two values comparable.
        identity_value: the value for identical representations, on the diagonal.
        values: in the order of the representations; None for those that are not compared.
        pairs, differences, ceilings, explained: the rows.
        against: names of those with which alone the others are compared; () for all pairs.
    """

    measure: str
    settings: dict[str, Any]
    identity_value: float
    values: tuple[tuple[float | None, ...], ...]
    pairs: tuple[LayerPair, ...]
    differences: tuple[SimilarityDifference, ...]
    ceilings: tuple[Ceiling, ...]
    explained: tuple[ExplainedVariance, ...]
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class RdmComparison:
    """All tables, over the same stimuli."""

    n_stimuli: int
    align: str
    n_resamples: int
    seed: int
    representations: tuple[ComparedRepresentation, ...]
    tables: tuple[MeasureTable, ...]

    def matrix(self, table: MeasureTable) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
        """Return a table's columns, and its rows by name; None on the diagonal."""
        names = [layer.name for layer in self.representations]
        columns = list(table.against) or names
        rows = [
            (
                name,
                [
                    None if n == name else v
                    for n, v in zip(names, values, strict=True)
                    if n in columns
                ],
            )
            for name, values in zip(names, table.values, strict=True)
            if name not in table.against
        ]
        return [name for name in names if name in columns], rows

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {"schema": SCHEMA} | asdict(self)

    def to_frame(self, table: str = "pairs") -> "DataFrame":
        """Return `pairs`, `differences`, `ceilings` or `explained`, with a column `measure`.

        `representations` are those compared. UserError if pandas is not installed.
        """
        if table == "representations":
            return make_frame({table: self.representations}, table)
        frames = [
            make_frame({name: getattr(measure, name) for name in TABLES}, table)
            for measure in self.tables
        ]
        for frame, measure in zip(frames, self.tables, strict=True):
            frame.insert(0, "measure", measure.measure)
        import pandas as pd

        return pd.concat(frames, ignore_index=True)

    def _repr_html_(self) -> str:
        """Return the tables of every measure, for a notebook."""
        from rdl_cli.commands.report.rdm_tables import rdm_comparison_tables
        from rdl_cli.report.html import render_tables

        return render_tables(rdm_comparison_tables(self))
