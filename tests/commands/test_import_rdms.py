"""Foreign RDMs become a store with their stimuli."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.plot.plot_data import LayerSelection, read_store_rdms
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.digests import image_digests
from rdl_cli.rsa.response_distances import crossnobis

BRAIN = Path(__file__).resolve().parents[2] / "../shared/data/brain"
real = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)

N = 5
RNG = np.random.default_rng(9)
VECTORS = np.stack([pdist(RNG.normal(size=(N, 9)), "correlation") for _ in range(3)])
SQUARES = np.stack([squareform(v) for v in VECTORS])
NAMES = ("tree", "face", "house", "tool", "hand")
PICTURES = RNG.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Pictures called as the stimuli are, whose natural order is another one."""
    home = tmp_path / "pictures"
    home.mkdir()
    for name, picture in zip(NAMES, PICTURES, strict=True):
        Image.fromarray(picture).save(home / f"{name}.png")
    return home


@pytest.fixture
def subjects(tmp_path):
    np.save(tmp_path / "IT.npy", SQUARES)
    return tmp_path / "IT.npy"


def logged(capfd) -> str:
    return capfd.readouterr().err


def test_import_rdms_a_dry_run_logs_everything_and_writes_nothing(
    subjects, folder, tmp_path, capfd
):
    before = sorted(tmp_path.rglob("*"))
    assert (
        import_rdms(
            [subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)), dry_run=True
        )
        is None
    )
    assert sorted(tmp_path.rglob("*")) == before
    text = logged(capfd)
    for part in (
        "3 subjects",
        "3 × 5 × 5 read as subject, i, j",
        "upper triangle",
        "1 - r",
        "bound in their order",
        "face.png",
    ):
        assert part in text


def test_import_rdms_without_names_images_are_bound_in_natural_order(subjects, folder, tmp_path):
    store = import_rdms([subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)))
    assert store.layers == ("IT",) and np.array_equal(store.rdms("IT").values, VECTORS)
    assert (
        store.rdms("IT").subjects == ("1", "2", "3")
        and store.rdms("IT").distance == "correlation"
        and store.rdms("IT").unit == "1 - r"
    )
    order = sorted(range(N), key=lambda k: NAMES[k])
    assert np.array_equal(store.stimuli.images, PICTURES[order].transpose(0, 3, 1, 2))
    assert list(store.stimuli.names) == [f"{NAMES[k]}.png" for k in order]
    assert store.stimuli.digest_kind == "file"
    assert np.array_equal(
        store.stimuli.pixel_digests,
        image_digests(torch.from_numpy(np.array(store.stimuli.images))),
    )


@pytest.mark.parametrize(
    "listed", [NAMES, tuple(f"{name}.png" for name in NAMES)], ids=["stems", "files"]
)
@pytest.mark.parametrize("by", ["file", "list"])
def test_import_rdms_names_bind_each_image_to_its_row(by, listed, folder, tmp_path, capfd):
    held = {"IT": SQUARES} | ({"stimuli": np.array(listed)} if by == "file" else {})
    np.savez(tmp_path / "rdms.npz", **held)
    (tmp_path / "names.txt").write_text("\n".join(listed) + "\n")
    names = str(tmp_path / "names.txt") if by == "list" else ""
    store = import_rdms(
        [tmp_path / "rdms.npz"], tmp_path / "s.h5", ImportSettings(stimuli=str(folder), names=names)
    )
    assert np.array_equal(store.stimuli.images, PICTURES.transpose(0, 3, 1, 2)) and np.array_equal(
        store.rdms("IT").values, VECTORS
    )
    assert "bound by name: tree" in logged(capfd)


def test_import_rdms_images_of_no_stimulus_are_left_out_by_name(folder, tmp_path, capfd):
    Image.fromarray(PICTURES[0]).save(folder / "extra.png")
    np.savez(tmp_path / "rdms.npz", IT=SQUARES, stimuli=np.array(NAMES))
    store = import_rdms(
        [tmp_path / "rdms.npz"], tmp_path / "s.h5", ImportSettings(stimuli=str(folder))
    )
    assert len(store.stimuli.images) == N and "1 images are of no stimulus" in logged(capfd)


def test_import_rdms_lists_of_names_and_categories_may_be_utf_16(subjects, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES), "utf-16")
    (tmp_path / "kinds.csv").write_text(
        "\n".join(f"{name},{kind}" for name, kind in zip(NAMES, "abaab", strict=True)), "utf-16"
    )
    given = ImportSettings(names=str(tmp_path / "names.txt"), labels=str(tmp_path / "kinds.csv"))
    store = import_rdms([subjects], tmp_path / "s.h5", given)
    assert tuple(store.stimuli.names) == NAMES and store.stimuli.labels.tolist() == [0, 1, 0, 0, 1]


