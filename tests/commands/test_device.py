"""Devices by name; glibc keeps freed memory, and nothing changes elsewhere."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rdl_cli.commands.device import keep_freed_memory, resolve_device
from rdl_cli.core.errors import UserError

PROGRAM = """
import ctypes, re
from pathlib import Path
from rdl_cli.commands.device import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def growth(size):
    before = resident()
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    return (resident() - before) / size

print(round(growth(1 << 26)), keep_freed_memory("cpu"), round(growth(1 << 26)))
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="this system's C library is not glibc"
)
def test_keep_freed_memory_keeps_a_large_block() -> None:
    """Run in a process of its own: the change cannot be undone."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout.split() == ["0", "True", "1"]


@pytest.mark.parametrize(
    ("device", "library"),
    [("cpu", ("", "")), ("cpu", ("musl", "1.2")), ("cuda", ("glibc", "2.39"))],
)
def test_keep_freed_memory_changes_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, device: str, library: tuple[str, str]
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("a library was loaded"))
    assert not keep_freed_memory(device)


def test_resolve_device_refuses_one_without_float64() -> None:
    with pytest.raises(UserError, match="`mps` has no float64"):
        resolve_device("mps")
    assert resolve_device("cpu") == "cpu"
