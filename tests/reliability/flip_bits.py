"""Flip the bits of our own files, one at a time: a file is refused, or its values are the same.

    python tests/reliability/flip_bits.py [SECONDS]

Flips every bit of a small store and of each file of a small run, in random order, until SECONDS
for each file are over [600].
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from forks import Outcome, run_in_forks
from own_files import (
    RUN_READERS,
    read_store,
    read_tables_plainly,
    write_run,
    write_store,
    write_tables,
)


def write_files(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """Write all files; return the path and reader of each by name."""
    run = write_run(folder / "run")
    write_store(folder / "store.h5")
    write_tables(folder / "predictions.npz")
    files = {name: (run.path / name, read) for name, read in RUN_READERS.items()}
    return files | {
        "store.h5": (folder / "store.h5", read_store),
        "predictions.npz": (folder / "predictions.npz", read_tables_plainly),
    }


def flip_bits(path: Path, read: Callable[[Path], Any], count: int, seconds: float) -> Outcome:
    """Flip `count` bits of a file in random order, one in each call; write the file back."""
    content, before = path.read_bytes(), read(path)
    bits = list(range(8 * len(content)))
    random.Random(0).shuffle(bits)

    def call(at: int) -> None:
        place, bit = divmod(bits[at], 8)
        flipped = bytes([content[place] ^ 1 << bit])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])
        assert read(path) == before, f"byte {place}, bit {bit}: other values"

    try:
        return run_in_forks(call, min(count, len(bits)), seconds)
    finally:
        path.write_bytes(content)


def truncate(path: Path, read: Callable[[Path], Any], step: int = 1) -> Outcome:
    """Cut a file at every `step`-th byte; all cuts must be refused."""
    content, before = path.read_bytes(), read(path)

    def call(at: int) -> None:
        path.write_bytes(content[: at * step])
        assert read(path) == before, f"cut to {at * step} bytes: other values"

    try:
        return run_in_forks(call, -(-len(content) // step))
    finally:
        path.write_bytes(content)


def main() -> None:
    seconds = float([*sys.argv[1:], "600"][0])
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, read) in write_files(Path(folder)).items():
            started = time.monotonic()
            outcome = flip_bits(path, read, sys.maxsize, seconds)
            print(
                f"{name}: {outcome.calls:,} of {8 * path.stat().st_size:,} bits,"
                f" {outcome.refused:,} refused, {len(outcome.problems)} problems,"
                f" {time.monotonic() - started:.0f} s",
                *outcome.problems,
                sep="\n    ",
                flush=True,
            )


if __name__ == "__main__":
    main()
