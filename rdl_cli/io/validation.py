"""What can be wrong with an RDM: each fault is named with its values, and repaired only when it is asked for by name."""

from collections.abc import Collection

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.io.axes import is_asymmetric, tolerance

REPAIRS = {
    "symmetrise": "the mean of the two triangles, where they differ",
    "mirror": "the triangle that is filled stands for both, where the other is zero or NaN",
    "zero-diagonal": "what stands on the diagonal is ignored",
    "one-minus": "the values are similarities: 1 - s is imported",
    "clip-negative": "negative distances become 0",
    "inf-as-nan": "infinite values count as not measured",
    "keep-constant": "an RDM whose distances are all equal is imported",
    "keep-unmeasured": "stimuli without any measured distance are imported",
}
"""Name of a repair → what it does."""

CROSS_VALIDATED = ("crossnobis", "poisson_cv")
"""Distances whose unbiased estimates are negative where the truth is near 0."""


def check_repair_names(repairs: Collection[str]) -> None:
    for repair in repairs:
        if repair not in REPAIRS:
            raise unknown_name(
                "repair",
                repair,
                REPAIRS,
                hint="; ".join(f"{name}: {what}" for name, what in REPAIRS.items()),
            )


def to_condensed(
    squares: np.ndarray, titles: list[str], repairs: Collection[str]
) -> tuple[np.ndarray, list[str]]:
    """The upper triangles of `k n n`, bit for bit where they needed no repair, and what was done. UserError names a fault."""
    said: list[str] = []
    n = squares.shape[-1]
    i, j = np.triu_indices(n, 1)
    squares = _without_infinities(squares, titles, repairs, said)
    diagonal = np.nan_to_num(np.diagonal(squares, axis1=1, axis2=2))
    if "mirror" in repairs:
        squares = squares.copy()
        for k, half in enumerate(map(_filled_half, squares)):
            if half:
                said.append(f"{titles[k]}: {half} triangle taken for both")
                squares[k] = squares[k].T if half == "lower" else squares[k]
                squares[k][j, i] = squares[k][i, j]
    if (wrong := is_asymmetric(squares)).any():
        if "symmetrise" not in repairs:
            k, a, b = np.argwhere(wrong)[0]
            half = _filled_half(squares[k])
            raise UserError(
                f"{titles[k]} is not symmetric: {squares[k, a, b]:.6g} for stimuli {a + 1} and {b + 1},"
                f" {squares[k, b, a]:.6g} for {b + 1} and {a + 1} ({wrong.sum() // 2:,} such pairs)",
                hint=f"its {half} triangle alone is filled: --repair mirror"
                if half
                else "--repair symmetrise takes the mean of both triangles",
            )
        squares = np.where(wrong, (squares + np.swapaxes(squares, 1, 2)) / 2, squares)
        said.append(f"{wrong.sum() // 2:,} asymmetric pairs averaged")
    off = np.abs(diagonal) > tolerance(squares)
    if "one-minus" in repairs:  # where the diagonal was left out it is 0 or NaN
        off &= np.abs(diagonal - 1) > tolerance(squares)
    if off.any():
        if "zero-diagonal" not in repairs:
            raise _of_diagonal(off, diagonal, squares, titles, "one-minus" in repairs)
        said.append("the diagonal was not zero and was ignored")
    return np.ascontiguousarray(squares[:, i, j]), said


