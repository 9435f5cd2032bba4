"""Runs: the same again to the bit, whole after any kill, and never told more than they should know."""

import os
import shutil
import signal
import socket
import tomllib
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.show import show
from rdl_cli.commands.train import setup as lessons
from rdl_cli.commands.train import train as job
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import Splits
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.run import Run
from rdl_cli.training.lr_schedule import SCHEDULES

KILLED = -signal.SIGKILL
WRITTEN = [
    "provenance.json",
    "config.toml",
    *["checkpoint.pt", "metrics.csv"] * 2,
    "model.safetensors",
    "predictions.h5",
]

RUN = """
from pathlib import Path
from rdl_cli.commands.train.train import train
train(Path(out), StudentSettings(**settings), resume)
"""
KILL = """
import os, signal
replace, count = os.replace, 0
def killing(*args, **kwargs):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args, **kwargs)
os.replace = os.rename = killing
"""
TEAR = """
import io, os, signal
save, count = torch.save, 0
def tearing(what, path):
    global count
    count += 1
    if count == 1:
        return save(what, path)
    save(what, whole := io.BytesIO())
    with open(path, "wb") as file:
        file.write(whole.getvalue()[:len(whole.getvalue()) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = tearing
"""


@pytest.fixture(scope="module")
def settings(tiny, follow):
    """As the session's student was trained."""
    return {**tiny.TINY, **follow, "objective": ["rdl:pairs=500"]}


def whole(path):
    """What lies in a finished run, and nothing else."""
    return {p.name for p in path.iterdir()} == set(WRITTEN)


