"""Claim a run, so that two processes never work on the same one. Works on disks without flock.

A claim is a file `.NAME.claim-N` beside the run, made with O_EXCL. It names the host and the
process, and a thread renews its modification time. A claim is stale when its process has ended on
this host, or when it was not renewed for STALE_SECONDS. A stale claim N is succeeded by N + 1,
which O_EXCL gives to one process only; so two processes never delete each other's claims.
"""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import make_folder

RENEW_SECONDS = 15.0
STALE_SECONDS = 180.0


class ClaimedError(UserError):
    """Another process works on the run."""


@dataclass(frozen=True)
class Claim:
    """A claim on disk and its process. `host` also tells containers of one host name apart."""

    path: Path
    number: int
    host: str
    pid: int

    def describe(self) -> str:
        return f"process {self.pid} on {self.host.split('/')[0]}"


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Claim the run or store at `path` for the block. ClaimedError where another process has it."""
    make_folder(path.parent)
    before = _claims(path)
    if before and not is_stale(before[-1]):
        raise _claimed(path, before[-1])
    number = before[-1].number + 1 if before else 1
    own = path.with_name(f".{path.name}.claim-{number}")
    record = json.dumps({"host": _host(), "pid": os.getpid()})
    try:
        with own.open("x", encoding="utf-8") as file:
            file.write(record)
    except FileExistsError:
        raise ClaimedError(f"{path} has just been claimed by another process") from None
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(own, stop), daemon=True)
    thread.start()
    try:
        others = [held for held in _claims(path) if held.number != number]
        for held in others:
            if not is_stale(held):  # both may give up here; both come back
                raise _claimed(path, held)
            held.path.unlink(missing_ok=True)
        yield
    finally:
        stop.set()
        thread.join()
        own.unlink(missing_ok=True)


def find_claim(path: Path) -> Claim | None:
    """Return the claim of the process that works on `path` now, None where none does."""
    claims = _claims(path)
    return claims[-1] if claims and not is_stale(claims[-1]) else None


def remove_stale_claims(path: Path) -> None:
    """Remove the claims of processes that have ended."""
    for held in _claims(path):
        if is_stale(held):
            held.path.unlink(missing_ok=True)


def is_stale(held: Claim) -> bool:
    """Return True if the process of the claim has ended, or did not renew it for minutes."""
    if held.host == _host() and not _is_running(held.pid):
        return True
    try:
        return _disk_time(held.path.parent) - held.path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return True


def _claims(path: Path) -> list[Claim]:
    """Return the claims of a run, the newest last."""
    claims = []
    prefix = f".{path.name}.claim-"
    with suppress(FileNotFoundError):
        for entry in path.parent.iterdir():
            number = entry.name.removeprefix(prefix)
            if entry.name.startswith(prefix) and number.isdecimal():
                claims.append(_read(entry, int(number)))
    return sorted(claims, key=lambda held: held.number)


def _read(path: Path, number: int) -> Claim:
    """Return a claim. A file of another machine that is still empty counts by its age."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Claim(path, number, str(record["host"]), int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Claim(path, number, "unknown host", 0)


def _renew(path: Path, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _disk_time(folder: Path) -> float:
    """Return the time by the clock of the disk's server, which may differ from this machine's."""
    with tempfile.TemporaryFile(dir=folder) as unnamed:
        return os.fstat(unnamed.fileno()).st_mtime


def _host() -> str:
    """Return host, boot and process namespace: a process id has a meaning only within these."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def _is_running(pid: int) -> bool:
    if pid == os.getpid() or os.name != "posix":  # elsewhere os.kill(pid, 0) is no question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return True for a process that was killed and whose parent has not yet taken notice."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def _claimed(path: Path, held: Claim) -> ClaimedError:
    return ClaimedError(
        f"{path} is being written by {held.describe()}",
        hint="wait until it ends, or choose another path",
    )
