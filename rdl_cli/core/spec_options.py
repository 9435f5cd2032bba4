"""Options of a registered factory: its keyword-only parameters, and values parsed from text."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from rdl_cli.core.errors import UserError, did_you_mean


def option_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a factory, by name."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some functions written in C have no signature
        return {}
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def option_types(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the type of each option: as annotated, else that of its default, else text."""
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (NameError, TypeError):  # names that only a type checker imports; callable objects
        hints = {}
    return {
        name: hints.get(name, _infer_type(option.default))
        for name, option in option_parameters(factory).items()
    }


def _infer_type(default: Any) -> Any:
    if isinstance(default, bool):
        return bool
    return int | float if isinstance(default, int | float) else str


def parse_value(text: str, kind: Any, where: str) -> Any:
    """Return a text as a value of the annotated type, else raise UserError."""
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        if text in choices:
            return choices[text]
        raise UserError(
            f"{where} is not a choice{did_you_mean(text, choices)}",
            hint=f"one of: {', '.join(choices)}",
        )
    if get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(kind):
            return None
        *others, last = [member for member in get_args(kind) if member is not type(None)]
        for member in others:
            try:
                return parse_value(text, member, where)
            except UserError:
                pass
        return parse_value(text, last, where)
    if kind is bool:
        if text.lower() in ("true", "yes", "1", "false", "no", "0"):
            return text.lower() in ("true", "yes", "1")
        raise UserError(f"{where} is neither true nor false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise UserError(f"{where} is not {number}") from None
    return text