def test_import_rdms_numbers_that_disagree_are_refused(subjects, folder, tmp_path):
    (folder / "tree.png").unlink()
    with pytest.raises(UserError, match="of 5 stimuli, and there are 4 images"):
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)))
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="lists 2 stimuli; the RDMs are of 5"):
        import_rdms(
            [subjects], tmp_path / "s.h5", ImportSettings(names=str(tmp_path / "names.txt"))
        )
    (tmp_path / "names.txt").write_text("a\nb\na\n")
    with pytest.raises(UserError, match="lists `a` more than once"):
        import_rdms(
            [subjects], tmp_path / "s.h5", ImportSettings(names=str(tmp_path / "names.txt"))
        )
    assert not (tmp_path / "s.h5").exists()


def test_import_rdms_names_without_a_image_are_named(folder, tmp_path):
    np.savez(tmp_path / "rdms.npz", IT=SQUARES, stimuli=np.array(["car", *NAMES[1:]]))
    with pytest.raises(UserError, match="1 of 5 stimuli have no image of their name: car") as error:
        import_rdms([tmp_path / "rdms.npz"], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)))
    assert "--names" in error.value.hint


def test_import_rdms_images_of_different_sizes_are_refused_or_resized(subjects, folder, tmp_path):
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(folder / "face.png")
    with pytest.raises(UserError, match="sizes"):
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)))
    store = import_rdms(
        [subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder), image_size=8)
    )
    assert store.stimuli.images.shape == (N, 3, 8, 8)


KINDS = ("plant", "body", "object", "object", "body")


def table(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("head", ["", "stimulus,category\n"], ids=["bare", "head"])
@pytest.mark.parametrize("by", ["name", "row"])
def test_import_rdms_categories_are_bound_by_name_or_in_order(by, head, folder, tmp_path, capfd):
    np.savez(tmp_path / "rdms.npz", IT=SQUARES, stimuli=np.array(NAMES))
    if by == "name":
        lines = [f"{name},{kind}" for name, kind in zip(NAMES[::-1], KINDS[::-1], strict=True)] + [
            "car,object"
        ]
        labels = table(tmp_path / "labels.csv", head + "\n".join(lines))
    else:
        labels = table(tmp_path / "labels.txt", ("category\n" if head else "") + "\n".join(KINDS))
    store = import_rdms(
        [tmp_path / "rdms.npz"],
        tmp_path / "s.h5",
        ImportSettings(stimuli=str(folder), labels=labels),
    )
    assert store.provenance["classes"] == [
        "plant",
        "body",
        "object",
    ] and store.stimuli.labels.tolist() == [0, 1, 2, 2, 1]
    assert [parent["kind"] for parent in store.provenance["parents"]] == [
        "file",
        "stimuli",
        "labels",
    ]
    assert "3 categories" in logged(capfd)
    drawn = read_store_rdms(tmp_path / "s.h5", HeatmapSettings(), LayerSelection([]))
    assert drawn.classes == ("plant", "body", "body", "object", "object"), (
        "a figure calls them by name"
    )


def test_import_rdms_categories_need_no_images_and_match_by_number(subjects, tmp_path):
    labels = table(
        tmp_path / "labels.tsv", "".join(f"{n}\t{kind}\n" for n, kind in enumerate(KINDS, 1))
    )
    assert import_rdms(
        [subjects], tmp_path / "s.h5", ImportSettings(labels=labels)
    ).stimuli.labels.tolist() == [0, 1, 2, 2, 1]


def test_import_rdms_a_folder_for_each_category_is_its_name(subjects, tmp_path):
    for k, (name, kind) in enumerate(zip(NAMES, KINDS, strict=True)):
        (tmp_path / "pictures" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[k]).save(tmp_path / "pictures" / kind / f"{name}.png")
    np.savez(tmp_path / "rdms.npz", IT=SQUARES, stimuli=np.array(NAMES))
    store = import_rdms(
        [tmp_path / "rdms.npz"],
        tmp_path / "s.h5",
        ImportSettings(stimuli=str(tmp_path / "pictures")),
    )
    assert (
        np.array_equal(store.stimuli.images, PICTURES.transpose(0, 3, 1, 2))
        and store.stimuli.names[0] == "plant/tree.png"
    )
    assert [store.provenance["classes"][label] for label in store.stimuli.labels] == list(KINDS)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("l.txt", "a\nb\n", "lists 2 categories; the RDMs are of 5 stimuli"),
        (
            "l.csv",
            "1,a\n2,b\nthree,a\n4,b\n5,a\n",
            "1 of 5 stimuli have no category of their name: 3",
        ),
        ("l.csv", "1,a\n1,b\n", "lists `1` more than once"),
        ("l.csv", "1,a\n2\n", "lines of 1 and 2 cells"),
        ("l.csv", "1,a,b\n", "lines of 3 cells"),
        ("l.csv", "1,\n2,b\n", "has no category for `1`"),
        ("l.txt", "", "holds no category"),
        ("l.txt", None, "could not be opened"),
        ("l.mat", "no matlab", "l.mat"),
    ],
)
def test_import_rdms_categories_that_do_not_fit_are_refused(
    name, text, message, subjects, tmp_path
):
    labels = tmp_path / name
    if text is not None:
        labels.write_text(text)
    with pytest.raises(UserError, match=message):
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings(labels=str(labels)))
    assert not (tmp_path / "s.h5").exists()


