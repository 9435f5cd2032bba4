from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdl_cli.commands.alignment import (
    align_images,
    contains_images,
    list_images,
    list_stimuli,
    match_keys,
)
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import Split, load_dataset
from rdl_cli.datasets.image_files import find_images, native_digests
from rdl_cli.store.layout import ActivationSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of five images of 9 × 9 pixels; cat/4 and dog/4 have equal bytes."""
    home = tmp_path_factory.mktemp("images")
    for label, kind in enumerate(("cat", "dog")):
        (home / kind).mkdir()
        for n in range(5):
            seed = 4 if n == 4 else 10 * label + n
            pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(home / kind / f"{n}.png")
    return home


def load(folder: Path, size: int | None = None) -> Split:
    return load_dataset(f"folder:{folder}", folder, image_size=size).train


def save(path: Path, stimuli: Stimuli) -> Store:
    spec = ActivationSpec("fc", (2,), "float32", ("identity",), "mse")
    with create_store(path, stimuli, {}, [spec], "key") as writer:
        writer.write("fc", 0, np.zeros((len(stimuli.digests), 2), np.float32), 0)
    return Store.open(path)


def of_split(split: Split) -> Stimuli:
    names = None if split.names is None else np.array(split.names)
    return Stimuli(split.digests, names, digest_kind=split.digest_kind)


@pytest.fixture
def pixel_store(folder, tmp_path) -> Store:
    """A store of the folder's images as pixel arrays, such as from a .mat file."""
    images = find_images(folder).images.numpy()
    split = Split(torch.from_numpy(images), torch.zeros(10).long(), torch.arange(10), ("any",))
    return save(tmp_path / "pixels.h5", Stimuli(split.digests, images=images))


def test_align_images_of_another_size_by_their_files(folder, tmp_path):
    small, large = load(folder, 4), load(folder, 8)
    rows = torch.randperm(len(large), generator=torch.Generator().manual_seed(0))
    store = save(tmp_path / "store.h5", of_split(large.at(rows)))
    aligned = align_images(store, small, small.ids, "digest")
    assert torch.equal(large.ids[rows][aligned[small.ids]].sort().values, small.ids.sort().values)
    assert contains_images(store, small)
    same = np.array(small.digests) == store.stimuli.digests[aligned[small.ids]]
    assert same.all()


def test_align_images_matches_equal_images_in_order(folder, tmp_path):
    split = load(folder)
    repeated = split.at(torch.cat([torch.arange(len(split)), torch.tensor([0])]))
    repeated = replace(repeated, ids=torch.arange(len(repeated)))
    store = save(tmp_path / "store.h5", Stimuli(repeated.digests, digest_kind="file"))
    assert align_images(store, repeated, repeated.ids, "digest").tolist() == list(range(7))


def test_align_images_decodes_files_against_a_store_of_pixels(folder, pixel_store):
    split = load(folder, 4)
    rows = align_images(pixel_store, split, split.ids, "digest")[split.ids]
    assert np.array_equal(pixel_store.stimuli.digests[rows], native_digests(split))
    assert contains_images(pixel_store, split)


def test_align_images_needs_pixel_digests_of_files_against_pixels(folder, tmp_path):
    files = load(folder)
    store = save(tmp_path / "store.h5", of_split(files))
    digits = load_dataset("digits", folder).train
    with pytest.raises(UserError, match="has digests of image files") as error:
        align_images(store, digits, digits.ids, "digest")
    assert error.value.hint == "pass --align name, or --align position"
    assert not contains_images(store, digits)


def test_align_images_by_name_and_position(folder, tmp_path):
    split = load(folder)
    rows = torch.arange(len(split)).flip(0)
    store = save(tmp_path / "store.h5", of_split(split.at(rows)))
    by_name = align_images(store, split, split.ids, "name")[split.ids]
    assert torch.equal(by_name, rows)
    by_position = align_images(store, split, split.ids, "position")[split.ids]
    assert torch.equal(by_position, torch.arange(len(split)))