def test_the_same_seed_gives_the_same_run_to_the_bit_and_another_seed_another(
    tiny, student, settings, tmp_path
):
    again = tiny.train(tmp_path / "again", **settings)
    assert whole(again) and tiny.same(again, student)
    other = tiny.train(tmp_path / "other", **settings | {"seed": 1})
    mine, theirs = (load_file(run / "model.safetensors") for run in (student, other))
    assert all(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_global_generator_has_no_say(tiny, student, settings, tmp_path):
    torch.manual_seed(123)
    np.random.default_rng()
    torch.rand(7)
    assert tiny.same(tiny.train(tmp_path / "run", **settings), student)


def test_training_learns(tiny, teacher):
    rows = tiny.metrics(teacher)
    assert [row["epoch"] for row in rows] == list(range(15))
    assert rows[-1]["validation_error"] < 0.15 and rows[-1]["train/task"] < rows[0]["train/task"]
    found = {epoch: Run(teacher).predictions(epoch) for epoch in ("final", "best")}
    for said in found.values():
        assert (
            said.predicted.tolist() == said.logits.argmax(1).tolist() and said.errors / 500 < 0.15
        )
    assert len(set(found["final"].digests.tolist())) > 490, (
        "each test picture is known by its pixels"
    )


def test_the_best_epoch_is_the_first_of_the_lowest_validation_error(tiny, student, tmp_path):
    rows = tiny.metrics(student)
    best = min(range(len(rows)), key=lambda e: rows[e]["validation_error"])
    checkpoint = torch.load(student / "checkpoint.pt", weights_only=True)
    assert checkpoint["best"]["epoch"] == best and checkpoint["rows"] == rows
    if best == len(rows) - 1:
        said = Run(student)
        assert np.array_equal(said.predictions("best").logits, said.predictions("final").logits)


def test_metrics_tell_every_term_unweighted_with_its_weight_and_share(tiny, student):
    for epoch, row in enumerate(tiny.metrics(student)):
        terms = ["task", *(f"rdl/{layer}" for layer in tiny.LAYERS.split(","))]
        assert {
            f"{kind}/{term}" for kind in ("train", "weight", "grad_fraction") for term in terms
        } < row.keys()
        assert sum(row[f"grad_fraction/{term}"] for term in terms) == pytest.approx(1)
        assert row["weight/task"] == 1 and row["weight/rdl/fc"] == pytest.approx(1 - epoch / 2), (
            "α_e = α_0 (1 − e/E)"
        )


@pytest.mark.parametrize(
    "at", range(1, len(WRITTEN) + 1), ids=[f"{k}-{name}" for k, name in enumerate(WRITTEN, 1)]
)
def test_a_kill_before_any_file_is_named_leaves_a_run_that_goes_on_to_the_bit(
    at, tiny, student, settings, elsewhere, tmp_path
):
    out = tmp_path / "run"
    assert elsewhere(KILL + RUN, out=str(out), settings=settings, resume=False, at=at) == KILLED
    assert not Run(out).finished and not whole(out)
    tiny.train(out, resume=True, **settings)
    assert tiny.same(out, student) and whole(out), "nor is anything left of the broken attempt"


def test_a_kill_in_the_middle_of_a_checkpoint_leaves_a_run_that_goes_on_to_the_bit(
    tiny, student, settings, elsewhere, tmp_path
):
    out = tmp_path / "run"
    assert elsewhere(TEAR + RUN, out=str(out), settings=settings, resume=False) == KILLED
    assert len(list(out.glob(".checkpoint.pt.*"))) == 1 and (out / "checkpoint.pt").exists(), (
        "half of the second beside the first"
    )
    tiny.train(out, resume=True, **settings)
    assert tiny.same(out, student) and whole(out)


def test_a_damaged_checkpoint_is_named(tiny, student, settings, elsewhere, tmp_path):
    out = tmp_path / "run"
    assert elsewhere(KILL + RUN, out=str(out), settings=settings, resume=False, at=4) == KILLED
    file = out / "checkpoint.pt"
    before = file.read_bytes()
    with ZipFile(file) as archive:
        largest = max(
            (archive.read(name) for name in archive.namelist()), key=len
        )  # between the parts there is padding
    for damage in (cut, lambda file: flip(file, at=before.find(largest) + len(largest) // 2)):
        file.write_bytes(before)
        damage(file)
        with pytest.raises(UserError, match=r"checkpoint\.pt is damaged") as error:
            tiny.train(out, resume=True, **settings)
        assert str(out) in error.value.hint


def test_what_a_run_left_is_not_read_with_a_flipped_bit(student, tmp_path):
    """HDF5 and safetensors would hand the other number on."""
    shutil.copytree(student, tmp_path / "run")
    run = Run(tmp_path / "run")
    flip(run.weights)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        run.fingerprint()
    flip(run.path / "predictions.h5", at=-1)
    with pytest.raises(UserError, match=r"predictions\.h5 is damaged") as error:
        run.predictions()
    assert "--resume" in error.value.hint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip(path: Path, at: int | None = None) -> None:
    """One bit, in the middle of the file or at a place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 16
    path.write_bytes(content)


def test_resume_passes_over_what_is_finished(tiny, settings, tmp_path):
    runs = {**settings, "seeds": "0,2", "epochs": 1}
    tiny.train(tmp_path / "runs", **runs)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    tiny.train(tmp_path / "runs", resume=True, **runs)
    assert (
        times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
        and len(times) == 12
    )
    tiny.train(tmp_path / "runs", resume=True, **runs | {"seeds": "0..2"})
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"seed0", "seed1", "seed2"}
    assert tiny.same(
        tmp_path / "runs/seed2",
        tiny.train(tmp_path / "alone", **settings | {"seed": 2, "epochs": 1}),
    )
    assert tomllib.loads((tmp_path / "runs/seed2/config.toml").read_text())["seed"] == 2


def test_steps_are_as_many_as_were_asked_for(tiny, tmp_path, capsys):
    run = tiny.train(tmp_path / "run", max_steps=11, batch_size=500, precision="64-true")
    assert torch.load(run / "checkpoint.pt", weights_only=True)["optimizer"]["state"], (
        "it has learnt"
    )
    said = capsys.readouterr().err
    assert "11 steps in 6 epochs" in said and len(tiny.metrics(run)) == 6
    assert "the weights are kept as float32" in said and {
        t.dtype for t in load_file(run / "model.safetensors").values()
    } == {torch.float32}


def test_more_pairs_than_there_are_is_said_once(tiny, follow, tmp_path, capsys):
    for pairs, times in ((4950, 0), (4951, 1)):
        tiny.train(
            tmp_path / str(pairs), objective=[f"rdl:pairs={pairs}"], **follow | {"epochs": 1}
        )
        assert (
            capsys.readouterr().err.count(
                "rdl: 100 images have 4,950 pairs; asked for 4,951, all are used"
            )
            == times
        )


def test_resume_with_other_settings_names_the_values(tiny, student, settings):
    with pytest.raises(UserError, match=r"epochs was 2, is 4; lr was 0\.02, is 0\.1"):
        tiny.train(student, resume=True, **settings | {"lr": 0.1, "epochs": 4})
    with pytest.raises(UserError, match=r"seed was 0, is 1"):
        tiny.train(student, resume=True, **settings | {"seed": 1})
    assert Run(student).finished


def test_what_is_there_already_is_left_alone(tiny, student, settings, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        tiny.train(student, **settings)
    file = tmp_path / "file"
    file.write_text("mine")
    for resume in (False, True):
        with pytest.raises(UserError):
            tiny.train(file, resume=resume, **settings)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UserError):
            tiny.train(folder, resume=resume, **settings)
    assert file.read_text() == (folder / "thesis.txt").read_text() == "mine"
    (folder / "thesis.txt").unlink()
    assert whole(tiny.train(folder, **settings | {"epochs": 1})), "an empty folder is no run"


def test_config_toml_reruns_the_run(student, tmp_path):
    config = tomllib.loads((student / "config.toml").read_text())
    job.train(tmp_path / "run", StudentSettings(**config))
    assert (tmp_path / "run/model.safetensors").read_bytes() == (
        student / "model.safetensors"
    ).read_bytes()


def test_provenance_names_parents_and_versions(tiny, student, store, teacher):
    made = Run(student).provenance
    assert {parent["kind"] for parent in made["parents"]} == {"dataset", "store"}
    assert (
        made["config"]["targets"] == str(store)
        and made["versions"]["torch"] == torch.__version__.partition("+")[0]
        and made["threads"] == 1
    )
    assert made["test_images_seen_in_training"] == 0, "no two of the digits are equal"


def test_nothing_is_written_by_a_dry_run(tiny, settings, tmp_path, capsys):
    job.train(tmp_path / "run", tiny.settings(**settings), dry_run=True)
    assert not any(tmp_path.iterdir())
    said = capsys.readouterr()
    assert "1,000 labelled images, 2 epochs of 10 steps" in said.err and said.out == ""


def test_no_epochs_evaluate_what_init_gives(tiny, teacher, tmp_path):
    run = tiny.train(tmp_path / "run", epochs=0, init=str(teacher))
    assert (run / "model.safetensors").read_bytes() == (teacher / "model.safetensors").read_bytes()
    for epoch in ("final", "best"):
        assert np.array_equal(
            Run(run).predictions(epoch).logits, Run(teacher).predictions("final").logits
        )
    show(run, verify=True)
    with pytest.raises(UserError, match="--epochs 0"):
        tiny.train(tmp_path / "none", epochs=0)
    assert not (tmp_path / "none").exists()


OWN = """
import random
import numpy as np
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.hidden, self.again, self.readout = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 10)
        self.again.weight = self.hidden.weight
    def forward(self, x):
        return self.readout(self.again(self.hidden(self.into(x.flatten(1)))))

class Noisy(Tied):
    def forward(self, x):
        return super().forward(x) + (np.random.rand() + random.random() if self.training else 0)

def narrow(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))

class Empty(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]

class Aux(Tied):
    def forward(self, x):
        return (super().forward(x),) if self.training else super().forward(x)

def broken():
    return {}["weights"]
"""


class TestOwnNetworks:
    @pytest.fixture(autouse=True)
    def own(self, tmp_path_factory, monkeypatch):
        folder = tmp_path_factory.mktemp("own")
        (folder / "own_networks.py").write_text(OWN)
        monkeypatch.syspath_prepend(folder)

    def test_tied_weights_are_kept_under_each_name(self, tiny, tmp_path):
        run = tiny.train(tmp_path / "run", network="own_networks:Tied")
        tensors = load_file(run / "model.safetensors")
        assert torch.equal(tensors["hidden.weight"], tensors["again.weight"])
        again = tiny.train(tmp_path / "again", network="own_networks:Tied", init=str(run), epochs=0)
        assert np.array_equal(Run(run).predictions().logits, Run(again).predictions().logits)

    def test_other_generators_are_seeded_too(self, tiny, tmp_path):
        one, other = (
            tiny.train(tmp_path / name, network="own_networks:Noisy") for name in ("one", "other")
        )
        assert tiny.same(one, other)

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"network": "own_networks:Empty"}, "has no weights that could be trained"),
            (
                {"network": "own_networks:narrow", "batch_size": 1, "train_size": 20},
                "no variance to divide by",
            ),
            ({"network": "own_networks:Aux"}, "gives a tuple in training"),
            ({"network": "own_networks:broken"}, "could not be built .* KeyError: 'weights'"),
            ({"task_weight": 0.0}, "nothing is left to learn"),
            ({"network": "mnist-cnn:width=0"}, "leaves no features"),
        ],
    )
    def test_what_can_not_be_trained_is_one_error_and_leaves_nothing(
        self, settings, says, tiny, tmp_path
    ):
        with pytest.raises(UserError, match=says):
            tiny.train(tmp_path / "new" / "run", **settings)
        assert not (tmp_path / "new").exists()


def test_a_run_that_another_process_writes_is_left_alone(tiny, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "run").mkdir()
    folder = os.open(tmp_path / "run", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="is being written by another process"):
        tiny.train(tmp_path / "run", resume=True)
    os.close(folder)
    assert list((tmp_path / "run").iterdir()) == []
    tiny.train(tmp_path / "run", resume=True)


def test_init_copies_what_fits_and_says_what_does_not(tiny, teacher, tmp_path, capsys):
    tensors = load_file(teacher / "model.safetensors")
    readout = {"readout.weight": torch.zeros(7, 50), "readout.bias": torch.zeros(7)}
    torch.save({"state_dict": tensors | readout}, tmp_path / "seven.pt")
    run = tiny.train(tmp_path / "run", init=str(tmp_path / "seven.pt"), epochs=1, lr=0.0)
    said = capsys.readouterr().err
    assert "6 tensors begin as in" in said and "new: readout.weight, readout.bias" in said
    begun = load_file(run / "model.safetensors")
    assert all(torch.equal(begun[name], tensors[name]) == (name not in readout) for name in tensors)
    assert {parent["kind"] for parent in Run(run).provenance["parents"]} == {"dataset", "weights"}
    torch.save({"other": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"nothing in .* fits"):
        tiny.train(tmp_path / "none", init=str(tmp_path / "other.pt"))
    assert not (tmp_path / "none").exists()


class TestLabels:
    """What `--train-size` and `--use-unlabelled` let a student know."""

    few = {"train_size": 20, "unlabelled": True, "batch_size": 10, "epochs": 1}  # noqa: RUF012

    def shown(self, monkeypatch, tiny, out, **changes):
        """Every batch that training was shown."""
        batches = []
        epoch = lessons.Batches.epoch

        def watched(self, *args, **kwargs):
            for batch in epoch(self, *args, **kwargs):
                batches.append(batch)
                yield batch

        monkeypatch.setattr(lessons.Batches, "epoch", watched)
        tiny.train(out, **changes)
        return batches

    def test_the_baseline_gets_the_same_labelled_draws_and_steps(
        self, tiny, follow, tmp_path, monkeypatch
    ):
        with monkeypatch.context() as patch:
            baseline = self.shown(patch, tiny, tmp_path / "baseline", **self.few)
        with monkeypatch.context() as patch:
            student = self.shown(patch, tiny, tmp_path / "student", **self.few, **follow)
        assert len(baseline) == len(student) == 98, "a pass over the 980 that have no label"
        for mine, theirs in zip(baseline, student, strict=True):
            known = theirs.labels >= 0
            assert (
                known.sum() == 10
                and torch.equal(mine.ids, theirs.ids[known])
                and torch.equal(mine.labels, theirs.labels[known])
            )
            assert torch.equal(mine.images, theirs.images[known])
        seen = torch.cat([batch.ids for batch in student])
        assert (
            len(seen.unique()) == 1000 and len(torch.cat([b.ids for b in baseline]).unique()) == 20
        )

    def test_labels_of_unlabelled_images_change_nothing(self, tiny, follow, tmp_path, monkeypatch):
        semi = tiny.train(tmp_path / "semi", **self.few, **follow)
        load, of = job.load_splits, lessons.TrainingPlan.of
        truth = of(tiny.settings(**self.few), load(tiny.settings()).train, Seeds(0))

        def permuted(settings: StudentSettings) -> Splits:
            splits = load(settings)
            known = torch.isin(splits.train.ids, truth.labelled.ids)
            labels = torch.where(known, splits.train.labels, (splits.train.labels + 1) % 10)
            assert (labels != splits.train.labels).sum() == 980
            return splits._replace(train=replace(splits.train, labels=labels))

        def drawn(settings, train, seeds):
            """The draw by class looks at all labels; this one is that of the true ones."""
            known = torch.isin(train.ids, truth.labelled.ids)
            return replace(
                truth,
                labelled=train.at(known.nonzero().flatten()),
                unlabelled=train.at((~known).nonzero().flatten()),
            )

        monkeypatch.setattr(job, "load_splits", permuted)
        monkeypatch.setattr(lessons.TrainingPlan, "of", drawn)
        assert tiny.same(tiny.train(tmp_path / "run", **self.few, **follow), semi)

    def test_more_labels_than_images_are_refused(self, tiny, tmp_path):
        with pytest.raises(
            UserError, match="1,001 labelled images were asked for; the training split has 1,000"
        ):
            tiny.train(tmp_path / "run", train_size=1001)
        with pytest.raises(UserError, match="--use-unlabelled"):
            tiny.train(tmp_path / "run", use_unlabelled=True)
        assert not any(tmp_path.iterdir())


class TestNotFinite:
    def test_names_epoch_term_and_option_and_leaves_nothing(self, tiny, follow, tmp_path):
        with pytest.raises(UserError, match=r"not finite: `.*` in epoch 1, step 2") as met:
            tiny.train(tmp_path / "run", objective=["rdl:weight=1e30"], **follow)
        assert "--objective" in met.value.hint and "--lr" in met.value.hint
        with pytest.raises(UserError, match="not finite: `task` in epoch 1, step") as met:
            tiny.train(tmp_path / "run", lr=1e30)
        assert "--lr" in met.value.hint and "--objective" not in met.value.hint
        assert not any(tmp_path.iterdir())

    def test_nor_do_weights_that_are_no_numbers(self, tiny, tmp_path):
        """Nor the folder of seeds, and the one above it, that would have been made for the run."""
        state = build_network(tiny.TINY["network"], InputShape(1, 8, 8), 10).state_dict()
        torch.save(
            {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()},
            tmp_path / "nan.pt",
        )
        with pytest.raises(UserError, match="outputs are not finite"):
            tiny.train(
                tmp_path / "new" / "runs", init=str(tmp_path / "nan.pt"), epochs=0, seeds="0,1"
            )
        assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]

    def test_keeps_the_epochs_before_it(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setitem(
            SCHEDULES._members, "explosive", lambda epochs: lambda time: 1e30 if time >= 1 else 1.0
        )
        SCHEDULES.names()
        with pytest.raises(UserError, match="in epoch 2, step 2"):
            tiny.train(tmp_path / "run", schedule="explosive")
        assert len(tiny.metrics(tmp_path / "run")) == 1 and not Run(tmp_path / "run").finished


PROCESS = """
import os
os.environ.update(environment)
from rdl_cli.commands.train import train as job
if environment["RANK"] != "0":
    os.replace = os.mkdir = None  # only the first process writes
finish = job._finish
def keeping(run, setup, module, *rest):
    torch.save(module.state_dict(), f"{out}.{setup.fabric.global_rank}.pt")
    finish(run, setup, module, *rest)
job._finish = keeping
"""


def together(elsewhere, out, settings, world=2):
    """A run by as many processes, in the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    base |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "ROLE_RANK": "0"}
    processes = [
        elsewhere(
            PROCESS + RUN,
            wait=False,
            out=str(out),
            settings=settings,
            resume=False,
            environment=base | {"RANK": str(r), "LOCAL_RANK": str(r)},
        )
        for r in range(world)
    ]
    for process in processes:
        process.join(600)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": "nin:width=0.1", "match": ["pool1=pool1"], "lr": 0.01},
        {"objective": ["hints"], "match": ["pool2"]},
    ],
    ids=["rdl", "batch norm", "heads that rest"],
)
def test_two_processes_train_one_student(changes, tiny, settings, elsewhere, tmp_path):
    assert together(elsewhere, tmp_path / "run", settings | changes) == [0, 0]
    assert whole(tmp_path / "run")
    mine, theirs = (torch.load(tmp_path / f"run.{rank}.pt", weights_only=True) for rank in (0, 1))
    assert mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], theirs[name]) for name in mine
    )
    saved = load_file(tmp_path / "run/model.safetensors")
    assert all(torch.equal(mine[f"student.{name}"], tensor) for name, tensor in saved.items())
    first, last = tiny.metrics(tmp_path / "run")
    assert "hints" in str(changes) or last["train/task"] < first["train/task"]


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train(precision, tiny, follow, store, teacher, tmp_path):
    for name, targets in (("stored", store), ("live", teacher)):
        run = tiny.train(
            tmp_path / name, **follow | {"targets": str(targets), "precision": precision}
        )
        first, last = tiny.metrics(run)
        assert (
            last["train/task"] < first["train/task"]
            and last["train/rdl/pool1"] < first["train/rdl/pool1"]
        )
        assert first["grad_fraction/rdl/fc"] > 0
        assert all(
            tensor.dtype == torch.float32
            for tensor in load_file(run / "model.safetensors").values()
        )


