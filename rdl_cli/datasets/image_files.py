"""Picture files as uint8 tensors, all of one size and mode."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.base import LazyImages, image_shape_at


def find_images(folder: Path, image_size: int | None = None) -> tuple[Images, tuple[str, ...]]:
    """The pictures that lie in a folder, uint8 `n c h w`, and their file names, in natural order: 2.png comes before 10.png.

    Where none lies there, those of the folders in it, called FOLDER/FILE.
    UserError where there are none, where one can't be read, or where their sizes differ and no `image_size` is given.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}", hint="name the folder that holds the pictures"
        )
    files = natural_sort(file for file in folder.iterdir() if is_image_file(file))
    if not files:
        files = natural_sort(file for file in folder.glob("[!.]*/*") if is_image_file(file))
    if not files:
        raise UserError(
            f"{folder} holds no pictures", hint="name the folder in which they lie side by side"
        )
    return image_shape_at(read_image(files, image_size), slice(None)), tuple(
        file.relative_to(folder).as_posix() for file in files
    )


def read_image(files: Sequence[Path], image_size: int | None) -> Images | LazyImages:
    """Pictures in one size and mode, in memory where they take no more than a quarter of what is free.

    Without `image_size` they must have one size, which they keep, pixel for pixel. Otherwise each is scaled until its shorter
    side fits a square, and cut to it around its middle. Grey where all are grey, RGB where any is not; transparency is dropped.
    """
    with ThreadPoolExecutor() as threads:
        seen = list(threads.map(_glance, files))
    sizes = sorted({size for size, _ in seen})
    if image_size is None and len(sizes) > 1:
        (narrow, low), (wide, high) = sizes[0], sizes[-1]
        raise UserError(
            f"the {len(files):,} pictures have {len(sizes)} sizes, {narrow} × {low} and {wide} × {high} among them",
            hint="choose a side in pixels, --image-size 64 for example; they are scaled and cut to a square",
        )
    width, height = sizes[0] if image_size is None else (image_size, image_size)
    found = ImageFiles(tuple(files), 1 if all(grey for _, grey in seen) else 3, height, width)
    return found.read(slice(None)) if found.shape.numel() <= _free_memory() // 4 else found


@dataclass(frozen=True)
class ImageFiles:
    """Pictures that stay in their files until they are looked at."""

    files: tuple[Path, ...]
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.files), self.channels, self.height, self.width))

    def __getitem__(self, rows: torch.Tensor) -> "ImageFiles":
        return ImageFiles(
            tuple(self.files[row] for row in rows.tolist()), self.channels, self.height, self.width
        )

    def read(self, rows: torch.Tensor | slice) -> Images:
        files = self.files[rows] if isinstance(rows, slice) else self[rows].files
        images = np.empty((len(files), *self.shape[1:]), dtype=np.uint8)
        with ThreadPoolExecutor() as threads:  # Pillow lets go of the interpreter while it decodes
            for row, image in enumerate(threads.map(self._pixels, files)):
                images[row] = image
        return torch.from_numpy(images)

    def _pixels(self, file: Path) -> np.ndarray:
        with _opened(file) as image:
            if _is_deep(image):  # Pillow's own conversion clips 16 bits at 255
                image = Image.fromarray(
                    (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                )
            image = image.convert("L" if self.channels == 1 else "RGB")
            fitted = ImageOps.fit(image, (self.width, self.height), Image.Resampling.BILINEAR)
            return np.moveaxis(np.atleast_3d(np.asarray(fitted)), 2, 0)


def natural_sort(files: Iterable[Path]) -> list[Path]:
    """In the order of their paths, numbers by their value."""

    def key(file: Path) -> tuple:
        return [
            int(part) if part.isdecimal() else part.casefold()
            for part in re.split(r"(\d+)", file.as_posix())
        ], file.as_posix()

    return sorted(files, key=key)


def is_image_file(file: Path) -> bool:
    return file.suffix.lower() in _readable() and not file.name.startswith(".") and file.is_file()


@cache
def _readable() -> set[str]:
    stubs = {
        "BUFR",
        "GRIB",
        "HDF5",
        "MPEG",
    }  # Pillow knows them when it sees them, and can read none
    suffixes = Image.registered_extensions()  # loads all readers
    return {suffix for suffix, kind in suffixes.items() if kind in Image.OPEN.keys() - stubs}


def _glance(file: Path) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether the picture is grey, from the head of its file. UserError where white has no number of its own."""
    with _opened(file) as image:
        size, mode, deep = image.size, image.mode, _is_deep(image)
    if mode == "F":  # Pillow's conversion rounds 0..1 to all but black
        raise UserError(
            f"the picture {file} has fractions for pixels, and nothing says which is white",
            hint="save it in 8 or 16 bits",
        )
    return size, deep or mode in ("1", "L", "LA")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I")


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The picture; whatever Pillow's many readers raise comes out as a UserError that names the file."""
    try:
        with Image.open(file) as image:
            yield image
    except Exception as error:
        raise UserError(
            f"the picture {file} can't be read: {error}", hint="mend it or take it away"
        ) from error


def _free_memory() -> int:
    """Bytes that can be had without swapping, or 4 GiB where the system doesn't tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return 4 << 30
