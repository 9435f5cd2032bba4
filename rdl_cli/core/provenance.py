"""Record how a file was made: command, configuration, versions, machine, and its parents."""

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
    """A file or data set that another file was made from.

    `fingerprint` identifies its content then. The path of a data set is its root folder. `layers`
    are those of a store that a student follows; the fingerprint is theirs, so that layers may be
    added to the store.
    """

    kind: str
    path: str
    fingerprint: str
    layers: NotRequired[list[str]]


def collect_provenance(
    config: dict[str, Any],
    parents: list[Parent],
    device: str = "cpu",
    threads: int | None = None,
    world_size: int = 1,
) -> dict[str, Any]:
    """Return how a file is being made, as plain data for JSON. `world_size` counts processes."""
    return {
        "command": shlex.join(["rdl", *sys.argv[1:]]),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": config,
        "versions": versions(),
        "commit": _commit(),
        "machine": platform.platform(),
        "processor": find_processor(),
        "device": device,
        "threads": threads or os.cpu_count(),
        "world_size": world_size,
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
def find_processor() -> str:
    """Return the processor's model, which float results can depend on; "" if unknown."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor()


@cache
def _commit() -> str | None:
    """Return the commit of rdl's checkout, with `+` if files differ; None without a checkout."""
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
