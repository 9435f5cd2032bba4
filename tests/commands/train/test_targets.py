"""Whom a student follows: equal targets from every source, and whatever does not fit is refused before anything is written."""

import shutil

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rdl_cli.commands.train import train as job
from rdl_cli.commands.train.targets import parse_layer_matches
from rdl_cli.core.errors import UserError
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store
from rdl_cli.training.objective import LayerMatch


@pytest.fixture(scope="module")
def rdms(tiny, teacher):
    return tiny.export(teacher, teacher.parent / "rdms.h5", as_="rdm")


@pytest.fixture(scope="module")
def flipped(tiny, teacher):
    return tiny.export(teacher, teacher.parent / "flipped.h5", views="hflip")


@pytest.fixture
def refused(tiny, tmp_path, follow):
    """`refused(fact, **settings)`: training says the fact and writes nothing."""

    def check(fact, **changes):
        before = set(tmp_path.iterdir())
        with pytest.raises(UserError, match=fact):
            tiny.train(tmp_path / "run", **follow | changes)
        assert set(tmp_path.iterdir()) == before

    return check


class TestEqual:
    """What must be the same whichever way the teacher is known."""

    @pytest.mark.parametrize("source", ["store", "rdms", "teacher"])
    def test_a_student_equal_to_its_teacher_has_no_error(
        self, source, tiny, teacher, follow, request, tmp_path
    ):
        run = tiny.train(
            tmp_path / "run",
            **follow
            | {
                "targets": str(request.getfixturevalue(source)),
                "init": str(teacher),
                "lr": 0.0,
                "epochs": 1,
            },
        )
        (row,) = tiny.metrics(run)
        terms = [row[f"train/rdl/{layer}"] for layer in tiny.LAYERS.split(",")]
        assert max(terms) < 1e-11 and row["grad_fraction/task"] > 0.999, (
            "of the teacher's mean square, so 3e-6 of its distances"
        )
        strangers = tiny.train(tmp_path / "other", **follow | {"lr": 0.0, "epochs": 1})
        assert tiny.metrics(strangers)[0]["train/rdl/fc"] > 0.1

    def test_a_live_teacher_teaches_as_its_store_to_the_bit(
        self, tiny, teacher, student, follow, tmp_path
    ):
        run = tiny.train(
            tmp_path / "run", objective=["rdl:pairs=500"], **follow | {"targets": str(teacher)}
        )
        assert tiny.same(run, student)

    def test_rdms_teach_as_activations(self, tiny, rdms, student, follow, tmp_path):
        run = tiny.train(
            tmp_path / "run", objective=["rdl:pairs=500"], **follow | {"targets": str(rdms)}
        )
        mine, theirs = (load_file(each / "model.safetensors") for each in (run, student))
        for name in theirs:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-5)
        for one, other in zip(tiny.metrics(run), tiny.metrics(student), strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-6)

    def test_float16_activations_teach_almost_the_same(
        self, tiny, teacher, student, follow, tmp_path
    ):
        half = tiny.export(teacher, tmp_path / "half.h5", dtype="float16")
        run = tiny.train(
            tmp_path / "run", objective=["rdl:pairs=500"], **follow | {"targets": str(half)}
        )
        for one, other in zip(tiny.metrics(run), tiny.metrics(student), strict=True):
            assert one == pytest.approx(other, rel=5e-3, abs=5e-3)


