"""No change of a listed file goes unnoticed; what is not listed is left alone."""

import hashlib
import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from rdl_cli.core.checksum import (
    MANIFEST,
    format_manifest,
    parse_manifest,
    pixel_digests,
    read_manifest,
    verify_file,
    verify_zip,
)
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest

DIGESTS = {"a.csv": "0" * 64, "layers/a%2Eb": "f" * 64}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    (tmp_path / MANIFEST).write_text(format_manifest({"file": file_digest(path)}))
    return path


def test_format_manifest_is_read_back() -> None:
    assert parse_manifest(format_manifest(DIGESTS)) == DIGESTS
    assert parse_manifest(format_manifest({})) == {}


def test_format_manifest_is_the_format_of_sha256sum() -> None:
    lines = f"{'0' * 64}  a.csv\n{'f' * 64}  layers/a%2Eb\n"
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert format_manifest(DIGESTS) == f"# rdl-checksums {digest}\n{lines}"


def test_parse_manifest_notices_every_flipped_bit() -> None:
    content = format_manifest(DIGESTS).encode()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytes([content[place] ^ 1 << bit])
            with pytest.raises(ValueError, match=r"list of checksums|decode"):
                parse_manifest((content[:place] + flipped + content[place + 1 :]).decode())
    with pytest.raises(ValueError, match="list of checksums"):
        parse_manifest("")


def test_verify_file_notices_every_flipped_bit(listed: Path) -> None:
    assert verify_file(listed, "")
    content = listed.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytes([content[place] ^ 1 << bit])
            listed.write_bytes(content[:place] + flipped + content[place + 1 :])
            with pytest.raises(UserError, match="is damaged: it is not as it was") as error:
                verify_file(listed, "make it again")
            assert error.value.hint == "make it again"


def test_verify_file_notices_a_missing_file(listed: Path) -> None:
    listed.unlink()
    with pytest.raises(UserError, match="is gone"):
        verify_file(listed, "")


def test_verify_file_notices_a_damaged_manifest(listed: Path) -> None:
    listed.with_name(MANIFEST).write_text("# rdl-checksums 0\n")
    with pytest.raises(UserError, match=rf"{MANIFEST} is damaged"):
        verify_file(listed, "")


def test_verify_file_passes_what_is_not_listed(listed: Path) -> None:
    assert not verify_file(listed.with_name("other"), "")
    listed.with_name(MANIFEST).unlink()
    assert not verify_file(listed, "") and read_manifest(listed.parent, "") == {}


def test_verify_zip_lets_no_flipped_bit_change_a_tensor(tmp_path: Path) -> None:
    """torch.load checks no CRC, and reads nothing for a member that is marked as a folder."""
    torch.save(weights := torch.arange(4.0), buffer := io.BytesIO())
    content, path = buffer.getvalue(), tmp_path / "weights.pt"
    refused = 0
    for place in range(4, len(content)):
        for bit in range(8):
            flipped = bytes([content[place] ^ 1 << bit])
            path.write_bytes(content[:place] + flipped + content[place + 1 :])
            try:
                verify_zip(path, "")
                loaded = torch.load(path, weights_only=True)
            except Exception as error:
                refused += isinstance(error, UserError)
            else:
                assert torch.equal(loaded, weights), f"byte {place}, bit {bit}"
    assert refused > 8 * weights.nbytes


@pytest.mark.parametrize("cut", [4, 60, -1])
def test_verify_zip_notices_a_truncated_archive(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "file.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("data", "0123456789")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="is damaged") as error:
        verify_zip(path, "fetch it again")
    assert error.value.hint == "fetch it again"


def test_verify_zip_passes_other_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no archive")
    verify_zip(tmp_path / "file", "")


def test_pixel_digests_cover_shape_and_pixels() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    first, second = pixel_digests(images)
    assert first == hashlib.sha256(b"1,3,4;" + bytes(range(12))).hexdigest().encode()
    assert first != second
    assert pixel_digests(images.reshape(2, 1, 4, 3))[0] != first
    assert pixel_digests(images[:0]).shape == (0,)
