"""Pictures that lie in a .mat file, as the 92 objects of Kriegeskorte et al. (2008) do."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files


class StimulusSet(NamedTuple):
    """`images` uint8 (n, c, h, w), with their names and labels (n,) into `classes` where the source has them."""

    images: np.ndarray
    names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()


def read_mat_stimuli(path: Path) -> StimulusSet:
    """The pictures of the one struct array with a field `image` (h × w, or h × w × 3, uint8), in its order.

    Categories are from its field `category` or `label`, in order of first appearance; names from `name` or `filename`. UserError
    where the file has no pictures, or where they differ in size.
    """
    held = {
        key: value
        for key, value in matlab_files.read_variables(path).items()
        if matlab_files.to_structs(value) and "image" in value.flat[0]
    }
    if len(held) != 1:
        which = f"{len(held)} sets of pictures: {', '.join(held)}" if held else "no pictures"
        raise UserError(
            f"{path} holds {which}",
            hint="pictures are a struct array with a field `image`; or give a folder of pictures",
        )
    variable, structs = held.popitem()
    images = []
    for at, struct in enumerate(structs.flat, 1):
        image = struct["image"]
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.ndim not in (2, 3)
            or image.shape[2:] not in ((), (1,), (3,))
        ):
            is_ = (
                f"{' × '.join(map(str, image.shape))} {image.dtype}"
                if isinstance(image, np.ndarray)
                else type(image).__name__
            )
            raise UserError(
                f"{path}: picture {at} of `{variable}` is {is_}",
                hint="pictures are h × w, or h × w × 3, of uint8",
            )
        images.append(np.moveaxis(np.atleast_3d(image), 2, 0))
    if len(sizes := sorted({image.shape for image in images})) > 1:
        raise UserError(
            f"{path}: the pictures of `{variable}` have {len(sizes)} sizes, from {sizes[0]} to {sizes[-1]}",
            hint="resize them to one size",
        )
    kinds, names = (
        tuple(_text(struct, *fields) for struct in structs.flat)
        for fields in (("category", "label"), ("name", "filename"))
    )
    classes = tuple(dict.fromkeys(kinds)) if all(kinds) else ()
    labels = np.array([classes.index(kind) for kind in kinds], dtype=np.int64) if classes else None
    return StimulusSet(np.stack(images), names if all(names) else None, labels, classes)


def _text(struct: dict, *fields: str) -> str:
    return next(
        (value for field in fields if isinstance(value := struct.get(field), str) and value), ""
    )
