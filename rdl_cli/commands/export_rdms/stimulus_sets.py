"""Stimuli of their own for a network: a brain's, or a folder of images; shown as it expects."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from rdl_cli.commands.console import log
from rdl_cli.commands.network_source import NetworkSource
from rdl_cli.commands.stimulus_images import resize_to_network
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.core.provenance import Parent
from rdl_cli.core.stimulus_names import match_stimuli
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.decoding import decode_image
from rdl_cli.datasets.digests import file_digests
from rdl_cli.datasets.image_files import find_images
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.pretrained import InputTransform
from rdl_cli.store.store import Stimuli, Store


@dataclass(frozen=True, eq=False)
class StimulusImages:
    """Stimuli without their images, and a function that reads images as a network takes them.

    `classes` are the names of the labels, where the stimuli have labels.
    """

    stimuli: Stimuli
    read: Callable[[np.ndarray], Images]
    parent: Parent
    order: str
    classes: list[str] | None = None

    def subset(self, rows: np.ndarray, order: str) -> "StimulusImages":
        """Return some stimuli, in the order of the rows."""
        stimuli = self.stimuli
        columns: dict[str, Any] = {
            name: None if (column := getattr(stimuli, name)) is None else column[rows]
            for name in ("digests", "names", "labels", "pixel_digests")
        }
        return replace(
            self,
            stimuli=stimuli._replace(**columns),
            read=lambda at: self.read(rows[at]),
            order=order,
        )


def open_stimulus_images(path: Path, source: NetworkSource, background: str) -> StimulusImages:
    """Return the stimuli of a folder or of a brain's store, resized to a network's input.

    Published weights get their own resize and crop. UserError if there are no images.
    """
    if path.is_dir():
        return _open_folder(path, source, background)
    store = Store.open(path)
    if store.stimuli.images is None:
        raise UserError(
            f"{path} holds no images of its stimuli", hint="import it again with --stimuli"
        )

    def read(rows: np.ndarray) -> Images:
        images = torch.from_numpy(store.images(rows))
        if source.transform is None:
            return resize_to_network(images, source.shape)[0]
        pixels = images.expand(-1, 3, -1, -1).numpy()
        return torch.stack([apply_transform(image, source.transform) for image in pixels])

    _, changes = resize_to_network(torch.from_numpy(store.images(np.arange(1))), source.shape)
    parent = Parent(
        kind="store", path=str(path), fingerprint=store.fingerprint(), layers=sorted(store.layers)
    )
    stimuli = store.stimuli._replace(images=None, image_digests=None)
    return StimulusImages(
        stimuli, read, parent, f"in the order of {path}, {changes}", store.provenance.get("classes")
    )


def order_like(images: StimulusImages, like: Path) -> StimulusImages:
    """Return the stimuli in the order of a store, by name. UserError if one has no match."""
    asked = Store.open(like).stimuli.names
    names = images.stimuli.names
    if asked is None or names is None:
        raise UserError(
            f"{like if asked is None else images.parent['path']} has no names of its stimuli",
            hint="--like orders by name; leave it out",
        )
    rows = match_stimuli(asked.tolist(), names.tolist(), "image")
    return images.subset(np.array(rows), f"in the order of {like}")


def apply_transform(pixels: np.ndarray, transform: InputTransform) -> torch.Tensor:
    """Return an image (c, h, w) resized and cropped as weights expect, uint8."""
    image = Image.fromarray(np.moveaxis(pixels, 0, 2))
    mode = InterpolationMode(transform.interpolation)
    image = transforms.resize(image, [transform.resize], mode)
    return transforms.pil_to_tensor(transforms.center_crop(image, [transform.crop]))


def _open_folder(folder: Path, source: NetworkSource, background: str) -> StimulusImages:
    listed = find_images(folder, 1, background)  # the images themselves are read one by one
    if listed.note:
        log(f"note: {listed.note}")
    files, channels = list(listed.files), source.shape.channels

    def read(rows: np.ndarray) -> Images:
        pixels = [decode_image(files[row], channels, listed.decode) for row in rows]
        return torch.stack([_fit(image, source) for image in pixels])

    digests = file_digests(listed.files)
    native = [pixel_digests(decode_image(file, channels, listed.decode)[None])[0] for file in files]
    stimuli = Stimuli(
        digests,
        np.array(list(listed.names)),
        pixel_digests=np.array(native, dtype="S64"),
        digest_kind="file",
        decode=listed.decode.describe(),
    )
    parent = Parent(
        kind="stimuli",
        path=str(folder.absolute()),
        fingerprint=sha256(digests.tobytes()).hexdigest(),
    )
    names = stimuli.names
    assert names is not None, "files have names"
    return StimulusImages(
        stimuli, read, parent, f"in the order of the files: {names[0]} to {names[-1]}"
    )


def _fit(pixels: np.ndarray, source: NetworkSource) -> torch.Tensor:
    """Return an image of any size in that of the network's input."""
    if source.transform is not None:
        return apply_transform(pixels, source.transform)
    shape = InputShape(*source.shape)
    side = min(pixels.shape[1:])
    image = torch.from_numpy(np.ascontiguousarray(pixels))
    square = transforms.center_crop(image, [side]) if shape.height == shape.width else image
    return resize_to_network(square[None], shape)[0][0]
