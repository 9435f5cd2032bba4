"""Decode an image file to the pixels that a person sees in a viewer."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps

from rdl_cli.core.errors import UserError

WHITE = "white"
"""The background of most viewers and pages."""

BITS = (8, 12, 16)
"""Used bits of files with 16 bits a pixel. Cameras and microscopes often use 12 of them."""

SWAPPED = (5, 6, 7, 8)
"""EXIF orientations of images that are stored on their side."""

EXIF_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


class DecodeSettings(NamedTuple):
    """How image files become pixels; stores record it.

    Args:
        background: the colour behind transparent pixels, as Pillow names colours.
        bits: the bits in use of images with 16 bits a pixel; None if there are no such images.
    """

    background: str = WHITE
    bits: int | None = None

    def describe(self) -> dict[str, str]:
        """Return the settings as the texts that a store records."""
        texts = {
            "orientation": "as EXIF says",
            "background": self.background,
            "grey": "if all are grey",
        }
        return texts if self.bits is None else texts | {"bits": f"{self.bits} of 16"}


class Header(NamedTuple):
    """Properties of an image that are read without decoding it, but for `peak`.

    Args:
        width, height: in pixels, as seen.
        grey: whether red, green and blue are equal in every pixel.
        peak: the largest value of an image with 16 bits a pixel, 0 for others.
    """

    width: int
    height: int
    grey: bool
    peak: int = 0


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return a colour's red, green and blue. UserError if Pillow does not know it.

    >>> parse_colour("white"), parse_colour("#808080")
    ((255, 255, 255), (128, 128, 128))
    """
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(
            f"`--background {text}` is not a colour", hint="write white, black, grey or #808080"
        ) from None


def read_header(file: Path, background: str = WHITE) -> Header:
    """Return an image's properties. UserError if it cannot be read or has fractions for pixels."""
    red, green, blue = parse_colour(background)
    with open_image(file) as image:
        if image.mode == "F":  # Pillow's conversion rounds 0..1 to all but black
            raise UserError(
                f"the image {file} has fractions for pixels, of unknown range",
                hint="save it in 8 or 16 bits",
            )
        width, height = image.size
        if _orientation(image) in SWAPPED:
            width, height = height, width
        deep = _is_deep(image)
        grey = deep or image.mode in ("1", "L", "LA", "La")
        if _is_transparent(image):
            grey = grey and red == green == blue
        peak = int(np.asarray(image).max()) if deep else 0
    return Header(width, height, grey, peak)


def find_used_bits(peak: int) -> int | None:
    """Return how many of 16 bits a set of images uses, by its largest value; None for 0.

    >>> find_used_bits(200), find_used_bits(4095), find_used_bits(5000)
    (8, 12, 16)
    """
    return next((bits for bits in BITS if peak < 1 << bits), BITS[-1]) if peak else None


def decode_image(
    file: Path, channels: int, settings: DecodeSettings, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Return the pixels of a file as a person sees them, uint8 (c, h, w).

    The image is turned as its EXIF orientation says, and transparent pixels are composited on the
    background. With a size (width, height) it is scaled until it covers the size, and cropped
    around its middle.
    """
    with open_image(file) as image:
        seen = _compose(_turn(_narrow(image, settings.bits)), settings.background)
        seen = seen.convert("L" if channels == 1 else "RGB")
        seen = ImageOps.fit(seen, size or seen.size, Image.Resampling.BILINEAR)
        return np.moveaxis(np.atleast_3d(np.asarray(seen)), 2, 0)


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """Yield the opened image. Turn whatever Pillow's readers raise into a UserError."""
    try:
        with Image.open(file) as image:
            yield image
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the image {file} can't be read: {error}", hint="repair it or remove it"
        ) from error


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I")


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 for upright. A damaged EXIF block counts as none.

    Pillow turns TIFF files itself. Without the test of `info`, it would decode every PNG here.
    """
    if image.format == "TIFF" or not any(key in image.info for key in EXIF_KEYS):
        return 1
    if image.format == "PNG" and not any(key in image.info for key in EXIF_KEYS[:2]):
        return 1
    with suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _turn(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _narrow(image: Image.Image, bits: int | None) -> Image.Image:
    """Return an image of 16 bits a pixel in 8; Pillow's own conversion clips at 255."""
    if not _is_deep(image):
        return image
    deep = np.asarray(image).astype(np.int64) >> (bits or 16) - 8
    narrow = Image.fromarray(deep.clip(0, 255).astype(np.uint8))
    narrow.info = {key: value for key, value in image.info.items() if key in EXIF_KEYS}
    return narrow


def _compose(image: Image.Image, background: str) -> Image.Image:
    if not _is_transparent(image):
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
