"""Check values from a TOML file against the types of settings, and name those types."""

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


def has_type(value: Any, annotation: Any) -> bool:
    """Return whether a TOML value has a type. Whole numbers are numbers; true and false are not."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return value in inner
    if kind in (Union, UnionType):
        return any(has_type(value, inner_type) for inner_type in inner)
    if kind is list:
        return isinstance(value, list) and all(has_type(item, inner[0]) for item in value)
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    return isinstance(value, str if annotation is Path else annotation)


def type_name(annotation: Any) -> str:
    """Return a type in words."""
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(
            type_name(part) for part in get_args(annotation) if part is not type(None)
        )
    return WORDS[annotation]
