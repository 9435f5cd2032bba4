"""Tables of text: squares with or without names, vectors, and long form (one line for each pair)."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.axes import looks_like_rdms
from rdl_cli.io.file_types import DAMAGED, Container, find_separator, read_text
from rdl_cli.io.raw_array import READERS, RawArray, to_milliseconds

VALUE = ("value", "dissimilarity", "distance", "rdm", "dist")
SUBJECT = ("subject", "participant", "sub", "subj", "rdm_index")
SESSION = ("session", "run")
TIME = ("time", "time_ms", "t")
REGION = ("region", "roi", "mask", "layer")
MISSING = ("", "nan", "na", "n/a", "null", "none")

Rows = list[list[str]]


@READERS.register("table")
def table(path: Path, container: Container) -> list[RawArray] | None:
    """Comma, semicolon, tab or space apart; empty cells and NaN are not measured; rsatoolbox's `to_df().to_csv()` is long form."""
    if container != "text":
        return None
    rows, comma = _rows(path)
    numbers = np.array([[_number(cell, comma) for cell in row] for row in rows])
    named = not np.isfinite(numbers[0, 0]) and not _blank_diagonal(numbers)
    long = numbers.shape[1] == 3 or any(cell.lower() in VALUE for cell in rows[0])
    for head, side in ((0, 0), (1, 1), (1, 0), (0, 1)):
        body = numbers[head:, side:]
        if len(body) < 2 or body.shape[0] != body.shape[1] or np.isneginf(body).any():
            continue
        if (head == side and named != bool(head)) or (long and not looks_like_rdms(body, (0, 1))):
            continue
        names = tuple(rows[0][side:]) if head else tuple(row[0] for row in rows) if side else None
        if head and side and names != tuple(row[0] for row in rows[1:]):
            wrong = next(
                (a, row[0]) for a, row in zip(names or (), rows[1:], strict=True) if a != row[0]
            )
            raise UserError(
                f"{path} names its columns and rows differently: column `{wrong[0]}` stands where row `{wrong[1]}` does"
            )
        return [RawArray(path.stem, body, ("i", "j"), stimuli=names)]
    if not np.isneginf(numbers).any() and numbers.shape[1] != 3:
        return [RawArray(path.stem, numbers)]
    return _long(path, rows, comma)


def _blank_diagonal(numbers: np.ndarray) -> bool:
    """Whether a first cell is blank because the diagonal is, and not because names stand beside it.

    Names may be numbers, and the diagonal behind them blank as well: 0, 1, 2 ... or 1, 2, 3 ... in the first line and column is
    pandas' numbering, for no one measures such distances.
    """
    line, column = numbers[0, 1:], numbers[1:, 0]
    numbered = np.array_equal(line, column) and any(
        np.array_equal(line, np.arange(len(line)) + start) for start in (0, 1)
    )
    return (
        bool(np.isnan(np.diagonal(numbers)).all())
        and not numbered
        and not np.isneginf([*line, *column]).any()
    )


