"""Equal targets from every source; teachers that do not fit are refused before any file."""

import shutil

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rdl_cli.commands.train import train as train_module
from rdl_cli.core.errors import UserError
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store

OBJECTIVE = ["rdl:pairs=500"]


@pytest.fixture(scope="module")
def rdm_store(tiny, teacher):
    return tiny.export(teacher, teacher.parent / "rdms.h5", as_="rdm")


@pytest.fixture(scope="module")
def flipped_store(tiny, teacher):
    return tiny.export(teacher, teacher.parent / "flipped.h5", views="hflip")


@pytest.fixture
def refuse(tiny, tmp_path, follow):
    """Return `refuse(fact, **settings)`: assert that training raises it and writes nothing."""

    def check(fact, **changes):
        before = set(tmp_path.iterdir())
        with pytest.raises(UserError, match=fact):
            tiny.train(tmp_path / "run", **follow | changes)
        assert set(tmp_path.iterdir()) == before

    return check


def copy_teacher(teacher, out, change):
    """Copy a run with another network or other metadata, and without its checksums."""
    shutil.copytree(teacher, out)
    network, metadata = weights.load_network(out / "model.safetensors")
    (out / "checksums.txt").unlink()
    network, metadata = change(network, metadata)
    weights.save_network(network, out / "model.safetensors", metadata)
    return out


def largest_error(tiny, run):
    """Return the largest rdl term of the first epoch."""
    row = tiny.metrics(run)[0]
    return max(row[f"train/rdl/{layer}"] for layer in tiny.LAYERS.split(","))


class TestSources:
    """A student is the same from every form of its teacher."""

    @pytest.mark.parametrize("source", ["store", "rdm_store", "teacher"])
    def test_a_student_equal_to_its_teacher_has_no_error(
        self, source, tiny, teacher, follow, request, tmp_path
    ):
        targets = str(request.getfixturevalue(source))
        equal = {"targets": targets, "init": str(teacher), "lr": 0.0, "epochs": 1}
        run = tiny.train(tmp_path / "run", **follow | equal)
        # relative to the mean square, so 3e-6 of the distances
        assert largest_error(tiny, run) < 1e-11
        assert tiny.metrics(run)[0]["grad_fraction/task"] > 0.999
        other = tiny.train(tmp_path / "other", **follow | {"lr": 0.0, "epochs": 1})
        assert tiny.metrics(other)[0]["train/rdl/fc"] > 0.1

    def test_a_live_teacher_equals_its_store_to_the_bit(
        self, tiny, teacher, student, follow, tmp_path
    ):
        changes = {"targets": str(teacher), "objective": OBJECTIVE}
        assert tiny.same(tiny.train(tmp_path / "run", **follow | changes), student)

    def test_rdms_equal_activations(self, tiny, rdm_store, student, follow, tmp_path):
        changes = {"targets": str(rdm_store), "objective": OBJECTIVE}
        run = tiny.train(tmp_path / "run", **follow | changes)
        tensors, expected = (load_file(one / "model.safetensors") for one in (run, student))
        for name in expected:
            torch.testing.assert_close(tensors[name], expected[name], rtol=1e-4, atol=1e-5)
        for row, expected_row in zip(tiny.metrics(run), tiny.metrics(student), strict=True):
            assert row == pytest.approx(expected_row, rel=1e-4, abs=1e-6)

    def test_float16_activations_nearly_equal_float32(
        self, tiny, teacher, student, follow, tmp_path
    ):
        half = tiny.export(teacher, tmp_path / "half.h5", dtype="float16")
        changes = {"targets": str(half), "objective": OBJECTIVE}
        run = tiny.train(tmp_path / "run", **follow | changes)
        for row, expected in zip(tiny.metrics(run), tiny.metrics(student), strict=True):
            assert row == pytest.approx(expected, rel=5e-3, abs=5e-3)


class TestViews:
    def test_the_target_is_that_of_the_view_that_is_shown(
        self, tiny, teacher, flipped_store, follow, tmp_path
    ):
        """A student equal to its teacher has no error; with other views' targets it would."""
        equal = {"init": str(teacher), "lr": 0.0, "epochs": 1, "views": "hflip"}
        run = tiny.train(tmp_path / "run", **follow | equal | {"targets": str(flipped_store)})
        assert largest_error(tiny, run) < 1e-11
        layer = Store.open(flipped_store).layer("fc")
        assert layer.views == ("identity", "hflip")
        assert not np.allclose(*layer.activations())

    def test_stored_views_equal_a_live_teacher_to_the_bit(
        self, tiny, teacher, flipped_store, follow, tmp_path
    ):
        runs = [
            tiny.train(tmp_path / name, **follow | {"targets": str(targets), "views": "hflip"})
            for name, targets in (("stored", flipped_store), ("live", teacher))
        ]
        assert tiny.same(*runs)

    def test_a_student_without_views_uses_the_first_of_a_store(
        self, tiny, flipped_store, student, follow, tmp_path
    ):
        changes = {"targets": str(flipped_store), "objective": OBJECTIVE}
        assert tiny.same(tiny.train(tmp_path / "run", **follow | changes), student)

    def test_views_that_a_store_lacks_are_refused(self, refuse, rdm_store, flipped_store):
        refuse("holds the views identity of `pool1`; training uses identity, hflip", views="hflip")
        refuse(
            "holds the views identity, hflip of .*; training uses identity, down",
            views="shift:1",
            targets=str(flipped_store),
        )
        refuse(
            "RDMs of `pool1`, without views; training uses 2 views",
            views="hflip",
            targets=str(rdm_store),
        )


