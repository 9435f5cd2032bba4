"""Infer which axes of an array are the stimuli, by shape and by symmetry.

UserError if two readings remain: `--axes` decides.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.rsa import rdms

AXES = ("subject", "session", "time", "i", "j", "pair")


class AxisLayout(NamedTuple):
    """An array with its stimulus axes last.

    `square` is True for `... n n`, False for `... pairs`. `rest` names the axes before them.
    `guessed` describes the reading where it was inferred.
    """

    array: np.ndarray
    n: int
    square: bool
    rest: tuple[str, ...]
    guessed: str


def infer_axes(
    array: np.ndarray, what: str, n: int | None = None, axes: Sequence[str] = (), times: int = 0
) -> AxisLayout:
    """Return the array with its stimulus axes last.

    The stimuli are the two equal axes over which the array is symmetric with a zero diagonal;
    without such a pair, two axes of equal length; else an axis as long as an upper triangle. One
    other axis is subjects, or times; two before the stimuli are subjects and times.

    Args:
        array: RDMs in any arrangement.
        what: the name of the array, for messages.
        n: the number of stimuli, None where unknown.
        axes: the names of all axes in order, in place of inference.
        times: how many time points the file names.

    Raises:
        UserError: no reading or several are possible.
    """
    if axes:
        return _layout_from_names(array, what, n, tuple(axes))
    array = array.squeeze()
    at = _find_stimulus_axes(array, what, n)
    others = [a for a in range(array.ndim) if a not in at]
    lengths = tuple(array.shape[a] for a in others)
    leading = others == list(range(len(others)))
    rest = _name_other_axes(lengths, leading, f"{what} ({_shape(array)})", times)
    names = ", ".join(_name_axes(array.ndim, at, rest))
    return _move_axes(array, at, rest, f"{_shape(array)} read as {names}" if rest else "")


def n_from_pairs(length: int) -> int | None:
    """Return how many stimuli have so many pairs; None if no number has."""
    try:
        return rdms.n_from_pairs(length)
    except UserError:
        return None


def square_axes(array: np.ndarray, n: int | None = None) -> list[tuple[int, int]]:
    """Return all pairs of equal axes that can be stimulus × stimulus."""
    shape = array.shape
    return [
        (a, b)
        for a, b in combinations(range(array.ndim), 2)
        if shape[a] == shape[b] >= 2 and n in (None, shape[a])
    ]


def looks_like_rdms(array: np.ndarray, at: tuple[int, int]) -> bool:
    """Return whether the array is symmetric over two axes, with a zero diagonal."""
    squares = np.moveaxis(array, at, (-2, -1))
    if squares.dtype.kind not in "fiub" or not np.isfinite(squares).any():
        return False
    diagonal = np.nan_to_num(np.diagonal(squares, axis1=-2, axis2=-1).astype(np.float64))
    is_zero = bool((np.abs(diagonal) <= tolerance(squares)).all())
    return is_zero and not is_asymmetric(squares).any()


def is_asymmetric(squares: np.ndarray) -> np.ndarray:
    """Return where `... n n` differs from its transpose by more than rounding.

    NaN on one side only is a difference.
    """
    wide = squares.astype(np.result_type(squares.dtype, np.float32), copy=False)
    transposed = np.swapaxes(wide, -1, -2)
    with np.errstate(invalid="ignore"):
        close = np.isclose(wide, transposed, rtol=0, atol=tolerance(squares), equal_nan=True)
    return np.asarray(~close)


def tolerance(values: np.ndarray) -> float:
    """Return what counts as rounding: a millionth of the maximum, or 4 steps of a coarser type."""
    finite = np.abs(values[np.isfinite(values)].astype(np.float64))
    step = 4 * float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0
    return max(1e-6, step) * float(finite.max(initial=0.0))


def _find_stimulus_axes(array: np.ndarray, what: str, n: int | None) -> tuple[int, ...]:
    if array.size == 1:
        raise UserError(
            f"{what} is a single number, {array.item():.6g}, and no RDM",
            hint="an RDM is n × n, or n(n-1)/2 distances",
        )
    pairs = square_axes(array, n)
    symmetric = [at for at in pairs if looks_like_rdms(array, at)]
    triangles = [
        (a,)
        for a in range(array.ndim)
        if (m := n_from_pairs(array.shape[a])) and m > 2 and n in (None, m)
    ]
    if n is None and not pairs and array.ndim == 2:
        _refuse_missing_diagonal(array, what)
    for readings in (symmetric, pairs, triangles):
        if len(readings) == 1:
            return readings[0]
        if readings:
            first, example = readings[0], AXES[: array.ndim - len(readings[0])]
            axes = " or ".join(" and ".join(str(a + 1) for a in at) for at in readings)
            raise UserError(
                f"{what} ({_shape(array)}) can be read in {len(readings)} ways:"
                f" the stimuli can be axes {axes}",
                hint="name its axes, for example"
                f" --axes {','.join(_name_axes(array.ndim, first, example))}",
            )
    longest = max(array.shape, default=0)
    m = round((2 * longest) ** 0.5)
    raise UserError(
        f"{what} ({_shape(array)}) is no RDM of {n or 'any number of'} stimuli",
        hint="it needs two equal axes (n × n), or an axis of n(n-1)/2 pairs; its longest axis is"
        f" {longest:,}, and {m} stimuli have {m * (m - 1) // 2:,} pairs",
    )


def _refuse_missing_diagonal(array: np.ndarray, what: str) -> None:
    """Raise UserError for n × (n-1): an RDM without its diagonal, or n subjects' triangles."""
    rows, columns = array.shape
    if abs(rows - columns) == 1 and n_from_pairs(columns):
        raise UserError(
            f"{what} ({_shape(array)}) can be an RDM that lost its diagonal or a column, or the"
            f" upper triangles of {rows} subjects",
            hint="pass --axes subject,pair for subjects; save the RDM as n × n otherwise",
        )


