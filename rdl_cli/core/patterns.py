"""Select names by glob: layers, regions, anything that has a list of names."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from rdl_cli.core.errors import unknown_name


def match_names(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a glob matches, in order; a name equal to it matches alone."""
    names = list(names)
    if pattern in names:
        return [pattern]
    return [name for name in names if fnmatchcase(name, pattern)]


def select_names(patterns: Iterable[str], names: Iterable[str], what: str = "layer") -> list[str]:
    """Return the names that the patterns match, in the order of the patterns, without repeats.

    Args:
        patterns: names or globs (`pool*`).
        names: all names; within one glob their order is kept.
        what: the kind of name, for the message.

    Raises:
        UserError: a pattern matches no name; the message suggests the nearest one.

    >>> select_names(["fc", "pool*"], ["pool1", "pool2", "fc"])
    ['fc', 'pool1', 'pool2']
    """
    names = list(names)
    selected: dict[str, None] = {}
    for pattern in patterns:
        matches = match_names(pattern, names)
        if not matches:
            raise unknown_name(what, pattern, names)
        selected.update(dict.fromkeys(matches))
    return list(selected)