class TestRefused:
    def test_stores_that_are_missing_damaged_or_of_other_images(
        self, refuse, tiny, store, teacher, tmp_path
    ):
        refuse("there is no store at", targets=str(tmp_path / "nowhere.h5"))
        other = tiny.export(teacher, tmp_path / "other.h5", split="validation")
        refuse("1,000 of the 1,000 training images are not among them", targets=str(other))
        truncated = tmp_path / "truncated.h5"
        truncated.write_bytes(store.read_bytes()[: store.stat().st_size // 2])
        refuse("is truncated", targets=str(truncated))
        version = tmp_path / "version.h5"
        shutil.copy(store, version)
        with h5py.File(version, "r+") as file:
            file.attrs["version"] = 99
        refuse("version 99", targets=str(version))
        text = tmp_path / "text.h5"
        text.write_text("RDMs")
        refuse("is not an HDF5 file", targets=str(text))

    def test_a_teacher_that_never_finished(self, refuse, teacher, tmp_path, tiny):
        unfinished = tmp_path / "unfinished"
        shutil.copytree(teacher, unfinished)
        (unfinished / "predictions.h5").unlink()
        refuse("never finished", targets=str(unfinished))
        with pytest.raises(UserError, match="never finished"):
            tiny.export(unfinished, tmp_path / "store.h5")
        refuse("is not a run", targets=str(tmp_path))

    def test_a_live_teacher_of_other_images(self, refuse, teacher, tmp_path):
        def change_preprocessing(network, metadata):
            return network, metadata._replace(preprocessing="gcn:by=sd,scale=1.0,bias=0.0")

        def enlarge(network, metadata):
            large = metadata._replace(network="mnist-cnn:width=0.1", input_shape="1x28x28")
            return build_network(large.network, InputShape(1, 28, 28), 10), large

        other = copy_teacher(teacher, tmp_path / "other", change_preprocessing)
        refuse("was trained with --preprocessing gcn:.* with unit", targets=str(other))
        large = copy_teacher(teacher, tmp_path / "large", enlarge)
        refuse("takes 1x28x28 images; the student's are 1x8x8", targets=str(large))

    def test_matches_of_unknown_layers(self, refuse):
        refuse("did you mean `pool1`", match=["pol1=pool1"])
        refuse("did you mean `pool1`", match=["pool1=pol1"])
        refuse("no layer follows it", match=[])
        refuse("there is no teacher", targets="")

    def test_objectives_that_are_unknown_repeated_or_without_a_teacher(self, refuse):
        refuse("did you mean `rdl`", objective=["rdll"])
        refuse("names `rdl` 2 times", objective=["rdl", "rdl:weight=2"])
        refuse("needs a teacher", targets="", match=[], objective=["rdl"])
        refuse("did you mean `correlation`", objective=["rdl:distance=corelation"])

    def test_an_objective_that_needs_more_than_an_rdm(self, refuse, rdm_store):
        refuse("holds RDMs, not a kernel", objective=["cka"], targets=str(rdm_store))
        refuse(
            "is in `mse`; the objective asks for `correlation`",
            objective=["rdl:distance=correlation"],
            targets=str(rdm_store),
        )

    def test_a_teacher_with_a_constant_rdm(self, refuse, tiny, teacher, tmp_path):
        """With weights of 0 all images are at distance 0."""

        def zero(network, metadata):
            for parameter in network.parameters():
                parameter.data.zero_()
            return network, metadata

        constant = copy_teacher(teacher, tmp_path / "constant", zero)
        fact = "the patterns of `pool1` are the same for 64 images"
        refuse(fact, targets=str(constant))
        with pytest.raises(UserError, match="`pool1` has no geometry"):
            tiny.export(constant, tmp_path / "constant.h5")

    def test_a_store_without_logits_hints_at_the_export(self, tiny, teacher, store, tmp_path):
        message = "holds no `logits`; it holds: pool1, pool2, fc"
        with pytest.raises(UserError, match=message) as caught:
            tiny.train(tmp_path / "run", targets=str(store), objective=["kd"])
        command = f"rdl export-rdms {teacher} {store} --layers pool1,pool2,fc,logits"
        assert caught.value.hint == f"add them: {command}"
        assert not any(tmp_path.iterdir())


def test_open_target_aligns_by_position_and_refuses_missing_names(tiny, student, follow, tmp_path):
    run = tiny.train(tmp_path / "run", objective=OBJECTIVE, align="position", **follow)
    assert tiny.same(run, student) and Run(run).config["align"] == "position"
    with pytest.raises(UserError, match="has no names of its stimuli"):
        tiny.train(tmp_path / "named", align="name", **follow)


def test_open_target_finds_the_images_of_a_shuffled_data_set(
    tiny, teacher, follow, tmp_path, monkeypatch
):
    load = train_module.load_splits

    def load_shuffled(settings):
        splits = load(settings)
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
        return splits._replace(train=splits.train.at(order))

    monkeypatch.setattr(train_module, "load_splits", load_shuffled)
    equal = {"init": str(teacher), "lr": 0.0, "epochs": 1}
    assert largest_error(tiny, tiny.train(tmp_path / "run", **follow | equal)) < 1e-11
