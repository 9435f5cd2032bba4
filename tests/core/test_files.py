"""Files are whole or not there, whatever the disk does."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import (
    atomic_write,
    download,
    file_digest,
    locked_folder,
    remove_partials,
    write_text,
)

OURS = ".out.txt.0123abcd.rdl-partial"


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_write_replaces_a_file(tmp_path: Path) -> None:
    for data in (b"old", b"", bytearray(b"new"), memoryview(b"newer")):
        atomic_write(tmp_path / "out.txt", data)
        assert (tmp_path / "out.txt").read_bytes() == data
    assert list_names(tmp_path) == ["out.txt"]


class Disk:
    """Counts the system calls that change files, and fails at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, error: int):
        self.calls, self.fail_at, self.error = 0, fail_at, error
        for name in ("fsync", "open"):
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name)))
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda *paths: self.wrap(replace)(*paths))

    def wrap(self, function):
        def call(*args, **options):
            self.calls += 1
            if self.calls == self.fail_at:
                raise OSError(self.error, os.strerror(self.error))
            return function(*args, **options)

        return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_atomic_write_keeps_the_old_file_whichever_call_fails(tmp_path, error, monkeypatch):
    path, failures = tmp_path / "out.txt", 0
    path.write_bytes(b"old")
    for fail_at in range(1, 20):
        with monkeypatch.context() as patch:
            disk = Disk(patch, fail_at, error)
            try:
                atomic_write(path, b"new")
            except UserError as caught:
                failures += 1
                assert f"could not be written: {os.strerror(error)}" in str(caught)
                assert "half-written" in str(caught.hint)
        assert list_names(tmp_path) == ["out.txt"]
        assert path.read_bytes() in (b"old", b"new")
        if disk.calls < fail_at:
            break
        path.write_bytes(b"old")
    assert failures == fail_at - 1 >= 3


def test_atomic_write_on_a_full_disk_is_one_error(tmp_path: Path) -> None:
    """A limit on file size stands for a full disk, between the first byte and the last."""
    path = tmp_path / "out.txt"
    path.write_bytes(b"old")
    code = f"""
import resource, signal, sys
from pathlib import Path
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(Path({str(path)!r}), bytes(5000))
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "out.txt could not be written: File too large" in done.stdout
    assert path.read_bytes() == b"old" and list_names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_atomic_write_sweeps_what_a_kill_left(tmp_path: Path, call: str) -> None:
    path = tmp_path / "out.txt"
    code = f"""
import os, signal
from pathlib import Path
from rdl_cli.core import files
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if {call!r} == "write":
    files.commit = kill
elif {call!r} == "fsync":
    os.fsync = kill
else:
    Path.replace = kill
files.atomic_write(Path({str(path)!r}), b"half")
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -signal.SIGKILL and not path.exists()
    assert len(list_names(tmp_path)) == 1
    atomic_write(path, b"whole")
    assert list_names(tmp_path) == ["out.txt"]


def test_remove_partials_removes_our_files_only(tmp_path: Path) -> None:
    others = [
        ".out.txt.part",
        ".out.txt.mine.rdl-partial",
        ".out.txt.rdl-partial",
        ".other.txt.0123abcd.rdl-partial",
        "out.txt.0123abcd.rdl-partial",
        ".out.txt.0123abcde.rdl-partial",
    ]
    for name in (OURS, *others):
        (tmp_path / name).write_text("")
    remove_partials(tmp_path / "out.txt")
    assert list_names(tmp_path) == sorted(others)


def test_remove_partials_takes_names_that_look_like_patterns(tmp_path: Path) -> None:
    (tmp_path / ".a1.0123abcd.rdl-partial").write_text("")
    (tmp_path / ".a[1].0123abcd.rdl-partial").write_text("")
    remove_partials(tmp_path / "a[1]")
    assert list_names(tmp_path) == [".a1.0123abcd.rdl-partial"]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_remove_partials_leaves_files_that_are_being_written(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / OURS).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_partials(tmp_path / "out.txt")
        assert list_names(tmp_path) == [OURS]


def test_locked_folder_is_refused_to_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with (
        locked_folder(folder),
        pytest.raises(UserError, match="is being written by another process"),
        locked_folder(folder),
    ):
        pass
    with locked_folder(folder):
        pass


@pytest.mark.parametrize("path", ["missing/out.txt", "file/out.txt", "folder"])
def test_write_text_reports_a_place_that_takes_no_file(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="could not be written"):
        write_text(tmp_path / path, "text")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_write_text_gives_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "out.txt", "text")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


def test_write_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "out.txt", "Müller, α = ½")
    assert (tmp_path / "out.txt").read_bytes() == "Müller, α = ½".encode()


def test_file_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\x00" * 3_000_000)
    assert file_digest(tmp_path / "bytes") == hashlib.sha256(b"\x00" * 3_000_000).hexdigest()


def test_download_writes_the_file_of_the_digest_or_none(tmp_path):
    source, path = tmp_path / "source", tmp_path / "new/file"
    source.write_bytes(b"measured")
    digest = hashlib.sha256(b"measured").hexdigest()
    with pytest.raises(
        UserError, match=f"another file: 8 bytes of SHA-256 {digest}; expected 0000"
    ) as caught:
        download(source.as_uri(), path, "0" * 64)
    assert "--data-root" in caught.value.hint and str(path) in caught.value.hint
    with pytest.raises(UserError, match="could not be downloaded"):
        download((tmp_path / "nowhere").as_uri(), path, digest)
    assert list_names(tmp_path) == ["source"]
    download(source.as_uri(), path, digest)
    assert path.read_bytes() == b"measured" and list_names(path.parent) == ["file"]
    with pytest.raises(UserError, match="could not be written"):
        download(source.as_uri(), source / "below", digest)


def test_download_reports_a_missing_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/file could not be downloaded") as caught:
        download("http://127.0.0.1:9/file", tmp_path / "file", "0" * 64)
    assert "--data-root" in caught.value.hint and not any(tmp_path.iterdir())
