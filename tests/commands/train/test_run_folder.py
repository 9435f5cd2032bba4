"""Run folders: resumable to the bit after any kill, and refused if settings or parents changed."""

import os
import shutil
import signal
import tomllib
from zipfile import ZipFile

import pytest
import torch

from rdl_cli.commands.show import show
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import FILES, Run

KILLED = -signal.SIGKILL
WRITTEN = [
    "provenance.json",
    "config.toml",
    *["checkpoint.pt", "metrics.csv", "timings.csv"] * 2,
    "model.safetensors",
    "checksums.txt",
    "predictions.h5",
]
"""The files of a run of two epochs, in the order in which they are written."""

TRAIN = """
from pathlib import Path
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.train.train import train
train(Path(out), StudentSettings(**settings))
"""
KILL = """
import os, signal
function, count = getattr(os, name), 0
def kill(*args, **kwargs):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)
setattr(os, name, kill)
"""


@pytest.fixture(scope="module")
def settings(tiny, follow):
    """Return the settings of the session's student."""
    return {**tiny.TINY, **follow, "objective": ["rdl:pairs=500"]}


@pytest.fixture
def kill_training(elsewhere, settings, tmp_path):
    """Return a function that trains until the n-th call of a function of `os`."""

    def kill(at, name="replace"):
        out = tmp_path / "run"
        code = elsewhere(KILL + TRAIN, out=str(out), settings=settings, at=at, name=name)
        assert code == KILLED
        return out

    return kill


def is_complete(path):
    """Return True if a folder holds the files of a finished run and no others."""
    return {file.name for file in path.iterdir()} == set(WRITTEN)


@pytest.mark.parametrize(
    "at", range(1, len(WRITTEN) + 1), ids=[f"{k}-{name}" for k, name in enumerate(WRITTEN, 1)]
)
def test_resume_continues_to_the_bit_after_a_kill_before_any_file(
    at, tiny, student, settings, kill_training
):
    out = kill_training(at)
    assert not Run(out).finished and not is_complete(out)
    tiny.train(out, resume=True, **settings)
    assert tiny.same(out, student) and is_complete(out), "with nothing left of the killed attempt"


def test_resume_continues_to_the_bit_after_a_kill_within_a_checkpoint(
    tiny, student, settings, kill_training
):
    # files are synced, then renamed, then their folder is synced: two calls for each file
    out = kill_training(2 * WRITTEN.index("checkpoint.pt", 3) + 1, "fsync")
    partials = list(out.glob(".checkpoint.pt.*"))
    assert len(partials) == 1 and (out / "checkpoint.pt").exists()
    partials[0].write_bytes(partials[0].read_bytes()[:1000])
    tiny.train(out, resume=True, **settings)
    assert tiny.same(out, student) and is_complete(out)


def test_resume_keeps_a_timing_for_each_epoch(tiny, settings, kill_training):
    out = kill_training(WRITTEN.index("checkpoint.pt", 3) + 1)
    before = Run(out).timings()
    assert len(before) == 1
    tiny.train(out, resume=True, **settings)
    after = Run(out).timings()
    assert after[0] == before[0] and len(after) == 2 and float(after[1]["seconds"]) > 0


def test_resume_names_a_damaged_checkpoint(tiny, settings, kill_training):
    out = kill_training(4)
    file = out / "checkpoint.pt"
    content = file.read_bytes()
    with ZipFile(file) as archive:  # between its members there is padding
        largest = max((archive.read(name) for name in archive.namelist()), key=len)
    flipped = bytearray(content)
    flipped[content.find(largest) + len(largest) // 2] ^= 16
    for damaged in (content[:1000], bytes(flipped)):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"checkpoint\.pt is damaged") as caught:
            tiny.train(out, resume=True, **settings)
        assert str(out) in caught.value.hint


def test_resume_refuses_the_checkpoint_of_another_run(tiny, settings, kill_training, tmp_path):
    out = kill_training(5)
    other = tiny.train(tmp_path / "other", **settings | {"lr": 0.01})
    shutil.copy(other / "checkpoint.pt", out / "checkpoint.pt")
    with pytest.raises(UserError, match="belongs to another run"):
        tiny.train(out, resume=True, **settings)


def test_resume_skips_finished_seeds_and_begins_missing_ones(tiny, settings, tmp_path):
    runs = {**settings, "seeds": "0,2", "epochs": 1}
    tiny.train(tmp_path / "runs", **runs)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    tiny.train(tmp_path / "runs", resume=True, **runs)
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert len(times) == 2 * len(set(WRITTEN))
    tiny.train(tmp_path / "runs", resume=True, **runs | {"seeds": "0..2"})
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"seed0", "seed1", "seed2"}
    alone = tiny.train(tmp_path / "alone", **settings | {"seed": 2, "epochs": 1})
    assert tiny.same(tmp_path / "runs/seed2", alone)
    assert tomllib.loads((tmp_path / "runs/seed2/config.toml").read_text())["seed"] == 2


