"""Image files as uint8 tensors of one size and mode."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.base import LazyImages, Split, read_images
from rdl_cli.datasets.decoding import WHITE, DecodeSettings, decode_image, find_used_bits
from rdl_cli.datasets.file_index import FileIndex, FileNames, FilePaths
from rdl_cli.datasets.folder_walk import (
    LeftOut,
    describe_left_out,
    list_folders,
    list_images,
)


@dataclass(frozen=True)
class FolderImages:
    """The images of a folder, uint8 `n c h w`, their names relative to it, and their files.

    `note` describes what was left out.
    """

    images: Images
    names: Sequence[str]
    files: Sequence[Path]
    decode: DecodeSettings
    note: str = ""


class OpenedImages(NamedTuple):
    """Images in memory or on demand, and the settings by which they are decoded."""

    images: Images | LazyImages
    decode: DecodeSettings


def find_images(
    folder: Path, image_size: int | None = None, background: str = WHITE
) -> FolderImages:
    """Return the images of a folder, or if it has none, of its subfolders, in natural order.

    Natural order has 2.png before 10.png. Names are FILE or SUBFOLDER/FILE. Raise UserError if
    there are none, one cannot be read, or their sizes differ and no `image_size` is given.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", hint="name the folder of the images")
    left_out = LeftOut()
    entries = list_images(folder, "", left_out, deep=False)
    if not entries:
        for name in list_folders(folder, left_out):
            entries += list_images(folder, name, left_out, deep=False)
    if not entries:
        raise UserError(f"{folder} holds no images", hint="name the folder of the images")
    index = FileIndex(folder, entries, background)
    rows = np.arange(len(index))
    opened = open_images(index, image_size)
    return FolderImages(
        read_images(opened.images, slice(None)),
        FileNames(index, rows),
        FilePaths(index, rows),
        opened.decode,
        describe_left_out(left_out),
    )


def open_images(index: FileIndex, image_size: int | None) -> OpenedImages:
    """Return images of one size and mode, in memory if they take at most a quarter of what is free.

    Without `image_size` all must have the same size, which they keep, pixel for pixel. With it each
    is scaled until its shorter side fits a square, and cropped around its middle. Grey if all are
    grey, RGB if any is not.
    """
    shapes = np.stack([index.columns["width"], index.columns["height"]], 1)
    sizes = [tuple(size) for size in np.unique(shapes, axis=0).tolist()]
    if image_size is None and len(sizes) > 1:
        (narrow, low), (wide, high) = sizes[0], sizes[-1]
        raise UserError(
            f"the {len(index):,} images have {len(sizes)} sizes,"
            f" {narrow} × {low} and {wide} × {high} among them",
            hint="pass --image-size 64, for example, to scale and crop them to a square",
        )
    width, height = sizes[0] if image_size is None else (image_size, image_size)
    channels = 1 if index.columns["grey"].all() else 3
    decode = DecodeSettings(index.background, find_used_bits(int(index.columns["peak"].max())))
    images = ImageFiles(FilePaths(index, np.arange(len(index))), channels, height, width, decode)
    in_memory = images.shape.numel() <= _free_memory() // 4
    return OpenedImages(images.read(slice(None)) if in_memory else images, decode)


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read from their files on demand."""

    files: FilePaths
    channels: int
    height: int
    width: int
    decode: DecodeSettings

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.files), self.channels, self.height, self.width))

    def __getitem__(self, rows: torch.Tensor) -> "ImageFiles":
        return replace(self, files=self.files.take(rows.numpy()))

    def read(self, rows: torch.Tensor | slice) -> Images:
        files = self.files[rows] if isinstance(rows, slice) else self[rows].files
        images = np.empty((len(files), *self.shape[1:]), dtype=np.uint8)
        decode = partial(
            decode_image,
            channels=self.channels,
            settings=self.decode,
            size=(self.width, self.height),
        )
        if torch.utils.data.get_worker_info() is not None:  # a worker is one of several processes
            for row, file in enumerate(files):
                images[row] = decode(file)
            return torch.from_numpy(images)
        with ThreadPoolExecutor() as threads:  # Pillow releases the interpreter while it decodes
            for row, image in enumerate(threads.map(decode, files)):
                images[row] = image
        return torch.from_numpy(images)


def native_digests(split: Split) -> np.ndarray:
    """Return the digests of the images' pixels at their own size, S64 (n,). Decodes files."""
    if split.files is None:
        return split.digests
    assert split.decode is not None, "images of files have decode settings"
    return native_file_digests(split.files, split.images.shape[1], split.decode)


def native_file_digests(files: Sequence[Path], channels: int, decode: DecodeSettings) -> np.ndarray:
    """Return the digests of the pixels of files, decoded at their own size, S64 (n,)."""

    def compute_digest(file: Path) -> bytes:
        return pixel_digests(decode_image(file, channels, decode)[None])[0]

    with ThreadPoolExecutor() as threads:
        return np.array(list(threads.map(compute_digest, files)), dtype="S64")


def _free_memory() -> int:
    """Return the bytes that are free without swapping; 4 GiB if the system does not report them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return 4 << 30
