"""No bit of a sealed file can change unnoticed; what was never sealed is left alone."""

import hashlib
from pathlib import Path

import pytest

from rdl_cli.core.checksum import MARK, OPEN, verify_checksum, write_checksum
from rdl_cli.core.errors import UserError


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"before" + OPEN.encode() + b"after")
    write_checksum(path)
    return path


def test_the_seal_is_the_digest_of_the_file_with_zeros_in_its_place(sealed: Path) -> None:
    assert verify_checksum(sealed, "")
    digest = hashlib.sha256(b"before" + OPEN.encode() + b"after").hexdigest()
    assert sealed.read_bytes() == b"before" + MARK + digest.encode() + b"after"


def test_every_flipped_bit_is_noticed(sealed: Path) -> None:
    content = sealed.read_bytes()
    mark = range(
        content.find(MARK), content.find(MARK) + len(MARK)
    )  # without its mark it has no seal, and is otherwise whole
    for place in set(range(len(content))) - set(mark):
        for bit in range(8):
            sealed.write_bytes(
                content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            )
            with pytest.raises(UserError, match="is damaged: it is not what was written") as error:
                verify_checksum(sealed, "make it again")
            assert error.value.hint == "make it again"


@pytest.mark.parametrize(
    "change",
    [lambda content: content[:-1], lambda content: content + b"\0", lambda content: content[:40]],
)
def test_a_file_of_another_length_is_noticed(sealed: Path, change) -> None:
    sealed.write_bytes(change(sealed.read_bytes()))
    with pytest.raises(UserError, match="is damaged"):
        verify_checksum(sealed, "")


def test_a_file_without_a_seal_passes_and_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nothing")
    assert not verify_checksum(tmp_path / "file", "")
