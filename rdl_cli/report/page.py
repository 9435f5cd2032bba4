"""A report as data: sections of tables, charts, RDMs and texts. `html.py` renders them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rdl_cli.report.charts import Chart


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: as it is shown.
        sort: the key of a sorted column; the text if None.
        tip: a longer text, shown while the pointer or the focus is on the cell.
        strong: whether to emphasize the text.
    """

    text: str
    sort: float | str | None = None
    tip: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table with one header row; the first column names the rows.

    Args:
        columns: the header.
        rows: as many cells each; a plain string is a cell without a key.
        caption: above the table.
        note: below it.
        sortable: whether a reader may sort it by each column.
        folded: whether it is closed until a reader opens it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    note: str = ""
    sortable: bool = True
    folded: bool = False
    kind: str = field(default="table", init=False)

    def cells(self) -> list[list[Cell]]:
        """Return the rows with every string made a cell."""
        return [[c if isinstance(c, Cell) else Cell(str(c)) for c in row] for row in self.rows]

    def is_text(self, column: int) -> bool:
        """Return True if a column has no numbers, so that it is aligned at its left."""
        keys = [row[column].sort for row in self.cells()]
        return self.sortable and not any(isinstance(key, int | float) for key in keys)


@dataclass(frozen=True)
class Charts:
    """Charts side by side, the series of each name in the legend, and the values as a table."""

    charts: Sequence[Chart]
    legend: Mapping[str, int] = field(default_factory=dict)
    caption: str = ""
    values: Table | None = None
    kind: str = field(default="charts", init=False)


@dataclass(frozen=True, eq=False)
class StimulusSet:
    """The stimuli of some RDMs.

    Args:
        names: of the n stimuli.
        classes: their categories, equal ones side by side; empty where unknown.
        images: uint8 (n, c, h, w); None where unknown.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    images: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class RdmFigure:
    """One RDM (p,) in condensed order, NaN = not measured, over a set of stimuli."""

    title: str
    values: np.ndarray
    stimuli: StimulusSet


@dataclass(frozen=True)
class Rdms:
    """RDMs side by side, so many in a row on a wide screen."""

    figures: Sequence[RdmFigure]
    caption: str = ""
    columns: int = 5
    kind: str = field(default="rdms", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list of them."""

    lines: Sequence[str]
    is_list: bool = False
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Commands:
    """Commands that a reader can copy, one a line."""

    lines: Sequence[str]
    kind: str = field(default="commands", init=False)


Block = Table | Charts | Rdms | Text | Commands


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The title as the id of an element."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """A whole report. `lead` is the answer in one or two sentences."""

    title: str
    lead: str
    sections: Sequence[Section]
