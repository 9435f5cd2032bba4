"""Tables of text: squares with or without names, vectors, and long form (one line per pair)."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.axes import looks_like_rdms
from rdl_cli.io.file_types import DAMAGED, Container, find_separator, read_text
from rdl_cli.io.raw_array import READERS, RawArray, to_milliseconds

COLUMNS = {
    "value": ("value", "dissimilarity", "distance", "rdm", "dist"),
    "subject": ("subject", "participant", "sub", "subj", "rdm_index"),
    "session": ("session", "run"),
    "time": ("time", "time_ms", "t"),
    "region": ("region", "roi", "mask", "layer"),
}
"""What a column of a long table holds, by its header."""

MISSING = ("", "nan", "na", "n/a", "null", "none")

Rows = list[list[str]]


@READERS.register("table")
def read_table(path: Path, container: Container) -> list[RawArray] | None:
    """Read a table separated by commas, semicolons, tabs or spaces.

    Empty cells and NaN are not measured. rsatoolbox's `to_df().to_csv()` is long form.
    """
    if container != "text":
        return None
    rows, comma = _split_table(path)
    numbers = np.array([[_to_number(cell, comma) for cell in row] for row in rows])
    named = not np.isfinite(numbers[0, 0]) and not _has_blank_diagonal(numbers)
    has_value = any(cell.lower() in COLUMNS["value"] for cell in rows[0])
    long = numbers.shape[1] == 3 or has_value
    for head, side in ((0, 0), (1, 1), (1, 0), (0, 1)):
        body = numbers[head:, side:]
        if len(body) < 2 or body.shape[0] != body.shape[1] or np.isneginf(body).any():
            continue
        if (head == side and named != bool(head)) or (long and not looks_like_rdms(body, (0, 1))):
            continue
        columns, lines = tuple(rows[0][side:]), tuple(row[0] for row in rows[head:])
        if head and side and columns != lines:
            a, b = next((a, b) for a, b in zip(columns, lines, strict=True) if a != b)
            raise UserError(
                f"{path} names its columns and rows differently: column `{a}` where row is `{b}`"
            )
        names = columns if head else lines if side else None
        return [RawArray(path.stem, body, ("i", "j"), stimuli=names)]
    if not np.isneginf(numbers).any() and numbers.shape[1] != 3:
        return [RawArray(path.stem, numbers)]
    return _read_long(path, rows, comma)


def _has_blank_diagonal(numbers: np.ndarray) -> bool:
    """Return True if the first cell is blank because the diagonal is, without names beside it.

    Names may be numbers, and the diagonal behind them blank as well: 0, 1, 2 ... or 1, 2, 3 ... in
    the first line and column is pandas' numbering, not distances.
    """
    line, column = numbers[0, 1:], numbers[1:, 0]
    numbered = np.array_equal(line, column) and any(
        np.array_equal(line, np.arange(len(line)) + start) for start in (0, 1)
    )
    has_text = np.isneginf([*line, *column]).any()
    return bool(np.isnan(np.diagonal(numbers)).all()) and not numbered and not has_text


def _split_table(path: Path) -> tuple[Rows, bool]:
    """Return the cells, and whether numbers have a decimal comma.

    R writes a header without a cell above the rows' names: a blank cell is added there. UserError
    if lines differ in length.
    """
    lines = [
        (at, line)
        for at, line in enumerate(read_text(path).splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise UserError(f"{path} holds no table", hint=DAMAGED)
    mark = find_separator(lines[0][1])
    texts = [line.strip() if mark is None else line for _, line in lines]
    # skipinitialspace makes several spaces one separator
    reader = csv.reader(texts, delimiter=mark or " ", skipinitialspace=mark is None)
    try:
        rows = [[cell.strip() for cell in cells] for cells in reader]
    except csv.Error as error:
        raise UserError(f"{path} could not be read as a table: {error}", hint=DAMAGED) from error
    if len(rows) == len(rows[0]) + 1 and all(len(row) == len(rows) for row in rows[1:]):
        rows[0] = ["", *rows[0]]
    for (at, _), row in zip(lines, rows, strict=False):
        if len(row) != len(rows[0]):
            raise UserError(
                f"{path}: line {at} has {len(row)} cells, the first line has {len(rows[0])}",
                hint=_hint_for_ragged(rows),
            )
    return rows, mark not in (None, ",") and any("," in cell for row in rows for cell in row)


def _hint_for_ragged(rows: Rows) -> str:
    """Return the hint for lines of different lengths: R's printed `dist` is a lower triangle."""
    if [len(row) for row in rows[1:]] == list(range(2, len(rows) + 1)):
        return (
            "it looks like R's print(dist(x)), whose numbers are rounded; write.csv(as.matrix(d))"
        )
    return DAMAGED


def _to_number(cell: str, comma: bool) -> float:
    """Return the cell's number, NaN for a missing one, and minus infinity for text."""
    if cell.lower() in MISSING:
        return float("nan")
    try:
        return float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return float("-inf")


