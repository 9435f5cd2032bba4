"""A teacher's store: the network's layers, resumable after a kill."""

import re
import shutil
import signal
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from rdl_cli.commands import activation_reader
from rdl_cli.commands.export_rdms import activations
from rdl_cli.commands.export_rdms import export_rdms as command
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.checksum import MANIFEST
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.digests import image_digests
from rdl_cli.networks import weights
from rdl_cli.networks.hooks import forward_with_layers
from rdl_cli.store.store import Store, partial

KILLED = -signal.SIGKILL
EXPORT = """
from pathlib import Path
from rdl_cli.commands.export_rdms import activations, export_rdms as command
from rdl_cli.commands.settings import ExportSettings
activations.CHECKPOINT_EVERY = 2
command.export_rdms(Path(teacher), Path(out), ExportSettings(**settings))
"""
KILL = """
import os, signal
from rdl_cli.store.writer import Writer
names = "write", "write_rdm", "checkpoint", "_finish"
count, methods = 0, {name: getattr(Writer, name) for name in names}
def killing(name):
    def method(self, *args):
        global count
        count += name == which
        if name == which and count == at:
            if torn:
                layer, start, block, view = args
                methods[name](self, layer, start, block[:3] * 0 - 1, view)
                self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return methods[name](self, *args)
    return method
for name in methods:
    setattr(Writer, name, killing(name))
"""


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return load_dataset("digits", tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def expected(teacher, splits):
    """Return every layer over the training images, in one pass."""
    network, _ = weights.load_network(teacher / "model.safetensors")
    with torch.no_grad():
        return forward_with_layers(
            network, splits.train.images.float() / 255, ["pool1", "pool2", "fc", "logits"]
        )[1]


def list_names(folder):
    return {path.name for path in folder.iterdir()}


class TestContent:
    def test_activations_are_the_networks(self, store, expected, splits):
        exported = Store.open(store)
        assert exported.layers == ("pool1", "pool2", "fc")
        for layer in exported.layers:
            assert exported.layer(layer).activations().dtype == np.float32
            np.testing.assert_allclose(
                exported.layer(layer).activations()[0], expected[layer], rtol=1e-5, atol=1e-6
            )
        assert np.array_equal(
            exported.stimuli.digests, image_digests(splits.train.images)
        ) and np.array_equal(exported.stimuli.labels, splits.train.labels)

    @pytest.mark.parametrize("batch_size", [7, 1000, 5000])
    def test_the_batch_size_does_not_matter(self, batch_size, tiny, teacher, store, tmp_path):
        other = Store.open(tiny.export(teacher, tmp_path / "store.h5", batch_size=batch_size))
        for layer in other.layers:
            np.testing.assert_allclose(
                other.layer(layer).activations(),
                Store.open(store).layer(layer).activations(),
                rtol=1e-5,
                atol=1e-6,
            )

    @pytest.mark.parametrize("distance", ["mse", "correlation"])
    def test_rdms_equal_pdist_of_the_activations(self, distance, tiny, teacher, store, tmp_path):
        exported = Store.open(
            tiny.export(
                teacher, tmp_path / "rdms.h5", as_="rdm", distance=distance, layers=["pool2"]
            )
        )
        reps = Store.open(store).layer("pool2").activations()[0].reshape(1000, -1).astype(float)
        stack = exported.rdms("pool2")
        metric = {
            "mse": lambda x: pdist(x, "sqeuclidean") / x.shape[1],
            "correlation": lambda x: pdist(x, "correlation"),
        }[distance]
        np.testing.assert_allclose(stack.values[0], metric(reps), rtol=1e-3, atol=1e-6)
        assert stack.distance == distance and list_names(tmp_path) == {"rdms.h5"}, (
            "and no scratch is left"
        )

    @pytest.mark.parametrize(
        ("split", "n"), [("train", 1000), ("validation", 297), ("test", 500), ("all", 1797)]
    )
    def test_every_split(self, split, n, tiny, teacher, tmp_path, splits, capsys):
        exported = Store.open(
            tiny.export(teacher, tmp_path / "store.h5", split=split, layers=["fc"])
        )
        assert (
            len(exported.stimuli.digests) == n
            and f"% on the {split} images" in capsys.readouterr().err
        )
        if split != "all":
            assert np.array_equal(
                exported.stimuli.digests, image_digests(getattr(splits, split).images)
            )

    def test_views_are_those_of_the_images(self, tiny, teacher, splits, tmp_path):
        exported = Store.open(
            tiny.export(teacher, tmp_path / "store.h5", views="hflip", layers=["fc"])
        )
        network, _ = weights.load_network(teacher / "model.safetensors")
        with torch.no_grad():
            mirrored = forward_with_layers(
                network, splits.train.images.flip(3).float() / 255, ["fc"]
            )[1]["fc"]
        np.testing.assert_allclose(
            exported.layer("fc").activations()[1], mirrored, rtol=1e-5, atol=1e-6
        )

    def test_layers_are_in_the_order_of_the_globs_with_logits(
        self, tiny, teacher, expected, tmp_path
    ):
        exported = Store.open(
            tiny.export(teacher, tmp_path / "store.h5", layers=["logits,fc", "pool?"])
        )
        assert exported.layers == ("logits", "fc", "pool1", "pool2")
        np.testing.assert_allclose(
            exported.layer("logits").activations()[0], expected["logits"], rtol=1e-5, atol=1e-5
        )

    def test_export_logs_and_stores_the_teachers_error(
        self, store, teacher, expected, splits, tiny, tmp_path, capsys
    ):
        error = float((expected["logits"].argmax(1) != splits.train.labels).double().mean())
        assert Store.open(store).provenance["teacher_error"] == error
        tiny.export(teacher, tmp_path / "store.h5", layers=["fc"])
        lines = capsys.readouterr().err.splitlines()
        assert lines[1].endswith(
            f"error {100 * error:.2f} % on the train images ({round(1000 * error)} of 1,000)"
        )
        size = float(re.search(r"activations, ([\d.]+) MB; the disk has", lines[0])[1])
        assert 0.2 <= (tmp_path / "store.h5").stat().st_size / 1e6 <= size < 1, (
            "1,000 × 50 × 4 bytes, and HDF5's own"
        )

    def test_the_forward_pass_ends_after_the_last_layer(self, tiny, teacher, tmp_path, monkeypatch):
        calls = []
        forward = nn.Linear.forward
        monkeypatch.setattr(
            nn.Linear, "forward", lambda self, x: (calls.append(len(x)), forward(self, x))[1]
        )
        monkeypatch.setattr(command, "measure_error", lambda *_: None)
        tiny.export(teacher, tmp_path / "pools.h5", layers=["pool2,pool1"])
        assert max(calls) <= 3, "only the few images for layer_shapes reach the linear layers"
        tiny.export(teacher, tmp_path / "fc.h5", layers=["fc"])
        assert calls.count(100) == 10, "one linear layer for each of ten batches"


class TestExistingStore:
    def test_stored_layers_are_not_computed_again(
        self, tiny, teacher, store, tmp_path, monkeypatch, capsys
    ):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        before = out.stat().st_mtime_ns
        monkeypatch.setattr(activations, "read_layers", lambda *_: pytest.fail("the network ran"))
        tiny.export(teacher, out)
        tiny.export(teacher, out, layers=["fc"])
        assert (
            out.stat().st_mtime_ns == before
            and "holds fc of this teacher already" in capsys.readouterr().err
        )

    def test_another_layer_keeps_the_others_to_the_byte(
        self, tiny, teacher, store, tmp_path, monkeypatch
    ):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        calls = []
        monkeypatch.setattr(
            activations,
            "read_layers",
            lambda net, x, layers, run=activations.read_layers: (
                calls.append(list(layers)),
                run(net, x, layers),
            )[1],
        )
        tiny.export(teacher, out, layers=["logits", "pool1"])
        assert {tuple(layers) for layers in calls} == {("logits",)}
        tiny.export(teacher, out, layers=["flatten"], as_="rdm")
        tiny.export(teacher, out, layers=["readout"])
        contents = tiny.arrays(out)
        assert all(contents[name] == array for name, array in tiny.arrays(store).items())
        exported = Store.open(out)
        assert (
            set(exported.layers)
            == {
                "pool1",
                "pool2",
                "fc",
                "logits",
                "flatten",
                "readout",
            }
            and exported.layer("flatten").has_rdms
        )
        assert np.array_equal(
            exported.layer("readout").activations(), exported.layer("logits").activations()
        ) and list_names(tmp_path) == {"store.h5"}
        assert [export["layers"] for export in exported.provenance["exports"]] == [
            ["pool1", "pool2", "fc"],
            ["logits"],
            ["flatten"],
            ["readout"],
        ]
        assert [export["config"].get("as_") for export in exported.provenance["exports"]] == [
            "activations",
            "activations",
            "rdm",
            "activations",
        ]

    def test_another_width_replaces_the_layer(self, tiny, teacher, store, tmp_path):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        tiny.export(teacher, out, layers=["fc"], dtype="float16")
        exported = Store.open(out)
        assert (
            exported.layer("fc").activations().dtype == np.float16
            and exported.layer("pool1").activations().dtype == np.float32
        )
        assert [export["layers"] for export in exported.provenance["exports"]] == [
            ["pool1", "pool2"],
            ["fc"],
        ]

    def test_a_damaged_layer_is_not_copied_into_a_new_store(
        self, tiny, teacher, store, tmp_path, monkeypatch
    ):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        with h5py.File(out, "r+") as file:
            file["layers/pool1/activations"][0, 0, 0, 0, 0] += 1
        before = out.read_bytes()
        monkeypatch.setattr(activations, "read_layers", lambda *_: pytest.fail("the network ran"))
        with pytest.raises(UserError, match="layer `pool1` is not as it was written"):
            tiny.export(teacher, out, layers=["logits"])
        assert out.read_bytes() == before and list_names(tmp_path) == {"store.h5"}

    def test_another_distance_is_stored_with_the_layer(self, tiny, teacher, store, tmp_path):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        tiny.export(teacher, out, layers=["fc"], distance="correlation")
        layers = map(Store.open(out).layer, ("fc", "pool1"))
        assert [layer.distance for layer in layers] == ["correlation", "mse"]

    def test_a_store_of_another_teacher_is_refused(self, tiny, teacher, student, store, tmp_path):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        for run, changes, fact in (
            (teacher, {"split": "test"}, "with other split"),
            (student, {}, "with other teacher"),
        ):
            with pytest.raises(UserError, match=fact):
                tiny.export(run, out, **changes)
        (tmp_path / "text.h5").write_text("notes")
        with pytest.raises(UserError, match="not an HDF5 file"):
            tiny.export(teacher, tmp_path / "text.h5")
        assert tiny.same_arrays(out, store) and (tmp_path / "text.h5").read_text() == "notes"

    @pytest.mark.parametrize(
        ("which", "at", "torn"),
        [
            ("write", 1, False),
            ("write", 17, True),
            ("checkpoint", 1, False),
            ("checkpoint", 3, False),
            ("_finish", 1, False),
        ],
    )
    def test_after_a_kill_the_same_command_ends_with_the_same_store(
        self, which, at, torn, tiny, teacher, store, elsewhere, tmp_path
    ):
        out = tmp_path / "store.h5"
        words = {
            "out": str(out),
            "teacher": str(teacher),
            "settings": {"layers": [tiny.LAYERS], "device": "cpu", "batch_size": 100},
        }
        assert elsewhere(KILL + EXPORT, which=which, at=at, torn=torn, **words) == KILLED
        assert not out.exists() and partial(out).exists()
        with pytest.raises(UserError, match="never finished"):
            Store.open(out)
        tiny.export(teacher, out)
        assert tiny.same_arrays(out, store) and list_names(tmp_path) == {"store.h5"}

    @pytest.mark.parametrize(
        ("which", "at"), [("write", 5), ("write_rdm", 1), ("write_rdm", 2), ("_finish", 2)]
    )
    def test_after_a_kill_rdms_are_resumed_as_well(
        self, which, at, tiny, teacher, elsewhere, tmp_path
    ):
        words = {
            "teacher": str(teacher),
            "settings": {"layers": ["pool2,fc"], "device": "cpu", "as_": "rdm", "batch_size": 100},
        }
        assert (
            elsewhere(
                KILL + EXPORT,
                which=which,
                at=at,
                torn=False,
                out=str(tmp_path / "store.h5"),
                **words,
            )
            == KILLED
        )
        for name in ("store.h5", "whole.h5"):
            tiny.export(teacher, tmp_path / name, layers=["pool2,fc"], as_="rdm")
        assert tiny.same_arrays(tmp_path / "store.h5", tmp_path / "whole.h5") and list_names(
            tmp_path
        ) == {"store.h5", "whole.h5"}

    @pytest.mark.parametrize("other", ["layer", "teacher"])
    def test_scratch_of_another_export_is_not_used(
        self, other, tiny, teacher, student, elsewhere, tmp_path
    ):
        words = {
            "teacher": str(teacher),
            "settings": {"layers": ["pool2"], "device": "cpu", "as_": "rdm", "batch_size": 100},
        }
        assert (
            elsewhere(
                KILL + EXPORT,
                which="write_rdm",
                at=1,
                torn=False,
                out=str(tmp_path / "store.h5"),
                **words,
            )
            == KILLED
        )
        assert len(list_names(tmp_path)) > 1, "the activations are there"
        run, layer = (teacher, "fc") if other == "layer" else (student, "pool2")
        for name in ("store.h5", "whole.h5"):
            tiny.export(run, tmp_path / name, layers=[layer], as_="rdm")
        assert tiny.same_arrays(tmp_path / "store.h5", tmp_path / "whole.h5") and list_names(
            tmp_path
        ) == {"store.h5", "whole.h5"}

    def test_after_a_kill_the_old_store_is_complete(
        self, tiny, teacher, store, elsewhere, tmp_path
    ):
        out = tmp_path / "store.h5"
        shutil.copy(store, out)
        words = {
            "out": str(out),
            "teacher": str(teacher),
            "settings": {"layers": ["logits"], "device": "cpu", "batch_size": 100},
        }
        assert elsewhere(KILL + EXPORT, which="checkpoint", at=2, torn=False, **words) == KILLED
        assert tiny.same_arrays(out, store)
        tiny.export(teacher, out, layers=["logits"])
        contents = tiny.arrays(out)
        assert (
            all(contents[name] == array for name, array in tiny.arrays(store).items())
            and "logits" in Store.open(out).layers
        )


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "fact"),
        [
            ({"layers": ["pol1"]}, "did you mean `pool1`"),
            ({"layers": ["x*"]}, r"no layer `x\*`"),
            ({"layers": []}, "no layers are named"),
            ({"distance": "corelation"}, "did you mean `correlation`"),
            ({"dataset": "digit"}, "did you mean `digits`"),
            ({"views": "hflap"}, "did you mean `hflip`"),
            ({"views": "hflip", "as_": "rdm"}, "--views hflip has 2"),
            ({"device": "gpu"}, "no device `gpu`"),
            ({"batch_size": 0}, "batch"),
        ],
    )
    def test_bad_settings_write_nothing(self, changes, fact, tiny, teacher, tmp_path):
        with pytest.raises(UserError, match=fact):
            tiny.export(teacher, tmp_path / "store.h5", **changes)
        assert not list_names(tmp_path)

    def test_a_dry_run_writes_nothing(self, teacher, tiny, tmp_path, capsys):
        store = command.export_rdms(
            teacher,
            tmp_path / "store.h5",
            ExportSettings(layers=[tiny.LAYERS], device="cpu"),
            dry_run=True,
        )
        assert (
            store is None
            and not list_names(tmp_path)
            and " MB; the disk has" in capsys.readouterr().err
        )

    def test_a_disk_that_is_too_small_writes_nothing(self, teacher, tiny, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "free_bytes", lambda _: 1000)
        with pytest.raises(UserError, match=r"needs [\d,]+ bytes, the disk has 1,000 free"):
            tiny.export(teacher, tmp_path / "store.h5")
        assert not list_names(tmp_path)

    def test_values_that_float16_cannot_hold(self, tiny, teacher, tmp_path):
        loud = tmp_path / "loud"
        shutil.copytree(teacher, loud, ignore=shutil.ignore_patterns(MANIFEST))
        network, metadata = weights.load_network(loud / "model.safetensors")
        network.conv1.weight.data *= 1e6
        weights.save_network(network, loud / "model.safetensors", metadata)
        with pytest.raises(
            UserError, match=r"layer `pool1` holds a value of .*, and float16 ends at 65504"
        ):
            tiny.export(loud, tmp_path / "store.h5", dtype="float16")
        assert list_names(tmp_path) == {"loud"}
        tiny.export(loud, tmp_path / "store.h5")

    def test_a_constant_row(self, tiny, teacher, tmp_path):
        mute = tmp_path / "mute"
        shutil.copytree(teacher, mute, ignore=shutil.ignore_patterns(MANIFEST))
        network, metadata = weights.load_network(mute / "model.safetensors")
        for parameter in network.fc.parameters():
            parameter.data.zero_()
        weights.save_network(network, mute / "model.safetensors", metadata)
        others = {".store.h5.notes", ".store.h5.big.rdl-partial"}  # a user's, another export's
        for name in others:
            (tmp_path / name).write_text("")
        with pytest.raises(
            UserError, match="`fc` has no geometry: its activations are the same for all 1,000"
        ):
            tiny.export(
                mute, tmp_path / "store.h5", layers=["fc"], as_="rdm", distance="correlation"
            )
        assert list_names(tmp_path) == {"mute", *others}


def test_complete_settings_takes_the_image_size_of_the_training():
    config = {"dataset": "folder:a", "image_size": 32}
    trained = SimpleNamespace(path="r", config=config, provenance={})

    def size(**changes):
        return activation_reader.complete_settings(trained, ExportSettings(**changes)).image_size

    assert (size(), size(dataset="folder:a"), size(image_size=16)) == (32, 32, 16)
    assert size(dataset="folder:b") == 32 and size(dataset="folder:b", image_size=8) == 8
    assert size(dataset="digits") is None
