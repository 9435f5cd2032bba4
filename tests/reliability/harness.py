"""Kill or fail one command at every call that changes a file, and run it again.

    python tests/reliability/harness.py SCENARIO kill|nospace|ioerror [EVERY]

Prints the number of calls, and every call after which something was lost, half-written, litter or
different. Needs a C compiler; the process starts itself again under LD_PRELOAD.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
MODES = {"kill": 1, "nospace": 2, "ioerror": 3}
TINY = {"dataset": "digits", "network": "mnist-cnn:width=0.1", "epochs": 2, "device": "cpu"}


def build_library(folder: Path) -> Path:
    """Compile the library that counts calls and makes them fail."""
    library = folder / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def scenarios(inputs: Path) -> dict[str, Callable[[Path], None]]:
    """Return the commands by name; each writes below the folder it is given."""
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms
    from rdl_cli.commands.import_rdms import import_rdms
    from rdl_cli.commands.reproduce.reproduce import ExperimentOptions, reproduce
    from rdl_cli.commands.settings import (
        ExportSettings,
        ImportSettings,
        StudentSettings,
        TrainingSettings,
    )
    from rdl_cli.commands.train.train import train

    def export(form: str) -> Callable[[Path], None]:
        settings = ExportSettings(layers=["fc"], as_=form, split="test", device="cpu")  # type: ignore[arg-type]
        return lambda out: export_rdms(inputs / "teacher", out / "s.h5", settings) and None

    def train_brain_student(out: Path) -> None:
        options = {"targets": str(inputs / "brain.h5"), "match": ["fc=IT"], "epochs": 1}
        train(out / "run", StudentSettings(**TINY | options), resume=True)

    return {
        "export-activations": export("activations"),
        "export-rdm": export("rdm"),
        "export-kernel": export("kernel"),
        "import": lambda out: _skip_if_made(
            out / "b.h5",
            lambda path: import_rdms([inputs / "rdm.npz"], path, ImportSettings()),
        ),
        "train": lambda out: train(out / "run", TrainingSettings(**TINY), resume=True) and None,
        "brain-student": train_brain_student,
        "reproduce": lambda out: reproduce(ExperimentOptions("digits", out / "d", True)) and None,
    }


def _skip_if_made(path: Path, make: Callable[[Path], object]) -> None:
    if not path.exists():
        make(path)


def make_inputs(folder: Path) -> None:
    """Write the teacher, the brain's store and the RDM file that the commands read."""
    import numpy as np
    import torch

    from rdl_cli.commands.settings import TrainingSettings
    from rdl_cli.commands.train.train import train
    from rdl_cli.datasets.digests import image_digests
    from rdl_cli.store.layout import RdmSpec
    from rdl_cli.store.store import Stimuli
    from rdl_cli.store.writer import create_store

    train(folder / "teacher", TrainingSettings(**TINY | {"epochs": 1}))
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(12, 30))
    np.savez(folder / "rdm.npz", IT=1 - np.corrcoef(patterns))
    images = torch.from_numpy(rng.integers(0, 255, (20, 1, 20, 20), dtype=np.uint8))
    stimuli = Stimuli(image_digests(images), None, None, images.numpy())
    specs = [RdmSpec("IT", 1, "float64", "correlation")]
    with create_store(folder / "brain.h5", stimuli, {"parents": []}, specs, "t") as writer:
        writer.write_rdm("IT", 0, 0, rng.random(190))


def snapshot(folder: Path) -> dict[str, str]:
    """Return a digest of every file's content; times, commands and paths do not count."""
    import h5py

    digests = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "timings.csv":  # a kill may lose the seconds that its epoch took
            continue
        content = path.read_bytes()
        if path.suffix in (".h5",):
            content = b""
            with h5py.File(path) as file:
                names: list[str] = []
                file.visit(names.append)
                for item in sorted(names):
                    if isinstance(file[item], h5py.Dataset) and item not in (
                        "provenance",
                        "checksums",
                    ):
                        content += item.encode() + file[item][()].tobytes()
        if path.name in ("provenance.json", "checksums.txt", "checkpoint.pt") or (
            "results" in path.parts or path.suffix in (".json", ".svg", ".png", ".md")
        ):
            content = b"present"
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def run_forked(command: Callable[[Path], None], out: Path, at: int, mode: int) -> int:
    """Run a command in a forked process with a fault; return its exit code, -9 if killed.

    0 is success, 2 a UserError, 1 a traceback, which is printed.
    """
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            from rdl_cli.core.errors import UserError

            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            log = os.open(str(out.parent / "stderr"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 2)
            library.faults_arm(str(out).encode(), ctypes.c_long(at), mode)
            try:
                command(out)
                code = 0
            except UserError:
                code = 2
            library.faults_disarm()
            (out.parent / "count").write_text(str(library.faults_count()))
        except BaseException:
            library.faults_disarm()
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def check(name: str, mode: str, every: int = 1) -> tuple[int, list[str]]:
    """Return how many faults were tried, and a line for each that broke a promise."""
    root = Path(tempfile.mkdtemp())
    problems, tried = [], 0
    try:
        inputs = root / "inputs"
        inputs.mkdir()
        setup = os.fork()
        if setup == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            make_inputs(inputs)
            os._exit(0)
        assert os.waitpid(setup, 0)[1] == 0, "the inputs could not be made"
        command = scenarios(inputs)[name]
        out = root / "out"
        out.mkdir()
        assert run_forked(command, out, 0, 0) == 0, (root / "stderr").read_text()
        reference, calls = snapshot(out), int((root / "count").read_text())
        for at in range(1, calls + 1, every):
            shutil.rmtree(out)
            out.mkdir()
            code = run_forked(command, out, at, MODES[mode])
            tried += 1
            if code == 1 or (mode == "kill" and code not in (-9, 0)):
                last = (root / "stderr").read_text().strip().splitlines()[-1:]
                problems.append(f"{name} {mode} at call {at}: exit {code} {last}")
            again = run_forked(command, out, 0, 0)
            if again:
                last = (root / "stderr").read_text().strip().splitlines()[-1:]
                problems.append(
                    f"{name} {mode} at call {at}: the next call ends with {again} {last}"
                )
                continue
            after = snapshot(out)
            changed = sorted(
                k for k in reference.keys() | after.keys() if reference.get(k) != after.get(k)
            )
            if changed:
                problems.append(f"{name} {mode} at call {at}: differs: {', '.join(changed)}")
        return calls, problems
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    name, mode, every = sys.argv[1], sys.argv[2], int([*sys.argv[3:], "1"][0])
    if "LD_PRELOAD" not in os.environ:
        library = build_library(Path(tempfile.mkdtemp()))
        os.environ |= {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        os.execv(sys.executable, [sys.executable, *sys.argv])
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    calls, problems = check(name, mode, every)
    print("\n".join(problems))
    tried = len(range(1, calls + 1, every))
    seconds = time.monotonic() - started
    print(
        f"{name}, {mode}: {calls} calls, {tried} faults, {len(problems)} problems, {seconds:.0f} s"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