def _name_other_axes(
    lengths: tuple[int, ...], leading: bool, what: str, times: int
) -> tuple[str, ...]:
    if len(lengths) == 0:
        return ()
    if len(lengths) == 1:
        return ("time",) if lengths[0] == times else ("subject",)
    if len(lengths) == 2 and times and lengths.count(times) == 1:
        return ("time", "subject") if lengths[0] == times else ("subject", "time")
    if len(lengths) == 2 and leading:
        return ("subject", "time")
    raise UserError(
        f"{what} has axes of {' and '.join(map(str, lengths))} beside its stimuli, which can be"
        " subjects, sessions or times",
        hint="name all axes in order, for example --axes i,j,subject,time",
    )


def _layout_from_names(
    array: np.ndarray, what: str, n: int | None, axes: tuple[str, ...]
) -> AxisLayout:
    for axis in axes:
        if axis not in AXES:
            raise unknown_name("axis", axis, AXES)
    given = set(axes)
    if len(given) < len(axes) or given & {"i", "j", "pair"} not in ({"pair"}, {"i", "j"}):
        raise UserError(
            f"axes {','.join(axes)} name no RDM",
            hint="name each axis once: i and j, or pair, and subject, session or time",
        )
    array = array if array.ndim == len(axes) else array.squeeze()
    if array.ndim != len(axes):
        raise UserError(
            f"{what} has {array.ndim} axes ({_shape(array)}), --axes names {len(axes)}:"
            f" {','.join(axes)}"
        )
    at = (axes.index("pair"),) if "pair" in axes else (axes.index("i"), axes.index("j"))
    lengths = [array.shape[a] for a in at]
    m = n_from_pairs(lengths[0]) if len(at) == 1 else lengths[0]
    if m is None or lengths[0] != lengths[-1] or n not in (None, m):
        raise UserError(
            f"{what} ({_shape(array)}) read as {','.join(axes)} is no RDM of"
            f" {n or 'any number of'} stimuli"
        )
    return _move_axes(array, at, tuple(a for a in axes if a not in ("i", "j", "pair")), "")


def _move_axes(
    array: np.ndarray, at: tuple[int, ...], rest: tuple[str, ...], guessed: str
) -> AxisLayout:
    moved = np.moveaxis(array, at, tuple(range(-len(at), 0)))
    n = moved.shape[-1] if len(at) == 2 else rdms.n_from_pairs(moved.shape[-1])
    return AxisLayout(moved, n, len(at) == 2, rest, guessed)


def _name_axes(ndim: int, at: tuple[int, ...], rest: tuple[str, ...]) -> list[str]:
    others = iter(rest)
    stimuli = dict(zip(at, ("i", "j") if len(at) == 2 else ("pair",), strict=True))
    return [stimuli[a] if a in stimuli else next(others) for a in range(ndim)]


def _shape(array: np.ndarray) -> str:
    return " × ".join(map(str, array.shape))