class TestViews:
    def test_the_target_is_that_of_the_picture_that_is_shown(
        self, tiny, teacher, flipped, follow, tmp_path
    ):
        """A student equal to its teacher has no error on mirrored pictures either; it would have, with the others' targets."""
        equal = {"init": str(teacher), "lr": 0.0, "epochs": 1, "views": "hflip"}
        run = tiny.train(tmp_path / "run", **follow | equal | {"targets": str(flipped)})
        assert (
            max(tiny.metrics(run)[0][f"train/rdl/{layer}"] for layer in tiny.LAYERS.split(","))
            < 1e-11
        )
        held = Store.open(flipped)
        assert held.views("fc") == ("identity", "hflip") and not np.allclose(
            held.activations("fc")[0], held.activations("fc")[1]
        )

    def test_stored_views_teach_as_a_live_teacher_to_the_bit(
        self, tiny, teacher, flipped, follow, tmp_path
    ):
        runs = [
            tiny.train(tmp_path / name, **follow | {"targets": str(targets), "views": "hflip"})
            for name, targets in (("stored", flipped), ("live", teacher))
        ]
        assert tiny.same(*runs)

    def test_a_student_without_views_takes_the_first_of_a_store(
        self, tiny, flipped, student, follow, tmp_path
    ):
        run = tiny.train(
            tmp_path / "run", objective=["rdl:pairs=500"], **follow | {"targets": str(flipped)}
        )
        assert tiny.same(run, student)

    def test_views_that_a_store_does_not_hold_are_refused(self, refused, rdms, flipped):
        refused(
            "holds the views identity of `pool1`; training shows identity, hflip", views="hflip"
        )
        refused(
            "holds the views identity, hflip of .*; training shows identity, down",
            views="shift:1",
            targets=str(flipped),
        )
        refused(
            "an RDM of `pool1`, of the pictures only; training shows 2 views",
            views="hflip",
            targets=str(rdms),
        )