def test_a_run_does_not_go_on_with_a_teacher_that_has_changed(tiny, teacher, tmp_path, monkeypatch):
    """Half of it would have learned from one store, half from another. A layer more is no other store."""
    out, store = tmp_path / "run", tmp_path / "teacher.h5"
    tiny.export(teacher, store)
    settings = {"targets": str(store), "match": ["fc"]}
    tiny.train(out, **settings)
    (out / "predictions.h5").unlink()  # as if killed before its last act
    tiny.export(teacher, store, layers=["logits"])
    tiny.train(out, resume=True, **settings)
    (link,) = (link for link in show(out).parents if link.kind == "store")
    assert link.state == "unchanged"
    (out / "predictions.h5").unlink()
    other = tiny.train(tmp_path / "other", seed=6)
    store.unlink()
    tiny.export(other, store)
    with pytest.raises(UserError, match="has changed since"):
        tiny.train(out, resume=True, **settings)


def test_a_finished_run_whose_store_has_changed_is_not_passed_over(tiny, teacher, tmp_path):
    """A recipe's store in another distance: its students would be shown as having learned from it."""
    out, store = tmp_path / "run", tmp_path / "teacher.h5"
    tiny.export(teacher, store)
    settings = {"targets": str(store), "match": ["fc"]}
    tiny.train(out, **settings)
    tiny.export(teacher, store, layers=["logits"])
    tiny.train(out, resume=True, **settings)
    tiny.export(teacher, store, distance="cosine")
    with pytest.raises(UserError, match=r"has changed since .* learned from it"):
        tiny.train(out, resume=True, **settings)
    store.unlink()
    tiny.train(out, resume=True, **settings)


