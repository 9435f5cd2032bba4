"""Read foreign files in a process of their own, with a time and a memory limit.

SciPy's MATLAB reader can crash on damaged files, HDF5 can hang, and a small compressed file can
unpack to gigabytes. A command starts one reading process when it reads its first foreign file. The
process returns arrays as .npy files and labels as JSON, never pickles; the command checks both.
The end of the process (crash, time, memory) is one UserError.
"""

import atexit
import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError, first_line
from rdl_cli.io.file_types import DAMAGED
from rdl_cli.io.raw_array import RawArray, find_arrays

CPU_SECONDS = 5.0
"""Computing time for a small file; 1 s more for each 10 MB."""

MEMORY = 2 * 2**30
"""Bytes for a small file, beside what the process needs itself; 4 times its size more."""

MAX_JSON = 2**28
"""Bytes of labels that the command accepts."""


DONE = b"done\n"
"""The reply when an answer is complete."""


def read_file(kind: str, path: Path, **options: Any) -> list[RawArray]:
    """Return the arrays of a foreign file, read in the reading process.

    Args:
        kind: a name of `readers()`.
        path: the file.
        options: JSON values, passed to the reader.

    Raises:
        UserError: the file has no such arrays, is damaged, or exceeds the limits.
    """
    if not _process().is_running():
        _process.cache_clear()
    try:
        return _process().read(kind, Path(path), options)
    except UserError:
        raise
    except BaseException:
        _process().stop()
        raise


class ReadingProcess:
    """The reading process, as its parent sees it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rdl-read-"))
        package = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # -P: without it a numpy.py in the current folder would be imported
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rdl_cli.io.child", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths} | threads,
        )
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # Windows cannot select pipes
        self._reader = threading.Thread(target=self._collect_replies, daemon=True)
        self._reader.start()
        atexit.register(self.stop)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process and delete its files."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in filter(None, (self._process.stdin, self._process.stdout)):
            with suppress(OSError):  # a request that was not read
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def read(self, kind: str, path: Path, options: dict[str, Any]) -> list[RawArray]:
        try:
            size = path.stat().st_size
        except OSError as error:
            hint = f"check the path; this folder is {Path.cwd()}"
            raise UserError(f"{path} could not be opened: {error.strerror}", hint=hint) from error
        budget, seconds = MEMORY + 4 * size, CPU_SECONDS + size / 1e7
        request = {"kind": kind, "path": str(path), "options": options, "cwd": str(Path.cwd())}
        limits = {"memory": budget, "cpu": seconds}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request | limits).encode() + b"\n")
            self._process.stdin.flush()
            reply = self._wait(6 * seconds, budget)
        except OSError:  # a broken pipe; Windows has other numbers for it
            reply = b""
        if reply != DONE:
            self.stop()
            raise _death(path, self._process.returncode, too_slow=reply is None)
        try:
            return _decode(self._folder, budget)
        except (ValueError, LookupError, TypeError, OSError) as error:
            self.stop()
            fact = f"{path} could not be read: its reader returned no valid arrays ({error})"
            raise UserError(fact, hint=DAMAGED) from error

    def _wait(self, seconds: float, budget: int) -> bytes | None:
        """Return the reply, empty when the process has ended, or None when it was too slow."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(queue.Empty):
                return self._replies.get(timeout=0.2)
            if sys.platform != "linux" and self._resident() > budget:  # limits are not enforced
                break
        return None

    def _collect_replies(self) -> None:
        """Pass the process's lines on, and an empty one at its end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(b"")

    def _resident(self) -> int:
        """Return the process's memory in bytes; 0 on Windows, which has no `ps`."""
        if sys.platform == "win32":
            return 0
        command = ["ps", "-o", "rss=", "-p", str(self._process.pid)]
        text = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        return 1024 * int(text) if text.isdigit() else 0


@functools.cache
def _process() -> ReadingProcess:
    return ReadingProcess()


def _death(path: Path, code: int, too_slow: bool) -> UserError:
    """Return the error for a reading process that ended without an answer."""
    limits = [-getattr(signal, name, 0) for name in ("SIGPROF", "SIGKILL")]
    if too_slow or (code < 0 and code in limits):
        fact = f"reading {path} took more time or memory than a file of its size needs"
    else:
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        fact = f"reading {path} crashed its parser ({name})"
    return UserError(fact, hint=DAMAGED)


