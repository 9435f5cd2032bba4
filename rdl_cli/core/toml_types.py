"""Whether a value from a TOML file is of the type that a setting is annotated with, and that type in words."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a text",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    list[str]: "a list of texts",
    list[Path]: "a list of texts",
}


def has_type(value: Any, wanted: Any) -> bool:
    """Whether a value of TOML is of an annotated type; a whole number is a number too, and true is neither."""
    kind, inner = get_origin(wanted), get_args(wanted)
    if kind is Literal:
        return value in inner
    if kind in (Union, UnionType):
        return any(has_type(value, each) for each in inner)
    if kind is list:
        return isinstance(value, list) and all(has_type(each, inner[0]) for each in value)
    if wanted in (int, float):
        return isinstance(value, (int, wanted)) and not isinstance(value, bool)
    return isinstance(value, str if wanted is Path else wanted)


def type_name(wanted: Any) -> str:
    """A type in words."""
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    if get_origin(wanted) in (Union, UnionType):
        return " or ".join(type_name(each) for each in get_args(wanted) if each is not type(None))
    return WORDS[wanted]