def test_the_logits_that_kd_follows_unasked_are_remembered(tiny, teacher, tmp_path):
    store = tmp_path / "teacher.h5"
    tiny.export(teacher, store, layers=["fc", "logits"])
    for name, more, layers in (
        ("kd", {}, ["logits"]),
        ("both", {"match": ["fc"], "objective": ["rdl", "kd"]}, ["fc", "logits"]),
    ):
        run = Run(
            tiny.train(tmp_path / name, **{"targets": str(store), "objective": ["kd"]} | more)
        )
        (parent,) = (parent for parent in run.provenance["parents"] if parent["kind"] == "store")
        assert parent["layers"] == layers


def test_a_run_of_an_older_rdl_that_knew_its_store_otherwise_says_so(tiny, teacher, tmp_path):
    out, store = tmp_path / "run", tmp_path / "teacher.h5"
    tiny.export(teacher, store)
    settings = {"targets": str(store), "match": ["fc"]}
    run = Run(tiny.train(out, **settings))
    (out / "predictions.h5").unlink()
    parents = [
        {key: parent[key] for key in ("kind", "path", "fingerprint")}
        for parent in run.provenance["parents"]
    ]
    run.write_provenance(
        run.provenance | {"parents": [*parents[:-1], parents[-1] | {"fingerprint": "f" * 64}]}
    )
    with pytest.raises(UserError, match="was begun by an older rdl, which knew the store"):
        tiny.train(out, resume=True, **settings)
