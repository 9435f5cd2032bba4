"""A checkpoint comes back to the run, epoch and number of processes that it belongs to."""

from pathlib import Path

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from rdl_cli.runs.run import Run


def make_run(path: Path, epochs: int = 1, **config) -> Run:
    path.mkdir()
    run = Run(path)
    run.write_provenance({"parents": []})
    run.write_config({"seed": 0} | config)
    run.write_metrics([{"epoch": e, "validation_error": 0.5} for e in range(epochs)])
    return run


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path / "run")
    save_checkpoint(run, {"epoch": 0, "weights": torch.arange(4.0)}, world_size=1)
    return run


def test_checkpoint_comes_back(run):
    state = load_checkpoint(run, 1)
    assert state["epoch"] == 0 and state["weights"].tolist() == [0, 1, 2, 3]
    run.checkpoint.unlink()
    assert load_checkpoint(run, 1) is None


def test_load_checkpoint_takes_one_that_is_ahead_of_the_metrics(run):
    """A kill came between the two."""
    run.write_metrics([])
    assert load_checkpoint(run, 1)["epoch"] == 0


def test_load_checkpoint_refuses_that_of_another_run(run, tmp_path):
    other = make_run(tmp_path / "other", seed=1)
    other.checkpoint.write_bytes(run.checkpoint.read_bytes())
    with pytest.raises(UserError, match=r"checkpoint\.pt belongs to another run"):
        load_checkpoint(other, 1)


def test_load_checkpoint_refuses_that_of_an_earlier_epoch(run):
    run.write_metrics([{"epoch": e, "validation_error": 0.5} for e in range(3)])
    with pytest.raises(UserError, match=r"is of epoch 1; metrics\.csv has 3 epochs"):
        load_checkpoint(run, 1)


def test_load_checkpoint_refuses_another_number_of_processes(run):
    with pytest.raises(UserError, match="was written by 1 processes; this is 2"):
        load_checkpoint(run, 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(torch.arange(4.0).numpy().tobytes(), bytes(16)),
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"PK\x03\x04",
        lambda content: b"other",
    ],
)
def test_load_checkpoint_names_a_damaged_file(run, damage):
    run.checkpoint.write_bytes(damage(run.checkpoint.read_bytes()))
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged") as error:
        load_checkpoint(run, 1)
    assert "train again" in error.value.hint
