"""Show summarises runs and stores, and compares their parents with what is there now."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest

from rdl_cli.commands.show import ProvenanceLink, RunSummary, StoreSummary, as_dict, show
from rdl_cli.core.checksum import MANIFEST, pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

N = 100


def write_run(
    path: Path,
    parents: list[dict[str, str]],
    finished: bool = True,
    dataset: str = "mnist",
    weights: bytes = b"weights of a student",
) -> Path:
    """Three epochs, of which the second is the best; 4 errors in the end, 2 at the best epoch."""
    path.mkdir(parents=True)
    run = Run(path)
    run.write_provenance(
        {
            "command": "rdl train-student",
            "made": "2026-01-01",
            "config": {"dataset": dataset},
            "parents": parents,
        }
    )
    run.write_config({"dataset": dataset, "seed": 7, "label": "ours"})
    run.write_metrics(
        [
            {"epoch": float(e), "train/task": 1.0, "validation_error": v}
            for e, v in enumerate([0.5, 0.125, 0.25])
        ]
    )
    if finished:
        run.weights.write_bytes(weights)
        labels = np.arange(N) % 10
        logits = {
            epoch: np.eye(10)[(labels + (np.arange(N) < wrong)) % 10]
            for epoch, wrong in (("final", 4), ("best", 2))
        }
        run.write_predictions(np.array([f"{i:064x}" for i in range(N)], "S64"), labels, logits)
    return path


def write_store(path: Path, parents: list[dict[str, str]], value: float = 1.0) -> Path:
    images = np.zeros((5, 1, 4, 4), np.uint8)
    stimuli = Stimuli(pixel_digests(images), None, np.arange(5), images)
    specs = [
        ActivationSpec("pool1", (3, 2), "float16", ("identity", "hflip"), "mse"),
        RdmSpec("V1", 2, "float32", "correlation", region="V1"),
    ]
    provenance = {
        "command": "rdl export-rdms",
        "config": {"dataset": "mnist"},
        "parents": parents,
        "teacher_error": 0.25,
    }
    with create_store(path, stimuli, provenance, specs, "f") as writer:
        for view in range(2):
            writer.write("pool1", 0, np.full((5, 3, 2), value), view)
        for index in range(2):
            writer.write_rdm("V1", index, 0, np.ones(10))
    return path


def parent(kind: str, path: Path, now: str) -> dict[str, Any]:
    return {"kind": kind, "path": str(path), "fingerprint": now}


class Family:
    """A data set, the teacher trained on it, the teacher's store, and a student of the store."""

    def __init__(self, root: Path):
        self.data = root / "data"
        self.data.mkdir()
        pictures = parent("dataset", self.data, "p" * 64)
        self.teacher = write_run(root / "teacher", [pictures])
        self.store = write_store(
            root / "teacher.h5",
            [parent("run", self.teacher, Run(self.teacher).fingerprint()), pictures],
        )
        self.student = write_run(
            root / "student",
            [
                pictures,
                parent("store", self.store, Store.open(self.store).fingerprint()) | {"layers": []},
            ],
        )

    def state(self, *kinds: str) -> ProvenanceLink:
        """The ancestor of the student that one finds by following these kinds."""
        parents = show(self.student).parents
        for kind in kinds:
            link = next(link for link in parents if link.kind == kind)
            parents = link.parents
        return link


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family(tmp_path)


def test_show_tells_final_and_best_errors_apart(family: Family) -> None:
    summary = show(family.student)
    assert isinstance(summary, RunSummary)
    assert (summary.kind, summary.method, summary.seed, summary.finished, summary.epochs) == (
        "run",
        "ours",
        7,
        True,
        3,
    )
    final, best = summary.errors
    assert (
        final.weights,
        final.epoch,
        final.validation,
        final.n_errors,
        final.n_images,
        final.test,
    ) == (
        "final",
        3,
        0.25,
        4,
        N,
        0.04,
    )
    assert (best.weights, best.epoch, best.validation, best.n_errors, best.test) == (
        "best",
        2,
        0.125,
        2,
        0.02,
    )
    assert final.low is not None and final.high is not None and final.low < 0.04 < final.high
    assert summary.fingerprint == file_digest(family.student / "model.safetensors")
    assert summary.provenance.command == "rdl train-student"


