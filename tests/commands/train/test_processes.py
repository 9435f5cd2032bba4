"""Training in two real processes (gloo): one student, and the losses of one process."""

import os
import socket

import pytest
import torch
from safetensors.torch import load_file

from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are forked")

PROCESS = """
import os, sys
os.environ.update(environment)
sys.path[:0] = path
from pathlib import Path
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.train import train as module
if environment["RANK"] != "0":
    os.replace = os.mkdir = None  # only the first process writes
write_results = module._write_results
def save_state(run, setup, student, *rest):
    torch.save(student.state_dict(), f"{out}.{setup.fabric.global_rank}.pt")
    write_results(run, setup, student, *rest)
module._write_results = save_state
module.train(Path(out), StudentSettings(**settings), resume)
"""

NETWORK = """
from torch import nn
def plain(shape, classes):
    network = nn.Sequential(nn.Flatten(), nn.Linear(shape.height * shape.width, 20), nn.ReLU())
    network.add_module("out", nn.Linear(20, classes))
    return network
"""


def run_processes(elsewhere, out, settings, world=2, path=(), resume=False):
    """Train in several processes, with the environment of torchrun; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
        "ROLE_RANK": "0",
    }
    processes = [
        elsewhere(
            PROCESS,
            wait=False,
            out=str(out),
            settings=settings,
            environment=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            path=list(path),
            resume=resume,
        )
        for rank in range(world)
    ]
    for process in processes:
        process.join(600)
    return [process.exitcode for process in processes]


def load_states(out):
    return [torch.load(f"{out}.{rank}.pt", weights_only=True) for rank in (0, 1)]


def assert_same_states(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():  # the balancer's state is no tensor
        same = torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name]
        assert same, name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "nin:width=0.1", "match": ["pool1=pool1"], "lr": 0.01},
        {"objective": ["hints"], "match": ["pool2"]},
    ],
    ids=["rdl", "batch norm", "hints"],
)
def test_two_processes_train_one_student(changes, tiny, follow, elsewhere, tmp_path):
    settings = {**tiny.TINY, **follow, "objective": ["rdl:pairs=500"]} | changes
    run = tmp_path / "run"
    assert run_processes(elsewhere, run, settings) == [0, 0]
    states = load_states(run)
    assert_same_states(*states)
    weights = load_file(run / "model.safetensors")
    assert all(torch.equal(states[0][f"student.{n}"], tensor) for n, tensor in weights.items())
    first, last = tiny.metrics(run)
    assert "hints" in str(changes) or last["train/task"] < first["train/task"]
    assert Run(run).provenance["world_size"] == 2
    (run / "predictions.h5").unlink()
    with pytest.raises(UserError, match="was begun by 2 processes; this is 1"):
        tiny.train(run, resume=True, **settings)
    (run / "checkpoint.pt").unlink()  # a kill in the first epoch leaves none
    with pytest.raises(UserError, match="was begun by 2 processes; this is 1"):
        tiny.train(run, resume=True, **settings)


@pytest.mark.parametrize(
    ("objective", "changes"),
    [
        (["rdl"], {}),
        (["rdl:pairs=500"], {"views": "none"}),
        (["rsa"], {"grad_fraction": ["rsa=0.5"]}),
        (["cka"], {}),
        (["bayes"], {}),
        (["rdl", "cka:estimator=debiased", "kd"], {"use_unlabelled": True, "train_size": 300}),
    ],
    ids=["rdl", "drawn pairs", "rsa", "cka", "bayes", "several"],
)
def test_pairs_across_gives_the_losses_of_one_process(
    objective, changes, tiny, teacher, elsewhere, tmp_path
):
    store = tiny.export(teacher, tmp_path / "store.h5", layers=["fc,logits"])
    (tmp_path / "plain_network.py").write_text(NETWORK)
    settings = tiny.TINY | {
        "network": "plain_network:plain",
        "targets": str(store),
        "match": ["1=fc"],
        "objective": objective,
        "precision": "64-true",
        "pairs_across": True,
        **changes,
    }
    rows = {}
    for world in (1, 2):
        run = tmp_path / f"run{world}"
        codes = run_processes(elsewhere, run, settings, world, [str(tmp_path)])
        assert codes == [0] * world
        rows[world] = tiny.metrics(run)
    for alone, together in zip(rows[1], rows[2], strict=True):
        assert together == pytest.approx(alone, abs=1e-5)
    without = tmp_path / "without"
    del settings["pairs_across"]
    assert run_processes(elsewhere, without, settings, 2, [str(tmp_path)]) == [0, 0]
    losses = [name for name in rows[1][0] if name.startswith("train/") and "task" not in name]
    row = tiny.metrics(without)[0]
    assert any(abs(row[name] - rows[1][0][name]) > 1e-5 for name in losses)


@pytest.mark.parametrize("pairs_across", [False, True])
def test_two_processes_train_a_student_of_a_brain(
    pairs_across, tiny, follow_brain, elsewhere, tmp_path
):
    settings = follow_brain | {"pairs_across": pairs_across, "stimuli_batch_size": 15}
    run = tmp_path / "run"
    assert run_processes(elsewhere, run, settings) == [0, 0]
    states = load_states(run)
    assert_same_states(*states)
    name = next(n for n in states[0] if n.startswith("student.") and n.endswith("running_mean"))
    own = "stimulus_batchnorm." + name.removeprefix("student.").replace(".", "/")
    assert not torch.equal(states[0][name], states[0][own])
    whole = (run / "model.safetensors").read_bytes()
    (run / "predictions.h5").unlink()
    (run / "model.safetensors").unlink()
    assert run_processes(elsewhere, run, settings, resume=True) == [0, 0]
    assert (run / "model.safetensors").read_bytes() == whole
    assert len(Run(run).metrics()) == follow_brain["epochs"]


def test_pairs_across_needs_equal_parts(tiny, follow, elsewhere, tmp_path):
    settings = {**tiny.TINY, **follow, "pairs_across": True, "batch_size": 25}
    assert run_processes(elsewhere, tmp_path / "run", settings) == [1, 1]
    assert not (tmp_path / "run").exists()
