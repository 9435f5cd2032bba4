"""Image files as uint8 tensors of one size and mode."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.base import LazyImages, Split, read_images

DECODE = {"orientation": "ignored", "background": "dropped", "grey": "if all are grey"}
"""How files become pixels; stores record it."""


class FolderImages(NamedTuple):
    """The images of a folder, uint8 `n c h w`, their names relative to it, and their files."""

    images: Images
    names: tuple[str, ...]
    files: tuple[Path, ...]


def find_images(folder: Path, image_size: int | None = None) -> FolderImages:
    """Return the images of a folder, or if it has none, of its subfolders, in natural order.

    Natural order has 2.png before 10.png. Names are FILE or SUBFOLDER/FILE. Raise UserError if
    there are none, one cannot be read, or their sizes differ and no `image_size` is given.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", hint="name the folder of the images")
    files = natural_sort(file for file in folder.iterdir() if is_image_file(file))
    if not files:
        files = natural_sort(file for file in folder.glob("[!.]*/*") if is_image_file(file))
    if not files:
        raise UserError(f"{folder} holds no images", hint="name the folder of the images")
    images = read_images(open_images(files, image_size), slice(None))
    names = tuple(file.relative_to(folder).as_posix() for file in files)
    return FolderImages(images, names, tuple(files))


def open_images(files: Sequence[Path], image_size: int | None) -> Images | LazyImages:
    """Return images of one size and mode, in memory if they take at most a quarter of what is free.

    Without `image_size` all must have the same size, which they keep, pixel for pixel. With it each
    is scaled until its shorter side fits a square, and cropped around its middle. Grey if all are
    grey, RGB if any is not; transparency is dropped.
    """
    with ThreadPoolExecutor() as threads:
        headers = list(threads.map(_read_header, files))
    sizes = sorted({size for size, _ in headers})
    if image_size is None and len(sizes) > 1:
        (narrow, low), (wide, high) = sizes[0], sizes[-1]
        raise UserError(
            f"the {len(files):,} images have {len(sizes)} sizes,"
            f" {narrow} × {low} and {wide} × {high} among them",
            hint="pass --image-size 64, for example, to scale and crop them to a square",
        )
    width, height = sizes[0] if image_size is None else (image_size, image_size)
    channels = 1 if all(grey for _, grey in headers) else 3
    images = ImageFiles(tuple(files), channels, height, width)
    return images.read(slice(None)) if images.shape.numel() <= _free_memory() // 4 else images


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read from their files on demand."""

    files: tuple[Path, ...]
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.files), self.channels, self.height, self.width))

    def __getitem__(self, rows: torch.Tensor) -> "ImageFiles":
        files = tuple(self.files[row] for row in rows.tolist())
        return ImageFiles(files, self.channels, self.height, self.width)

    def read(self, rows: torch.Tensor | slice) -> Images:
        files = self.files[rows] if isinstance(rows, slice) else self[rows].files
        images = np.empty((len(files), *self.shape[1:]), dtype=np.uint8)
        decode = partial(_decode, channels=self.channels, size=(self.width, self.height))
        with ThreadPoolExecutor() as threads:  # Pillow releases the interpreter while it decodes
            for row, image in enumerate(threads.map(decode, files)):
                images[row] = image
        return torch.from_numpy(images)


def native_digests(split: Split) -> np.ndarray:
    """Return the digests of the images' pixels at their own size, S64 (n,). Decodes files."""
    if split.files is None:
        return split.digests
    channels = split.images.shape[1]

    def compute_digest(file: Path) -> bytes:
        return pixel_digests(_decode(file, channels)[None])[0]

    with ThreadPoolExecutor() as threads:
        return np.array(list(threads.map(compute_digest, split.files)), dtype="S64")


def _decode(file: Path, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return the pixels of a file, uint8 (c, h, w), scaled and cropped to any given size."""
    with _open(file) as image:
        if _has_deep_pixels(image):  # Pillow's own conversion clips 16 bits at 255
            deep = np.asarray(image).astype(np.int64)
            image = Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        image = ImageOps.fit(image, size or image.size, Image.Resampling.BILINEAR)
        return np.moveaxis(np.atleast_3d(np.asarray(image)), 2, 0)


def natural_sort(files: Iterable[Path]) -> list[Path]:
    """Return the files in the order of their paths, numbers by value."""

    def key(file: Path) -> tuple:
        parts = re.split(r"(\d+)", file.as_posix())
        return [int(part) if part.isdecimal() else part.casefold() for part in parts], (
            file.as_posix()
        )

    return sorted(files, key=key)


def is_image_file(file: Path) -> bool:
    """Return True for a visible file with a suffix that Pillow reads."""
    return file.suffix.lower() in _suffixes() and not file.name.startswith(".") and file.is_file()


@cache
def _suffixes() -> set[str]:
    stubs = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow identifies but cannot read
    suffixes = Image.registered_extensions()  # loads all readers
    return {suffix for suffix, kind in suffixes.items() if kind in Image.OPEN.keys() - stubs}


def _read_header(file: Path) -> tuple[tuple[int, int], bool]:
    """Return width and height, and whether the image is grey. Raise UserError for float pixels."""
    with _open(file) as image:
        size, mode, deep = image.size, image.mode, _has_deep_pixels(image)
    if mode == "F":  # Pillow's conversion rounds 0..1 to all but black
        raise UserError(
            f"the image {file} has fractions for pixels, of unknown range",
            hint="save it in 8 or 16 bits",
        )
    return size, deep or mode in ("1", "L", "LA")


def _has_deep_pixels(image: Image.Image) -> bool:
    return image.mode.startswith("I")


@contextmanager
def _open(file: Path) -> Iterator[Image.Image]:
    """Yield the opened image; turn whatever Pillow's readers raise into a UserError."""
    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:
        raise UserError(
            f"the image {file} can't be read: {error}", hint="repair it or remove it"
        ) from error


def _free_memory() -> int:
    """Return the bytes that are free without swapping; 4 GiB if the system does not report them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return 4 << 30
