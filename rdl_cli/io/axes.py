"""Which axes of an array are the stimuli, found by shape and by symmetry, and refused where two readings remain."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.rsa.rdms import n_from_pairs as exact_n_from_pairs

AXES = ("subject", "session", "time", "i", "j", "pair")


class AxisLayout(NamedTuple):
    """An array with its stimuli last: `... n n` where `square`, else `... pairs`; `rest` names the axes before them."""

    array: np.ndarray
    n: int
    square: bool
    rest: tuple[str, ...]
    guessed: str


def infer_axes(
    array: np.ndarray, what: str, n: int | None = None, axes: Sequence[str] = (), times: int = 0
) -> AxisLayout:
    """The array with its stimulus axes last.

    Two axes of equal length over which it is symmetric with a zero diagonal are the stimuli; without such a pair, two axes of
    equal length, or else an axis that has the length of an upper triangle. `n` (how many stimuli there are) and `axes` (their
    names in order) settle what the shape can't; `times` is how many time points the file names. One axis that is left over
    is subjects (or times), two before the stimuli are subjects and times. UserError where no reading or several remain.
    """
    if axes:
        return _axes_from_option(array, what, n, tuple(axes))
    array = array.squeeze()
    at = _stimulus_axes(array, what, n)
    rest_at = [a for a in range(array.ndim) if a not in at]
    rest = _rest(
        tuple(array.shape[a] for a in rest_at),
        rest_at == list(range(len(rest_at))),
        array,
        what,
        times,
    )
    return _move_axes(
        array,
        at,
        rest,
        f"{' × '.join(map(str, array.shape))} read as {', '.join(_check_axis_names(array.ndim, at, rest))}"
        if rest
        else "",
    )


def n_from_pairs(length: int) -> int | None:
    """How many stimuli have so many pairs; None where no number has."""
    try:
        return exact_n_from_pairs(length)
    except UserError:
        return None


def square_axes(array: np.ndarray, n: int | None = None) -> list[tuple[int, int]]:
    """Every two axes of equal length that could be stimulus × stimulus."""
    shape = array.shape
    return [
        (a, b)
        for a, b in combinations(range(array.ndim), 2)
        if shape[a] == shape[b] >= 2 and n in (None, shape[a])
    ]


def looks_like_rdms(array: np.ndarray, at: tuple[int, int]) -> bool:
    """Whether the array is symmetric over these two axes, with a diagonal of zeros."""
    squares = np.moveaxis(array, at, (-2, -1))
    if squares.dtype.kind not in "fiub" or not np.isfinite(squares).any():
        return False
    near = tolerance(squares)
    diagonal = np.nan_to_num(np.diagonal(squares, axis1=-2, axis2=-1).astype(np.float64))
    return bool((np.abs(diagonal) <= near).all()) and not is_asymmetric(squares).any()


def is_asymmetric(squares: np.ndarray) -> np.ndarray:
    """Where `... n n` differs from its transpose by more than rounding; NaN on one side only counts as a difference."""
    wide = squares.astype(np.result_type(squares.dtype, np.float32), copy=False)
    with np.errstate(invalid="ignore"):
        return ~np.isclose(
            wide, np.swapaxes(wide, -1, -2), rtol=0, atol=tolerance(squares), equal_nan=True
        )


def tolerance(values: np.ndarray) -> float:
    """What counts as rounding: a millionth of the largest value, or 4 steps of a coarser type."""
    finite = np.abs(values[np.isfinite(values)].astype(np.float64))
    step = 4 * float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0
    return max(1e-6, step) * float(finite.max(initial=0.0))


def _stimulus_axes(array: np.ndarray, what: str, n: int | None) -> tuple[int, ...]:
    if array.size == 1:
        raise UserError(
            f"{what} is a single number, {array.item():.6g}, and no RDM",
            hint="an RDM is n × n, or n(n-1)/2 distances",
        )
    shape = " × ".join(map(str, array.shape))
    pairs = square_axes(array, n)
    symmetric = [at for at in pairs if looks_like_rdms(array, at)]
    triangles = [
        (a,)
        for a in range(array.ndim)
        if (m := n_from_pairs(array.shape[a])) and m > 2 and n in (None, m)
    ]
    for readings in (symmetric, pairs, triangles):
        if len(readings) == 1:
            return readings[0]
        if readings:
            fact = f"{what} ({shape}) can be read in {len(readings)} ways: the stimuli could be axes {' or '.join(map(_count_axes, readings))}"
            raise UserError(
                fact,
                hint=f"name its axes, for example --axes {','.join(_check_axis_names(array.ndim, readings[0], _some(array.ndim, readings[0])))}",
            )
    wanted = f"{n} stimuli" if n else "any number of stimuli"
    near = max(array.shape, default=0)
    root = round((2 * near) ** 0.5)
    raise UserError(
        f"{what} ({shape}) is no RDM of {wanted}",
        hint=f"it needs two equal axes (n × n), or an axis of n(n-1)/2 pairs; its longest axis is {near:,},"
        f" and {root} stimuli have {root * (root - 1) // 2:,} pairs",
    )


def _rest(
    lengths: tuple[int, ...], leading: bool, array: np.ndarray, what: str, times: int
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
        f"{what} ({' × '.join(map(str, array.shape))}) has axes of {' and '.join(map(str, lengths))} beside its stimuli,"
        " and nothing says which is which",
        hint="name all axes in order, for example --axes i,j,subject,time",
    )


def _axes_from_option(
    array: np.ndarray, what: str, n: int | None, axes: tuple[str, ...]
) -> AxisLayout:
    for axis in axes:
        if axis not in AXES:
            raise unknown_name("axis", axis, AXES)
    if (
        len(set(axes)) < len(axes)
        or ("pair" in axes) == ("i" in axes)
        or ("i" in axes) != ("j" in axes)
    ):
        raise UserError(
            f"axes {','.join(axes)} name no RDM",
            hint="name each axis once: i and j, or pair, and subject, session or time",
        )
    if array.ndim != len(axes):
        array = array.squeeze()
    if array.ndim != len(axes):
        raise UserError(
            f"{what} has {array.ndim} axes ({' × '.join(map(str, array.shape))}), --axes names {len(axes)}: {','.join(axes)}"
        )
    at = (axes.index("pair"),) if "pair" in axes else (axes.index("i"), axes.index("j"))
    lengths = [array.shape[a] for a in at]
    m = n_from_pairs(lengths[0]) if len(at) == 1 else lengths[0]
    if m is None or lengths[0] != lengths[-1] or n not in (None, m):
        shape, told = " × ".join(map(str, array.shape)), ",".join(axes)
        raise UserError(
            f"{what} ({shape}) read as {told} is no RDM of {n or 'any number of'} stimuli"
        )
    return _move_axes(array, at, tuple(a for a in axes if a not in ("i", "j", "pair")), "")


def _move_axes(
    array: np.ndarray, at: tuple[int, ...], rest: tuple[str, ...], guessed: str
) -> AxisLayout:
    moved = np.moveaxis(array, at, tuple(range(-len(at), 0)))
    n = moved.shape[-1] if len(at) == 2 else exact_n_from_pairs(moved.shape[-1])
    return AxisLayout(moved, n, len(at) == 2, rest, guessed)


def _check_axis_names(ndim: int, at: tuple[int, ...], rest: tuple[str, ...]) -> list[str]:
    names = iter(rest)
    stimuli = dict(zip(at, ("i", "j") if len(at) == 2 else ("pair",), strict=True))
    return [stimuli[a] if a in stimuli else next(names) for a in range(ndim)]


def _some(ndim: int, at: tuple[int, ...]) -> tuple[str, ...]:
    return AXES[: ndim - len(at)]


def _count_axes(at: tuple[int, ...]) -> str:
    return " and ".join(str(a + 1) for a in at)
