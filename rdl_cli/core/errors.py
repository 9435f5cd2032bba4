"""The error that users see, and suggestions for wrong names."""

from collections.abc import Iterable
from difflib import get_close_matches

MANY_NAMES = 30
"""The most names in a hint; torchvision alone has 120 networks."""


class UserError(Exception):
    """A fact with its values, and the next step as `hint`. The CLI prints both and exits with 2."""

    def __init__(self, fact: str, hint: str | None = None):
        super().__init__(fact)
        self.hint = hint


class Diverged(UserError):
    """A loss is no longer finite. Tuning takes it as the result of a setting."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean `x`?", or "" if no known name is near."""
    lowered = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean `{lowered[near[0]]}`?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str | None = None) -> UserError:
    """Return the error of an unknown name.

    It suggests the nearest name. Its hint lists all of them, or the nearest of very many.
    """
    known = sorted(known)
    fact = f"there is no {kind} `{name}`{did_you_mean(name, known)}"
    if known and not hint:
        few = (
            known
            if len(known) <= MANY_NAMES
            else get_close_matches(name, known, n=MANY_NAMES, cutoff=0.0)
        )
        hint = f"{'an' if kind[0] in 'aeio' else 'a'} {kind} is one of: {', '.join(few)}"
        hint += f", … ({len(known):,} in all)" if len(few) < len(known) else ""
    return UserError(fact, hint=hint)


def first_line(error: Exception) -> str:
    """Return the first line of another library's error, or the error's name if it has no text."""
    return next(iter(str(error).splitlines()), type(error).__name__)
