"""Whence a file came: command, configuration, versions, threads, commit, device and the fingerprints of its parents."""

import os
import platform
import shlex
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NotRequired, TypedDict

PACKAGES = ("rdl", "torch", "torchvision", "numpy", "scipy", "h5py", "lightning-fabric")


class Parent(TypedDict):
    """What a file was made from; `fingerprint` says which content it had then. A data set's path is its root folder.

    `layers` are those of a store that a student follows; the fingerprint is theirs, so that others may be added.
    """

    kind: str
    path: str
    fingerprint: str
    layers: NotRequired[list[str]]


def provenance(
    config: dict[str, Any], parents: list[Parent], device: str = "cpu", threads: int | None = None
) -> dict[str, Any]:
    return {
        "command": shlex.join(["rdl", *sys.argv[1:]]),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": config,
        "versions": versions(),
        "commit": _commit(),
        "machine": platform.platform(),
        "device": device,
        "threads": threads or os.cpu_count(),
        "parents": parents,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter for results."""
    installed = {name: version for name in PACKAGES if (version := _version(name))}
    return {"python": platform.python_version()} | installed


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _commit() -> str | None:
    """The commit of rdl's own checkout when first asked for, `+` where files differ from it; None where it is installed without one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if dirty else "")