def _read_long(path: Path, rows: Rows, comma: bool) -> list[RawArray]:
    head = [cell.lower() for cell in rows[0]]
    has_text = np.isneginf(_to_number(rows[0][-1], comma))
    if not has_text and not any(cell in COLUMNS["value"] for cell in head):
        head = []
    column = {
        role: next((head.index(word) for word in words if word in head), None)
        for role, words in COLUMNS.items()
    }
    value = column["value"]
    if value is None:
        if len(rows[0]) != 3:
            raise UserError(
                f"{path} ({len(rows)} lines of {len(rows[0])} cells) is neither square nor long",
                hint="square: n lines of n numbers, names in the first line and column; long:"
                f" two columns of stimuli and one called {' or '.join(COLUMNS['value'][:3])}",
            )
        value = 2
    body = rows[1:] if head else rows
    known = {value, *(c for c in column.values() if c is not None)}
    first, second = _find_stimulus_columns(path, head, body, known)
    order, numbered = _order_stimuli(body, first, second)
    index = {stimulus: row for row, stimulus in enumerate(order)}
    squares: dict[tuple[str, ...], np.ndarray] = {}
    for at, row in enumerate(body, 2 if head else 1):
        key = tuple(
            "" if (c := column[role]) is None else row[c]
            for role in ("region", "subject", "session", "time")
        )
        square = squares.setdefault(key, np.full((len(order), len(order)), np.nan))
        number = _to_number(row[value], comma)
        if np.isneginf(number):
            raise UserError(f"{path}: `{row[value]}` on line {at} is no number")
        a, b = index[row[first]], index[row[second]]
        if not np.isnan(square[a, b]):
            raise UserError(
                f"{path}: the pair {row[first]}, {row[second]} is on line {at} for the second time",
                hint=f"known columns: {_list_columns()}",
            )
        square[a, b] = number
    stimuli = None if numbered else tuple(order)
    times = [_to_number(time, comma) for *_, time in squares]
    if wrong := [key[-1] for key, time in zip(squares, times, strict=True) if np.isneginf(time)]:
        raise UserError(
            f"{path}: the time `{wrong[0]}` is no number",
            hint="write times as plain numbers, in seconds or milliseconds",
        )
    return [
        _to_raw_array(path, key, time, square, stimuli)
        for (key, square), time in zip(squares.items(), to_milliseconds(times), strict=True)
    ]


def _order_stimuli(body: Rows, first: int, second: int) -> tuple[list[str], bool]:
    """Return the stimuli in order of appearance, or by number, and whether they are 0, 1, 2 ..."""
    order = list(dict.fromkeys(name for row in body for name in (row[first], row[second])))
    if not all(name.lstrip("-").isdigit() for name in order):
        return order, False
    order = sorted(order, key=int)
    numbers, n = [int(name) for name in order], len(order)
    return order, numbers in ([*range(n)], [*range(1, n + 1)])


def _list_columns() -> str:
    return "; ".join(f"{role}: {', '.join(words)}" for role, words in COLUMNS.items())


def _find_stimulus_columns(
    path: Path, head: list[str], body: Rows, known: set[int]
) -> tuple[int, int]:
    """Return the two columns that name the stimuli of a pair.

    They are `X_1` and `X_2` (rsatoolbox), else the two other columns. Of more than two, those with
    the most values from one list: where each pair is listed once, one column lacks the last
    stimulus and the other the first. UserError if two such columns can't be told.
    """
    numbered = [
        (head.index(name), head.index(f"{name[:-1]}2"))
        for name in head
        if name.endswith("_1") and f"{name[:-1]}2" in head
    ]
    if numbered:
        named = (pair for pair in numbered if head[pair[0]] != "pattern_index_1")
        return next(named, numbered[0])
    other = [c for c in range(len(head or body[0])) if c not in known]
    if len(other) < 2:
        raise UserError(
            f"{path} has no two columns for the stimuli of a pair",
            hint=f"known columns: {_list_columns()}",
        )
    if len(other) > 2:  # pandas' to_csv puts the lines' numbers first
        count = [str(line) for line in range(len(body))]
        index = ("", "index", "unnamed: 0")
        other = [c for c in other if head[c] not in index or [row[c] for row in body] != count]
    if len(other) == 2:
        return other[0], other[1]
    values = {c: {row[c] for row in body} for c in other}
    similar = [
        (a, b)
        for a, b in combinations(other, 2)
        if len(values[a] & values[b]) >= len(values[a] | values[b]) - 2
    ]
    most = max((len(values[a]) for a, _ in similar), default=0)  # there are fewer categories
    similar = [(a, b) for a, b in similar if len(values[a]) == most]
    if len(similar) != 1:
        names = ", ".join(f"`{head[c]}`" for c in other)
        raise UserError(
            f"{path} has {len(other)} columns of which two can name the stimuli of a pair: {names}",
            hint="call these two stimulus_1 and stimulus_2, or remove the other columns",
        )
    return similar[0]


def _to_raw_array(
    path: Path,
    key: tuple[str, ...],
    time: float,
    square: np.ndarray,
    stimuli: tuple[str, ...] | None,
) -> RawArray:
    region, subject, session, _ = key
    blank = np.isnan(square)
    square = np.where(blank, square.T, square)  # most files list each pair once
    np.fill_diagonal(square, np.nan_to_num(np.diagonal(square)))
    return RawArray(
        region or path.stem,
        square,
        ("i", "j"),
        (subject,),
        (session,),
        (time,),
        stimuli=stimuli,
        notes=("long form",),
    )
