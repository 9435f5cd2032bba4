"""The one rule by which names of stimuli match, in RDMs, images and tables of categories.

Equal names match, whether composed or decomposed (macOS writes `ü` as two characters). Otherwise a
name matches without folders and without an image suffix, where that is unique.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from rdl_cli.core.errors import UserError

# fmt: off
IMAGE_SUFFIXES = (
    "png", "jpg", "jpeg", "jpe", "bmp", "dib", "gif", "tif", "tiff", "webp", "ppm", "pgm", "pbm",
    "pnm", "avif", "jp2", "tga", "ico", "npy",
)
# fmt: on
"""Only these are cut: in `001.Albatross` the rest is part of the name."""


def normalize_name(name: str) -> str:
    """Return a name with composed characters (NFC)."""
    return unicodedata.normalize("NFC", name)


def shorten_name(name: str) -> str:
    """Return a name without folders and image suffix.

    >>> shorten_name("birds/001.Albatross.png"), shorten_name("001.Albatross")
    ('001.Albatross', '001.Albatross')
    """
    last = normalize_name(name).replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = last.rpartition(".")
    return stem if dot and stem and suffix.lower() in IMAGE_SUFFIXES else last


def find_names(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the row in `known` of every name, -1 where there is none.

    >>> find_names(["b", "a.png"], ["a", "b.png", "c"])
    [1, 0]
    """
    rows = {normalize_name(name): row for row, name in enumerate(known)}
    short = [shorten_name(name) for name in known]
    counts = Counter(short)
    short_rows = {name: row for row, name in enumerate(short) if counts[name] == 1}
    return [rows.get(normalize_name(n), short_rows.get(shorten_name(n), -1)) for n in names]


def match_stimuli(names: Sequence[str], known: Sequence[str], what: str) -> list[int]:
    """Return the row in `known` of every name. UserError if one has none, or two have the same.

    Args:
        names: the stimuli.
        known: the names of their images or categories.
        what: the kind of thing that has these names, for the message: `image`.
    """
    rows = find_names(names, known)
    hint = "pass --names FILE with the names of the images, in the order of the RDMs' rows"
    if missing := [name for name, row in zip(names, rows, strict=True) if row < 0]:
        raise UserError(
            f"{len(missing)} of {len(names)} stimuli have no {what} of their name:"
            f" {', '.join(missing[:5])}",
            hint=f"there are {', '.join(known[:3])}{', …' * (len(known) > 3)}; {hint}",
        )
    if repeated := [known[row] for row, count in Counter(rows).items() if count > 1]:
        raise UserError(f"two stimuli match the {what} `{repeated[0]}`", hint=hint)
    return rows
