"""The one error that a user meets, and the help that a wrong name deserves."""

from collections.abc import Iterable
from difflib import get_close_matches

MANY_NAMES = 30
"""Names in a hint; torchvision alone has 120 networks."""


class UserError(Exception):
    """A fact with its values; `hint` says the next step. The command line prints both and exits with code 2."""

    def __init__(self, fact: str, hint: str | None = None):
        super().__init__(fact)
        self.hint = hint


class Diverged(UserError):
    """Training left the finite numbers. Its own kind, because among settings that are tried it is an answer."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is near."""
    lowered = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean `{lowered[near[0]]}`?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str | None = None) -> UserError:
    """The error for a name that is not there: names the nearest right one, and lists all of them (the nearest of very many) as the hint."""
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
    """What an error of another library says, without its explanations; its name where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