class TestRefused:
    def test_stores_that_are_none_or_of_others(self, refused, tiny, store, teacher, tmp_path):
        refused("there is no store at", targets=str(tmp_path / "nowhere.h5"))
        other = tmp_path / "other.h5"
        tiny.export(teacher, other, split="validation")
        refused(
            "holds 297 stimuli; 1,000 of the 1,000 training images are not among them",
            targets=str(other),
        )
        truncated = tmp_path / "truncated.h5"
        truncated.write_bytes(store.read_bytes()[: store.stat().st_size // 2])
        refused("is truncated: it has", targets=str(truncated))
        version = tmp_path / "version.h5"
        shutil.copy(store, version)
        with h5py.File(version, "r+") as file:
            file.attrs["version"] = 99
        refused("of version 99; this rdl reads version 1", targets=str(version))
        text = tmp_path / "text.h5"
        text.write_text("RDMs")
        refused("is not an HDF5 file", targets=str(text))

    def test_a_teacher_that_never_finished(self, refused, teacher, tmp_path, tiny):
        unfinished = tmp_path / "unfinished"
        shutil.copytree(teacher, unfinished)
        (unfinished / "predictions.h5").unlink()
        refused("never finished", targets=str(unfinished))
        with pytest.raises(UserError, match="never finished"):
            tiny.export(unfinished, tmp_path / "store.h5")
        refused("is not a run", targets=str(tmp_path))

    def test_a_live_teacher_of_other_pictures(self, refused, tiny, teacher, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(teacher, other)
        network, about = weights.load_network(other / "model.safetensors")
        weights.save_network(
            network,
            other / "model.safetensors",
            about._replace(preprocessing="gcn:by=sd,scale=1.0,bias=0.0"),
        )
        refused("was trained on `gcn:.*` pictures, the student is shown `unit`", targets=str(other))
        large = about._replace(network="mnist-cnn:width=0.1", pictures="1x28x28")
        weights.save_network(
            build_network(large.network, InputShape(1, 28, 28), 10),
            other / "model.safetensors",
            large,
        )
        refused("takes 1x28x28 pictures; the student is shown 1x8x8", targets=str(other))

    def test_matches(self, refused):
        refused(
            "names the student's layer `fc` twice: with `pool1` and with `fc`",
            match=["fc=pool1", "fc"],
        )
        refused("did you mean `pool1`", match=["pol1=pool1"])
        refused("did you mean `pool1`", match=["pool1=pol1"])
        refused("does not name two layers", match=["fc="])
        refused("no layer follows it", match=[])
        refused("there is no teacher", targets="")

    def test_objectives(self, refused):
        refused("did you mean `rdl`", objective=["rdll"])
        refused("names `rdl` 2 times", objective=["rdl", "rdl:weight=2"])
        refused("needs a teacher", targets="", match=[], objective=["rdl"])
        refused("did you mean `correlation`", objective=["rdl:distance=corelation"])

    def test_an_objective_that_needs_more_than_an_rdm(self, refused, rdms):
        refused("holds only an RDM of `pool1`", objective=["cka"], targets=str(rdms))
        refused(
            "is in `mse`; the objective asks for `correlation`",
            objective=["rdl:distance=correlation"],
            targets=str(rdms),
        )

    def test_a_teacher_that_says_nothing(self, refused, tiny, teacher, tmp_path):
        """All weights 0: every picture is at distance 0 of every other."""
        mute = tmp_path / "mute"
        shutil.copytree(teacher, mute)
        network, about = weights.load_network(mute / "model.safetensors")
        for parameter in network.parameters():
            parameter.data.zero_()
        weights.save_network(network, mute / "model.safetensors", about)
        refused("distances at `pool1` are all 0: its RDM is constant", targets=str(mute))
        silent = tiny.export(mute, tmp_path / "mute.h5")
        refused("distances at `pool1` are all 0: its RDM is constant", targets=str(silent))


def test_a_store_without_logits_says_how_they_come_to_it(tiny, teacher, store, tmp_path):
    with pytest.raises(UserError, match="holds no `logits`; it holds: pool1, pool2, fc") as caught:
        tiny.train(tmp_path / "run", targets=str(store), objective=["kd"])
    assert (
        caught.value.hint
        == f"add them: rdl export-rdms {teacher} {store} --layers pool1,pool2,fc,logits"
    )
    assert not any(tmp_path.iterdir())


def test_matches_are_read():
    assert parse_layer_matches(["a=b,c", "d.0=e.1"]) == (
        LayerMatch("a", "b"),
        LayerMatch("c", "c"),
        LayerMatch("d.0", "e.1"),
    )


def test_names_align_brains_and_position_aligns_what_has_the_same_order(
    tiny, store, student, follow, tmp_path
):
    run = tiny.train(tmp_path / "run", objective=["rdl:pairs=500"], align="position", **follow)
    assert tiny.same(run, student) and Run(run).config["align"] == "position"
    with pytest.raises(UserError, match="no names to match images by"):
        tiny.train(tmp_path / "named", align="name", **follow)


def test_equal_pictures_are_matched_by_their_order(
    tiny, store, follow, student, tmp_path, monkeypatch
):
    """A data set in another order finds its targets all the same."""
    load = job.load_splits

    def shuffled(settings):
        splits = load(settings)
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
        return splits._replace(train=splits.train.at(order))

    monkeypatch.setattr(job, "load_splits", shuffled)
    equal = {"init": str(store.parent / "teacher"), "lr": 0.0, "epochs": 1}
    run = tiny.train(tmp_path / "run", **follow | equal)
    assert (
        max(tiny.metrics(run)[0][f"train/rdl/{layer}"] for layer in tiny.LAYERS.split(",")) < 1e-11
    )


def test_provenance_knows_the_content_of_the_parents(tiny, teacher, follow, tmp_path):
    run = tiny.train(tmp_path / "run", **follow | {"targets": str(teacher), "epochs": 1})
    parents = {parent["kind"]: parent for parent in Run(run).provenance["parents"]}
    assert parents["run"]["fingerprint"] == Run(teacher).fingerprint() and parents["run"][
        "path"
    ] == str(teacher)


def test_init_from_foreign_tensors_only_takes_tensors(tmp_path, teacher, tiny):
    save_file(load_file(teacher / "model.safetensors"), tmp_path / "w.safetensors")
    run = tiny.train(tmp_path / "run", init=str(tmp_path / "w.safetensors"), epochs=0)
    assert np.array_equal(Run(run).predictions().logits, Run(teacher).predictions().logits)
