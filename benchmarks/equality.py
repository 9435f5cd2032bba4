"""Run a fixed set of commands and check that every result equals the recorded one to the last bit.

    python benchmarks/equality.py --check benchmarks/equality.json [--groups digits]
    python benchmarks/equality.py --out benchmarks/equality.json        # record anew

equality.toml holds the commands. Results are read from the files that they leave: SHA-256 of each
array (predictions, weights, layers, RDMs), each number of .csv and .json as it is. MNIST and the
brain files come from the folder in RDL_SHARED (default ../shared). `--program FOLDER --names old`
runs an older checkout; equality.toml translates its names. Bits are comparable on one kind of
processor with the same PyTorch, NumPy and SciPy; elsewhere the check ends with exit code 2. There,
record with the older checkout first (`--out FILE`), then check against that file.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h5py
import numpy as np
from safetensors import safe_open

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LONGEST = 20
"""Differences of each kind that are printed; a longer list of texts is recorded as a digest."""

Results = dict[str, Any]
"""Name of a result, `folder/file/column`, to the digest of an array or the list of values."""


def digest_array(values: np.ndarray) -> str:
    """Return type, shape and SHA-256 of an array; texts count without the padding of their type."""
    if values.dtype.kind in "SUO":
        text = "\0".join(v.decode() if isinstance(v, bytes) else str(v) for v in values.reshape(-1))
        kind, content = "text", text.encode()
    else:
        kind, content = values.dtype.newbyteorder("<").name, np.ascontiguousarray(values).tobytes()
    shape = "x".join(map(str, values.shape))
    return f"{kind} {shape} {hashlib.sha256(content).hexdigest()}"


def read_hdf5(path: Path) -> Results:
    """Return a digest of each dataset; attributes are not results."""
    return {name: digest_array(values) for name, values in load_arrays(path).items()}


def read_unordered(path: Path) -> Results:
    """Return one digest of a store's rows in any order: label and activations of each stimulus."""
    arrays = {n: v for n, v in load_arrays(path).items() if n.endswith(("label", "activations"))}
    names = sorted(arrays)
    rows = [arrays[name] if name.endswith("label") else arrays[name][0] for name in names]
    joined = sorted(
        b"".join(row.tobytes() for row in stimulus) for stimulus in zip(*rows, strict=True)
    )
    return {f"rows of {', '.join(names)}": digest_array(np.frombuffer(b"".join(joined), np.uint8))}


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the datasets of an HDF5 file by name."""
    names: list[str] = []
    with h5py.File(path, locking=False) as file:
        file.visit(names.append)
        datasets = {n: file[n] for n in names if getattr(file[n], "shape", None) is not None}
        return {unquote(n): np.asarray(data[()]) for n, data in datasets.items()}


def read_weights(path: Path) -> Results:
    """Return a digest of each weight tensor."""
    with safe_open(path, "numpy") as file:
        return {name: digest_array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118


def read_csv(path: Path) -> Results:
    """Return each column with content as a list; a column `table` divides the file into tables."""
    out: Results = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            table = f"{row['table']}/" if "table" in row else ""
            for name, cell in row.items():
                out[table + name].append(parse_cell(cell))
    return {name: cells for name, cells in out.items() if any(cell != "" for cell in cells)}


def parse_cell(text: str) -> float | str:
    """Return the number that a cell holds, or else its text."""
    try:
        return float(text)
    except ValueError:
        return text


def read_json(path: Path) -> Results:
    """Return the values below each path of keys, in order; the positions in lists are left out."""
    out: dict[str, list[Any]] = defaultdict(list)

    def visit(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                visit(item, f"{name}/{key}" if name else key)
        elif isinstance(value, list):
            for item in value:
                visit(item, name)
        else:
            out[name].append(value)

    visit(json.loads(path.read_text(encoding="utf-8")), "")
    return out


READERS = {".h5": read_hdf5, ".safetensors": read_weights, ".csv": read_csv, ".json": read_json}


def read_results(
    folder: Path,
    ignored: list[str],
    names: dict[str, dict[str, str]],
    unordered: Sequence[str] = (),
) -> Results:
    """Return all results below a folder, under the planned names. Links are not followed."""
    out: Results = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in READERS or path.is_symlink():
            continue
        file = path.relative_to(folder).as_posix()
        read = read_unordered if file in unordered else READERS[path.suffix]
        for name, value in read(path).items():
            name = f"{file}/{name}"
            for pattern, replacement in names["results"].items():
                name = re.sub(pattern, replacement, name)
            if isinstance(value, list):
                value = [names["values"].get(v, v) if isinstance(v, str) else v for v in value]
                if len(value) > LONGEST and all(isinstance(v, str) for v in value):
                    value = digest_array(np.array(value))
            if not any(re.search(pattern, name) for pattern in ignored):
                assert name not in out, f"two results have the name {name}; mend equality.toml"
                out[name] = value
    return out


def parse_commands(text: str, options: dict[str, str], renames: dict[str, str]) -> list[list[str]]:
    """Return the words of each command, with shared options and the program's own option names."""
    lines = text.replace("\\\n", " ").strip().format(**options).splitlines()
    return [[renames.get(word, word) for word in shlex.split(line)] for line in lines]