def test_check_folder_names_the_settings_that_differ(tiny, student, settings):
    with pytest.raises(UserError, match=r"epochs was 2, is 4; lr was 0\.02, is 0\.1"):
        tiny.train(student, resume=True, **settings | {"lr": 0.1, "epochs": 4})
    with pytest.raises(UserError, match=r"seed was 0, is 1"):
        tiny.train(student, resume=True, **settings | {"seed": 1})
    assert Run(student).finished


def test_check_folder_leaves_existing_files_alone(tiny, student, settings, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        tiny.train(student, **settings)
    file = tmp_path / "file"
    file.write_text("user's")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("user's")
    for path in (file, folder):
        for resume in (False, True):
            with pytest.raises(UserError):
                tiny.train(path, resume=resume, **settings)
    assert file.read_text() == (folder / "thesis.txt").read_text() == "user's"
    (folder / "thesis.txt").unlink()
    run = tiny.train(folder, **settings | {"epochs": 1})
    assert is_complete(run), "an empty folder can be used"


def test_train_refuses_a_folder_that_another_process_writes(tiny, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "run").mkdir()
    folder = os.open(tmp_path / "run", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="is being written by another process"):
        tiny.train(tmp_path / "run", resume=True)
    os.close(folder)
    assert list((tmp_path / "run").iterdir()) == []
    tiny.train(tmp_path / "run", resume=True)


def test_begin_run_writes_parents_and_versions(student, store):
    record = Run(student).provenance
    assert {parent["kind"] for parent in record["parents"]} == {"dataset", "store"}
    assert record["config"]["targets"] == str(store)
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["threads"] == 1
    assert record["test_images_seen_in_training"] == 0, "no two of the digits are equal"


def test_begin_run_writes_the_fingerprint_of_a_live_teacher(tiny, teacher, follow, tmp_path):
    run = tiny.train(tmp_path / "run", **follow | {"targets": str(teacher), "epochs": 1})
    parents = {parent["kind"]: parent for parent in Run(run).provenance["parents"]}
    assert parents["run"]["fingerprint"] == Run(teacher).fingerprint()
    assert parents["run"]["path"] == str(teacher)


@pytest.mark.parametrize(
    "changes, layers",
    [({}, ["logits"]), ({"match": ["fc"], "objective": ["rdl", "kd"]}, ["fc", "logits"])],
)
def test_begin_run_writes_the_logits_that_kd_follows(changes, layers, tiny, teacher, tmp_path):
    store = tiny.export(teacher, tmp_path / "teacher.h5", layers=["fc", "logits"])
    run = tiny.train(tmp_path / "run", **{"targets": str(store), "objective": ["kd"]} | changes)
    parents = {parent["kind"]: parent for parent in Run(run).provenance["parents"]}
    assert parents["store"]["layers"] == layers


@pytest.fixture
def followed_store(tiny, teacher, tmp_path):
    """Return a store, the settings that follow a layer of it, and a finished student."""
    store = tiny.export(teacher, tmp_path / "teacher.h5")
    settings = {"targets": str(store), "match": ["fc"]}
    return store, settings, tiny.train(tmp_path / "run", **settings)


def test_resume_allows_more_layers_but_no_other_teacher(tiny, teacher, followed_store, tmp_path):
    store, settings, run = followed_store
    (run / "predictions.h5").unlink()  # as if killed before the last file
    tiny.export(teacher, store, layers=["logits"])
    tiny.train(run, resume=True, **settings)
    (link,) = (link for link in show(run).parents if link.kind == "store")
    assert link.state == "unchanged"
    (run / "predictions.h5").unlink()
    other = tiny.train(tmp_path / "other", seed=6)
    store.unlink()
    tiny.export(other, store)
    with pytest.raises(UserError, match=r"has changed since .* was begun"):
        tiny.train(run, resume=True, **settings)


def test_resume_refuses_a_finished_run_whose_store_has_changed(tiny, teacher, followed_store):
    """With a recipe's store in another distance, its students would seem to have followed it."""
    store, settings, run = followed_store
    tiny.export(teacher, store, layers=["logits"])
    tiny.train(run, resume=True, **settings)
    tiny.export(teacher, store, distance="cosine")
    with pytest.raises(UserError, match=r"has changed since .* was trained with it"):
        tiny.train(run, resume=True, **settings)
    store.unlink()
    tiny.train(run, resume=True, **settings)


def test_written_files_are_all_files_of_a_run():
    assert set(WRITTEN) == set(FILES) - {"stimuli.json"}
