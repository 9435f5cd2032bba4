"""A training as long as asked for, on the right images and labels, from the right weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.commands.train import setup as training_setup
from rdl_cli.commands.train import train as train_module
from rdl_cli.commands.train.setup import MAX_EVALUATIONS, plan_training
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import Split
from rdl_cli.runs.run import Run

SPLIT = Split(
    torch.zeros(1000, 1, 2, 2, dtype=torch.uint8),
    torch.arange(1000) % 10,
    torch.arange(1000),
    tuple("0123456789"),
)
OWN_NETWORKS = """
import random
import numpy as np
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.hidden = nn.Linear(64, 8), nn.Linear(8, 8)
        self.again, self.readout = nn.Linear(8, 8), nn.Linear(8, 10)
        self.again.weight = self.hidden.weight
    def forward(self, x):
        return self.readout(self.again(self.hidden(self.first(x.flatten(1)))))

class Noisy(Tied):
    def forward(self, x):
        return super().forward(x) + (np.random.rand() + random.random() if self.training else 0)

def narrow(num_classes):
    layers = nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes)
    return nn.Sequential(*layers)

class Empty(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]

class Aux(Tied):
    def forward(self, x):
        return (super().forward(x),) if self.training else super().forward(x)

def broken():
    return {}["weights"]
