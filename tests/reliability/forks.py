"""Make many calls in a forked process that is started again after a crash or a limit."""

import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rdl_cli.core.errors import UserError

CPU_SECONDS = 10.0
MEMORY = 2 * 2**30


class Outcome(NamedTuple):
    """How many calls were made and refused, and a line for each call that broke a promise."""

    calls: int
    refused: int
    problems: list[str]


def run_in_forks(call: Callable[[int], None], count: int, seconds: float = float("inf")) -> Outcome:
    """Make `count` calls, or as many as `seconds` allow.

    A UserError is a refusal. Another exception, a signal, 10 s of computing time, a minute of
    waiting or 2 GB more memory is a problem.
    """
    shared = mmap.mmap(-1, 4096)  # next call, refused calls
    shared[:16] = struct.pack("<qq", 0, 0)
    problems: list[str] = []
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "problems"
        log.touch()
        while _read(shared)[0] < count and time.monotonic() < end:
            child = os.fork()
            if child == 0:
                _work(call, count, end, shared, log)
            status = _wait(child, shared)
            if status:
                reached, refused = _read(shared)
                if len(problems) < 20:
                    problems.append(f"call {reached}: {_describe(status)}")
                shared[:16] = struct.pack("<qq", reached + 1, refused)
        problems += log.read_text("utf-8").splitlines()
    return Outcome(*_read(shared), problems)


def _read(shared: mmap.mmap) -> tuple[int, int]:
    return struct.unpack("<qq", shared[:16])


def _work(
    call: Callable[[int], None], count: int, end: float, shared: mmap.mmap, log: Path
) -> None:
    """Make calls from the next one on, and end the process."""
    try:
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        at, refused = _read(shared)
        broken = 0
        while at < count and time.monotonic() < end:
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            try:
                call(at)
            except UserError:
                refused += 1
            except BaseException as error:
                broken += 1
                if broken <= 20:
                    frame = traceback.extract_tb(error.__traceback__)[-1]
                    text = f"call {at}: {type(error).__name__}: {error}"[:300]
                    with log.open("a", encoding="utf-8") as file:
                        place = f"{Path(frame.filename).name}:{frame.lineno}"
                        file.write(f"{' '.join(text.split())} ({place})\n")
            at += 1
            shared[:16] = struct.pack("<qq", at, refused)
    finally:
        os._exit(0)


def _wait(child: int, shared: mmap.mmap) -> int:
    """Wait for the process to end; kill it when one call takes a minute. Return its status."""
    at, since = -1, time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        now = _read(shared)[0]
        if now != at:
            at, since = now, time.monotonic()
        elif time.monotonic() - since > 60:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGPROF:
        return f"over {CPU_SECONDS:.0f} s"
    return "over a minute" if code == -signal.SIGKILL else f"ended with {code}"