def _decode(folder: Path, budget: int) -> list[RawArray]:
    """Return the arrays in a folder, checked. ValueError if they differ from their description."""
    answer = folder / "answer.json"
    if answer.stat().st_size > MAX_JSON:
        raise ValueError("too many labels")
    content = json.loads(answer.read_text("utf-8"))
    answer.unlink()
    if "error" in content:
        raise UserError(str(content["error"]), hint=content["hint"] and str(content["hint"]))
    texts = [
        {str(key): tuple(map(str, names)) for key, names in table.items()}
        for table in content["texts"]
    ]
    arrays = []
    for number, fields in enumerate(content["arrays"]):
        file = folder / f"{number}.npy"
        mapped = np.lib.format.open_memmap(file, mode="r")
        if mapped.dtype.str != fields["dtype"] or list(mapped.shape) != fields["shape"]:
            raise ValueError(f"array {number} is {mapped.dtype} {mapped.shape}")
        budget -= mapped.nbytes
        if budget < 0:
            raise ValueError("too many values")
        stimuli = fields["stimuli"]
        arrays.append(
            RawArray(
                region=str(fields["region"]),
                array=np.array(mapped),
                axes=tuple(map(str, fields["axes"])),
                subjects=tuple(map(str, fields["subjects"])),
                sessions=tuple(map(str, fields["sessions"])),
                times=tuple(map(float, fields["times"])),
                distance=str(fields["distance"]),
                stimuli=None if stimuli is None else tuple(map(str, stimuli)),
                texts=texts[fields["texts"]],
                is_rdm=bool(fields["is_rdm"]),
                notes=tuple(map(str, fields["notes"])),
            )
        )
        file.unlink()
    return arrays


def _encode(arrays: list[RawArray], folder: Path) -> dict[str, Any]:
    """Write arrays as .npy, and return their description; lists of texts occur once."""
    tables: list[dict[str, tuple[str, ...]]] = []
    described = []
    for number, raw in enumerate(arrays):
        np.save(folder / f"{number}.npy", raw.array, allow_pickle=False)
        if raw.texts not in tables[-1:]:
            tables.append(raw.texts)
        fields = {key: value for key, value in vars(raw).items() if key not in ("array", "texts")}
        fields |= {"texts": len(tables) - 1, "dtype": raw.array.dtype.str}
        described.append(fields | {"shape": list(raw.array.shape)})
    return {"arrays": described, "texts": tables}


def readers() -> dict[str, Callable[..., list[RawArray]]]:
    """Return the functions that the reading process can run, by name."""
    from rdl_cli.io.responses import read_response_arrays
    from rdl_cli.io.stimuli import read_stimulus_arrays

    return {
        "rdms": find_arrays,
        "responses": read_response_arrays,
        "stimuli": read_stimulus_arrays,
    }


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the description of the arrays that a request asks for, or of the error."""
    path = request["path"]
    try:
        with warnings.catch_warnings():
            # SciPy warns of an unreadable variable and returns its error text as the value
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)
            arrays = readers()[request["kind"]](Path(path), **request["options"])
            return _encode(arrays, folder)
    except UserError as error:
        return {"error": str(error), "hint": error.hint}
    except MemoryError:
        fact = f"{path} needs more than {request['memory'] / 1e9:.1f} GB to be read"
        return {"error": fact, "hint": DAMAGED}
    except Exception as error:
        fact = f"{path} could not be read: {type(error).__name__}: {first_line(error)[:200]}"
        return {"error": fact, "hint": DAMAGED}


def _limit(memory: int, cpu_seconds: float) -> None:
    """Limit this process's memory, on Linux, and its computing time from now on.

    On Windows neither is possible; the parent's clock is the only limit there.
    """
    if sys.platform == "win32":
        return
    import resource

    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends the process
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


def main(folder: Path) -> None:
    """Answer requests, one line of JSON each, until the parent closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and so the pipe
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", newline="\n")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["cwd"])
        _limit(request["memory"], request["cpu"])
        content = answer(request, folder)
        (folder / "answer.json").write_text(json.dumps(content), "utf-8")
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(DONE.decode())
        replies.flush()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
