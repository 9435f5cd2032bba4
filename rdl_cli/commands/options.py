"""Functions on settings: ranges, flags, lists and entries of config.toml. No torch."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rdl_cli.core.errors import UserError


def split_commas(texts: Iterable[str]) -> list[str]:
    """Return the items of an option that is repeated or separated by commas, without blanks."""
    return [word for text in texts for word in map(str.strip, text.split(",")) if word]


MAX_SEEDS = 10_000


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `0..4` or `0,2,5`. UserError for others, and for one number alone."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\.\.(\d{1,9}))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"`{text}` is not a list of seeds", hint="write 0..4, or 0,2,5")
        count = int(match[2] or match[1]) - int(match[1]) + 1
        if len(seeds) + count > MAX_SEEDS:
            raise UserError(
                f"`{text}` has more than {MAX_SEEDS:,} seeds", hint="write fewer, such as 0..4"
            )
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if text.strip().isdecimal() and int(text):
        raise UserError(
            f"--seeds {text} can be read as {text} seeds, or as the one seed {text}",
            hint=f"pass --seeds 0..{int(text) - 1} for {text} runs, or --seed {text} for one",
        )
    repeated = [seed for seed, count in Counter(seeds).items() if count > 1]
    if repeated:
        raise UserError(f"`{text}` names the seed {repeated[0]} more than once")
    return seeds


def require_at_least(settings: Any, **minimums: int) -> None:
    """Raise UserError if a setting is below its minimum; the hint is the default."""
    defaults = type(settings)()
    for name, minimum in minimums.items():
        if (value := getattr(settings, name)) is not None and value < minimum:
            fact = f"{to_flag(name)} is {value}; at least {minimum} is needed"
            example = max(getattr(defaults, name) or minimum, minimum)
            raise UserError(fact, hint=f"use {to_flag(name)} {example}")


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
    """Return the settings for config.toml, without those that are empty and without trust."""
    return {
        name: value
        for name, value in asdict(settings).items()
        if value is not None and value != "" and value != [] and name != "trust"
    }