def test_show_has_no_test_error_of_an_unfinished_run(tmp_path: Path) -> None:
    summary = show(write_run(tmp_path / "run", [], finished=False))
    assert isinstance(summary, RunSummary)
    assert (summary.finished, summary.fingerprint, summary.parents) == (False, None, ())
    assert [(a.epoch, a.validation, a.test, a.low) for a in summary.errors] == [
        (3, 0.25, None, None),
        (2, 0.125, None, None),
    ]


def test_show_takes_a_run_before_its_first_epoch(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [], finished=False)
    (path / "metrics.csv").unlink()
    summary = show(path)
    assert isinstance(summary, RunSummary)
    assert [(a.epoch, a.validation) for a in summary.errors] == [(None, None)] * 2


def test_show_lists_what_a_store_holds(family: Family) -> None:
    summary = show(family.store)
    assert isinstance(summary, StoreSummary)
    assert (
        summary.kind,
        summary.n_stimuli,
        summary.images,
        summary.has_names,
        summary.has_labels,
    ) == (
        "store",
        5,
        (1, 4, 4),
        False,
        True,
    )
    assert (summary.bytes, summary.teacher_error, summary.fingerprint) == (
        family.store.stat().st_size,
        0.25,
        Store.open(family.store).fingerprint(),
    )
    pool1, v1 = summary.layers
    assert (pool1.name, pool1.shape, pool1.views, pool1.n_rdms, pool1.dtype) == (
        "pool1",
        (3, 2),
        ("identity", "hflip"),
        0,
        "float16",
    )
    assert (pool1.distance, pool1.notes) == ("mse", {})
    assert (v1.shape, v1.views, v1.n_rdms, v1.dtype, v1.distance, v1.notes) == (
        None,
        (),
        2,
        "float32",
        "correlation",
        {"region": "V1"},
    )


def test_show_follows_parents_of_parents(family: Family) -> None:
    assert family.state("store").state == "unchanged"
    assert family.state("store", "run").state == "unchanged"
    assert family.state("store", "run", "dataset").state == "not checked"
    assert family.state("dataset").note.startswith("mnist; its images are compared")


def test_show_names_both_fingerprints_of_a_changed_parent(family: Family) -> None:
    before = Run(family.teacher).fingerprint()
    shutil.rmtree(family.teacher)
    write_run(family.teacher, [], weights=b"trained again")
    link = family.state("store", "run")
    assert (link.state, link.parents) == (
        "changed",
        (),
    )  # what it is made from now is another story
    assert (
        link.note
        == f"its fingerprint was {before[:12]}, now it is {Run(family.teacher).fingerprint()[:12]}"
    )
    assert family.state("store").state == "unchanged"


def test_show_compares_only_the_layers_that_a_student_follows(family: Family) -> None:
    (family.student / MANIFEST).unlink()
    for layers in (["V1"], ["pool1"], ["V1", "pool1"], []):
        now = Store.open(family.store).fingerprint(layers)
        Run(family.student).write_provenance(
            {"parents": [parent("store", family.store, now) | {"layers": layers}]}
        )
        assert family.state("store").state == "unchanged"
    of_v1 = Store.open(family.store).fingerprint(["V1"])
    family.store.unlink()
    write_store(family.store, [], value=2.0)
    for layers, state in ((["V1"], "unchanged"), (["pool1"], "changed"), (["V2"], "changed")):
        Run(family.student).write_provenance(
            {"parents": [parent("store", family.store, of_v1) | {"layers": layers}]}
        )
        assert family.state("store").state == state
    assert "no layer `V2`" in family.state("store").note


@pytest.mark.parametrize(
    ("place", "fact"),
    [("layers/pool1/activations", "layer `pool1`"), ("stimuli/images", "1 of 5 images")],
)
def test_show_verify_reads_every_value_of_a_store(
    family: Family, place: str, fact: str, capfd: pytest.CaptureFixture[str]
) -> None:
    show(family.store, verify=True)
    assert "everything is as it was written" in capfd.readouterr().err
    with h5py.File(family.store, "r+") as file:
        file[place][-1] = 3
    show(family.store)
    with pytest.raises(UserError, match=f"is damaged: {fact}"):
        show(family.store, verify=True)


@pytest.mark.parametrize("name", ["config.toml", "provenance.json", "metrics.csv"])
def test_show_verify_reads_every_file_of_a_run(family: Family, name: str) -> None:
    path = family.student / name
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"7", b"6")
        .replace(b"0.25", b"0.26")
        .replace(b"2026", b"2025")
        .replace(b"student", b"stodent")
    )
    assert path.read_bytes() != content
    with pytest.raises(UserError, match=f"{name} is damaged: it is not as it was written"):
        show(family.student, verify=True)
    path.unlink()
    with pytest.raises(UserError, match=name):
        show(family.student, verify=True)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("metrics.csv", "epoch", "epocj"), ("provenance.json", '"path"', '"paph"')],
)
def test_show_reports_a_damaged_column_or_key(
    family: Family, file: str, old: str, new: str
) -> None:
    path = family.student / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=rf"{file} is damaged"):
        show(family.student)


