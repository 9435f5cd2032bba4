"""Text of other people's files for terminals and spreadsheets: it is shown, never run."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that reverse the direction of text."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def escape_controls(text: str) -> str:
    r"""Return the text with control characters as escapes, so that a terminal shows them.

    >>> escape_controls("\x1b[31mIT")
    '\\x1b[31mIT'
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def quote_formula(value: Any) -> Any:
    """Return a cell of CSV; a text that a spreadsheet would run begins with an apostrophe.

    >>> quote_formula("=1+1"), quote_formula("-0.5"), quote_formula(-0.5)
    ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    value = escape_controls(value)
    return f"'{value}" if value.startswith(FORMULA_STARTS) and not _is_number(value) else value


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return CSV with a header. Cells that a spreadsheet would run are quoted."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({column: quote_formula(column) for column in columns})
    writer.writerows({key: quote_formula(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
