"""Validate RDMs: name each fault with its values, and repair it only on request."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.io.axes import is_asymmetric, tolerance

REPAIRS = {
    "symmetrise": "take the mean of the two triangles where they differ",
    "mirror": "take the filled triangle for both, if the other is all zero or NaN",
    "zero-diagonal": "ignore the diagonal",
    "one-minus": "import similarities s as 1 - s",
    "clip-negative": "set negative distances to 0",
    "inf-as-nan": "import infinite values as not measured",
    "keep-constant": "import an RDM whose distances are all equal",
    "keep-unmeasured": "import stimuli without any measured distance",
}
"""Each repair, and what it does."""

SIMILARITY = re.compile(r"(?<!dis)(?<!dis[-_ ])similarit", re.IGNORECASE)

CROSS_VALIDATED = ("crossnobis", "poisson_cv")
"""Distances whose unbiased estimates are negative where the truth is near 0."""


def check_repair_names(repairs: Collection[str]) -> None:
    """Raise UserError for an unknown repair."""
    for repair in repairs:
        if repair not in REPAIRS:
            known = "; ".join(f"{name}: {effect}" for name, effect in REPAIRS.items())
            raise unknown_name("repair", repair, REPAIRS, hint=known)


def check_declared_distance(names: Sequence[str], title: str, repairs: Collection[str]) -> None:
    """Raise UserError if an upper triangle is called a similarity and not imported as one.

    Squares need no check, for their diagonal shows it.
    """
    for name in names:
        if "one-minus" not in repairs and SIMILARITY.search(name):
            raise UserError(
                f"{title} is called `{name}`, but RDMs hold dissimilarities",
                hint="--repair one-minus imports similarities s as 1 - s; --distance NAME for"
                " distances",
            )


def to_condensed(
    squares: np.ndarray, titles: list[str], repairs: Collection[str]
) -> tuple[np.ndarray, list[str]]:
    """Return the upper triangles of `k n n`, bit for bit unless repaired, and the repairs made.

    UserError names a fault.
    """
    notes: list[str] = []
    i, j = np.triu_indices(squares.shape[-1], 1)
    squares = _remove_infinities(squares, titles, repairs, notes)
    diagonal = np.nan_to_num(np.diagonal(squares, axis1=1, axis2=2))
    if "mirror" in repairs:
        squares = squares.copy()
        for k, half in enumerate(map(_filled_half, squares)):
            if half:
                notes.append(f"{titles[k]}: {half} triangle taken for both, {len(i):,} values")
                squares[k] = squares[k].T if half == "lower" else squares[k]
                squares[k][j, i] = squares[k][i, j]
    if (wrong := is_asymmetric(squares)).any():
        count = wrong.sum() // 2
        if "symmetrise" not in repairs:
            raise _asymmetry_error(wrong, squares, titles)
        squares = np.where(wrong, (squares + np.swapaxes(squares, 1, 2)) / 2, squares)
        notes.append(f"{count:,} asymmetric pairs averaged")
    off = np.abs(diagonal) > tolerance(squares)
    if "one-minus" in repairs:  # a diagonal that was left out is 0 or NaN
        off &= np.abs(diagonal - 1) > tolerance(squares)
    if off.any():
        if "zero-diagonal" not in repairs:
            raise _diagonal_error(off, diagonal, squares, titles, "one-minus" in repairs)
        notes.append(f"the diagonal was ignored, {off.sum():,} values that are not zero")
    return np.ascontiguousarray(squares[:, i, j]), notes


def validate(
    values: np.ndarray, titles: list[str], n: int, distance: str, repairs: Collection[str]
) -> tuple[np.ndarray, list[str]]:
    """Return the distances `k pairs`, unchanged unless repaired, and the repairs made.

    UserError names a fault.
    """
    notes: list[str] = []
    values = _remove_infinities(values, titles, repairs, notes)
    if "one-minus" in repairs:
        values = (1 - values).astype(values.dtype)
        notes.append("similarities, 1 - s taken")
    negative = values < -tolerance(values)
    if negative.any() and distance not in CROSS_VALIDATED:
        if "clip-negative" not in repairs:
            k, p = np.argwhere(negative)[0]
            raise UserError(
                f"{titles[k]} has negative distances: {values[k, p]:.6g} for stimuli"
                f" {_describe_pair(n, p)} ({negative.sum():,} such values)",
                hint="--distance crossnobis for unbiased estimates; --repair clip-negative sets"
                " them to 0; --repair one-minus for similarities",
            )
        values = np.where(negative, 0, values).astype(values.dtype)
        notes.append(f"{negative.sum():,} negative distances set to 0")
    measured = ~np.isnan(values)
    if not measured.any(1).all():
        raise UserError(
            f"{titles[int(np.argmin(measured.any(1)))]} holds nothing but NaN",
            hint="leave it out: select others with --regions",
        )
    if "keep-unmeasured" not in repairs:
        _refuse_unmeasured(measured, titles, n)
    with np.errstate(invalid="ignore"):
        constant = np.nanmin(values, 1) == np.nanmax(values, 1)
    if constant.any() and values.shape[1] > 1 and "keep-constant" not in repairs:
        k = int(np.argmax(constant))
        raise UserError(
            f"{titles[k]} is constant: every distance is {np.nanmax(values[k]):.6g}",
            hint="an RDM without differences has no geometry; select others with --regions, or"
            " pass --repair keep-constant",
        )
    if missing := int((~measured).sum()):
        notes.append(f"{missing:,} of {values.size:,} distances not measured (NaN), kept")
    return values, notes


def _asymmetry_error(wrong: np.ndarray, squares: np.ndarray, titles: list[str]) -> UserError:
    k, a, b = np.argwhere(wrong)[0]
    half = _filled_half(squares[k])
    return UserError(
        f"{titles[k]} is not symmetric: {squares[k, a, b]:.6g} for stimuli {a + 1} and {b + 1},"
        f" {squares[k, b, a]:.6g} for {b + 1} and {a + 1} ({wrong.sum() // 2:,} such pairs)",
        hint=f"only its {half} triangle is filled: --repair mirror"
        if half
        else "--repair symmetrise takes the mean of both triangles",
    )


def _diagonal_error(
    off: np.ndarray,
    diagonal: np.ndarray,
    squares: np.ndarray,
    titles: list[str],
    similarities: bool,
) -> UserError:
    """Return the error for a diagonal `k n` of neither distances nor similarities."""
    k, a = np.argwhere(off)[0]
    fact = (
        f"{titles[k]} has {diagonal[k, a]:.6g} on its diagonal at stimulus {a + 1}"
        f" ({off.sum():,} such values)"
    )
    if similarities:
        return UserError(
            f"{fact}; a stimulus has similarity 1 to itself",
            hint="covariances and counts are no similarities: divide by the root of both stimuli's"
            " diagonal values first; --repair zero-diagonal as well ignores the diagonal",
        )
    near = tolerance(squares)
    is_one = (np.abs(diagonal[k] - 1) <= near).all() and np.nanmax(squares[k]) <= 1 + near
    return UserError(
        f"{fact}; a stimulus is at distance 0 from itself",
        hint="these look like similarities: --repair one-minus"
        if is_one
        else "--repair zero-diagonal ignores the diagonal",
    )


def _remove_infinities(
    values: np.ndarray, titles: list[str], repairs: Collection[str], notes: list[str]
) -> np.ndarray:
    infinite = np.isinf(values)
    if not infinite.any():
        return values
    if "inf-as-nan" in repairs:
        notes.append(f"{infinite.sum():,} infinite values imported as not measured")
        return np.where(infinite, np.nan, values).astype(values.dtype)
    k, *at = np.argwhere(infinite)[0]
    where = f"stimuli {at[0] + 1} and {at[1] + 1}" if len(at) == 2 else f"pair {at[0] + 1}"
    raise UserError(
        f"{titles[k]} is infinite at {where} ({infinite.sum():,} such values)",
        hint="--repair inf-as-nan imports them as not measured",
    )


def _filled_half(square: np.ndarray) -> str:
    """Return 'upper' or 'lower' if only that triangle has values other than zero and NaN."""
    i, j = np.triu_indices(len(square), 1)
    upper, lower = (
        bool(np.nan_to_num(triangle).any()) for triangle in (square[i, j], square[j, i])
    )
    return "" if upper == lower else "upper" if upper else "lower"


def _refuse_unmeasured(measured: np.ndarray, titles: list[str], n: int) -> None:
    i, j = np.triu_indices(n, 1)
    for k in np.flatnonzero(~measured.all(1)):
        counts = np.bincount(i[measured[k]], minlength=n) + np.bincount(j[measured[k]], minlength=n)
        if not counts.all():
            alone = [str(stimulus) for stimulus in np.flatnonzero(counts == 0) + 1]
            raise UserError(
                f"{titles[k]} has no measured distance for {len(alone)} of {n} stimuli:"
                f" {', '.join(alone[:10])}{', …' * (len(alone) > 10)}",
                hint="--repair keep-unmeasured imports them, their pairs as not measured",
            )


def _describe_pair(n: int, at: int) -> str:
    i, j = np.triu_indices(n, 1)
    return f"{i[at] + 1} and {j[at] + 1}"