def test_show_refuses_damaged_weights(family: Family) -> None:
    (family.student / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        show(family.student)


def test_show_verify_reads_the_checkpoint(family: Family) -> None:
    with ZipFile(family.student / "checkpoint.pt", "w") as file:
        file.writestr("data", "0123456789")
    show(family.student, verify=True)
    content = (family.student / "checkpoint.pt").read_bytes()
    (family.student / "checkpoint.pt").write_bytes(content.replace(b"0123", b"0122"))
    show(family.student)
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        show(family.student, verify=True)


def test_show_reports_missing_parents(family: Family) -> None:
    family.store.unlink()
    family.data.rmdir()
    assert (family.state("store").state, family.state("store").parents) == ("missing", ())
    assert family.state("dataset").state == "missing"


def test_show_reports_damaged_parents_as_changed(family: Family) -> None:
    family.store.write_bytes(b"no store")
    assert (family.state("store").state, family.state("store").note) == (
        "changed",
        f"{family.store} is not an HDF5 file",
    )
    (family.teacher / "model.safetensors").unlink()
    summary = show(write_run(family.data / "other", [parent("run", family.teacher, "a" * 64)]))
    assert (summary.parents[0].state, "holds no model.safetensors" in summary.parents[0].note) == (
        "changed",
        True,
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.csv", b"epoch,validation_error\n0"),
        ("metrics.csv", b"\xff"),
        ("metrics.csv", b"epoch\n0\n"),
        ("provenance.json", b"[]"),
    ],
)
def test_show_names_a_damaged_file(tmp_path: Path, file: str, content: bytes) -> None:
    path = write_run(tmp_path / "run", [])
    (path / file).write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is damaged"):
        show(path)


def test_show_compares_other_parents_as_files(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    path = write_run(tmp_path / "run", [parent("weights", file, file_digest(file))])
    assert show(path).parents[0].state == "unchanged"
    file.write_bytes(b"other weights")
    assert show(path).parents[0].state == "changed"


def test_show_never_misses_the_embedded_data_set(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "run", [parent("dataset", tmp_path / "nowhere", "a")], dataset="digits"
    )
    assert show(path).parents[0].state == "not checked"


def test_show_ends_at_a_file_that_is_its_own_parent(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [])
    fingerprint = Run(path).fingerprint()
    (path / MANIFEST).unlink()
    Run(path).write_provenance({"parents": [parent("run", path, fingerprint)]})
    (link,) = show(path).parents
    assert (link.state, link.parents) == ("unchanged", ())


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "nothing at"),
        ("data", "is not a run"),
        ("teacher/config.toml", "not an HDF5 file"),
    ],
)
def test_show_refuses_what_is_no_run_or_store(family: Family, path: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        show(family.data.parent / path)


def test_show_refuses_an_empty_config(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    (run / MANIFEST).unlink()
    (run / "config.toml").write_text("")
    with pytest.raises(UserError, match=r"is not a run: its config\.toml is empty"):
        show(tmp_path / "run")


def test_show_lists_the_runs_of_a_folder(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"seed{seed}", [])
    with pytest.raises(UserError, match="a folder of 2 runs: seed0, seed1"):
        show(tmp_path)


def test_as_dict_is_plain_data(family: Family) -> None:
    for path, kind in ((family.student, "run"), (family.store, "store")):
        plain: dict[str, Any] = json.loads(json.dumps(as_dict(show(path)), allow_nan=False))
        assert (plain["schema"], plain["kind"], plain["path"]) == ("rdl-show/2", kind, str(path))
    assert {
        "errors",
        "config",
        "epochs",
        "finished",
        "fingerprint",
        "provenance",
        "method",
        "parents",
        "seed",
    } < set(json.loads(json.dumps(as_dict(show(family.student)))))


def test_show_needs_no_torch(family: Family) -> None:
    program = f"""
import sys
from pathlib import Path
from rdl_cli.cli.show import show
assert not {{"torch", "numpy", "h5py"}} & set(sys.modules), "importing the command is not cheap"
show(Path({str(family.student)!r}))
show(Path({str(family.store)!r}))
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout
