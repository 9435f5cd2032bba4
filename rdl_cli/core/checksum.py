"""Digests that show whether content is still as it was written, for runs and stores alike.

A manifest lists a SHA-256 for each part of a store, or each file of a run, in the format that
`sha256sum -c` reads. Its first line holds the digest of the lines below it:

    # rdl-checksums <SHA-256 of all lines below>
    <SHA-256>  <name>
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import file_digest

MANIFEST = "checksums.txt"
"""The manifest of a folder."""

EMPTY = "0" * 64
"""A digest that is not known yet."""

HEADER = "# rdl-checksums "
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def format_manifest(digests: Mapping[str, str]) -> str:
    """Return the manifest of digests by name. Its length depends on the names only."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return f"{HEADER}{hashlib.sha256(lines.encode()).hexdigest()}\n{lines}"


def parse_manifest(text: str) -> dict[str, str]:
    """Return the digests by name. ValueError if the text is not as it was written."""
    header, _, lines = text.partition("\n")
    if header != HEADER + hashlib.sha256(lines.encode()).hexdigest():
        raise ValueError("the list of checksums is not as it was written")
    entries = [LINE.fullmatch(line) for line in lines.splitlines()]
    return {entry[2]: entry[1] for entry in entries if entry}


def read_manifest(folder: Path, hint: str) -> dict[str, str]:
    """Return the digests of a folder's files, none if it has no manifest. UserError if damaged."""
    path = folder / MANIFEST
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UserError(f"{path} is damaged: it is no file", hint=hint)
    try:
        return parse_manifest(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error


def verify_file(path: Path, hint: str) -> bool:
    """Return whether the manifest beside a file lists it. UserError if its bytes have changed."""
    digest = read_manifest(path.parent, hint).get(path.name)
    if digest is None:
        return False
    if not path.is_file():
        raise UserError(f"{path} is gone", hint=hint)
    if file_digest(path) != digest:
        raise UserError(f"{path} is damaged: it is not as it was written", hint=hint)
    return True


def verify_zip(path: Path, hint: str) -> None:
    """Raise UserError if a zip archive is damaged; do nothing if the file is not one.

    torch.load does not check the CRCs of a .pt file. Reading 100 MB takes 0.05 s.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return
        with ZipFile(path) as archive:
            bad = archive.testzip()
            # PyTorch skips a member that is marked as a folder, and reads memory in its place
            marked = [info.filename for info in archive.infolist() if info.external_attr & 0x10]
    except Exception as error:  # of zipfile, zlib, lzma or struct, by the kind of damage
        raise UserError(f"{path} is damaged: {first_line(error)}", hint=hint) from error
    if bad := bad or next(iter(marked), None):
        raise UserError(f"{path} is damaged: {bad} is not as it was written", hint=hint)


def pixel_digests(images: np.ndarray) -> np.ndarray:
    """Return the SHA-256 of the shape and pixels of each uint8 image (n, c, h, w), as S64 (n,).

    Hashed are the text `C,H,W;` in ASCII, for example `1,28,28;`, and then the C·H·W bytes of the
    image, channel by channel and row by row, before views and preprocessing.
    """
    assert images.dtype == np.uint8, f"a digest is taken of uint8 pixels, not of {images.dtype}"
    n, channels, height, width = images.shape
    start = hashlib.sha256(f"{channels},{height},{width};".encode())
    digests = np.empty(n, dtype="S64")
    for row in range(n):
        digest = start.copy()
        digest.update(images[row].tobytes())
        digests[row] = digest.hexdigest()
    return digests
