"""A run and a store at a glance, and which of the files they were made from are still the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from rdl_cli.commands.show import ProvenanceLink, RunSummary, StoreSummary, as_dict, show
from rdl_cli.core.checksum import OPEN
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store, store_fingerprint
from rdl_cli.store.writer import create_store

N = 100


def write_run(
    path: Path, parents: list[dict[str, str]], finished: bool = True, dataset: str = "mnist"
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
        run.weights.write_bytes(f"weights of {path.name}".encode())
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
                parent("store", self.store, store_fingerprint(Store.open(self.store)))
                | {"layers": []},
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


def test_a_finished_run_says_which_error_is_which(family: Family) -> None:
    card = show(family.student)
    assert isinstance(card, RunSummary)
    assert (card.kind, card.method, card.seed, card.finished, card.epochs) == (
        "run",
        "ours",
        7,
        True,
        3,
    )
    final, best = card.accuracies
    assert (final.which, final.epoch, final.validation, final.errors, final.images, final.test) == (
        "final",
        3,
        0.25,
        4,
        N,
        0.04,
    )
    assert (best.which, best.epoch, best.validation, best.errors, best.test) == (
        "best",
        2,
        0.125,
        2,
        0.02,
    )
    assert final.low is not None and final.high is not None and final.low < 0.04 < final.high
    assert card.fingerprint == file_digest(family.student / "model.safetensors")
    assert card.made.command == "rdl train-student"


def test_an_unfinished_run_has_no_test_error(tmp_path: Path) -> None:
    card = show(write_run(tmp_path / "run", [], finished=False))
    assert isinstance(card, RunSummary)
    assert (card.finished, card.fingerprint, card.parents) == (False, None, ())
    assert [(a.epoch, a.validation, a.test, a.low) for a in card.accuracies] == [
        (3, 0.25, None, None),
        (2, 0.125, None, None),
    ]


def test_a_run_before_its_first_epoch(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [], finished=False)
    (path / "metrics.csv").unlink()
    card = show(path)
    assert isinstance(card, RunSummary)
    assert [(a.epoch, a.validation) for a in card.accuracies] == [(None, None)] * 2


def test_a_store_says_what_it_holds(family: Family) -> None:
    card = show(family.store)
    assert isinstance(card, StoreSummary)
    assert (card.kind, card.stimuli, card.images, card.named, card.labelled) == (
        "store",
        5,
        (1, 4, 4),
        False,
        True,
    )
    assert (card.bytes, card.teacher_error, card.fingerprint) == (
        family.store.stat().st_size,
        0.25,
        store_fingerprint(Store.open(family.store)),
    )
    pool1, v1 = card.layers
    assert (pool1.name, pool1.shape, pool1.views, pool1.rdms, pool1.dtype) == (
        "pool1",
        (3, 2),
        ("identity", "hflip"),
        0,
        "float16",
    )
    assert (pool1.distance, pool1.notes) == ("mse", {})
    assert (v1.shape, v1.views, v1.rdms, v1.dtype, v1.distance, v1.notes) == (
        None,
        (),
        2,
        "float32",
        "correlation",
        {"region": "V1"},
    )


def test_the_chain_is_followed_to_its_end(family: Family) -> None:
    assert family.state("store").state == "unchanged"
    assert family.state("store", "run").state == "unchanged"
    assert family.state("store", "run", "dataset").state == "not checked"
    assert family.state("dataset").note.startswith("mnist; its pictures are compared")


def test_a_parent_that_changed_is_named_with_both_fingerprints(family: Family) -> None:
    before = Run(family.teacher).fingerprint()
    (family.teacher / "model.safetensors").write_bytes(b"trained again")
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


def test_a_student_of_one_layer_does_not_mind_what_becomes_of_another(family: Family) -> None:
    for layers in (["V1"], ["pool1"], ["V1", "pool1"], []):
        now = store_fingerprint(Store.open(family.store), layers)
        Run(family.student).write_provenance(
            {"parents": [parent("store", family.store, now) | {"layers": layers}]}
        )
        assert family.state("store").state == "unchanged"
    of_v1 = store_fingerprint(Store.open(family.store), ["V1"])
    family.store.unlink()
    write_store(family.store, [], value=2.0)
    for layers, state in ((["V1"], "unchanged"), (["pool1"], "changed"), (["V2"], "changed")):
        Run(family.student).write_provenance(
            {"parents": [parent("store", family.store, of_v1) | {"layers": layers}]}
        )
        assert family.state("store").state == state
    assert "no layer `V2`" in family.state("store").note


@pytest.mark.parametrize(
    ("place", "said"),
    [("layers/pool1/activations", "layer `pool1`"), ("stimuli/images", "1 of 5 pictures")],
)
def test_every_number_of_a_store_is_read_when_asked_for(
    family: Family, place: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    show(family.store, verify=True)
    assert "everything is what was written" in capfd.readouterr().err
    with h5py.File(family.store, "r+") as file:
        file[place][-1] = 3
    show(family.store)
    with pytest.raises(UserError, match=f"is damaged: {said}"):
        show(family.store, verify=True)


def test_a_store_that_an_older_rdl_knew_otherwise_is_not_said_to_have_changed(
    family: Family,
) -> None:
    """Fingerprints were of a store's provenance once, and the layers that are followed were not noted beside them."""
    Run(family.student).write_provenance({"parents": [parent("store", family.store, "f" * 64)]})
    assert (family.state("store").state, family.state("store").note) == (
        "not checked",
        "an older rdl knew stores by another fingerprint",
    )