def validate(
    values: np.ndarray, titles: list[str], n: int, distance: str, repairs: Collection[str]
) -> tuple[np.ndarray, list[str]]:
    """The distances `k pairs` as they are, or as the repairs leave them, and what was done. UserError names a fault."""
    said: list[str] = []
    values = _without_infinities(values, titles, repairs, said)
    if "one-minus" in repairs:
        values = (1 - values).astype(values.dtype)
        said.append("similarities, 1 - s taken")
    negative = values < -tolerance(values)
    if negative.any() and distance not in CROSS_VALIDATED:
        if "clip-negative" in repairs:
            values = np.where(negative, 0, values).astype(values.dtype)
            said.append(f"{negative.sum():,} negative distances set to 0")
        else:
            k, p = np.argwhere(negative)[0]
            raise UserError(
                f"{titles[k]} has negative distances: {values[k, p]:.6g} for stimuli {_pair(n, p)} ({negative.sum():,} such values)",
                hint="--distance crossnobis says that they are unbiased estimates; --repair clip-negative sets them to 0;"
                " --repair one-minus is for similarities",
            )
    measured = ~np.isnan(values)
    if not (measured.any(1)).all():
        raise UserError(
            f"{titles[int(np.argmin(measured.any(1)))]} holds nothing but NaN",
            hint="leave it out: --regions names those that are wanted",
        )
    if "keep-unmeasured" not in repairs:
        _refuse_unmeasured(measured, titles, n)
    with np.errstate(invalid="ignore"):
        constant = np.nanmin(values, 1) == np.nanmax(values, 1)
    if constant.any() and values.shape[1] > 1 and "keep-constant" not in repairs:
        k = int(np.argmax(constant))
        raise UserError(
            f"{titles[k]} is constant: every distance is {np.nanmax(values[k]):.6g}",
            hint="an RDM without differences has no geometry to teach; --regions names those that are wanted,"
            " --repair keep-constant imports it all the same",
        )
    if missing := int((~measured).sum()):
        said.append(f"{missing:,} of {values.size:,} distances not measured (NaN), kept")
    return values, said


def _of_diagonal(
    off: np.ndarray,
    diagonal: np.ndarray,
    squares: np.ndarray,
    titles: list[str],
    similarities: bool,
) -> UserError:
    """The error for a diagonal `k n` that is none of a distance, or none of a similarity, where `off` says."""
    k, a = np.argwhere(off)[0]
    found = f"{titles[k]} has {diagonal[k, a]:.6g} on its diagonal at stimulus {a + 1} ({off.sum():,} such values)"
    if similarities:
        return UserError(
            f"{found}; a stimulus has similarity 1 to itself",
            hint="covariances and counts are no similarities: divide by the root of both stimuli's diagonal values first;"
            " --repair zero-diagonal as well ignores the diagonal",
        )
    like = (np.abs(diagonal[k] - 1) <= tolerance(squares)).all() and np.nanmax(
        squares[k]
    ) <= 1 + tolerance(squares)
    return UserError(
        f"{found}; a stimulus is at distance 0 from itself",
        hint="these look like similarities: --repair one-minus"
        if like
        else "--repair zero-diagonal ignores the diagonal",
    )


def _without_infinities(
    values: np.ndarray, titles: list[str], repairs: Collection[str], said: list[str]
) -> np.ndarray:
    infinite = np.isinf(values)
    if not infinite.any():
        return values
    if "inf-as-nan" in repairs:
        said.append(f"{infinite.sum():,} infinite values count as not measured")
        return np.where(infinite, np.nan, values).astype(values.dtype)
    k, *at = np.argwhere(infinite)[0]
    where = f"stimuli {at[0] + 1} and {at[1] + 1}" if len(at) == 2 else f"pair {at[0] + 1}"
    raise UserError(
        f"{titles[k]} is infinite at {where} ({infinite.sum():,} such values)",
        hint="--repair inf-as-nan counts them as not measured",
    )


def _filled_half(square: np.ndarray) -> str:
    """'upper' or 'lower' where the other triangle is all zero or all NaN; '' where both are filled, or none."""
    i, j = np.triu_indices(len(square), 1)
    upper, lower = (
        bool(np.nan_to_num(triangle).any()) for triangle in (square[i, j], square[j, i])
    )
    return "" if upper == lower else "upper" if upper else "lower"


def _refuse_unmeasured(measured: np.ndarray, titles: list[str], n: int) -> None:
    i, j = np.triu_indices(n, 1)
    for k in np.flatnonzero(~measured.all(1)):
        seen = np.bincount(i[measured[k]], minlength=n) + np.bincount(j[measured[k]], minlength=n)
        if not seen.all():
            lonely = [str(stimulus) for stimulus in np.flatnonzero(seen == 0) + 1]
            raise UserError(
                f"{titles[k]} has no measured distance for {len(lonely)} of {n} stimuli:"
                f" {', '.join(lonely[:10])}{', …' * (len(lonely) > 10)}",
                hint="--repair keep-unmeasured imports them; their pairs then count as not measured",
            )


def _pair(n: int, place: int) -> str:
    i, j = np.triu_indices(n, 1)
    return f"{i[place] + 1} and {j[place] + 1}"
