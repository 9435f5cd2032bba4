"""A sealed file tells whether it is still what was written: bits flip on disks and in copies, and neither HDF5 nor safetensors notices.

Somewhere in the file stand `rdl-sha256:` and 64 hexadecimal digits, the SHA-256 of the whole file with zeros in their
place. So the seal goes where the file goes, and needs no second file.
"""

import hashlib
from pathlib import Path

from rdl_cli.core.errors import UserError

MARK = b"rdl-sha256:"
ZEROS = b"0" * 64
OPEN = (MARK + ZEROS).decode()
"""What a file holds where its seal is to be."""


def write_checksum(path: Path) -> None:
    """Put the digest into a file that holds an open seal."""
    content = path.read_bytes()
    place = content.find(OPEN.encode())
    assert place >= 0, f"{path} has no place for a seal"
    with path.open("r+b") as file:
        file.seek(place + len(MARK))
        file.write(hashlib.sha256(content).hexdigest().encode())


def verify_checksum(path: Path, hint: str) -> bool:
    """Whether there is a seal: without one a file is another program's, or older, and nothing is known of it.

    UserError where the file is not what was sealed.
    """
    content = path.read_bytes()
    place = content.find(MARK)
    if place < 0:
        return False
    start = place + len(MARK)
    said = content[start : start + 64]
    whole = hashlib.sha256(content[:start])
    whole.update(ZEROS)
    whole.update(memoryview(content)[start + 64 :])
    if said != whole.hexdigest().encode():
        raise UserError(f"{path} is damaged: it is not what was written", hint=hint)
    return True