def run_command(words: list[str], folder: Path, program: Path) -> str | None:
    """Run one command of the program in a folder; return its last line on stderr if it failed."""
    args, out = (words[:-2], words[-1]) if ">" in words else (words, "")
    env = {"PYTHONPATH": str(program), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    called = [sys.executable, "-P", "-c", "from rdl_cli.cli.main import main; main()", *args]
    done = subprocess.run(called, cwd=folder, env=os.environ | env, capture_output=True, text=True)
    if done.returncode:
        return f"exit code {done.returncode}: {' / '.join(done.stderr.strip().splitlines()[-2:])}"
    if out:
        (folder / out).write_text(done.stdout, encoding="utf-8")
    return None


def prepare_data(folder: Path, shared: Path, groups: list[str]) -> None:
    """Unpack MNIST and link the brain files, where the groups need them."""
    if "mnist" in groups:
        unpack = [sys.executable, str(shared / "data/unpack.py"), "official", "data", "mnist"]
        subprocess.run(unpack, cwd=folder, check=True, capture_output=True)
    if "brain" in groups:
        (folder / "published").symlink_to((shared / "data/brain").resolve(strict=True))


def describe_machine() -> dict[str, Any]:
    """Return what the last bits depend on: the processor, its caches, library versions, threads."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    fields = dict(re.findall(r"^([^\t\n]+)\t*: (.*)$", cpu, re.MULTILINE))
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index[0-2]/size"))
    return {
        "processor": [fields.get(n) for n in ("model name", "cpu family", "model", "stepping")],
        "vector instructions": re.findall(r"\b(?:avx|amx|fma)\w*", fields.get("flags", "")),
        "caches": [path.read_text(encoding="utf-8").strip() for path in caches],
        "versions": {n: importlib.metadata.version(n) for n in ("torch", "numpy", "scipy")},
        "threads": 1,
    }


def describe_difference(before: Any, now: Any) -> str:
    """Return the two values, or the first two that differ if both are lists of one length."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = zip(before, now, strict=True)
        before, now = next((b, n) for b, n in pairs if json.dumps(b) != json.dumps(n))
    return f"was {str(before)[:99]}, is {str(now)[:99]}"


def check_results(recorded: Results, results: Results) -> bool:
    """Print how the results differ from those recorded; return True if all are there and equal."""
    different = [
        f"{name}: {describe_difference(recorded[name], results[name])}"
        for name in sorted(recorded.keys() & results.keys())
        if json.dumps(recorded[name]) != json.dumps(results[name])  # tells 0.0 from -0.0
    ]
    missing = sorted(recorded.keys() - results.keys())
    added = sorted(results.keys() - recorded.keys())
    for kind, lines in {"different": different, "missing": missing, "new": added}.items():
        if lines:
            print("\n  ".join([f"{kind}: {len(lines):,}", *lines[:LONGEST]]))
    equal = len(recorded) - len(different) - len(missing)
    print(f"{equal:,} of {len(recorded):,} results are equal")
    return not different and not missing


def write_record(path: Path, machine: dict[str, Any], results: Results) -> None:
    """Write machine and results as JSON, a line for each result, so that a diff can be read."""
    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(v)}" for n, v in sorted(results.items()))
    text = f'{{"machine": {json.dumps(machine)},\n"results": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding="utf-8")


def run_groups(groups: list[str], table: Any, names: Any, program: Path) -> tuple[Results, int]:
    """Run the commands of some groups; return their results and how many commands failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare_data(folder, ROOT / os.environ.get("RDL_SHARED", "../shared"), groups)
        for group in groups:
            (folder / group).mkdir()
            text = table["commands"][group]
            for words in parse_commands(text, table["options"], names["options"]):
                start = time.perf_counter()
                error = run_command(words, folder, program)
                print(f"{time.perf_counter() - start:6.1f} s  rdl {' '.join(words)}", flush=True)
                if error is not None:
                    failed += 1
                    print(f"  failed, {error}", flush=True)
        ignored, unordered = table["ignored"]["names"], table["unordered"]["files"]
        return read_results(folder, ignored, names, unordered), failed


def main(args: list[str]) -> int:
    """Run the commands, then write or check their results; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    table = tomllib.loads((HERE / "equality.toml").read_text(encoding="utf-8"))
    groups = list(table["commands"])
    parser.add_argument("--groups", nargs="+", choices=groups, default=groups, help="default: all")
    parser.add_argument("--program", type=Path, default=ROOT, help="the checkout to run")
    parser.add_argument("--names", choices=["old", "new"], default="new", help="its names")
    parser.add_argument("--out", type=Path, help="write the results to this file")
    parser.add_argument("--check", type=Path, help="compare the results with those of this file")
    given = parser.parse_args(args)
    if not (given.program / "rdl_cli").is_dir():  # an installed rdl would run in its place
        parser.error(f"{given.program} is not a checkout of rdl")
    machine, start = describe_machine(), time.perf_counter()
    recorded = json.loads(given.check.read_text(encoding="utf-8")) if given.check else None
    if recorded and recorded["machine"] != machine:
        print(f"cannot compare bits: recorded with {recorded['machine']}, this is {machine}")
        return 2
    results, failed = run_groups(given.groups, table, table[given.names], given.program.resolve())
    print(f"{len(results):,} results in {(time.perf_counter() - start) / 60:.1f} minutes")
    if given.out and not failed:
        write_record(given.out, machine, results)
    if recorded:
        within = {n: v for n, v in recorded["results"].items() if n.split("/")[0] in given.groups}
        return 0 if check_results(within, results) and not failed else 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
