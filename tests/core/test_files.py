"""A file exists only when it is whole."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write, download, file_digest, write_text


def test_a_file_appears_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with atomic_write(path) as beside:
        beside.write_text("half")
        assert not path.exists()
        assert beside.parent == tmp_path  # another disk could not be renamed from
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_new(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.txt"
    with pytest.raises(failure), atomic_write(path) as beside:
        beside.write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as beside:
        beside.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with (
        pytest.raises(UserError, match="could not be written: No space left on device") as caught,
        atomic_write(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "half-written" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["missing/out.txt", "file/out.txt", "folder"])
def test_a_place_that_takes_no_file_is_one_sentence(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="could not be written"):
        write_text(tmp_path / path, "text")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_has_the_permissions_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "out.txt", "text")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "out.txt", "Müller, α = ½")
    assert (tmp_path / "out.txt").read_bytes() == "Müller, α = ½".encode()


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\x00" * 3_000_000)
    assert file_digest(tmp_path / "bytes") == hashlib.sha256(b"\x00" * 3_000_000).hexdigest()


def test_a_download_is_whole_and_of_its_digest_or_absent(tmp_path):
    source, kept = tmp_path / "source", tmp_path / "new/kept"
    source.write_bytes(b"measured")
    digest = hashlib.sha256(b"measured").hexdigest()
    with pytest.raises(
        UserError, match=f"another file: 8 bytes of SHA-256 {digest}, expected was 0000"
    ) as caught:
        download(source.as_uri(), kept, "0" * 64)
    assert "--data-root" in caught.value.hint and str(kept) in caught.value.hint
    with pytest.raises(UserError, match="could not be downloaded"):
        download((tmp_path / "nowhere").as_uri(), kept, digest)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    download(source.as_uri(), kept, digest)
    assert kept.read_bytes() == b"measured" and [path.name for path in kept.parent.iterdir()] == [
        "kept"
    ]
    with pytest.raises(UserError, match="could not be written"):
        download(source.as_uri(), source / "below", digest)


def test_a_machine_without_a_network_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/file could not be downloaded") as caught:
        download("http://127.0.0.1:9/file", tmp_path / "kept", "0" * 64)
    assert "--data-root" in caught.value.hint and not any(tmp_path.iterdir())