@pytest.mark.parametrize(
    ("stimuli", "align", "message"),
    [
        (Stimuli(np.zeros(6, "S64")), "digest", "has no digests of its stimuli"),
        (Stimuli(np.full(6, b"a" * 64)), "name", "has no names of its stimuli"),
        (Stimuli(np.zeros(6, "S64"), np.array(["x"] * 6)), "name", "several stimuli of one name"),
        (Stimuli(np.zeros(7, "S64")), "position", "holds 7 stimuli, .* holds 6 stimuli; they can"),
        (Stimuli(np.array([f"{n:064x}" for n in range(6)], "S64"), digest_kind="file"), "digest",
         "6 of the 6 training images are not among them"),
    ],
)  # fmt: skip
def test_align_images_refuses_stimuli_without_a_match(stimuli, align, message, folder, tmp_path):
    split = load(folder)
    with pytest.raises(UserError, match=message):
        align_images(save(tmp_path / "store.h5", stimuli), split, split.ids, align)


def test_match_keys_are_equal_for_equal_stimuli_of_three_lists(folder, pixel_store, tmp_path):
    split = load(folder, 4)
    stored = save(tmp_path / "files.h5", of_split(split)._replace(
        pixel_digests=native_digests(split))
    )  # fmt: skip
    lists = [list_images(split, "run"), list_stimuli(stored), list_stimuli(pixel_store)]
    keys = match_keys(lists, "digest")
    assert keys[0] == keys[1] and set(keys[0]) <= set(keys[2])


def test_align_images_matches_names_by_the_rule_of_stimulus_names(folder, tmp_path):
    split = load(folder)
    order = torch.arange(len(split)).flip(0)
    stems = [split.names[row].replace("/", "_").removesuffix(".png") for row in order]
    named = replace(split, names=tuple(name.replace("/", "_") for name in split.names))
    store = save(tmp_path / "store.h5", Stimuli(np.zeros(len(split), "S64"), np.array(stems)))
    rows = align_images(store, named, named.ids, "name")[named.ids]
    assert torch.equal(rows, order)


def test_match_keys_by_name_refuses_two_stimuli_of_one_name(folder, tmp_path):
    first = save(tmp_path / "a.h5", Stimuli(np.zeros(2, "S64"), np.array(["x.png", "y"])))
    second = save(tmp_path / "b.h5", Stimuli(np.zeros(2, "S64"), np.array(["x", "x.jpg"])))
    with pytest.raises(UserError, match=r"b\.h5 has several stimuli of one name"):
        match_keys([list_stimuli(first), list_stimuli(second)], "name")


def test_match_keys_by_name_matches_lists_that_only_later_ones_share(folder, tmp_path):
    names = (["a"], ["b.png", "c"], ["c.jpg", "b"])
    stores = [
        save(tmp_path / f"{k}.h5", Stimuli(np.zeros(len(n), "S64"), np.array(n)))
        for k, n in enumerate(names)
    ]
    keys = match_keys([list_stimuli(store) for store in stores], "name")
    assert keys[1] == keys[2][::-1] and not set(keys[0]) & set(keys[1])


@pytest.mark.parametrize(("background", "notes"), [("", 0), ("black", 1)])
def test_align_images_reports_other_decode_settings(background, notes, folder, tmp_path, capfd):
    split = load(folder)
    stimuli = of_split(split)._replace(decode=split.decode.describe())
    store = save(tmp_path / "store.h5", stimuli)
    other = load_dataset(f"folder:{folder}", folder, background=background).train
    align_images(store, other, other.ids, "digest")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == notes
    for line in lines:
        assert line.startswith("note: the same files were decoded differently: background white in")
        assert line.endswith("black in the training split")


def test_import_with_an_image_size_keeps_native_pixel_digests(folder, pixel_store, tmp_path):
    """A folder imported with --image-size meets arrays of the same images at their own size."""
    names = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)]
    np.savez(tmp_path / "it.npz", IT=np.abs(np.subtract.outer(range(10), range(10))))
    settings = ImportSettings(stimuli=str(folder), image_size=4, distance="euclidean")
    resized = import_rdms([tmp_path / "it.npz"], tmp_path / "resized.h5", settings)
    assert resized.images().shape == (10, 3, 4, 4) and list(resized.stimuli.names) == names
    assert np.array_equal(resized.stimuli.pixel_digests, pixel_store.stimuli.digests)
    keys = match_keys([list_stimuli(resized), list_stimuli(pixel_store)], "digest")
    assert keys[0] == keys[1]
    assert contains_images(resized, load(folder, 8))
