"""Students of a brain: a known geometry is recovered, nothing of the held-out stimuli is taught, and the run tells all of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from rdl_cli.commands.export_rdms import brain_stimuli as over_stimuli
from rdl_cli.commands.export_rdms.brain_stimuli import export_over_brain_stimuli
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.commands.train.brain_targets import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.loader import image_digests
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import read_layers
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import sqeuclidean
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

BRAIN = Path(__file__).resolve().parents[2] / "../shared/data/brain"
real = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)
N = 40


def synthetic():
    """Pictures on whose left and right half the brightness varies at random, and how far apart the left halves are."""
    rng = torch.Generator().manual_seed(0)
    bright = torch.rand(N, 2, generator=rng)
    noise = torch.rand(N, 1, 20, 20, generator=rng)
    images = noise * 60 + 190 * bright.repeat_interleave(10, dim=1)[:, None, None, :]
    left = bright[:, :1].double()
    return images.to(torch.uint8), sqeuclidean(left, left)[condensed_pairs(N)].sqrt()


def brain(path, regions, labels=None, images=None):
    """A store of RDMs (subjects, pairs) by region."""
    images = synthetic()[0] if images is None else images
    stimuli = Stimuli(
        image_digests(images),
        np.array([f"picture {k}" for k in range(len(images))]),
        labels,
        images.numpy(),
    )
    specs = [
        RdmSpec(
            name,
            len(rdms),
            "float64",
            "correlation",
            subjects=tuple(f"s{k}" for k in range(len(rdms))) if len(rdms) > 1 else (),
        )
        for name, rdms in regions.items()
    ]
    with create_store(path, stimuli, {"parents": []}, specs, "test") as writer:
        for name, rdms in regions.items():
            for k, values in enumerate(np.asarray(rdms)):
                writer.write_rdm(name, k, 0, values)
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One subject's RDM, `V4`, and five subjects' with noise, `IT`; stimuli of two categories."""
    rdm = synthetic()[1].numpy()
    noise = np.random.default_rng(0).normal(size=(5, len(rdm))) * rdm.std()
    return brain(
        tmp_path_factory.mktemp("brain") / "brain.h5",
        {"V4": rdm[None], "IT": rdm + noise},
        labels=np.arange(N) % 2,
    )


@pytest.fixture(scope="module")
def followed(tiny, measured):
    """The settings of a student with batch normalisation that follows the mean of subjects."""
    own = {
        "targets": str(measured),
        "match": ["pool2=IT@mean"],
        "stimuli_heldout": 0.5,
        "stimuli_eval_every": 2,
    }
    return (
        tiny.TINY
        | own
        | {"network": "nin:width=0.05", "epochs": 4, "lr": 0.1, "grad_fraction": ["rsa=0.25"]}
    )


@pytest.fixture(scope="module")
def run(tiny, followed, tmp_path_factory):
    return tiny.train(tmp_path_factory.mktemp("runs") / "run", **followed)


def said(capfd):
    return " ".join(capfd.readouterr().err.split())


def brain_similarity(run):
    return {each["stimuli"]: each for each in Run(run).stimuli["brain_similarity"]}


def test_a_known_geometry_is_recovered_and_a_control_does_not_find_it(tiny, measured, tmp_path):
    known = {
        "targets": str(measured),
        "match": ["fc=V4"],
        "stimuli_heldout": 10,
        "epochs": 20,
        "lr": 0.05,
    }
    taught = brain_similarity(tiny.train(tmp_path / "run", **known))
    control = brain_similarity(tiny.train(tmp_path / "control", control="shuffle", **known))
    alone = brain_similarity(tiny.train(tmp_path / "alone", objective=["rsa:weight=0"], **known))
    assert taught["taught"]["spearman"] > 0.9 and taught["held-out"]["spearman"] > 0.8
    for other in (control, alone):
        assert other["taught"]["spearman"] < taught["taught"]["spearman"] - 0.2
        assert other["held-out"]["spearman"] < taught["held-out"]["spearman"] - 0.1
    assert taught["held-out"]["number"] == 10 and taught["taught"]["number"] == 30
    assert Run(tmp_path / "run").method != Run(tmp_path / "control").method, (
        "compare keeps them apart"
    )