"""
FEW = {"train_size": 20, "use_unlabelled": True, "batch_size": 10, "epochs": 1}


@pytest.mark.parametrize("batch_size", [10, 100, 1000])
@pytest.mark.parametrize("steps", [1, 2, 49, 50, 51, 101, 997, 1500])
def test_plan_training_has_exactly_max_steps_and_some_in_the_last_epoch(steps, batch_size):
    settings = TrainingSettings(max_steps=steps, batch_size=batch_size)
    plan = plan_training(settings, SPLIT, Seeds(0))
    assert plan.total == steps
    assert (plan.epochs - 1) * plan.steps < steps <= plan.epochs * plan.steps
    assert plan.epochs <= max(MAX_EVALUATIONS, steps // (1000 // batch_size) + 1)


def test_plan_training_counts_epochs_as_passes():
    plan = plan_training(TrainingSettings(epochs=3, batch_size=300), SPLIT, Seeds(0))
    assert (plan.epochs, plan.steps, plan.total) == (3, 3, 9)


class TestBuildStudent:
    def test_copies_tensors_of_init_that_fit_and_logs_the_others(
        self, tiny, teacher, tmp_path, capsys
    ):
        tensors = load_file(teacher / "model.safetensors")
        readout = {"readout.weight": torch.zeros(7, 50), "readout.bias": torch.zeros(7)}
        torch.save({"state_dict": tensors | readout}, tmp_path / "seven.pt")
        run = tiny.train(tmp_path / "run", init=str(tmp_path / "seven.pt"), epochs=1, lr=0.0)
        text = capsys.readouterr().err
        assert "6 tensors start as in" in text and "new: readout.weight, readout.bias" in text
        weights = load_file(run / "model.safetensors")
        for name, tensor in tensors.items():
            assert torch.equal(weights[name], tensor) == (name not in readout)
        parents = {parent["kind"] for parent in Run(run).provenance["parents"]}
        assert parents == {"dataset", "weights"}

    def test_refuses_init_without_a_tensor_that_fits(self, tiny, tmp_path):
        torch.save({"other": torch.zeros(3)}, tmp_path / "other.pt")
        with pytest.raises(UserError, match=r"no tensor of .* fits"):
            tiny.train(tmp_path / "run", init=str(tmp_path / "other.pt"))
        assert not (tmp_path / "run").exists()

    def test_takes_safetensors_without_metadata(self, tmp_path, teacher, tiny):
        save_file(load_file(teacher / "model.safetensors"), tmp_path / "w.safetensors")
        run = tiny.train(tmp_path / "run", init=str(tmp_path / "w.safetensors"), epochs=0)
        assert np.array_equal(Run(run).predictions().logits, Run(teacher).predictions().logits)

    def test_refuses_no_epochs_without_init(self, tiny, tmp_path):
        with pytest.raises(UserError, match="--epochs 0"):
            tiny.train(tmp_path / "run", epochs=0)
        assert not (tmp_path / "run").exists()


class TestOwnNetworks:
    @pytest.fixture(autouse=True)
    def own_networks(self, tmp_path_factory, monkeypatch):
        folder = tmp_path_factory.mktemp("own")
        (folder / "own_networks.py").write_text(OWN_NETWORKS)
        monkeypatch.syspath_prepend(folder)

    def test_tied_weights_are_saved_under_each_name(self, tiny, tmp_path):
        run = tiny.train(tmp_path / "run", network="own_networks:Tied")
        tensors = load_file(run / "model.safetensors")
        assert torch.equal(tensors["hidden.weight"], tensors["again.weight"])
        again = tiny.train(tmp_path / "again", network="own_networks:Tied", init=str(run), epochs=0)
        assert np.array_equal(Run(run).predictions().logits, Run(again).predictions().logits)

    def test_generators_of_numpy_and_python_are_seeded(self, tiny, tmp_path):
        runs = [tiny.train(tmp_path / name, network="own_networks:Noisy") for name in ("a", "b")]
        assert tiny.same(*runs)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"network": "own_networks:Empty"}, "has no weights to train"),
            (
                {"network": "own_networks:narrow", "batch_size": 1, "train_size": 20},
                "batch normalisation has no variance",
            ),
            ({"network": "own_networks:Aux"}, "tuple in training"),
            ({"network": "own_networks:broken"}, "could not be built .* KeyError: 'weights'"),
            ({"task_weight": 0.0}, "there is no loss"),
            ({"network": "mnist-cnn:width=0"}, "no features"),
        ],
    )
    def test_a_network_that_cannot_be_trained_leaves_no_files(
        self, settings, message, tiny, tmp_path
    ):
        with pytest.raises(UserError, match=message):
            tiny.train(tmp_path / "new" / "run", **settings)
        assert not (tmp_path / "new").exists()


class TestLabels:
    """The images and labels that --train-size and --use-unlabelled give a student."""

    def record_batches(self, monkeypatch, tiny, out, **changes):
        """Return every batch of a training."""
        batches = []
        epoch = training_setup.Batches.epoch

        def record(self, *args, **kwargs):
            for batch in epoch(self, *args, **kwargs):
                batches.append(batch)
                yield batch

        monkeypatch.setattr(training_setup.Batches, "epoch", record)
        tiny.train(out, **changes)
        return batches

    def test_the_baseline_gets_the_same_labelled_draws_and_steps(
        self, tiny, follow, tmp_path, monkeypatch
    ):
        with monkeypatch.context() as patch:
            baseline = self.record_batches(patch, tiny, tmp_path / "baseline", **FEW)
        with monkeypatch.context() as patch:
            student = self.record_batches(patch, tiny, tmp_path / "student", **FEW, **follow)
        assert len(baseline) == len(student) == 98, "a pass over the 980 unlabelled images"
        for labelled, mixed in zip(baseline, student, strict=True):
            has_label = mixed.labels >= 0
            assert has_label.sum() == 10 and torch.equal(labelled.ids, mixed.ids[has_label])
            assert torch.equal(labelled.labels, mixed.labels[has_label])
            assert torch.equal(labelled.images, mixed.images[has_label])
        assert len(torch.cat([batch.ids for batch in student]).unique()) == 1000
        assert len(torch.cat([batch.ids for batch in baseline]).unique()) == 20

    def test_labels_of_unlabelled_images_change_nothing(self, tiny, follow, tmp_path, monkeypatch):
        run = tiny.train(tmp_path / "run", **FEW, **follow)
        load = train_module.load_splits
        plan = plan_training(tiny.settings(**FEW), load(tiny.settings()).train, Seeds(0))

        def permute_labels(settings):
            splits = load(settings)
            has_label = torch.isin(splits.train.ids, plan.labelled.ids)
            labels = torch.where(has_label, splits.train.labels, (splits.train.labels + 1) % 10)
            assert (labels != splits.train.labels).sum() == 980
            return splits._replace(train=replace(splits.train, labels=labels))

        def plan_by_true_labels(settings, train, seeds):
            """Return the plan of the true labels: the draw by class looks at all labels."""
            has_label = torch.isin(train.ids, plan.labelled.ids)
            return replace(
                plan,
                labelled=train.at(has_label.nonzero().flatten()),
                unlabelled=train.at((~has_label).nonzero().flatten()),
            )

        monkeypatch.setattr(train_module, "load_splits", permute_labels)
        monkeypatch.setattr(training_setup, "plan_training", plan_by_true_labels)
        assert tiny.same(tiny.train(tmp_path / "permuted", **FEW, **follow), run)

    def test_refuses_more_labels_than_images(self, tiny, tmp_path):
        with pytest.raises(UserError, match="1,001"):
            tiny.train(tmp_path / "run", train_size=1001)
        with pytest.raises(UserError, match="--use-unlabelled"):
            tiny.train(tmp_path / "run", use_unlabelled=True)
        assert not any(tmp_path.iterdir())
