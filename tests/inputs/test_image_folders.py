"""Folders of photographs as people have them: what a person sees is what the network sees."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.decoding import DecodeSettings, decode_image, read_header
from rdl_cli.datasets.image_files import find_images

RNG = np.random.default_rng(0)
SAVERS = {"png": {}, "jpg": {"quality": 100}, "tif": {}, "webp": {"lossless": True}}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation → how a camera stored an upright image."""


def draw(height: int = 16, width: int = 16) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def put(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def fill(home: Path, number: int = 6, kinds=("a", "b")) -> None:
    for kind in kinds:
        for k in range(number):
            put(home / kind / f"{k}.png", draw())


def load(home: Path, **options):
    return load_dataset(f"folder:{home}", home, **options)


def names(home: Path) -> list[str]:
    return sorted(name for split in load(home) for name in split.names)


def seen(path: Path, **settings) -> np.ndarray:
    return decode_image(path, 3, DecodeSettings(**settings)).transpose(1, 2, 0)


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image_holds_photographs_upright(orientation: int, suffix: str, tmp_path: Path):
    ramp = np.arange(16 * 24 * 3, dtype=np.uint16).reshape(16, 24, 3)
    upright = (ramp // 5).astype(np.uint8)
    stored = Image.fromarray(upright)
    if orientation in TURNS:
        stored = stored.transpose(TURNS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"phone.{suffix}"
    stored.save(file, exif=exif, **SAVERS[suffix])
    header = read_header(file)
    assert (header.width, header.height) == (24, 16)
    error = np.abs(seen(file).astype(int) - upright)
    assert error.mean() < 2 if suffix == "jpg" else not error.any()


def test_folder_is_equal_for_phone_and_edited_photographs(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("a", "b"):
        for k in range(6):
            upright = draw(16, 12)
            put(tmp_path / "edited" / kind / f"{k}.png", upright)
            sideways = np.ascontiguousarray(np.rot90(upright))
            put(tmp_path / "phone" / kind / f"{k}.png", sideways, exif=exif)
    phone, edited = load(tmp_path / "phone"), load(tmp_path / "edited")
    for first, second in zip(phone, edited, strict=True):
        assert (first.images == second.images).all()


def test_decode_image_ignores_a_damaged_exif_block(tmp_path: Path):
    pixels = draw()
    put(tmp_path / "x.png", pixels, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(seen(tmp_path / "x.png"), pixels)


TRANSPARENT = {
    "RGBA": lambda image: image,
    "palette": lambda image: image.quantize(64),
    "LA": lambda image: image.convert("LA"),
}


@pytest.mark.parametrize(("background", "colour"), [("white", 255), ("black", 0), ("#808080", 128)])
@pytest.mark.parametrize("mode", TRANSPARENT)
def test_decode_image_composites_on_the_background(
    mode: str, background: str, colour: int, tmp_path: Path
):
    pixels = RNG.integers(0, 256, (16, 16, 4)).astype(np.uint8)
    pixels[..., 3] = 0
    pixels[4:12, 4:12] = (200, 40, 40, 255)
    image = TRANSPARENT[mode](Image.fromarray(pixels))
    file = tmp_path / "x.png"
    image.save(file)
    result = seen(file, background=background)
    hidden = np.ones((16, 16), bool)
    hidden[4:12, 4:12] = False
    assert (result[hidden] == colour).all(), "hidden colours are seen"
    object_colour = Image.fromarray(pixels[4:5, 4:5, :3]).convert("L" if mode == "LA" else "RGB")
    expected = np.asarray(object_colour.convert("RGB"))[0, 0]
    assert (np.abs(result[~hidden].astype(int) - expected) <= 1).all()


def test_decode_image_mixes_half_transparent_pixels(tmp_path: Path):
    put(tmp_path / "x.png", np.full((4, 4, 4), (0, 0, 0, 128), np.uint8))
    assert np.unique(seen(tmp_path / "x.png")).tolist() == [127]


def test_decode_image_composites_a_transparent_colour(tmp_path: Path):
    put(tmp_path / "x.png", np.full((4, 4, 3), (9, 9, 9), np.uint8), transparency=(9, 9, 9))
    assert np.unique(seen(tmp_path / "x.png")).tolist() == [255]


def test_folder_records_the_background_and_refuses_what_is_no_colour(tmp_path: Path):
    for kind in ("a", "b"):
        for k in range(6):
            pixels = RNG.integers(0, 256, (8, 8, 2)).astype(np.uint8)
            put(tmp_path / kind / f"{k}.png", pixels)
    grey, red = load(tmp_path).train, load(tmp_path, background="red").train
    assert grey.images.shape[1] == 1 and grey.decode.describe()["background"] == "white"
    assert red.images.shape[1] == 3 and red.decode.describe()["background"] == "red"
    with pytest.raises(UserError, match="`--background rde` is not a colour"):
        load(tmp_path, background="rde")
    with pytest.raises(UserError, match="digits are opaque; --background red has no effect"):
        load_dataset("digits", tmp_path, background="red")


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (12, 4), (16, 8)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_find_images_uses_the_bits_that_the_set_uses(
    suffix: str, bits: int, shift: int, tmp_path: Path
):
    bright = RNG.integers(0, 1 << bits, (8, 8)).astype(np.uint16)
    bright[0, 0] = (1 << bits) - 1
    dark = (bright // 8).astype(np.uint16)
    put(tmp_path / f"a.{suffix}", bright)
    put(tmp_path / f"b.{suffix}", dark)
    folder_images = find_images(tmp_path)
    assert np.array_equal(folder_images.images[0, 0], bright >> shift)
    assert np.array_equal(folder_images.images[1, 0], dark >> shift), "scaled by its own brightness"
    assert folder_images.decode.describe()["bits"] == f"{bits} of 16"


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_decode_image_shows_cmyk_in_its_colours(suffix: str, tmp_path: Path):
    image = Image.fromarray(np.full((16, 16, 3), (200, 40, 90), np.uint8))
    image.convert("CMYK").save(tmp_path / f"x.{suffix}")
    assert np.abs(seen(tmp_path / f"x.{suffix}").astype(int) - (200, 40, 90)).max() <= 3


def test_folder_gives_grey_images_three_channels_among_coloured(tmp_path: Path):
    fill(tmp_path)
    grey = RNG.integers(0, 256, (16, 16)).astype(np.uint8)
    put(tmp_path / "a" / "grey.png", grey)
    splits = load(tmp_path)
    image = next(
        image
        for split in splits
        for image, name in zip(split.images, split.names, strict=True)
        if name == "a/grey.png"
    )
    assert all(np.array_equal(channel, grey) for channel in image)


def copy_into(folder: str) -> Callable[[Path], None]:
    return lambda home: put(home / "a" / folder / "0-copy.png", draw())


def leave_mac_archive(home: Path) -> None:
    for place in (home, home / "a"):
        (place / "__MACOSX" / "a").mkdir(parents=True)
        (place / "__MACOSX" / "a" / "._0.png").write_bytes(b"\0\5\26\7")


def link_upwards(home: Path) -> None:
    for kind in ("a", "b"):
        (home / kind / "up").symlink_to("..")
    (home / "a" / "far_up").symlink_to("../..")
    (home / "b" / "here").symlink_to(".")
    (home / "up").symlink_to("..")


def link_in_a_circle(home: Path) -> None:
    (home / "a" / "b").symlink_to("../b")
    (home / "b" / "a").symlink_to("../a")


INTRUDERS = {
    "notebook": (copy_into(".ipynb_checkpoints"), "1 hidden folders"),
    "storage": (copy_into("@eaDir/0.png"), "1 folders @eaDir"),
    "archive": (leave_mac_archive, "2 folders __MACOSX"),
    "hidden file": (lambda home: (home / "a/._0.png").write_bytes(b"\0"), "1 hidden files"),
    "text": (lambda home: (home / "a/notes.txt").write_text("x"), "1 files that are not images"),
    "empty": (lambda home: (home / "c/d").mkdir(parents=True), "1 folders without images"),
    "broken link": (
        lambda home: (home / "a/gone.png").symlink_to("nowhere.png"),
        "1 files that are not images",
    ),
    "links": (link_upwards, "5 links to a folder above"),
}


@pytest.mark.parametrize("kind", INTRUDERS)
def test_folder_leaves_out_and_counts_intruders(kind: str, tmp_path: Path):
    home = tmp_path / "images"
    fill(home)
    put(tmp_path / "beside" / "0.png", draw())
    before = names(home)
    intrude, note = INTRUDERS[kind]
    intrude(home)
    assert names(home) == before
    train = load(home).train
    assert train.classes == ("a", "b")
    assert train.notes == (f"{home}: left out: {note}",)


def test_folder_ends_where_links_go_in_a_circle(tmp_path: Path):
    fill(tmp_path)
    link_in_a_circle(tmp_path)
    assert len(names(tmp_path)) == 24
    assert "2 links to a folder above" in load(tmp_path).train.notes[0]


def test_folder_follows_links_to_images_elsewhere(tmp_path: Path):
    fill(tmp_path / "elsewhere")
    (tmp_path / "images").mkdir()
    for kind in ("a", "b"):
        (tmp_path / "images" / kind).symlink_to(tmp_path / "elsewhere" / kind)
    assert names(tmp_path / "images") == names(tmp_path / "elsewhere")


@pytest.mark.parametrize("place", ["train", "val", "test"])
def test_folder_leaves_out_folders_without_images_in_each_split(place: str, tmp_path: Path):
    for split, number in (("train", 6), ("val", 2), ("test", 2)):
        fill(tmp_path / split, number)
    (tmp_path / place / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / place / "c").mkdir()
    splits = load(tmp_path)
    assert [len(split) for split in splits] == [12, 4, 4]
    assert splits.train.classes == ("a", "b")
    assert "1 folders without images" in splits.train.notes[0]


def test_find_images_leaves_out_intruders(tmp_path: Path):
    fill(tmp_path, 2)
    leave_mac_archive(tmp_path)
    link_upwards(tmp_path)
    folder_images = find_images(tmp_path)
    assert list(folder_images.names) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert "folders __MACOSX" in folder_images.note


def test_decode_image_is_as_before_for_plain_images(tmp_path: Path):
    """Opaque, upright images of 8 bits keep their pixels, as Pillow alone reads them."""
    for mode in ("1", "L", "P", "RGB", "YCbCr", "CMYK"):
        suffix = "jpg" if mode in ("YCbCr", "CMYK") else "png"
        buffer = io.BytesIO()
        Image.fromarray(draw(9, 7)).convert(mode).save(buffer, "jpeg" if suffix == "jpg" else "png")
        (tmp_path / f"x.{suffix}").write_bytes(buffer.getvalue())
        plain = np.asarray(Image.open(buffer).convert("RGB"))
        assert np.array_equal(seen(tmp_path / f"x.{suffix}"), plain), mode