def test_the_run_tells_of_it(run):
    record = Run(run).stimuli
    assert record["control"] is None and sorted(
        record["stimuli"]["taught"] + record["stimuli"]["held-out"]
    ) == sorted(f"picture {k}" for k in range(N))
    assert [len(names) for names in record["stimuli"].values()] == [20, 20]
    for kind, each in brain_similarity(run).items():
        assert (
            each["layer"] == "pool2"
            and each["region"] == "IT@mean"
            and each["distance"] == "correlation"
        )
        assert -1 <= each["lower"] <= each["upper"] <= 1 and each["subjects"] < each["upper"]
        assert each["apart"] != each["spearman"], (
            "the exported model has the task's batch-norm statistics"
        )
        rows = [row for row in Run(run).metrics() if row[f"{kind}/pool2/spearman"]]
        assert [int(float(row["epoch"])) for row in rows] == [1, 3]
        for name in ("spearman", "pearson", "apart", "subjects", "lower", "upper"):
            assert float(rows[-1][f"{kind}/pool2/{name}"]) == pytest.approx(each[name], abs=1e-12)
    first = Run(run).metrics()[0]
    assert (
        float(first["grad_fraction/rsa/pool2"]) == pytest.approx(0.25)
        and float(first["weight/rsa/pool2"]) != 1
    )
    assert {parent["kind"] for parent in Run(run).provenance["parents"]} == {"dataset", "store"}
    assert not any("apart" in name for name in load_file(run / "model.safetensors"))


def test_a_run_that_was_interrupted_goes_on_to_the_bit(tiny, run, followed, elsewhere, tmp_path):
    out, kill = tmp_path / "run", """
    import os, signal
    replace, count = os.replace, 0
    def killing(*args, **kwargs):
        global count
        replace(*args, **kwargs)
        count += 1
        if count == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = os.rename = killing
    from pathlib import Path
    from rdl_cli.commands.settings import StudentSettings
    from rdl_cli.commands.train.train import train
    train(Path(out), StudentSettings(**settings))
    """  # fmt: skip
    assert elsewhere(kill, out=str(out), settings=followed) < 0 and not Run(out).finished
    assert 0 < len(Run(out).metrics()) < 4
    tiny.train(out, resume=True, **followed)
    assert (
        tiny.same(out, run)
        and (out / "stimuli.json").read_text() == (run / "stimuli.json").read_text()
    )


def test_what_is_held_out_is_never_taught(tiny, followed, run, tmp_path):
    """Other pictures and other distances of the held-out stimuli change nothing in the student."""
    record = Run(run).stimuli["stimuli"]
    held = torch.tensor(sorted(int(name.split()[1]) for name in record["held-out"]))
    images, rdm = synthetic()
    images[held] = 255 - images[held]
    i, j = condensed_pairs(N)
    touched = (torch.isin(i, held) | torch.isin(j, held)).numpy()
    noise = np.random.default_rng(0).normal(size=(5, len(rdm))) * rdm.numpy().std()
    values = rdm.numpy() + noise
    values[:, touched] = values[:, touched][:, ::-1]
    other = brain(tmp_path / "other.h5", {"IT": values}, images=images)
    again = tiny.train(tmp_path / "run", **followed | {"targets": str(other)})
    mine, theirs = (load_file(each / "model.safetensors") for each in (run, again))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert (
        brain_similarity(again)["held-out"]["spearman"]
        != brain_similarity(run)["held-out"]["spearman"]
    )
    assert brain_similarity(again)["taught"] == brain_similarity(run)["taught"]


def test_another_seed_holds_out_others(tiny, followed, run, tmp_path):
    other = tiny.train(tmp_path / "run", **followed | {"seed": 1, "epochs": 1})
    assert Run(other).stimuli["stimuli"]["held-out"] != Run(run).stimuli["stimuli"]["held-out"]