def without_digests(run: Path) -> None:
    """As an older rdl left it."""
    with h5py.File(run / "predictions.h5", "r+") as file:
        del file.attrs["files"]
    with (run / "predictions.h5").open("r+b") as file:
        content = file.read()
        file.seek(content.index(OPEN.encode()[:8]))
        file.write(b"nothing:")


def test_a_file_without_a_digest_is_not_said_to_be_what_was_written(
    family: Family, capfd: pytest.CaptureFixture[str]
) -> None:
    show(family.student, verify=True)
    assert "every file is what was written\n" in capfd.readouterr().err
    without_digests(family.student)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):  # it is no safetensors
        show(family.student, verify=True)
    save_file({"w": np.zeros(3)}, family.student / "model.safetensors")
    show(family.student, verify=True)
    names = "predictions.h5, model.safetensors, config.toml, provenance.json, metrics.csv"
    assert (
        f"every file is what was written, but of {names} nothing is known: an older rdl took no digests"
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.toml", "provenance.json", "metrics.csv"]
)
def test_every_file_of_a_run_is_compared_when_asked_for(family: Family, name: str) -> None:
    path = family.student / name
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"7", b"6")
        .replace(b"0.25", b"0.26")
        .replace(b"2026", b"2025")
        .replace(b"student", b"stodent")
    )
    assert path.read_bytes() != content
    show(family.student)
    with pytest.raises(UserError, match=f"{name} is damaged: it is not what was written"):
        show(family.student, verify=True)
    path.unlink()
    with pytest.raises(UserError, match=name):
        show(family.student, verify=True)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("metrics.csv", "epoch", "epocj"), ("provenance.json", '"path"', '"paph"')],
)
def test_a_run_with_a_damaged_name_is_named(family: Family, file: str, old: str, new: str) -> None:
    path = family.student / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=rf"{file} is damaged"):
        show(family.student)


def test_a_run_with_damaged_weights_is_named(family: Family) -> None:
    (family.student / "model.safetensors").write_bytes(b"weights" + OPEN.encode())
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        show(family.student)


def test_a_checkpoint_is_read_when_asked_for(family: Family) -> None:
    with ZipFile(family.student / "checkpoint.pt", "w") as file:
        file.writestr("data", "0123456789")
    show(family.student, verify=True)
    content = (family.student / "checkpoint.pt").read_bytes()
    (family.student / "checkpoint.pt").write_bytes(content.replace(b"0123", b"0122"))
    show(family.student)
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        show(family.student, verify=True)


def test_a_parent_that_is_gone_is_missing(family: Family) -> None:
    family.store.unlink()
    family.data.rmdir()
    assert (family.state("store").state, family.state("store").parents) == ("missing", ())
    assert family.state("dataset").state == "missing"


def test_a_parent_that_is_damaged_has_changed(family: Family) -> None:
    family.store.write_bytes(b"no store")
    assert (family.state("store").state, family.state("store").note) == (
        "changed",
        f"{family.store} is not an HDF5 file",
    )
    (family.teacher / "model.safetensors").unlink()
    card = show(write_run(family.data / "other", [parent("run", family.teacher, "a" * 64)]))
    assert (card.parents[0].state, "holds no model.safetensors" in card.parents[0].note) == (
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
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    path = write_run(tmp_path / "run", [])
    (path / file).write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is damaged"):
        show(path)


def test_weights_from_elsewhere_are_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    path = write_run(tmp_path / "run", [parent("weights", file, file_digest(file))])
    assert show(path).parents[0].state == "unchanged"
    file.write_bytes(b"other weights")
    assert show(path).parents[0].state == "changed"


def test_the_embedded_data_set_is_never_missing(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "run", [parent("dataset", tmp_path / "nowhere", "a")], dataset="digits"
    )
    assert show(path).parents[0].state == "not checked"


def test_a_file_that_is_made_from_itself_ends_the_chain(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [])
    Run(path).write_provenance({"parents": [parent("run", path, Run(path).fingerprint())]})
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
def test_what_is_neither_is_refused(family: Family, path: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        show(family.data.parent / path)


def test_a_folder_with_an_empty_config_is_no_run(tmp_path: Path) -> None:
    (write_run(tmp_path / "run", []) / "config.toml").write_text("")
    with pytest.raises(UserError, match=r"is not a run: its config\.toml is empty"):
        show(tmp_path / "run")


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"seed{seed}", [])
    with pytest.raises(UserError, match="a folder of 2 runs: seed0, seed1"):
        show(tmp_path)


def test_the_card_is_plain_data(family: Family) -> None:
    for path, kind in ((family.student, "run"), (family.store, "store")):
        plain: dict[str, Any] = json.loads(json.dumps(as_dict(show(path)), allow_nan=False))
        assert (plain["schema"], plain["kind"], plain["path"]) == ("rdl-show/1", kind, str(path))
    assert {
        "accuracies",
        "config",
        "epochs",
        "finished",
        "fingerprint",
        "made",
        "method",
        "parents",
        "seed",
    } < set(json.loads(json.dumps(as_dict(show(family.student)))))


def test_showing_loads_no_torch(family: Family) -> None:
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
