"""A run's files come back as they were written, and damage is reported with its file."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rdl_cli.core.checksum import MANIFEST
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import PARTIAL
from rdl_cli.runs.run import FILES, Run, find_runs, seed_folder

N = 6
ROWS = [
    {"epoch": 0.0, "validation_error": 0.5, "seconds": 1.5},
    {"epoch": 1.0, "validation_error": 0.25, "seconds": 1.25, "heldout/fc/spearman": 0.5},
]


def make_run(path: Path, finished: bool = True, **config) -> Run:
    """Write a run of two epochs."""
    path.mkdir(parents=True, exist_ok=True)
    run = Run(path)
    run.write_provenance({"command": "rdl train-teacher t", "parents": []})
    run.write_config({"network": "nin", "seed": 0, "label": None} | config)
    run.write_metrics(ROWS)
    if finished:
        run.weights.write_bytes(b"weights")
        logits = np.eye(N)
        digests = np.array([f"{i:064x}" for i in range(N)], "S64")
        run.write_predictions(digests, np.arange(N), {"final": logits, "best": logits[::-1]})
    return Run(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run")


def test_run_comes_back(run):
    opened = Run.open_finished(run.path)
    assert (opened.config, opened.seed, opened.label) == ({"network": "nin", "seed": 0}, 0, None)
    assert opened.provenance["command"] == "rdl train-teacher t" and opened.stimuli is None
    assert (opened.provenance["format"], opened.provenance["version"]) == ("rdl-run", 2)
    opened.write_stimuli({"brain_similarity": []})
    assert Run(run.path).stimuli == {"brain_similarity": []}


def test_metrics_keep_timings_apart(run):
    with (run.path / "metrics.csv").open() as file:
        assert csv.DictReader(file).fieldnames == [
            "epoch",
            "validation_error",
            "heldout/fc/spearman",
        ]
    assert [row["heldout/fc/spearman"] for row in run.metrics()] == ["", "0.5"]
    assert run.timings() == [
        {"epoch": "0.0", "seconds": "1.5"},
        {"epoch": "1.0", "seconds": "1.25"},
    ]


def test_equal_runs_are_equal_files(run, tmp_path):
    other = make_run(tmp_path / "other")
    for name in FILES:
        if (run.path / name).is_file():
            assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name


def test_write_predictions_removes_what_a_kill_left_half_written(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    half = run.path / f".timings.csv.0123abcd{PARTIAL}"
    half.write_text("epoch,sec")
    make_run(run.path)
    assert not half.exists()


def test_write_predictions_lists_every_file_for_sha256sum(run):
    run.verify()
    names = {line.split("  ")[1] for line in (run.path / MANIFEST).read_text().splitlines()[1:]}
    assert names == {path.name for path in run.path.iterdir()} - {MANIFEST}
    try:
        done = subprocess.run(["sha256sum", "-c", MANIFEST], cwd=run.path, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no sha256sum")
    assert done.returncode == 0 and not done.stderr


@pytest.mark.parametrize(
    "name", [name for name in FILES if name not in ("checkpoint.pt", "stimuli.json")]
)
def test_verify_notices_flipped_bits_of_every_file(run, name):
    content = (run.path / name).read_bytes()
    for place in {0, len(content) // 2, len(content) - 1}:
        flipped = bytes([content[place] ^ 1])
        (run.path / name).write_bytes(content[:place] + flipped + content[place + 1 :])
        with pytest.raises(UserError, match=rf"{name} is damaged"):
            Run(run.path).verify()
    (run.path / name).write_bytes(content)
    Run(run.path).verify()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.toml", lambda run: run.config),
        ("provenance.json", lambda run: run.provenance),
        ("metrics.csv", lambda run: run.metrics()),
        ("timings.csv", lambda run: run.timings()),
    ],
)
def test_finished_run_refuses_a_text_file_that_has_changed(run, name, read):
    path = run.path / name
    path.write_bytes(
        path.read_bytes()
        .replace(b"nin", b"nim")
        .replace(b"1.", b"7.")
        .replace(b"rdl train", b"rdl brain")
    )
    with pytest.raises(UserError, match=f"{name} is damaged") as error:
        read(Run(run.path))
    assert error.value.hint
    (run.path / "predictions.h5").unlink()  # an earlier attempt's checksums do not count
    read(Run(run.path))


def test_fingerprint_is_that_of_the_weights(run, tmp_path):
    assert run.fingerprint() == make_run(tmp_path / "other", seed=1).fingerprint()
    run.weights.write_bytes(b"others")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        run.fingerprint()
    run.weights.unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors") as error:
        run.fingerprint()
    assert "--resume" in error.value.hint


def test_key_follows_settings_and_parents(run, tmp_path):
    key = run.key()
    assert make_run(tmp_path / "same", device="cuda").key() == key
    assert make_run(tmp_path / "other", seed=1).key() != key
    (run.path / MANIFEST).unlink()
    run.write_provenance({"parents": [{"kind": "store", "path": "s", "fingerprint": "f"}]})
    assert Run(run.path).key() != key


def test_open_refuses_a_run_of_version_1(run):
    record = {"command": "rdl train-teacher t --epochs 2", "parents": []}
    (run.path / MANIFEST).unlink()
    (run.path / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="is a run of version 1; this rdl reads version 2") as error:
        Run.open(run.path)
    assert error.value.hint == "train it again (it was made by: rdl train-teacher t --epochs 2)"


def test_open_refuses_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="there is no run at"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"it has no config\.toml"):
        Run.open(tmp_path)
    run = make_run(tmp_path / "run", finished=False)
    with pytest.raises(UserError, match="never finished") as error:
        Run.open_finished(run.path)
    assert "--resume" in error.value.hint
    (run.path / "config.toml").write_text("")
    with pytest.raises(UserError, match="is empty"):
        Run.open(run.path)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("config.toml", b"seed = ", Run.open),
        ("config.toml", b"\xff", Run.open),
        ("provenance.json", b"{", Run.open),
        ("provenance.json", b"[]", Run.open),
        ("provenance.json", b'{"version": 2, "parents": [{"kind": "run"}]}', Run.open),
        ("metrics.csv", b"epoch,validation_error\n0", lambda path: Run(path).metrics()),
        ("metrics.csv", b"epoch\n0\n", lambda path: Run(path).metrics()),
        ("metrics.csv", b"\xff", lambda path: Run(path).metrics()),
        ("stimuli.json", b"{", lambda path: Run(path).stimuli),
    ],
)
def test_run_names_a_damaged_file(run, name, content, read):
    (run.path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        read(run.path)


def test_name_is_the_label_or_the_folder_above_seeds(tmp_path):
    assert make_run(tmp_path / "kd", label="mine").name == "mine"
    assert make_run(tmp_path / "rdl" / "seed3").name == "rdl"
    assert make_run(tmp_path / "seedling").name == "seedling"


def test_method_is_equal_for_runs_that_differ_in_seed(tmp_path):
    one, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, device="cuda")
    assert one.method == other.method != make_run(tmp_path / "c", network="vgg").method


def test_remove_leaves_files_that_are_not_the_runs(run):
    (run.path / "notes.txt").write_text("mine")
    run.remove()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]
    (run.path / "notes.txt").unlink()
    run.remove()
    assert not run.path.exists()


def test_seed_folder_is_found_by_find_runs(tmp_path):
    for seed in (0, 1):
        make_run(seed_folder(tmp_path / "rdl", seed), seed=seed)
    paths = [tmp_path / "rdl", seed_folder(tmp_path / "rdl", 1)]
    assert [run.seed for run in find_runs(paths)] == [0, 1]
    with pytest.raises(UserError, match="there is no run at or below"):
        find_runs([tmp_path / "nowhere"])