def test_what_is_done_is_said(tiny, followed, tmp_path, capfd):
    tiny.train(
        tmp_path / "run", **followed | {"epochs": 1, "control": "category", "stimuli_batch_size": 6}
    )
    text = said(capfd)
    for part in (
        "follows IT: mean of 5 RDMs (5 subjects)",
        "40 stimuli of its own beside the task's images, 20 × 20 pixels scaled to 8 × 8; 20 are taught, 6 in each step, 20 held out",
        "objective rsa, the default",
        "control `category`",
        "held-out stimuli, pool2 ~ IT@mean: Spearman",
        "noise ceiling",
        "batch-norm statistics",
    ):
        assert part in text, part
    assert Run(tmp_path / "run").stimuli["control"] == "category"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"match": ["pool2=IT"]}, "one RDM is needed"),
        ({"match": ["pool2=IT@nobody"]}, "no part `nobody`"),
        ({"match": ["pool2=V5"]}, "no layer `V5`; did you mean `V4`"),
        ({"objective": ["sp"]}, "only an RDM is known"),
        ({"objective": ["kd"], "match": []}, "holds only RDMs, and no `logits`"),
        ({"control": "shufle"}, "did you mean `shuffle`"),
        ({"stimuli_heldout": 0.95}, "2 stimuli are left"),
        ({"stimuli_heldout": 40.0}, "none is left"),
        ({"stimuli_heldout": -0.5}, "--stimuli-heldout is -0.5"),
        ({"stimuli_heldout": 2.5}, "--stimuli-heldout is 2.5"),
        ({"stimuli_batch_size": 21}, "--stimuli-batch-size is 21"),
        ({"grad_fraction": ["rdl=0.1"]}, "no objective of this run `rdl`"),
        ({"stimuli_eval_every": 0}, "--stimuli-eval-every is 0"),
        (
            {"match": ["pool2=V4"], "objective": ["rsa:pairs=reliable"]},
            "does not tell how reliable",
        ),
    ],
)
def test_errors_come_before_anything_is_written(changes, message, tiny, followed, tmp_path):
    with pytest.raises(UserError, match=message):
        tiny.train(tmp_path / "run", **followed | changes)
    assert not any(tmp_path.iterdir())


def test_a_store_of_the_training_images_is_followed_with_the_task(tiny, follow, tmp_path):
    for option in ({"control": "shuffle"}, {"stimuli_heldout": 0.5}, {"stimuli_batch_size": 5}):
        with pytest.raises(UserError, match="is for a teacher with stimuli of its own"):
            tiny.train(tmp_path / "run", **follow | option)


def test_a_brain_that_saw_the_training_images_is_followed_with_the_task(tiny, tmp_path, capfd):
    from rdl_cli.datasets.base import load_dataset

    images = load_dataset("digits", tmp_path).train.images
    flat = images.flatten(1).double()
    store = brain(
        tmp_path / "brain.h5",
        {"IT": sqeuclidean(flat, flat)[condensed_pairs(len(flat))].expand(2, -1)},
        images=images,
    )
    run = tiny.train(
        tmp_path / "run", targets=str(store), match=["fc=IT@mean"], objective=["rsa"], epochs=1
    )
    assert Run(run).stimuli is None and "of its own" not in said(capfd)
    with pytest.raises(UserError, match="one RDM is needed"):
        tiny.train(tmp_path / "other", targets=str(store), match=["fc=IT"], epochs=1)


