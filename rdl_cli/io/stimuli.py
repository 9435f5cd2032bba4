"""Stimuli and their categories beside RDMs: images in a .mat file, lists and tables."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import find_separator, read_text
from rdl_cli.io.raw_array import RawArray

CATEGORY_HEADERS = ("category", "categories", "class", "label")


class StimulusSet(NamedTuple):
    """Images uint8 (n, c, h, w), with names, labels (n,) into `classes` and files where known.

    `native_digests` are of the pixels at their own size, where images were resized; `decode` is how
    files became pixels; `notes` are for the person who reads them.
    """

    images: np.ndarray
    names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    files: tuple[Path, ...] | None = None
    native_digests: np.ndarray | None = None
    decode: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


class CategoryTable(NamedTuple):
    """A category for each stimulus in the order of the file, and the stimuli's names if known."""

    categories: tuple[str, ...]
    names: tuple[str, ...] | None = None


def read_mat_stimuli(path: Path) -> StimulusSet:
    """Return the images of a .mat file's struct array with a field `image`, in its order.

    Categories are from its field `category` or `label`, in order of first appearance, names from
    `name` or `filename`. UserError if there are no such images, or of several sizes.
    """
    from rdl_cli.io.child import read_file

    (raw,) = read_file("stimuli", path)
    categories = raw.texts.get("categories", ())
    classes = tuple(dict.fromkeys(categories))
    labels = np.array([classes.index(c) for c in categories], dtype=np.int64) if classes else None
    return StimulusSet(raw.array, raw.texts.get("names"), labels, classes)


def read_stimulus_arrays(path: Path) -> list[RawArray]:
    """Return the images (n, c, h, w) of a .mat file, with texts `names` and `categories`."""
    variables = {
        name: value
        for name, value in matlab_files.read_variables(path).items()
        if matlab_files.is_struct_array(value) and "image" in value.flat[0]
    }
    if len(variables) != 1:
        count = f"{len(variables)} sets of images: {', '.join(variables)}"
        raise UserError(
            f"{path} holds {count if variables else 'no images'}",
            hint="images are a struct array with a field `image`; or pass a folder of images",
        )
    variable, structs = variables.popitem()
    images = []
    for at, struct in enumerate(structs.flat, 1):
        image = struct["image"]
        if not _is_image(image):
            shape = " × ".join(map(str, getattr(image, "shape", ())))
            kind = f"{shape} {image.dtype}" if shape else type(image).__name__
            raise UserError(
                f"{path}: image {at} of `{variable}` is {kind}",
                hint="images are h × w, or h × w × 3, of uint8",
            )
        images.append(np.moveaxis(np.atleast_3d(image), 2, 0))
    if len(sizes := sorted({image.shape for image in images})) > 1:
        raise UserError(
            f"{path}: the images of `{variable}` have {len(sizes)} sizes,"
            f" from {sizes[0]} to {sizes[-1]}",
            hint="resize them to one size",
        )
    columns = {"categories": ("category", "label"), "names": ("name", "filename")}
    texts = {
        key: tuple(_find_text(struct, fields) for struct in structs.flat)
        for key, fields in columns.items()
    }
    texts = {key: values for key, values in texts.items() if all(values)}
    return [RawArray(variable, np.stack(images), texts=texts)]


def read_categories(path: Path) -> CategoryTable:
    """Return the categories of a .mat of images, a table `name,category`, or one on each line.

    The cells are separated by tab, semicolon or (.csv) comma. A header may call its last column
    `category`. UserError for a line without category and for a repeated name.
    """
    if path.suffix.lower() == ".mat":
        stimuli = read_mat_stimuli(path)
        if stimuli.labels is None:
            raise UserError(
                f"the images in {path} have no categories",
                hint="put them into a field `category`, or pass a table",
            )
        return CategoryTable(tuple(stimuli.classes[label] for label in stimuli.labels))
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    rows = _split_cells(lines, path.suffix.lower() in (".csv", ".tsv"))
    if rows and rows[0][-1].lower() in CATEGORY_HEADERS:
        del rows[0]
    if not rows:
        raise UserError(f"{path} holds no category", hint="write name,category on each line")
    widths = sorted({len(row) for row in rows})
    if widths not in ([1], [2]):
        raise UserError(
            f"{path} has lines of {' and '.join(map(str, widths))} cells",
            hint="write name,category on each line, or a category alone",
        )
    if blank := [row[0] for row in rows if not row[-1]]:
        raise UserError(f"{path} has no category for `{blank[0]}`")
    categories = tuple(row[-1] for row in rows)
    if widths == [1]:
        return CategoryTable(categories)
    names = tuple(row[0] for row in rows)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path} lists `{repeated[0]}` more than once")
    return CategoryTable(categories, names)


def _split_cells(lines: list[str], is_table: bool) -> list[list[str]]:
    """Return the cells of each line. In a plain list commas are text, not separators."""
    mark = find_separator(lines[0]) if lines else None
    if mark is None or (mark == "," and not is_table):
        return [[line.strip('"')] for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]


def _is_image(image: object) -> bool:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim in (2, 3)
        and image.shape[2:] in ((), (1,), (3,))
    )


def _find_text(struct: dict[str, Any], fields: tuple[str, ...]) -> str:
    values = (struct.get(field) for field in fields)
    return next((value for value in values if isinstance(value, str) and value), "")
