"""Functions on settings: ranges, flags, lists and entries of config.toml. No torch."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rdl_cli.core.errors import UserError


def split_commas(texts: Iterable[str]) -> list[str]:
    """Return the items of an option that is repeated or separated by commas, without blanks."""
    return [word for text in texts for word in map(str.strip, text.split(",")) if word]


def require_at_least(settings: Any, **minimums: int) -> None:
    """Raise UserError if a setting is below its minimum."""
    for name, minimum in minimums.items():
        if (value := getattr(settings, name)) is not None and value < minimum:
            raise UserError(f"{to_flag(name)} is {value}; at least {minimum} is needed")


def reject_options(settings: Any, names: Iterable[str], why: str, hint: str) -> None:
    """Raise UserError if a setting without effect is not at its default."""
    defaults = type(settings)()
    for name in names:
        if (value := getattr(settings, name)) != getattr(defaults, name):
            text = to_flag(name) if value is True else f"{to_flag(name)} {value}"
            raise UserError(f"{text} {why}", hint=hint)


def to_flag(name: str) -> str:
    """Return a setting's flag: `image_size` → `--image-size`."""
    return "--" + name.rstrip("_").replace("_", "-")


def to_config(settings: Any) -> dict[str, Any]:
    """Return the settings for config.toml, without those that are empty."""
    return {
        name: value
        for name, value in asdict(settings).items()
        if value is not None and value != "" and value != []
    }
