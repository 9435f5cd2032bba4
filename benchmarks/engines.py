"""Run one recipe on every engine that is here; the results must be equal to the last bit.

    python benchmarks/engines.py [--recipe digits] [--full] [--slurm partition=low,cpus=1]

Prints the wall time of each engine, each run with one thread, and the machine's load. Dask's
scheduler and two workers are started for it; Slurm has to run already (docs/cluster.md).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IGNORED = (".json", ".html")
"""Results that name commands and times."""


def run_recipe(folder: Path, recipe: str, options: list[str]) -> float:
    """Run the recipe in the folder and return the seconds it took."""
    command = [sys.executable, "-m", "rdl_cli", "reproduce", recipe, "--out", "out", *options]
    start = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.monotonic() - start


def digest_results(folder: Path) -> str:
    """Return one SHA-256 of all weights, predictions, tables and figures."""
    digest = hashlib.sha256()
    for path in sorted((folder / "out").rglob("*")):
        is_result = path.parent.name == "results" and path.suffix not in IGNORED
        if path.is_file() and (is_result or path.name in ("model.safetensors", "predictions.h5")):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def start_dask(folder: Path) -> tuple[list[subprocess.Popen], str]:
    """Start a scheduler and two workers. Return them and the scheduler's address."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    local = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *local], **quiet)]
    while not file.is_file() or not file.read_text():
        time.sleep(0.1)
    worker = [*dask, "worker", *local, "--nthreads", "1", "--no-nanny"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes += [subprocess.Popen(worker, env=environment, **quiet) for _ in range(2)]
    return processes, json.loads(file.read_text())["address"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--full", action="store_true", help="without --quick")
    parser.add_argument("--slurm", default="", help="options of --cluster slurm:...")
    arguments = parser.parse_args()
    size = [] if arguments.full else ["--quick"]
    with tempfile.TemporaryDirectory() as folder:
        processes, address = start_dask(Path(folder))
        engines = {
            "one process": [],
            "--workers 2": ["--workers", "2"],
            "Dask, 2 workers": ["--cluster", f"dask:{address}"],
        }
        if arguments.slurm:
            engines["Slurm"] = ["--cluster", f"slurm:{arguments.slurm}"]
        digests = {}
        try:
            for number, (name, options) in enumerate(engines.items()):
                place = Path(folder) / str(number)
                place.mkdir()
                seconds = run_recipe(place, arguments.recipe, [*size, *options])
                digests[name] = digest_results(place)
                print(f"{name}: {seconds:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        finally:
            for process in processes:
                process.terminate()
    assert len(set(digests.values())) == 1, f"the results differ: {digests}"
    print(f"all results are equal: {next(iter(digests.values()))[:16]}")


if __name__ == "__main__":
    main()
