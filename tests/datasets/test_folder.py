"""Folders of images: every supported layout and mode, and one message for each fault."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets import image_files
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.digests import dataset_fingerprint, image_digests
from rdl_cli.datasets.image_files import find_images
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING

CICHY = Path(__file__).resolve().parents[2] / "../shared/data/brain/cichy92/92images"


def pixels(seed: int, height: int = 6, width: int = 6, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def put(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def classes_of(home: Path, number: int = 10, first: int = 0, channels: int = 3) -> None:
    for label, kind in enumerate(("cat", "dog")):
        for n in range(first, first + number):
            put(home / kind / f"{n}.png", pixels(1000 * label + n, channels=channels))


def test_folder_splits_class_folders_in_three(tmp_path: Path):
    classes_of(tmp_path, 30)
    splits = load_dataset(f"folder:{tmp_path}", tmp_path)
    assert [len(split) for split in splits] == [48, 6, 6]
    assert all(torch.bincount(split.labels).unique().numel() == 1 for split in splits), (
        "not stratified"
    )
    assert splits.train.classes == ("cat", "dog") and splits.train.images.dtype == torch.uint8
    assert torch.cat([split.ids for split in splits]).sort().values.tolist() == list(range(60))
    for split in splits:
        assert split.names is not None
        for image, label, name in zip(
            split.images, split.labels.tolist(), split.names, strict=True
        ):
            assert name.startswith(split.classes[label])
            assert np.array_equal(
                image.permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / name))
            ), "pixels were changed"


def test_folder_splits_by_name_and_orders_naturally(tmp_path: Path):
    classes_of(tmp_path / "a", 12)
    classes_of(tmp_path / "b", 12)
    first, second = (load_dataset(f"folder:{tmp_path / name}", tmp_path) for name in "ab")
    assert [split.names for split in first] == [
        split.names for split in second
    ] and dataset_fingerprint(first) == dataset_fingerprint(second)
    named = {
        int(i): name
        for split in first
        for i, name in zip(split.ids, split.names or (), strict=True)
    }
    assert [named[i] for i in range(24)] == [
        f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(12)
    ]


@pytest.mark.parametrize("validation", [None, "validation", "val"])
@pytest.mark.parametrize("test", [None, "test"])
def test_folder_uses_the_folders_of_splits(
    validation: str | None, test: str | None, tmp_path: Path
):
    classes_of(tmp_path / "train", 20)
    for name, first in ((validation, 100), (test, 200)):
        if name:
            classes_of(tmp_path / name, 3, first)
    splits = load_dataset(f"folder:{tmp_path}", tmp_path)
    assert [len(split) for split in splits] == [
        40 - 4 * (not validation) - 4 * (not test),
        6 if validation else 4,
        6 if test else 4,
    ]
    for split, name in zip(splits, ("train", validation or "train", test or "train"), strict=True):
        assert all(file.startswith(f"{name}/") for file in split.names or ())
    assert torch.cat([split.ids for split in splits]).unique().numel() == sum(map(len, splits))


def test_open_images_is_grey_if_all_are_and_rgb_otherwise(tmp_path: Path):
    classes_of(tmp_path, 4, channels=1)
    grey = load_dataset(f"folder:{tmp_path}", tmp_path).train.images
    assert grey.shape[1:] == (1, 6, 6)
    put(tmp_path / "dog/9.png", pixels(9))
    assert load_dataset(f"folder:{tmp_path}", tmp_path).train.images.shape[1:] == (3, 6, 6)


def test_open_images_needs_a_size_for_different_sizes(tmp_path: Path):
    classes_of(tmp_path, 4)
    put(tmp_path / "cat/wide.png", pixels(5, 6, 12))
    with pytest.raises(UserError, match="9 images have 2 sizes, 6 × 6 and 12 × 6") as error:
        load_dataset(f"folder:{tmp_path}", tmp_path)
    assert "--image-size" in str(error.value.hint)
    splits = load_dataset(f"folder:{tmp_path}", tmp_path, image_size=6)
    by_name = {
        name: image
        for split in splits
        for name, image in zip(split.names or (), split.images, strict=True)
    }
    assert np.array_equal(by_name["cat/wide.png"].permute(1, 2, 0), pixels(5, 6, 12)[:, 3:9]), (
        "not cut around its middle"
    )
    assert load_dataset(f"folder:{tmp_path}", tmp_path, image_size=4).train.images.shape[1:] == (
        3,
        4,
        4,
    )


def test_find_images_scales_sixteen_bits(tmp_path: Path):
    deep = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    put(tmp_path / "deep.png", deep)
    assert find_images(tmp_path).images.tolist() == [[[[0, 0, 1], [128, 255, 255]]]]


def test_find_images_refuses_fractions(tmp_path: Path):
    put(tmp_path / "cat/light.tif", np.random.default_rng(0).random((6, 6)).astype(np.float32))
    with pytest.raises(UserError, match=r"cat/light\.tif has fractions for pixels") as error:
        find_images(tmp_path)
    assert "8 or 16 bits" in str(error.value.hint)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_image_files_stream_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes_of(tmp_path, 12)
    inside = load_dataset(f"folder:{tmp_path}", tmp_path)
    monkeypatch.setattr(image_files, "_free_memory", lambda: 0)
    outside = load_dataset(f"folder:{tmp_path}", tmp_path)
    assert isinstance(inside.train.images, torch.Tensor) and not isinstance(
        outside.train.images, torch.Tensor
    )
    assert dataset_fingerprint(inside) == dataset_fingerprint(outside)
    assert np.array_equal(image_digests(inside.test.images), image_digests(outside.test.images))
    hflip, unit = VIEWS.make("hflip"), PREPROCESSING.make("unit", outside.train)
    streams = [
        list(Batches(splits.train, None, 5, hflip, unit).epoch(Seeds(0), 0))
        for splits in (inside, outside)
    ]
    assert len(streams[0]) == 4
    for batch, streamed in zip(*streams, strict=True):
        assert all(map(torch.equal, batch, streamed))

    (tmp_path / "cat/3.png").write_bytes((tmp_path / "cat/3.png").read_bytes()[:60])
    everything = Batches(outside.train, None, 20, hflip, unit)
    with pytest.raises(UserError, match=r"cat/3.png can't be read: [^\n]*$"):
        list(everything.in_order())


@pytest.mark.parametrize("harm", ["truncated", "no image", "empty"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_folder_names_a_damaged_image(harm: str, suffix: str, tmp_path: Path):
    classes_of(tmp_path, 4)
    victim = tmp_path / f"dog/broken.{suffix}"
    put(victim, pixels(1))
    data = victim.read_bytes()
    victim.write_bytes(
        {"truncated": data[: len(data) * 3 // 4], "no image": b"<html>", "empty": b""}[harm]
    )
    with pytest.raises(UserError, match=f"broken.{suffix} can't be read"):
        load_dataset(f"folder:{tmp_path}", tmp_path)


def test_folder_ignores_other_files(tmp_path: Path):
    classes_of(tmp_path, 4)
    for name in ("cat/notes.txt", "cat/.hidden.png", "dog/rdm.h5", "labels.csv"):
        (tmp_path / name).write_text("no image")
    (tmp_path / ".cache").mkdir()
    assert sum(map(len, load_dataset(f"folder:{tmp_path}", tmp_path))) == 8


def refusal(home: Path) -> str:
    with pytest.raises(UserError) as error:
        load_dataset(f"folder:{home}", home)
    return str(error.value)


def test_folder_refuses_missing_parts(tmp_path: Path):
    assert "no folder" in refusal(tmp_path / "nowhere")
    assert "0 class folders" in refusal(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    assert "no images" in refusal(tmp_path)
    classes_of(tmp_path, 3)
    assert sum(map(len, load_dataset(f"folder:{tmp_path}", tmp_path))) == 6
    (tmp_path / "dog/2.png").unlink()
    assert "class `dog` has 2 training images" in refusal(tmp_path)


def test_folder_needs_the_same_classes_in_each_split(tmp_path: Path):
    classes_of(tmp_path / "train", 5)
    classes_of(tmp_path / "test", 5)
    (tmp_path / "test/dog").rename(tmp_path / "test/dogs")
    assert "there is no training class `dogs`; did you mean `dog`" in refusal(tmp_path)
    (tmp_path / "train").rename(tmp_path / "trian")
    assert f"no {tmp_path}/train" in refusal(tmp_path)


def test_folder_puts_the_smallest_classes_in_every_split(tmp_path: Path):
    for label, number in enumerate((3, 4, 5, 60)):
        for n in range(number):
            put(tmp_path / f"kind{label}/{n}.png", pixels(100 * label + n))
    for split in load_dataset(f"folder:{tmp_path}", tmp_path):
        assert set(split.labels.tolist()) == {0, 1, 2, 3}


def test_find_images_returns_natural_order_and_names(tmp_path: Path):
    for n in (10, 2, 1):
        put(tmp_path / f"image{n}.png", pixels(n))
    folder_images = find_images(tmp_path)
    images, names = folder_images.images, folder_images.names
    assert [path.name for path in folder_images.files] == list(names)
    assert tuple(names) == ("image1.png", "image2.png", "image10.png")
    assert np.array_equal(images[2].permute(1, 2, 0).numpy(), pixels(10))
    assert find_images(tmp_path, image_size=3).images.shape == (3, 3, 3, 3)
    with pytest.raises(UserError, match="no images"):
        (tmp_path / "empty").mkdir()
        find_images(tmp_path / "empty")
    with pytest.raises(UserError, match="no folder"):
        find_images(tmp_path / "nowhere")


@pytest.mark.skipif(not CICHY.is_dir(), reason=f"no {CICHY}")
def test_find_images_reads_cichys_92():
    folder_images = find_images(CICHY)
    images, names = folder_images.images, folder_images.names
    assert (
        images.shape == (92, 3, 175, 175)
        and names[0] == "image_01.jpg"
        and names[91] == "image_92.jpg"
    )
    assert len(set(image_digests(images))) == 92