def test_import_rdms_a_distance_unknown_is_refused(subjects, tmp_path):
    with pytest.raises(UserError, match="no distance `corelation`; did you mean `correlation`"):
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings(distance="corelation"))
    assert not (tmp_path / "s.h5").exists()
    assert (
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings(distance="arrangement"))
        .rdms("IT")
        .distance
        == "arrangement"
    )


def test_import_rdms_without_images_the_stimuli_have_names_and_no_digest(subjects, tmp_path, capfd):
    store = import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    assert list(store.stimuli.names) == ["1", "2", "3", "4", "5"] and set(
        store.stimuli.digests
    ) == {b""}
    assert "not trained against" in logged(capfd)


def test_import_rdms_files_that_list_their_stimuli_differently_come_into_one_order(tmp_path):
    np.savez(tmp_path / "a.npz", IT=SQUARES[0], stimuli=np.array(NAMES))
    np.savez(tmp_path / "b.npz", V1=SQUARES[1][::-1, ::-1], stimuli=np.array(NAMES[::-1]))
    store = import_rdms(
        [tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "s.h5", ImportSettings()
    )
    assert np.array_equal(store.rdms("V1").values, VECTORS[1:2]) and list(
        store.stimuli.names
    ) == list(NAMES)


def test_import_rdms_a_store_that_exists_is_not_overwritten(subjects, tmp_path):
    (tmp_path / "s.h5").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        import_rdms([subjects], tmp_path / "s.h5", ImportSettings())
    assert (tmp_path / "s.h5").read_text() == "mine"


def test_import_rdms_provenance_names_the_files_and_the_guesses(subjects, folder, tmp_path):
    store = import_rdms([subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder)))
    assert [parent["kind"] for parent in store.provenance["parents"]] == ["file", "stimuli"]
    assert any("1 - r" in note for note in store.provenance["notes"]["IT"])
    assert store.provenance["config"] == {"stimuli": str(folder)}


def test_import_rdms_responses_become_rdms(folder, tmp_path, capfd):
    runs = RNG.normal(size=(4, N, 6)) + RNG.normal(size=(N, 6))
    for subject in "ab":
        np.savez(
            tmp_path / f"{subject}.npz", IT=runs.transpose(1, 2, 0), V1=runs.transpose(1, 2, 0)
        )
    settings = ImportSettings(
        responses="crossnobis", axes="stimulus,channel,run", stimuli=str(folder), regions=["IT"]
    )
    store = import_rdms([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "s.h5", settings)
    assert (
        store.layers == ("IT",)
        and store.rdms("IT").subjects == ("a", "b")
        and store.rdms("IT").distance == "crossnobis"
    )
    assert np.array_equal(store.rdms("IT").values[0], crossnobis(torch.from_numpy(runs.copy())))
    assert "4 runs × 5 stimuli × 6 channels" in logged(capfd)
    with pytest.raises(UserError, match="read as run × stimulus × channel has 6 stimuli, not 5"):
        import_rdms(
            [tmp_path / "a.npz"],
            tmp_path / "t.h5",
            ImportSettings(responses="crossnobis", stimuli=str(folder)),
        )
    with pytest.raises(UserError, match="for files of RDMs"):
        import_rdms(
            [tmp_path / "a.npz"],
            tmp_path / "t.h5",
            ImportSettings(responses="crossnobis", distance="mse"),
        )


@pytest.mark.parametrize("size", [-3, 0])
def test_import_rdms_an_image_size_that_no_image_has_is_refused(size, subjects, folder, tmp_path):
    with pytest.raises(UserError, match=f"--image-size is {size}; at least 1"):
        import_rdms(
            [subjects], tmp_path / "s.h5", ImportSettings(stimuli=str(folder), image_size=size)
        )


@real
def test_import_rdms_the_published_images_have_their_categories(tmp_path):
    file = BRAIN / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat"
    store = import_rdms(
        [file], tmp_path / "s.h5", ImportSettings(stimuli=str(file), regions=["monkey=mIT*"])
    )
    raw = scipy.io.loadmat(file)["stimuli_92objs"]
    kinds = [str(entry["category"][0]) for entry in raw.flat]
    assert store.provenance["classes"] == list(dict.fromkeys(kinds))
    assert store.layers == ("monkey",) and store.stimuli.labels.tolist() == [
        list(dict.fromkeys(kinds)).index(kind) for kind in kinds
    ]


@real
def test_import_rdms_one_set_lends_its_categories_to_the_other(tmp_path):
    """Both show the same pictures in the same order, and only one says what they are of."""
    lent = str(BRAIN / "krieg92/Kriegeskorte_Neuron2008_supplementalData.mat")
    asked = ImportSettings(
        stimuli=str(BRAIN / "cichy92/92images"), labels=lent, regions=["IT=IT_RDMs"]
    )
    store = import_rdms([BRAIN / "cichy92/target_fmri.mat"], tmp_path / "s.h5", asked)
    imported = [store.provenance["classes"][label] for label in store.stimuli.labels]
    assert (
        imported[0] == "human bodypart"
        and imported[-1] == "artificial inanimate"
        and len(set(imported)) == 6
    )