def _rows(path: Path) -> tuple[Rows, bool]:
    """The cells of a table, and whether numbers have a decimal comma. UserError where lines differ in length."""
    lines = [
        (at, line)
        for at, line in enumerate(read_text(path).splitlines(), 1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise UserError(f"{path} holds no table", hint=DAMAGED)
    mark = find_separator(lines[0][1])
    try:
        rows = (
            [
                [c.strip() for c in cells]
                for cells in csv.reader((line for _, line in lines), delimiter=mark)
            ]
            if mark
            else [line.split() for _, line in lines]
        )
    except csv.Error as error:
        raise UserError(f"{path} could not be read as a table: {error}", hint=DAMAGED) from error
    for (at, _), row in zip(lines, rows, strict=False):
        if len(row) != len(rows[0]):
            raise UserError(
                f"{path}: line {at} has {len(row)} cells, the first line has {len(rows[0])}",
                hint=DAMAGED,
            )
    return rows, mark not in (None, ",") and any("," in cell for row in rows for cell in row)


def _number(cell: str, comma: bool) -> float:
    """The cell's number, NaN for a missing one, and minus infinity for what is no number."""
    if cell.lower() in MISSING:
        return float("nan")
    try:
        return float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return float("-inf")


def _long(path: Path, rows: Rows, comma: bool) -> list[RawArray]:
    head = (
        [cell.lower() for cell in rows[0]]
        if np.isneginf(_number(rows[0][-1], comma)) or any(c.lower() in VALUE for c in rows[0])
        else []
    )
    column = {
        what: next((head.index(w) for w in words if w in head), None)
        for what, words in _ROLES.items()
    }
    value = column["value"]
    if value is None:
        if len(rows[0]) != 3:
            raise UserError(
                f"{path} ({len(rows)} lines of {len(rows[0])} cells) is neither square nor long form",
                hint="square: n lines of n numbers, names in the first line and column;"
                f" long form: two columns of stimuli and one called {' or '.join(VALUE[:3])}",
            )
        value = 2
    body = rows[1:] if head else rows
    first, second = _items(
        path, head, body, {value, *(c for c in column.values() if c is not None)}
    )
    order = list(dict.fromkeys(item for row in body for item in (row[first], row[second])))
    whole = all(item.lstrip("-").isdigit() for item in order)
    order = sorted(order, key=int) if whole else order
    numbered = whole and [int(item) for item in order] in (
        [*range(len(order))],
        [*range(1, len(order) + 1)],
    )
    place = {item: row for row, item in enumerate(order)}
    squares: dict[tuple[str, ...], np.ndarray] = {}
    for at, row in enumerate(body, 2 if head else 1):
        key = tuple(
            "" if (c := column[what]) is None else row[c]
            for what in ("region", "subject", "session", "time")
        )
        square = squares.setdefault(key, np.full((len(order), len(order)), np.nan))
        number = _number(row[value], comma)
        if np.isneginf(number):
            raise UserError(f"{path}: `{row[value]}` on line {at} is no number")
        a, b = place[row[first]], place[row[second]]
        if not np.isnan(square[a, b]):
            raise UserError(
                f"{path}: the pair {row[first]}, {row[second]} stands on line {at} for the second time",
                hint=f"known columns: {_known()}",
            )
        square[a, b] = number
    stimuli = None if numbered else tuple(order)
    if wrong := [time for *_, time in squares if np.isneginf(_number(time, comma))]:
        raise UserError(
            f"{path}: the time `{wrong[0]}` is no number",
            hint="write times as plain numbers, in seconds or milliseconds",
        )
    times = to_milliseconds([_number(time, comma) for *_, time in squares])
    return [
        _to_raw_arrays(path, key, time, square, stimuli)
        for (key, square), time in zip(squares.items(), times, strict=True)
    ]


_ROLES = {"value": VALUE, "subject": SUBJECT, "session": SESSION, "time": TIME, "region": REGION}


def _known() -> str:
    return "; ".join(f"{what}: {', '.join(words)}" for what, words in _ROLES.items())


def _items(path: Path, head: list[str], body: Rows, taken: set[int]) -> tuple[int, int]:
    """The two columns that name the stimuli: `X_1` and `X_2` where there are (rsatoolbox), else the two that are free.

    Of more than two, those that take their values from one list, the longest: where each pair is listed once, one lacks the last
    stimulus and the other the first. UserError where two such columns can't be told.
    """
    twins = [
        (head.index(h), head.index(h[:-1] + "2"))
        for h in head
        if h.endswith("_1") and h[:-1] + "2" in head
    ]
    if twins:
        return next((pair for pair in twins if head[pair[0]] != "pattern_index_1"), twins[0])
    free = [c for c in range(len(head or body[0])) if c not in taken]
    if len(free) < 2:
        raise UserError(
            f"{path} has no two columns for the stimuli of a pair",
            hint=f"known columns: {_known()}",
        )
    if len(free) > 2:
        running = [
            str(line) for line in range(len(body))
        ]  # pandas' to_csv puts the lines' numbers first
        free = [
            c
            for c in free
            if head[c] not in ("", "index", "unnamed: 0") or [row[c] for row in body] != running
        ]
    if len(free) == 2:
        return free[0], free[1]
    values = {c: {row[c] for row in body} for c in free}
    alike = [
        (a, b)
        for a, b in combinations(free, 2)
        if len(values[a] & values[b]) >= len(values[a] | values[b]) - 2
    ]
    most = max((len(values[a]) for a, _ in alike), default=0)
    alike = [
        (a, b) for a, b in alike if len(values[a]) == most
    ]  # there are fewer categories than stimuli
    if len(alike) != 1:
        raise UserError(
            f"{path} has {len(free)} columns of which two could name the stimuli of a pair: {', '.join(f'`{head[c]}`' for c in free)}",
            hint="call these two stimulus_1 and stimulus_2, or take the other columns away",
        )
    return alike[0]


def _to_raw_arrays(
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
