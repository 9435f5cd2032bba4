"""Fixtures of all tests: a tiny teacher, its store and student, code in another process."""

import csv
import multiprocessing
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import jaxtyping
import pytest

# the shapes in the signatures of rsa are checked at every call, in the tests only
jaxtyping.install_import_hook("rdl_cli.rsa", "beartype.beartype")

LAYERS = "pool1,pool2,fc"
TINY: dict[str, Any] = {
    "dataset": "digits",
    "network": "mnist-cnn:width=0.25",
    "epochs": 2,
    "device": "cpu",
}


def same_runs(one: Path, other: Path) -> bool:
    """Return True if weights, metrics and predictions of two runs are equal to the bit."""
    return (
        (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        and (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
        and same_arrays(one / "predictions.h5", other / "predictions.h5")
    )


def same_arrays(one: Path, other: Path) -> bool:
    """Return True if two HDF5 files hold equal arrays under equal names."""
    return arrays(one) == arrays(other)


def arrays(path: Path) -> dict[str, tuple]:
    """Return every array of an HDF5 file as type, shape and bytes.

    Provenance, which holds commands and times, and the checksums are left out.
    """
    contents: dict[str, tuple] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                contents.update({name: (str(item.dtype), item.shape, item[()].tobytes())})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return {name: v for name, v in contents.items() if name not in ("provenance", "checksums")}


def metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """Return functions for short runs; every setting can be changed by its name.

    One thread: bit-identical results need equal threads.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms
    from rdl_cli.commands.settings import ExportSettings, StudentSettings
    from rdl_cli.commands.train.train import train

    def run(out: Path, resume: bool = False, **changes: Any) -> Path:
        train(out, student(**changes), resume)
        return out

    def student(**changes: Any) -> StudentSettings:
        return replace(StudentSettings(**TINY), **changes)

    def export(teacher: Path, out: Path, **changes: Any) -> Path:
        export_rdms(
            teacher,
            out,
            replace(ExportSettings(layers=[LAYERS], device="cpu", batch_size=100), **changes),
        )
        return out

    return SimpleNamespace(
        train=run,
        settings=student,
        export=export,
        same=same_runs,
        same_arrays=same_arrays,
        arrays=arrays,
        metrics=metrics,
        TINY=TINY,
        LAYERS=LAYERS,
    )


@pytest.fixture(scope="session")
def teacher(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run with about 5 % error."""
    return tiny.train(tmp_path_factory.mktemp("teacher") / "teacher", seed=5, epochs=15, lr=0.1)


@pytest.fixture(scope="session")
def store(tiny: SimpleNamespace, teacher: Path) -> Path:
    """Return a store of the teacher's three layers over the training images, float32."""
    return tiny.export(teacher, teacher.parent / "store.h5")


@pytest.fixture(scope="session")
def follow(store: Path) -> dict[str, Any]:
    """Return the settings of a student that follows the store."""
    return {"targets": str(store), "match": [LAYERS]}


@pytest.fixture(scope="session")
def student(tiny: SimpleNamespace, store: Path, follow: dict[str, Any]) -> Path:
    """Return an uninterrupted student of the store; 500 of the 4,950 pairs of each batch."""
    return tiny.train(store.parent / "student", objective=["rdl:pairs=500"], **follow)


@pytest.fixture(scope="session")
def elsewhere() -> Any:
    """Return `run(code, **names)`: run Python code in a process, return its exit code.

    The code is negative after a signal. Processes are forked from one that has imported torch
    and computed nothing: each costs 0.1 s. `wait=False` returns the process itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "rdl_cli.commands.train.train",
            "rdl_cli.commands.export_rdms.export_rdms",
            "sklearn.datasets",
            "lightning_fabric.strategies",
        ]
    )

    def run(code: str, wait: bool = True, **names: Any) -> Any:
        process = context.Process(
            target=exec,
            args=("import torch; torch.set_num_threads(1)\n" + textwrap.dedent(code), names),
        )
        process.start()
        if not wait:
            return process
        process.join(600)
        assert process.exitcode is not None, "the process hangs"
        return process.exitcode

    return run
