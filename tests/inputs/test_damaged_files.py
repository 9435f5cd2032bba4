"""Damaged files of every kind: one clear error and exit code 2, or the same values."""

import json
import signal
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

pytest.importorskip("resource", reason="the sweeps fork and limit memory")
sys.path.append(str(Path(__file__).parents[1] / "reliability"))

from flip_bits import flip_bits, truncate, write_files
from own_files import write_run, write_store

from rdl_cli.cli import main as cli
from rdl_cli.core.errors import UserError
from rdl_cli.networks.weights import read_state_dict

RNG = np.random.default_rng(0)
FILES = (
    "config.toml",
    "provenance.json",
    "metrics.csv",
    "timings.csv",
    "stimuli.json",
    "checkpoint.pt",
    "model.safetensors",
    "predictions.h5",
    "checksums.txt",
    "store.h5",
    "predictions.npz",
)

DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "all but a byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: np.random.default_rng(1).bytes(len(content)),
    "noise behind": lambda content: content + np.random.default_rng(1).bytes(100),
    "Latin-1": lambda content: "Größe = 'ü'\n".encode("latin-1"),
    "a list": lambda content: b"[]",
    "an empty record": lambda content: b"{}",
    "a number": lambda content: b"1e999",
    "deep": lambda content: b'{"a":' + b"[" * 100_000,
    "deep arrays": lambda content: b"a = " + b"[" * 100_000,
    "other keys": lambda content: b'{"parents": 3, "tasks": 3, "rdm": "a", "epoch": []}',
    "other keys of TOML": lambda content: b"seed = 'a'\nlabel = 3\n[teacher]\nlr = []\n",
    "other columns": lambda content: b"a,b\n1,2\n3\n",
}


@pytest.fixture
def rdl(capsys, monkeypatch):
    """`rdl("a command", "as typed")`: the exit code; a traceback or 30 s of time fail the test."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["rdl", *map(str, words)])
        signal.alarm(30)
        try:
            with pytest.raises(SystemExit) as end:
                cli.main()
        finally:
            signal.alarm(0)
        error = capsys.readouterr().err
        if end.value.code:
            assert end.value.code == 2 and error.count("error:") == 1, error
        return end.value.code or 0

    return run


@pytest.mark.parametrize("name", FILES)
def test_reader_of_our_own_files_takes_no_flipped_bit_for_a_value(name, tmp_path):
    path, read = write_files(tmp_path)[name]
    outcome = flip_bits(path, read, 100, 60)
    assert outcome.calls == 100 and outcome.refused and not outcome.problems


@pytest.mark.parametrize("name", FILES)
def test_reader_of_our_own_files_refuses_the_first_part_of_one(name, tmp_path):
    path, read = write_files(tmp_path)[name]
    outcome = truncate(path, read, step=max(1, path.stat().st_size // 50))
    assert not outcome.problems and outcome.refused == outcome.calls


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", FILES[:9])
def test_commands_on_a_run_with_a_damaged_file_end_with_one_error(name, finished, rdl, tmp_path):
    run = write_run(tmp_path / "run").path
    write_run(tmp_path / "other")
    if not finished:
        (run / "predictions.h5").unlink()
        (run / "checksums.txt").unlink()
    elif name != "checksums.txt":
        (run / "checksums.txt").unlink()  # readers are tested, not checksums
    content = (run / name).read_bytes() if (run / name).exists() else b""
    out = tmp_path / "out.svg"
    for damage in DAMAGES.values():
        (run / name).write_bytes(damage(content))
        rdl("show", run)
        rdl("show", run, "--json")
        rdl("compare", run, tmp_path / "other")
        rdl("plot", "curves", run, "--out", out)
        rdl("layers", run)
        rdl("show", run, "--verify")
        out.unlink(missing_ok=True)
        (tmp_path / "out.png").unlink(missing_ok=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_commands_on_a_damaged_store_end_with_one_error(damage, rdl, tmp_path):
    path = tmp_path / "store.h5"
    write_store(path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if damage == "noise behind":
        return
    assert rdl("show", path) == 2
    assert rdl("compare-rdms", path) == 2
    assert rdl("plot", "rdm", path, "--out", tmp_path / "a.svg") == 2
    assert rdl("export-rdms", path, tmp_path / "out.npz") == 2
    student = ("--targets", path, "--match", "fc=IT", "--dataset", "digits", "--dry-run")
    assert rdl("train-student", tmp_path / "s", *student) == 2


def write_foreign(folder: Path) -> dict[str, Path]:
    """Write a file of RDMs in each container."""
    rdm = np.abs(RNG.normal(size=(6, 6)))
    rdm = rdm + rdm.T
    np.fill_diagonal(rdm, 0)
    np.save(folder / "a.npy", rdm)
    np.savez_compressed(folder / "a.npz", IT=rdm)
    np.savetxt(folder / "a.csv", rdm, delimiter=",")
    savemat(folder / "a.mat", {"IT": rdm}, do_compression=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("IT", data=rdm, compression="gzip")
    task = {"task": {"name": "t", "task_type": "multiarrange"}, "rdm": [1.0, 2.0, 3.0]}
    task["stimuli"] = [{"name": name} for name in "abc"]
    (folder / "a.json").write_text(json.dumps(task))
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".mat", ".h5", ".json"])
def test_import_of_a_damaged_file_ends_with_one_error(suffix, rdl, tmp_path):
    (tmp_path / "in").mkdir()
    path, out = write_foreign(tmp_path / "in")[suffix], tmp_path / "out.h5"
    content = path.read_bytes()
    assert rdl("import-rdms", path, out) == 0
    for damage in DAMAGES.values():
        out.unlink(missing_ok=True)
        path.write_bytes(damage(content))
        rdl("import-rdms", path, out)
        rdl("import-rdms", path, tmp_path / "r.h5", "--responses", "correlation")
        (tmp_path / "r.h5").unlink(missing_ok=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_settings_recipes_and_predictions_that_are_damaged_end_with_one_error(
    damage, rdl, tmp_path
):
    data = DAMAGES[damage](b"[teacher]\nlr = 0.1\nepochs = 2\n")
    for name in ("x.toml", "predictions.npz", "labels.csv", "weights.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"
    assert rdl("train-teacher", out, "--config", tmp_path / "x.toml", "--dry-run") in (0, 2)
    assert rdl("reproduce", tmp_path / "x.toml", "--list") in (0, 2)
    assert rdl("compare", tmp_path / "predictions.npz") == 2
    for name in ("weights.pt", "w.safetensors"):
        with pytest.raises(UserError):
            read_state_dict(tmp_path / name)
    np.savetxt(tmp_path / "a.csv", 1 - np.eye(4), delimiter=",")
    words = ("--repair", "keep-constant", "--labels", tmp_path / "labels.csv")
    rdl("import-rdms", tmp_path / "a.csv", tmp_path / "b.h5", *words)