class TestFitted:
    def test_as_pillow_does_it(self):
        from PIL import Image

        images = torch.randint(
            0, 256, (3, 3, 35, 35), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
        found, done = resize_to_network(images, InputShape(3, 8, 8))
        for mine, picture in zip(found, images, strict=True):
            theirs = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize(
                (8, 8), Image.Resampling.BILINEAR
            )
            assert (
                mine.permute(1, 2, 0).int() - torch.from_numpy(np.array(theirs)).int()
            ).abs().max() <= 1
        grey, done = resize_to_network(images, InputShape(1, 35, 35))
        expected = np.stack(
            [
                np.asarray(Image.fromarray(each.permute(1, 2, 0).numpy()).convert("L"))
                for each in images
            ]
        )
        assert (
            grey[:, 0].int() - torch.from_numpy(expected).int()
        ).abs().max() <= 1 and done == "RGB made grey"

    def test_what_fits_stays_to_the_pixel(self):
        images = synthetic()[0]
        same, done = resize_to_network(images, InputShape(1, 20, 20))
        assert torch.equal(same, images) and done == "as they are"
        coloured, done = resize_to_network(images, InputShape(3, 20, 20))
        assert torch.equal(coloured, images.expand(-1, 3, -1, -1)) and done == "grey as RGB"
        assert resize_to_network(images, InputShape(1, 8, 10))[1].endswith(
            "their proportions changed"
        )
        with pytest.raises(UserError, match="1 channels, the network takes 2"):
            resize_to_network(images, InputShape(2, 20, 20))


@real
def test_a_student_of_fifteen_people(tiny, tmp_path):
    from rdl_cli.commands.import_rdms import import_rdms
    from rdl_cli.commands.settings import ImportSettings

    pictures = (
        BRAIN / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat"
    )  # the same 92, with their categories
    import_rdms(
        [BRAIN / "cichy92/target_fmri.mat"],
        tmp_path / "cichy.h5",
        ImportSettings(stimuli=str(pictures), regions=["IT=IT_RDMs"]),
    )
    run = tiny.train(
        tmp_path / "run",
        targets=str(tmp_path / "cichy.h5"),
        match=["fc=IT@mean"],
        lr=0.05,
        epochs=5,
    )
    (each,) = Run(run).stimuli["brain_similarity"]
    assert (each["number"], round(each["lower"], 3), round(each["upper"], 3)) == (
        92,
        0.453,
        0.542,
    ), "as published"
    assert each["spearman"] > 0.4 and each["spearman"] > each["subjects"]
    control = tiny.train(
        tmp_path / "control",
        targets=str(tmp_path / "cichy.h5"),
        match=["fc=IT@mean"],
        lr=0.05,
        control="category",
        epochs=1,
    )
    assert json.loads((control / "stimuli.json").read_text())["control"] == "category"


def test_layers_exported_over_the_stimuli_are_as_alike_as_the_run_says(run, measured, tmp_path):
    out = export_over_brain_stimuli(
        run,
        measured,
        tmp_path / "out.h5",
        ExportSettings(layers=["pool2"], distance="correlation", device="cpu"),
    )
    brain = Store.open(measured)
    assert np.array_equal(out.stimuli.digests, brain.stimuli.digests) and np.array_equal(
        out.stimuli.labels, brain.stimuli.labels
    )
    names, whole = out.stimuli.names.tolist(), squareform(brain.rdms("IT").values.mean(0))
    for kind, each in brain_similarity(run).items():
        rows = [names.index(name) for name in Run(run).stimuli["stimuli"][kind]]
        mine = pdist(out.activations("pool2")[0][rows].reshape(len(rows), -1), "correlation")
        theirs = squareform(whole[np.ix_(rows, rows)])
        assert spearmanr(mine, theirs).statistic == pytest.approx(each["spearman"], abs=1e-3)
    assert {parent["kind"] for parent in out.provenance["parents"]} == {"run", "store"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "digits"}, "--dataset digits names other pictures than --stimuli"),
        ({"split": "test"}, "--split test names other pictures than --stimuli"),
        ({"download": True}, "--download names other pictures than --stimuli"),
        (
            {"views": "hflip"},
            "--views hflip is for a data set; a brain saw its stimuli as they are",
        ),
        ({"batch_size": 0}, "--batch-size is 0; at least 1"),
        ({"as_": "rdm"}, "--as rdm is for a data set"),
        ({"layers": []}, "no layers are named"),
        ({"layers": ["pool9"]}, "pool9"),
        ({"distance": "corelation"}, "did you mean `correlation`"),
    ],
)
def test_what_no_export_over_stimuli_can_be_is_refused(changes, message, run, measured, tmp_path):
    with pytest.raises(UserError, match=message):
        export_over_brain_stimuli(
            run, measured, tmp_path / "out.h5", ExportSettings(**{"layers": ["pool2"]} | changes)
        )
    assert not any(tmp_path.iterdir())


def test_an_export_over_stimuli_takes_so_many_at_a_time(run, measured, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        over_stimuli,
        "read_only",
        lambda network, images, layers: (
            seen.append(len(images)) or read_layers(network, images, layers)
        ),
    )
    several = export_over_brain_stimuli(
        run, measured, tmp_path / "out.h5", ExportSettings(layers=["pool2"], batch_size=16)
    )
    assert seen == [16, 16, 8]
    once = export_over_brain_stimuli(
        run, measured, tmp_path / "once.h5", ExportSettings(layers=["pool2"])
    )
    np.testing.assert_allclose(several.activations("pool2"), once.activations("pool2"), atol=1e-5)


def test_an_export_over_stimuli_needs_their_pictures_and_a_free_place(
    run, measured, store, tmp_path
):
    with pytest.raises(UserError, match="holds no pictures of its stimuli"):
        export_over_brain_stimuli(run, store, tmp_path / "out.h5", ExportSettings(layers=["pool2"]))
    (tmp_path / "mine.h5").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        export_over_brain_stimuli(
            run, measured, tmp_path / "mine.h5", ExportSettings(layers=["pool2"])
        )
    assert (
        export_over_brain_stimuli(
            run, measured, tmp_path / "out.h5", ExportSettings(layers=["pool2"]), dry_run=True
        )
        is None
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.h5"]
