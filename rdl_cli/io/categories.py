"""What kind of thing each stimulus is, as people keep it beside their RDMs: a list, a table, or the file of the pictures."""

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import read_text
from rdl_cli.io.stimuli import read_mat_stimuli

HEADS = ("category", "categories", "class", "label")
"""What the head of a table calls its column of categories."""


class CategoryTable(NamedTuple):
    """A category for each stimulus, in the order of the file, and the stimuli's names where it has them."""

    each: tuple[str, ...]
    names: tuple[str, ...] | None = None


def read_categories(path: Path) -> CategoryTable:
    """From a .mat of pictures with a field `category`; from .csv or .tsv lines `name,category`; or one category to a line.

    A head that calls its last column `category` may stand above. UserError for a file without categories, a line without one,
    and a name that stands twice.
    """
    if path.suffix.lower() == ".mat":
        pictures = read_mat_stimuli(path)
        if pictures.labels is None:
            raise UserError(
                f"the pictures in {path} have no categories",
                hint="they stand in a field `category`; or give a table",
            )
        return CategoryTable(tuple(pictures.classes[label] for label in pictures.labels))
    mark = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        rows = (
            [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
            if mark
            else [[line] for line in lines]
        )
    except (OSError, csv.Error) as error:
        raise UserError(
            f"{path} could not be read: {error}",
            hint="--labels is a text file, a .csv, a .tsv or a .mat",
        ) from error
    if rows and rows[0][-1].lower() in HEADS:
        del rows[0]
    widths = {len(row) for row in rows}
    if not rows or not widths <= {1, 2} or len(widths) > 1:
        which = (
            f"lines of {' and '.join(map(str, sorted(widths)))} cells" if rows else "no category"
        )
        raise UserError(
            f"{path} holds {which}", hint="write name,category on each line, or a category alone"
        )
    if bare := [row[0] for row in rows if not row[-1]]:
        raise UserError(f"{path} gives `{bare[0]}` no category")
    categories = tuple(row[-1] for row in rows)
    if widths == {1}:
        return CategoryTable(categories)
    names = tuple(row[0] for row in rows)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"{path} lists `{twice[0]}` more than once")
    return CategoryTable(categories, names)
